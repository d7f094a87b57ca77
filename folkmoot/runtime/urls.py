# SPDX-License-Identifier: Apache-2.0
"""Addresses of endpoints and databases as they can be shown: without the key or password that many of them hold.

An RPC provider's URL is a secret (`https://rpc.example/v2/<key>`), and errors that name it end in logs, in a
coordinator's public health, and in bug reports. Travels in the Flower App Bundle, with `rpc`.
"""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

REMOVED = "[removed]"
"""What stands in place of a secret."""

_APART = re.compile(r"\s*,\s*(?=\w+://)")
"""What is between two URLs: a comma in one is not followed by another's scheme."""

_SHORTEST_SECRET = 12
"""Fewest characters of a URL's path or query that may be a key: `/v2/<key>` has one, `/rpc` has not."""


def apart(text: str) -> list[str]:
    """Return the URLs of a text that holds one or several, separated by commas. A URL may have commas of its own."""
    return [url for part in _APART.split(text) if (url := part.strip(" \t\r\n,"))]


def secrets_of(*urls: str) -> list[str]:
    """Return what is secret in URLs: passwords, and parts of paths and queries that are long enough to be a key.

    A text may hold several URLs, separated by commas.
    """
    secrets = []
    for url in (part for text in urls for part in apart(text)):
        try:
            parts = urlsplit(url)
            password = parts.password
        except ValueError:
            continue
        if password:
            secrets += [password, unquote(password)]
        if parts.scheme in ("http", "https", "ws", "wss"):
            values = [pair.partition("=")[2] for pair in parts.query.split("&")]
            secrets += [
                piece for piece in (*parts.path.split("/"), *values) if len(piece) >= _SHORTEST_SECRET
            ]
    return secrets


def without_secrets(text: str, *urls: str) -> str:
    """Return a text (or the URL itself, if no other is given) as it can be shown to anybody."""
    for secret in sorted(set(secrets_of(*(urls or (text,)))), key=len, reverse=True):
        text = text.replace(secret, REMOVED)
    return text

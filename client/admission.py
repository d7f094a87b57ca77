# SPDX-License-Identifier: Apache-2.0
"""The key with which a SuperNode says who it is, and what is said when its SuperLink does not let it in.

An operator can have the SuperLink admit only nodes whose keys it knows; the key is no account, holds no money and
signs no update. Reads the log of Flower's SuperNode, since Flower says nowhere else why it ended.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from folkmoot.errors import InputError, LocalError
from folkmoot.runtime.files import write_whole
from folkmoot.runtime.superlink import SuperLink

LOG_END = 1 << 18
"""Bytes of a log's end that are looked at."""

CONNECTED = "SuperNode ID:"
"""What Flower writes when the SuperLink has let the node in."""

_KEY_UNKNOWN, _KEY_WANTED = "[code: 2004]", "[code: 2001]"
"""Flower's codes: the SuperLink does not know this key; it wants one."""

_TLS = re.compile(r"\[SSL: \w+\] (?:certificate verify failed: )?([^(\n]+)")


class NodeLog:
    """What is written to a SuperNode's log from now on; also if the file is not there yet."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._start = path.stat().st_size if path.exists() else 0

    def text(self) -> str:
        """Return it, its end only if it is long."""
        try:
            with self._path.open("rb") as file:
                end = file.seek(0, os.SEEK_END)
                file.seek(max(self._start, end - LOG_END))
                return file.read().decode(errors="replace")
        except FileNotFoundError:
            return ""


def public_file(key: Path) -> Path:
    """Where the public half of a key is."""
    return key.with_name(key.name + ".pub")


def make_if_missing(key: Path, superlink: SuperLink) -> bool:
    """Make a key (P-384, in OpenSSH's form as Flower wants it) and its public half, unless it is there.

    Args:
        key: Key file; its folder is made too.
        superlink: Whom it is shown to.

    Returns:
        Whether it was made.

    Raises:
        InputError: The SuperLink is spoken to without TLS, where a node can't say who it is.
        LocalError: The files can't be written.
    """
    if superlink.insecure:
        raise InputError(
            f"A node's key needs TLS, and the SuperLink at {superlink.address} is spoken to without.",
            remedy="Give --root-certificates and leave out --insecure, or leave out --node-key.",
            code="node-key-without-tls",
        )
    if key.exists():
        return False
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    made = ec.generate_private_key(ec.SECP384R1())
    try:
        key.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        shown = made.public_key().public_bytes(
            serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
        )
        secret = made.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
        )
        write_whole(public_file(key), shown + b"\n")  # first: where the key is, both are
        write_whole(key, secret, mode=0o600)
    except OSError as error:
        raise LocalError(
            f"The key of this node can't be written to {key}: {error.strerror}.",
            remedy="Give another file with --node-key.",
            code="node-key",
        ) from error
    return True


def refusal(log: str, superlink: SuperLink, key: Path | None) -> LocalError | None:
    """Say why a SuperNode that has ended was not let in; None if that is not why it ended.

    Args:
        log: What it wrote since it was started.
        superlink: Where it wanted in.
        key: Its key file, if it has one.
    """
    if _KEY_UNKNOWN in log:
        public = public_file(key) if key is not None else "its key"
        return LocalError(
            f"The SuperLink at {superlink.address} does not know this node's key.",
            remedy=f"Send {public} to its operator, who runs `folkmoot superlink admit`; then join again.",
            code="node-unknown",
        )
    if _KEY_WANTED in log:
        return LocalError(
            f"The SuperLink at {superlink.address} admits only nodes whose keys its operator knows.",
            remedy="Join with --node-key FILE and send FILE.pub to the operator.",
            code="node-key-missing",
        )
    if (found := _TLS.search(log)) is not None:
        return superlink.tls_failure(found[1].strip().rstrip("."))
    return None

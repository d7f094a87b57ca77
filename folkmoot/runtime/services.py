# SPDX-License-Identifier: Apache-2.0
"""Find which service answers at an address, for the message when a user gave the port of another service.

A federation has three ports on one machine, and each of them answers HTTP. This is asked only after something failed,
or once before a long wait; it decides nothing. It travels in the app bundle.
"""

from __future__ import annotations

import json
from typing import Any

CHAIN = "the RPC endpoint of a chain"
COORDINATOR = "a Folkmoot coordinator"
SUPERLINK = "a Flower SuperLink"

OPTIONS = {CHAIN: "--rpc", COORDINATOR: "--coordinator", SUPERLINK: "--superlink"}
"""The option that takes the address of each service."""

UNKNOWN_PATH = (404, 405)
"""Statuses with which a service answers what another one is asked. A service that is down or busy has others, and is
not asked what it is."""

TIMEOUT = 2.0
"""Seconds for one question."""

MOST = 1 << 18
"""Most bytes of an answer that are looked at."""

PROBLEM = "urn:folkmoot:problem:"
"""What the types of a coordinator's problems begin with."""


def service_at(url: str) -> str | None:
    """Return what answers at an HTTP address: one of the services above, or None if it is none of them."""
    question = {"jsonrpc": "2.0", "id": 1, "method": "eth_chainId", "params": []}
    answer = _asked("POST", url, json=question)
    if isinstance(answer.get("result"), str) and answer["result"].startswith("0x"):
        return CHAIN
    if str(answer.get("type", "")).startswith(PROBLEM):
        return COORDINATOR
    info = _asked("GET", url.rstrip("/") + "/openapi.json").get("info")
    if isinstance(info, dict) and str(info.get("title", "")).startswith("SuperLink"):
        return SUPERLINK
    return None


def mistaken(url: str, shown: str, wanted: str) -> tuple[str, str] | None:
    """Say that another service answers at an address; None if none of the known ones does.

    Args:
        url: The HTTP address.
        shown: The same as messages show it.
        wanted: The service that should answer there.

    Returns:
        What is wrong, and what to do.
    """
    actual = service_at(url)
    if actual is None or actual == wanted:
        return None
    return (
        f"{shown} is {actual}, not {wanted}.",
        f"Give {OPTIONS[wanted]} the address of {wanted}. Use this address for {OPTIONS[actual]}.",
    )


def _asked(method: str, url: str, **options: Any) -> dict[str, Any]:
    """Ask and return the JSON object of the answer; an empty one for any other answer, or none."""
    import httpx

    try:
        with httpx.Client(timeout=TIMEOUT) as client, client.stream(method, url, **options) as response:
            data = bytearray()
            for part in response.iter_bytes():
                data += part
                if len(data) > MOST:
                    return {}
        answer = json.loads(bytes(data))
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, RecursionError):
        return {}
    return answer if isinstance(answer, dict) else {}

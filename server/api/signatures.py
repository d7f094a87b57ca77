# SPDX-License-Identifier: Apache-2.0
"""Who signed a request, and whether its signature still counts."""

from __future__ import annotations

import time

from eth_account.messages import SignableMessage

from folkmoot.protocol.signatures import recover
from server.api.problems import Problem

MAX_SIGNATURE_LIFETIME = 3600
"""Seconds that the deadline of a signed request may lie ahead."""


def signer_of(message: SignableMessage, signature: bytes) -> str:
    """Return the account that signed a message.

    Raises:
        Problem: 403 `not-authorised`: The signature is malformed, or not in the one form that counts.
    """
    try:
        return recover(message, signature)
    except ValueError as exc:
        raise Problem("not-authorised", f"The signature is not valid: {exc}.", "Sign again.") from exc


def require_coordinator(message: SignableMessage, signature: str, ours: str, deed: str) -> None:
    """Check that the coordinator's account signed.

    Args:
        message: What is signed.
        signature: 0x and 130 hex digits.
        ours: The coordinator's account.
        deed: What only the coordinator may do, as a verb.

    Raises:
        Problem: 403 `not-authorised`: The signature is malformed or of another account.
    """
    signer = signer_of(message, bytes.fromhex(signature[2:]))
    if signer != ours:
        raise Problem(
            "not-authorised",
            f"The signature is of {signer}; only the coordinator {ours} may {deed}.",
            "Use the coordinator's keystore.",
        )


def check_deadline(deadline: int) -> None:
    """Check that the deadline of a signed request is ahead, by at most MAX_SIGNATURE_LIFETIME seconds."""
    now = int(time.time())
    if not now <= deadline <= now + MAX_SIGNATURE_LIFETIME:
        raise Problem(
            "signature-expired",
            f"The signature's deadline {deadline} is not within the next {MAX_SIGNATURE_LIFETIME} seconds.",
            "Sign again; check the clock.",
        )

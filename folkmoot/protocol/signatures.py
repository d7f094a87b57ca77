# SPDX-License-Identifier: Apache-2.0
"""Who signed a message: one form of each signature, as the contracts ask for it."""

from __future__ import annotations

from eth_account import Account
from eth_account.messages import SignableMessage
from eth_keys.exceptions import BadSignature
from eth_utils.exceptions import ValidationError

from folkmoot.protocol.hashing import keccak

_HALF_ORDER = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0


def recover(message: SignableMessage, signature: bytes) -> str:
    """Return the checksummed address of the account that signed.

    Args:
        message: What is signed.
        signature: 65 bytes ``r || s || v`` with v 27 or 28 and s in the lower half, so that nobody can make another
            signature of one.

    Raises:
        ValueError: It has another form, or is of no account. The message has no full stop.
    """
    if len(signature) != 65 or signature[64] not in (27, 28):
        raise ValueError("it is not 65 bytes that end with 27 or 28")
    if int.from_bytes(signature[32:64], "big") > _HALF_ORDER:
        raise ValueError("its s is in the upper half, which the ledger refuses")
    try:
        return str(Account.recover_message(message, signature=signature))
    except (BadSignature, ValidationError) as error:
        raise ValueError(str(error)) from error


def digest(message: SignableMessage) -> bytes:
    """Return what is signed of a message, 32 bytes (EIP-191). Two signatures of one message have the same."""
    return keccak(b"\x19", message.version, message.header, message.body)

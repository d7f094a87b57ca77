# SPDX-License-Identifier: Apache-2.0
"""What Ethereum nodes mean when they do not take a transaction: there is no standard, so their words are compared."""

from __future__ import annotations

from enum import Enum


class Refusal(Enum):
    """Why a node does not take a transaction."""

    ALREADY_KNOWN = (
        "already known",  # Geth, Erigon, Reth
        "alreadyknown",  # Nethermind
        "already imported",  # Anvil
        "known transaction",  # Besu, Hardhat
        "already exists",
    )
    NONCE_USED = ("nonce too low", "oldnonce")  # the second: Nethermind
    FEE_TOO_LOW = (
        "underpriced",
        "could not replace existing",  # Erigon
        "replacementnotallowed",  # Nethermind
        "feetoolow",
        "less than block base fee",
        "max fee per gas too low",
        "priority fee below minimum",  # Reth
        "below configured minimum",  # Besu
        "gas price too low",  # Arbitrum
    )
    NO_GAS_MONEY = ("insufficient funds", "insufficientfunds", "enough funds")  # Nethermind, Hardhat


def refusal_in(message: str) -> Refusal | None:
    """Return what a node's error message means, or None if it is another error."""
    text = message.lower()
    return next((one for one in Refusal if any(words in text for words in one.value)), None)

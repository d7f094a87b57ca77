# SPDX-License-Identifier: Apache-2.0
"""What is offered for a transaction's gas, and when to offer more (EIP-1559).

Pure functions of the chain's fees; all amounts are wei per unit of gas. Nothing here knows a database or a node.
"""

from __future__ import annotations

from dataclasses import dataclass

from eth_account.typed_transactions.typed_transaction import TypedTransaction
from hexbytes import HexBytes

BASE_FEE_FACTOR = 4
"""A new offer covers a base fee that grows this many times."""
REPLACEMENT_PERCENT = 110
"""What a replacement offers of tip and cap, at least: pools refuse less (go-ethereum: `txpool.pricebump`, 10 %)."""
REPLACE_BLOCKS = 3
"""Blocks for which a transaction is left alone before it may be replaced."""
REPLACE_SECONDS = 30
"""Seconds of the chain's time for which it is left alone; both have to pass, as blocks may be quick or slow."""


@dataclass(frozen=True, slots=True)
class Fees:
    """An offer."""

    tip: int
    """Most that goes to whoever makes the block (`maxPriorityFeePerGas`)."""
    cap: int
    """Most that is paid in all (`maxFeePerGas`)."""


def offer(base_fee: int, tip: int, ceiling: int) -> Fees | None:
    """Return the first offer for a transaction.

    Args:
        base_fee: Of the newest block.
        tip: What gets a transaction in now.
        ceiling: Most that the operator allows.

    Returns:
        The offer, or None while the base fee alone is above the ceiling.
    """
    if base_fee > ceiling:
        return None
    cap = min(BASE_FEE_FACTOR * base_fee + tip, ceiling)
    return Fees(min(tip, cap), cap)


def offered(raw: bytes) -> Fees:
    """Return what a signed transaction offers."""
    fields = TypedTransaction.from_bytes(HexBytes(raw)).as_dict()
    return Fees(int(fields["maxPriorityFeePerGas"]), int(fields["maxFeePerGas"]))


def risen(old: Fees, base_fee: int, tip: int) -> bool:
    """Whether the market has left an offer behind: its tip is no longer paid in full, or others pay 10 % more."""
    return base_fee + old.tip > old.cap or tip >= _raised(old.tip)


def outbid(old: Fees, base_fee: int, tip: int, ceiling: int) -> Fees | None:
    """Return an offer that pools take in place of an old one.

    Returns:
        The offer, or None if the operator's ceiling leaves no room for one that would be taken and mined.
    """
    least = Fees(_raised(old.tip), _raised(old.cap))
    cap = min(max(least.cap, BASE_FEE_FACTOR * base_fee + max(tip, least.tip)), ceiling)
    if cap < least.cap or cap < base_fee:
        return None
    return Fees(min(max(tip, least.tip), cap), cap)


def _raised(fee: int) -> int:
    return max(-(-fee * REPLACEMENT_PERCENT // 100), fee + 1)

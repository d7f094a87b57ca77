# SPDX-License-Identifier: Apache-2.0
"""What a transaction offers for its gas, when it offers more (EIP-1559), and how much gas it may take.

Pure functions of the chain's fees; all amounts are wei per unit of gas.
"""

from __future__ import annotations

from dataclasses import dataclass

import rlp
from eth_account.typed_transactions.typed_transaction import TypedTransaction
from hexbytes import HexBytes

BASE_FEE_FACTOR = 4
"""A new offer covers a base fee that grows this many times: for 12 full blocks."""
NO_CEILING = 1 << 255
"""A ceiling for fees that none reaches."""
TX_GAS_LIMIT = 16_777_216
"""Most gas of one transaction (EIP-7825)."""
GAS_MARGIN_PERCENT = 125
"""What a transaction may take of the estimated gas: state may change between estimate and block."""
GAS_RESERVE = 60_000
"""Gas added to that, for a storage slot or two that are new by the time of the block."""
REPLACEMENT_PERCENT = 110
"""What a replacement offers of tip and cap, at least: pools refuse less (go-ethereum: `txpool.pricebump`, 10 %)."""
REPLACE_BLOCKS = 3
"""Blocks for which a transaction is left alone before it may be replaced."""
REPLACE_SECONDS = 30
"""Seconds of the chain's time for which it is left alone; both have to pass, as blocks may be quick or slow."""
PASSED_OVER_BLOCKS, PASSED_OVER_SECONDS = 10, 120
"""Blocks and seconds after which blocks are said to pass over a transaction that could be next, and pays enough."""
LEAST_TIP = 10**7
"""What a tip that was too low rises to at least."""
MOST_TIP = 32 * 10**9
"""Up to this, a tip rises because a transaction is not taken; above, only if the chain node says that others pay it.
Ronin asks for 20 gwei at least, Polygon for 30."""


@dataclass(frozen=True, slots=True)
class Fees:
    """An offer."""

    tip: int
    """Most that goes to whoever makes the block (`maxPriorityFeePerGas`)."""
    cap: int
    """Most that is paid in all (`maxFeePerGas`)."""


def offer(base_fee: int, tip: int, ceiling: int = NO_CEILING) -> Fees | None:
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


@dataclass(frozen=True, slots=True)
class Signed:
    """What matters here of a signed transaction."""

    to: bytes
    """Address; empty for a creation."""
    data: bytes
    gas: int
    fees: Fees


def read_signed(raw: bytes) -> Signed:
    """Return what a signed transaction says. Of a chain without EIP-1559, tip and cap are its gas price."""
    if raw[0] > 0x7F:  # without a type: the list of its fields
        _, price, gas, to, _, data, *_ = rlp.decode(raw)
        return Signed(to, data, int.from_bytes(gas), Fees(int.from_bytes(price), int.from_bytes(price)))
    fields = TypedTransaction.from_bytes(HexBytes(raw)).as_dict()
    fees = Fees(int(fields["maxPriorityFeePerGas"]), int(fields["maxFeePerGas"]))
    return Signed(bytes(fields["to"]), bytes(fields["data"]), int(fields["gas"]), fees)


def offered(raw: bytes) -> Fees:
    """Return what a signed transaction offers."""
    return read_signed(raw).fees


def has_waited(blocks: int, seconds: int) -> bool:
    """Whether a transaction may be replaced after so many blocks and seconds."""
    return blocks >= REPLACE_BLOCKS and seconds >= REPLACE_SECONDS


def passed_over(blocks: int, seconds: int) -> bool:
    """Whether so many blocks and seconds are too many for a transaction that is next and pays enough."""
    return blocks >= PASSED_OVER_BLOCKS and seconds >= PASSED_OVER_SECONDS


def risen(old: Fees, base_fee: int, tip: int) -> bool:
    """Whether the market has left an offer behind: its tip is no longer paid in full, or others pay 10 % more."""
    return base_fee + old.tip > old.cap or tip >= raised(old.tip)


def outbid(old: Fees, base_fee: int, tip: int, ceiling: int = NO_CEILING) -> Fees | None:
    """Return an offer that pools take in place of an old one.

    Returns:
        The offer, or None if the operator's ceiling leaves no room for one that would be taken and mined.
    """
    least = Fees(raised(old.tip), raised(old.cap))
    cap = min(max(least.cap, BASE_FEE_FACTOR * base_fee + max(tip, least.tip)), ceiling)
    if cap < least.cap or cap < base_fee:
        return None
    return Fees(min(max(tip, least.tip), cap), cap)


def doubled(tip: int) -> int:
    """Return what a tip that was too low rises to, although others pay no more."""
    return max(min(max(2 * tip, LEAST_TIP), MOST_TIP), tip)


def raised(fee: int) -> int:
    """Return the least that pools take in place of a fee."""
    return max(-(-fee * REPLACEMENT_PERCENT // 100), fee + 1)


def gas_limit(estimate: int, most: int | None = None) -> int:
    """Return how much gas a transaction may take, given an estimate and perhaps an upper bound."""
    return max(estimate, min(estimate * GAS_MARGIN_PERCENT // 100 + GAS_RESERVE, most or TX_GAS_LIMIT))

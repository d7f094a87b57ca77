# SPDX-License-Identifier: Apache-2.0
"""Transactions that were sent: whether they are mined or on their way, and what they pay.

A transaction is known by the hashes of its forms: all have one nonce, so at most one is mined. Functions here raise
what web3 raises; `client.chain_errors` turns it into words.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from eth_typing import HexStr
from web3.exceptions import TransactionNotFound
from web3.types import Wei

from folkmoot.errors import ChainError

if TYPE_CHECKING:
    from web3 import Web3
    from web3.types import TxData, TxParams, TxReceipt

POLL = 0.1
"""Seconds between two looks for a receipt."""

LOOKS, LOOK_PAUSE = 3, 1.0
"""Looks in a row, and seconds between them, that must find a nonce used and no receipt before a transaction is called
lost: behind one address may be several nodes, of which one knows the account's nonce before another has the receipt."""

RAISE = 8
"""A replacement pays an eighth more than what it replaces: pools take no less than a tenth more."""


def receipt_of(w3: Web3, forms: Sequence[str]) -> TxReceipt | None:
    """Return the receipt of whichever form was mined; None if none was."""
    for form in forms:
        try:
            return w3.eth.get_transaction_receipt(HexStr(form))
        except TransactionNotFound:
            continue
    return None


def in_pool(w3: Web3, forms: Sequence[str]) -> TxData | None:
    """Return the newest form that the node knows; None if it knows none."""
    for form in reversed(forms):
        try:
            return w3.eth.get_transaction(HexStr(form))
        except TransactionNotFound:
            continue
    return None


def await_receipt(w3: Web3, forms: Sequence[str], doing: str, timeout: float, *, noted: bool) -> TxReceipt:
    """Wait until a form is mined.

    Args:
        w3: The connection.
        forms: Hashes of the forms.
        doing: What it does, for the message.
        timeout: Seconds that it may take.
        noted: Whether there is a note of it, so that the same command may be called again.

    Raises:
        ChainError: code `not-mined`: it was not in time.
    """
    end = time.monotonic() + timeout
    while (receipt := receipt_of(w3, forms)) is None:
        if time.monotonic() > end:
            raise ChainError(
                f"The transaction {forms[-1]} ({doing}) was sent, but not mined in {timeout:g} seconds.",
                remedy="Call the same command again: it goes on waiting, and does nothing twice."
                if noted
                else "It may still be mined: look for it before you send it again.",
                code="not-mined",
                details={"transaction": forms[-1]},
            )
        time.sleep(POLL)
    return receipt


def fees(w3: Web3, over: TxData | None = None) -> TxParams:
    """Return what a transaction should pay now.

    Args:
        w3: The connection.
        over: A transaction in the pool that it replaces, and so has to outbid.
    """
    base = w3.eth.get_block("latest").get("baseFeePerGas")
    if base is None:  # a chain without EIP-1559
        return {"gasPrice": Wei(max(w3.eth.gas_price, _outbid(over, "gasPrice")))}
    tip = max(w3.eth.max_priority_fee, _outbid(over, "maxPriorityFeePerGas"))
    cap = max(2 * base + tip, _outbid(over, "maxFeePerGas"))
    return {"maxPriorityFeePerGas": Wei(tip), "maxFeePerGas": Wei(cap)}


def _outbid(over: TxData | None, field: str) -> int:
    paid = int(cast("dict[str, int]", over).get(field, 0)) if over is not None else 0
    return paid + -(-paid // RAISE)

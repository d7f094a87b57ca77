# SPDX-License-Identifier: Apache-2.0
"""Transactions that were sent: what became of them, what they pay, and taking up those of an interrupted call.

A transaction is known by the hashes of its forms: all have one nonce, so at most one is mined. Functions here raise
what web3 raises; `client.chain_errors` turns it into words.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from web3.exceptions import TransactionNotFound

from folkmoot.chain.notes import Intent, Note, Notes
from folkmoot.errors import ChainError

if TYPE_CHECKING:
    from eth_typing import HexStr
    from web3 import Web3
    from web3.types import TxData, TxParams, TxReceipt, Wei

POLL = 0.1
"""Seconds between two looks for a receipt."""

LOOKS, LOOK_PAUSE = 3, 1.0
"""Looks in a row, and seconds between them, that must find a nonce used and no receipt before a transaction is called
lost: behind one address may be several nodes, of which one knows the account's nonce before another has the receipt."""

LOCAL_CHAIN_ID = 31337
"""Id of the chains that `folkmoot up` and Anvil start: they may be started anew, with all nonces at zero."""

RAISE = 8
"""A replacement pays an eighth more than what it replaces: pools take no less than a tenth more."""


def receipt_of(w3: Web3, forms: Sequence[str]) -> TxReceipt | None:
    """Return the receipt of whichever form was mined; None if none was."""
    for form in forms:
        try:
            return w3.eth.get_transaction_receipt(cast("HexStr", form))
        except TransactionNotFound:
            continue
    return None


def in_pool(w3: Web3, forms: Sequence[str]) -> TxData | None:
    """Return the newest form that the node knows; None if it knows none."""
    for form in reversed(forms):
        try:
            return w3.eth.get_transaction(cast("HexStr", form))
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
        return {"gasPrice": cast("Wei", max(w3.eth.gas_price, _outbid(over, "gasPrice")))}
    tip = max(w3.eth.max_priority_fee, _outbid(over, "maxPriorityFeePerGas"))
    cap = max(2 * base + tip, _outbid(over, "maxFeePerGas"))
    return {"maxPriorityFeePerGas": cast("Wei", tip), "maxFeePerGas": cast("Wei", cap)}


def take_up(
    w3: Web3, notes: Notes, intent: Intent, doing: str, timeout: float
) -> tuple[TxReceipt | None, Note | None]:
    """See what became of the transaction of an interrupted call, and wait for it if it is on its way.

    Args:
        w3: The connection.
        notes: Where it would be noted.
        intent: What it was for.
        doing: The same, for messages.
        timeout: Seconds for which it is waited for.

    Returns:
        Its receipt if it was mined and had its effect, else None; and its note, if it may still be mined: whatever is
        sent instead must have its nonce.

    Raises:
        ChainError: code `not-mined`: it is on its way, and was not mined in time; `nonce-gap`: the endpoint lacks
            transactions that the account sent before it.
        LocalError: the note can't be read.
    """
    note = notes.find(intent)
    if note is None:
        return None, None
    receipt, lost = _settled(w3, note)
    if lost:
        notes.forget(note)
        notes.say(
            "What an interrupted call signed can't be mined any more: another transaction had its nonce."
        )
        return None, None
    if receipt is None:
        pooled = in_pool(w3, note.forms)
        if pooled is None and _has_gap(w3, notes, note):
            notes.forget(note)
            notes.say("What an interrupted call signed was for a local chain that is no more.")
            return None, None
        if pooled is None or _pays_too_little(w3, pooled):
            return None, note
        notes.say(f"An interrupted call sent this already, in transaction {note.forms[-1]}: waiting for it.")
        receipt = await_receipt(w3, note.forms, doing, timeout, noted=True)
    transaction = receipt["transactionHash"].to_0x_hex()
    if receipt["status"] != 1:
        notes.forget(note)
        notes.say(f"An interrupted call sent this, but it failed on the chain (transaction {transaction}).")
        return None, None
    notes.mined(note, transaction, earlier=True)
    notes.say(
        f"An interrupted call did this already: transaction {transaction} was mined in block "
        f"{receipt['blockNumber']}. Nothing was sent now: call again if you want it once more."
    )
    return receipt, note


def _settled(w3: Web3, note: Note) -> tuple[TxReceipt | None, bool]:
    """Return the receipt of a noted transaction, if it has one, and whether it can't get one any more."""
    for look in range(LOOKS):
        if look:
            time.sleep(LOOK_PAUSE)
        # The count first: a transaction that is mined between the two questions must not look lost.
        used = w3.eth.get_transaction_count(w3.to_checksum_address(note.intent.sender))
        receipt = receipt_of(w3, note.forms)
        if receipt is not None or used <= note.nonce:
            return receipt, False
    return None, True


def _has_gap(w3: Web3, notes: Notes, note: Note) -> bool:
    """Whether the chain was started anew since, so that nothing from before can be mined on it.

    Raises:
        ChainError: code `nonce-gap`: it seems so, but it can't be on this chain. Then nothing may be sent with a lower
            nonce instead: the one that was noted may still be in the pool of another node, and both would be mined.
    """
    sender = w3.to_checksum_address(note.intent.sender)
    following = w3.eth.get_transaction_count(sender, "pending")
    if note.nonce <= following:
        return False
    if note.intent.chain_id == LOCAL_CHAIN_ID:
        return True
    raise ChainError(
        f"An interrupted call signed a transaction for this with the nonce {note.nonce}, and this endpoint knows none "
        f"of {sender} from {following} on.",
        remedy="Use the endpoint that you used then, or wait until this one has them; if nothing of that account is on "
        f"its way any more, remove {notes.folder / note.intent.name}.",
        code="nonce-gap",
        details={"nonce": note.nonce, "next": following, "transaction": note.forms[-1]},
    )


def _pays_too_little(w3: Web3, pooled: TxData) -> bool:
    base = w3.eth.get_block("latest").get("baseFeePerGas")
    return base is not None and base > pooled.get("maxFeePerGas", pooled.get("gasPrice", 0))


def _outbid(over: TxData | None, field: str) -> int:
    paid = int(cast("dict[str, int]", over).get(field, 0)) if over is not None else 0
    return paid + -(-paid // RAISE)

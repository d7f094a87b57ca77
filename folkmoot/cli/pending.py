# SPDX-License-Identifier: Apache-2.0
"""`folkmoot account list --pending`: show and remove pending transactions of interrupted commands."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from folkmoot.cli.context import context
from folkmoot.cli.options import require_web3, unlock
from folkmoot.cli.output import emit, note, table, working
from folkmoot.errors import InputError

if TYPE_CHECKING:
    from web3 import Web3

    from folkmoot.chain.transactions.journal import Leftover, PendingTx, TransactionJournal
    from folkmoot.chain.transactions.status import TxLookup

LEAST = 8
"""Minimum length in characters of a hash prefix, with 0x."""

SHOWN = 18
"""Length in characters of the shown prefix of a hash."""

WORDS = {
    "mined": "mined: the same command tells it",
    "failed": "failed on the chain: the same command sends it again",
    "underway": "on its way: the same command waits for it",
    "absent": "not known to this node: the same command sends it",
    "gap": "waits for others before it",
    "lost": "another transaction used its nonce: the same command sends it again",
    "unclear": "its nonce is used; this node can't say by what",
    "elsewhere": "on another chain",
    "damaged": "this file can't be read",
}
"""Description of a transaction's status."""


def pending(forget: str | None, notes: Path | None) -> None:
    """List pending transactions, or forget the one with this hash.

    Args:
        forget: Hash of a transaction, or its beginning.
        notes: Folder of the notes of transactions; this user's if None.
    """
    require_web3()
    from folkmoot.chain.transactions.connection import connect_web3
    from folkmoot.chain.transactions.journal import TransactionJournal

    kept = TransactionJournal.of_user(note, context().confirmations)
    if notes is not None:
        kept = TransactionJournal(notes, kept.say, context().confirmations)
    try:
        leftovers = kept.left()
        if forget is None:
            _show(connect_web3(context().rpc), leftovers)
        else:
            _forget(connect_web3(context().rpc), kept, _chosen(leftovers, forget))
    finally:
        kept.close()


def _look(w3: Web3, notes: list[PendingTx | None]) -> list[TxLookup | None]:
    """Return the status of transactions; None for those of another chain."""
    from folkmoot.chain.transactions.connection import chain_errors
    from folkmoot.chain.transactions.status import look

    with working("Asking the chain ..."), chain_errors("the chain"):
        chain_id = w3.eth.chain_id if notes else 0
        return [
            look(w3, noted) if noted is not None and noted.intent.chain_id == chain_id else None
            for noted in notes
        ]


def _show(w3: Web3, leftovers: list[Leftover]) -> None:
    from folkmoot.runtime.units import format_time

    documents, rows = [], []
    for one, lookup in zip(leftovers, _look(w3, [leftover.note for leftover in leftovers]), strict=True):
        state = "elsewhere" if lookup is None else lookup.fate.value
        if one.note is None:
            state = "damaged"
        document: dict[str, Any] = {"file": one.name, "since": one.since, "state": state}
        what, nonce, shown = "?", "?", one.name
        if one.note is not None:
            intent = one.note.intent
            what, nonce, shown = intent.purpose, str(one.note.nonce), one.note.hashes[-1][:SHOWN]
            document |= {
                "purpose": intent.purpose,
                "account": intent.sender,
                "chain": intent.chain_id,
                "contract": intent.contract or None,
                "nonce": one.note.nonce,
                "transactions": one.note.hashes,
            }
        documents.append(document)
        rows.append((what[:60], nonce, shown, format_time(one.since), WORDS[state]))
    rows_table = table(["what", "nonce", "transaction", "since", "state"], rows)
    emit({"pending": documents}, rows_table if rows else "Nothing was left behind.")


def _chosen(leftovers: list[Leftover], text: str) -> Leftover:
    """Return the entry for a hash prefix, or for the name of an unreadable file."""
    matching = [
        leftover
        for leftover in leftovers
        if leftover.name == text
        or (
            leftover.note is not None
            and len(text) >= LEAST
            and any(form.startswith(text.lower()) for form in leftover.note.hashes)
        )
    ]
    if len(matching) != 1:
        raise InputError(
            f"{text!r} is the hash of {len(matching) or 'nothing'} that interrupted commands left behind.",
            remedy="`folkmoot account list --pending` lists them; give the whole hash.",
            code="note-unknown",
        )
    return matching[0]


def _forget(
    w3: Web3,
    notes: TransactionJournal,
    one: Leftover,
) -> None:
    """Forget an entry, and first cancel its transaction if it may still be mined."""
    from folkmoot.chain.transactions import CONFIRM_TIMEOUT
    from folkmoot.chain.transactions.cancel import FREE, cancel, require_deep
    from folkmoot.chain.transactions.connection import chain_errors
    from folkmoot.chain.transactions.status import TxStatus

    if one.note is None:
        notes.remove(one.name)
        emit({"file": one.name, "state": "damaged", "cancelled": None}, "Forgotten.")
        return
    intent = one.note.intent
    noted = notes.find(intent)  # Waits for another process that sends for the account.
    if noted is None:
        raise InputError(
            "The command that sent it has told its result meanwhile.",
            remedy="Nothing is left to do.",
            code="note-unknown",
        )
    (lookup,) = _look(w3, [noted])
    if lookup is None:
        raise InputError(
            f"It was signed for chain {intent.chain_id}, and this endpoint serves another one.",
            remedy="Give an endpoint of that chain (--rpc), to see whether it can still be mined.",
            code="other-chain",
        )
    document: dict[str, Any] = {"transaction": noted.hashes[-1], "nonce": noted.nonce, "cancelled": None}
    if lookup.fate not in FREE:
        with chain_errors("the chain"):
            require_deep(w3, notes, noted, lookup)
        notes.forget(noted)
        text = "Forgotten: its nonce is used. The same command sends a new transaction."
        if lookup.fate is TxStatus.MINED:
            text = "Forgotten: it was mined and told by nobody. The same command does it once more."
        emit({**document, "state": lookup.fate.value}, text)
        return
    account = unlock()
    if account.address != intent.sender:
        raise InputError(
            f"It may still be mined, and only {intent.sender} can cancel it; this key is of {account.address}.",
            remedy="Give that account's key file (--keystore).",
            code="other-account",
        )
    with working("Cancelling ..."), chain_errors("the cancellation"):
        done = cancel(w3, notes, noted, lookup, account, CONFIRM_TIMEOUT)
    notes.forget(noted)
    transaction, block = done.receipt["transactionHash"].to_0x_hex(), done.receipt["blockNumber"]
    document |= {
        "state": "mined" if done.in_vain else "lost",
        "cancelled": None if done.in_vain else transaction,
        "block": block,
        "filled": done.filled,
    }
    text = (
        f"Forgotten, but not cancelled: it was mined meanwhile, in block {block}."
        if done.in_vain
        else f"Cancelled and forgotten: the empty transaction {transaction} in block {block} has its nonce."
    )
    emit(document, text)

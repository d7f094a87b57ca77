# SPDX-License-Identifier: Apache-2.0
"""`folkmoot account pending`: what interrupted commands left behind, and the way out of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from folkmoot.cli.options import (
    RPC_DEFAULT,
    Confirmations,
    Json,
    KeystorePath,
    PasswordFile,
    RpcUrl,
    require_web3,
    unlock,
)
from folkmoot.cli.output import emit, note, table, working
from folkmoot.errors import InputError

if TYPE_CHECKING:
    from web3 import Web3

    from folkmoot.chain.transactions.journal import Leftover, PendingTx, TransactionJournal
    from folkmoot.chain.transactions.status import TxLookup

LEAST = 8
"""Characters of a hash, with 0x, that must be given at least."""

SHOWN = 18
"""Characters of a hash that are shown to people; as many tell it from others."""

WORDS = {
    "mined": "mined: the same command tells it",
    "failed": "failed on the chain: the same command acts anew",
    "underway": "on its way: the same command waits for it",
    "absent": "not known to this node: the same command sends it",
    "gap": "waits for others before it",
    "lost": "another transaction had its nonce: the same command acts anew",
    "unclear": "its nonce is used; this node can't say by what",
    "elsewhere": "on another chain",
    "damaged": "this file can't be read",
}
"""What became of it, in words."""


def pending(
    forget: Annotated[
        str | None,
        typer.Option(
            metavar="HASH",
            help="Forget this one. If it may still be mined, it is cancelled first: an empty transaction to yourself, "
            "for which you pay the gas, takes its nonce.",
            show_default=False,
        ),
    ] = None,
    notes: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Where the notes are. Default: this user's. A watcher's are in `sent` of its --state, a deployment's "
            "in the folder .plan beside its file.",
            show_default=False,
        ),
    ] = None,
    rpc: RpcUrl = RPC_DEFAULT,
    keystore: KeystorePath = None,
    password_file: PasswordFile = None,
    confirmations: Confirmations = 1,
    json_: Json = False,
) -> None:
    """List what interrupted commands sent, or were about to, and what became of it.

    Calling the same command again is the usual way on; --forget is for what you do not want any more.

    Example: folkmoot account pending --forget 0x1234abcd
    """
    require_web3()
    from folkmoot.chain.client import connect_web3
    from folkmoot.chain.transactions.journal import TransactionJournal

    kept = TransactionJournal.of_user(lambda text: note(text, json_), confirmations)
    if notes is not None:
        kept = TransactionJournal(notes, kept.say, confirmations)
    try:
        left = kept.left()
        if forget is None:
            _show(connect_web3(rpc), left, json_)
        else:
            _forget(connect_web3(rpc), kept, _chosen(left, forget), keystore, password_file, json_)
    finally:
        kept.close()


def _look(w3: Web3, notes: list[PendingTx | None], as_json: bool) -> list[TxLookup | None]:
    """Return what became of transactions; None for those of which this chain can't say."""
    from folkmoot.chain.client import chain_errors, endpoint_of
    from folkmoot.chain.transactions.status import look

    with working("Asking the chain ...", as_json), chain_errors("the chain", endpoint_of(w3)):
        here = w3.eth.chain_id if notes else 0
        return [
            look(w3, noted) if noted is not None and noted.intent.chain_id == here else None
            for noted in notes
        ]


def _show(w3: Web3, left: list[Leftover], as_json: bool) -> None:
    from folkmoot.runtime.units import format_time

    documents, rows = [], []
    for one, seen in zip(left, _look(w3, [one.note for one in left], as_json), strict=True):
        state = "elsewhere" if seen is None else seen.fate.value
        if one.note is None:
            state = "damaged"
        document: dict[str, Any] = {"file": one.name, "since": one.since, "state": state}
        what, nonce, shown = "?", "?", one.name
        if one.note is not None:
            intent = one.note.intent
            what, nonce, shown = intent.purpose, str(one.note.nonce), one.note.forms[-1][:SHOWN]
            document |= {
                "purpose": intent.purpose,
                "account": intent.sender,
                "chain": intent.chain_id,
                "contract": intent.contract or None,
                "nonce": one.note.nonce,
                "transactions": list(one.note.forms),
            }
        documents.append(document)
        rows.append((what[:60], nonce, shown, format_time(one.since), WORDS[state]))
    found = table(["what", "nonce", "transaction", "since", "state"], rows)
    emit({"pending": documents}, as_json, found if rows else "Nothing was left behind.")


def _chosen(left: list[Leftover], text: str) -> Leftover:
    """Return the one that a hash means, or the name of a file that can't be read.

    Raises:
        InputError: ``note-unknown``: none, or more than one.
    """
    found = [
        one
        for one in left
        if one.name == text
        or (
            one.note is not None
            and len(text) >= LEAST
            and any(form.startswith(text.lower()) for form in one.note.forms)
        )
    ]
    if len(found) != 1:
        raise InputError(
            f"{text!r} is the hash of {len(found) or 'nothing'} that interrupted commands left behind.",
            remedy="`folkmoot account pending` lists them; give the whole hash.",
            code="note-unknown",
        )
    return found[0]


def _forget(
    w3: Web3,
    notes: TransactionJournal,
    one: Leftover,
    keystore: Path | None,
    password_file: Path | None,
    as_json: bool,
) -> None:
    """Forget one, and cancel it first if it may still be mined.

    Raises:
        InputError: ``other-chain``, ``other-account``: this endpoint, or this key, is not its own; ``note-unknown``:
            the command that sent it has ended meanwhile.
        ChainError: it may still be mined.
    """
    from folkmoot.chain.client import CONFIRM_TIMEOUT, chain_errors, endpoint_of
    from folkmoot.chain.transactions.cancel import FREE, cancel, require_deep
    from folkmoot.chain.transactions.status import TxStatus

    if one.note is None:
        notes.remove(one)
        emit({"file": one.name, "state": "damaged", "cancelled": None}, as_json, "Forgotten.")
        return
    intent = one.note.intent
    noted = notes.find(intent)  # waits for whoever sends for the account at the moment
    if noted is None:
        raise InputError(
            "The command that sent it has told its result meanwhile.",
            remedy="Nothing is left to do.",
            code="note-unknown",
        )
    (seen,) = _look(w3, [noted], as_json)
    if seen is None:
        raise InputError(
            f"It was signed for chain {intent.chain_id}, and this endpoint serves another one.",
            remedy="Give an endpoint of that chain (--rpc), to see whether it can still be mined.",
            code="other-chain",
        )
    document: dict[str, Any] = {"transaction": noted.forms[-1], "nonce": noted.nonce, "cancelled": None}
    if seen.fate not in FREE:
        with chain_errors("the chain", endpoint_of(w3)):
            require_deep(w3, notes, noted, seen)
        notes.forget(noted)
        said = "Forgotten: its nonce is used. The same command acts anew."
        if seen.fate is TxStatus.MINED:
            said = "Forgotten: it was mined and told by nobody. The same command does it once more."
        emit({**document, "state": seen.fate.value}, as_json, said)
        return
    account = unlock(keystore, password_file)
    if account.address != intent.sender:
        raise InputError(
            f"It may still be mined, and only {intent.sender} can cancel it; this key is of {account.address}.",
            remedy="Give that account's key file (--keystore).",
            code="other-account",
        )
    with working("Cancelling ...", as_json), chain_errors("the cancellation", endpoint_of(w3)):
        done = cancel(w3, notes, noted, seen, account, CONFIRM_TIMEOUT)
    notes.forget(noted)
    transaction, block = done.receipt["transactionHash"].to_0x_hex(), done.receipt["blockNumber"]
    document |= {
        "state": "mined" if done.in_vain else "lost",
        "cancelled": None if done.in_vain else transaction,
        "block": block,
        "filled": done.filled,
    }
    said = (
        f"Forgotten, but not cancelled: it was mined meanwhile, in block {block}."
        if done.in_vain
        else f"Cancelled and forgotten: the empty transaction {transaction} in block {block} has its nonce."
    )
    emit(document, as_json, said)

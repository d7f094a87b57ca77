# SPDX-License-Identifier: Apache-2.0
"""Entries: who committed to what, from the transactions that recorded it, and the hash that the ledger keeps of it.

An event alone proves nothing: here it is held against the call data of its transaction, which holds the contributor's
signature over the same words.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from folkmoot.audit.calls import Call, decode_call
from folkmoot.audit.failure import Subject, mismatch, require
from folkmoot.audit.history import History
from folkmoot.audit.rounds import Round
from folkmoot.audit.transactions import Transaction
from folkmoot.errors import UpdateRefused
from folkmoot.ledger.events import UpdateCommitted
from folkmoot.protocol.commitment import Commitment, Domain, entries_hash

_CHECK = "entries"


@dataclass(frozen=True, slots=True)
class EntryCounts:
    """How the entries of a round came to be believed."""

    signed: int = 0
    """By the contributor's signature."""
    own: int = 0
    """By the sender of the contributor's own transaction."""
    relied: int = 0
    """By the ledger alone: recorded through another contract, signed by one, or sent in a way that proves no sender."""

    def __add__(self, other: EntryCounts) -> EntryCounts:
        return EntryCounts(self.signed + other.signed, self.own + other.own, self.relied + other.relied)


def check_entries_hash(history: History, found: Round) -> None:
    """Fold a round's entries and compare with the hash that the ledger keeps.

    Raises:
        AuditFailure: it is another one.
    """
    stored = history.storage.rounds[found.number].entries_hash
    subject = Subject(check=_CHECK, round=found.number)
    require(subject, "the hash of the entries", entries_hash(found.commitments()), stored)


def check_entries(history: History, found: Round) -> EntryCounts:
    """Check a round's entries against the transactions that recorded them.

    Raises:
        AuditFailure: an event that is not what its transaction says, or a bad signature.
    """
    domain = Domain(history.deployment.chain_id, history.deployment.ledger)
    counts = EntryCounts()
    commitments = iter(found.commitments())
    for events in _transactions(found.commits):
        batch = [next(commitments) for _ in events]
        transaction = history.transaction(events[0].transaction)
        counts += _check_batch(history, domain, transaction, events, batch)
    return counts


def _check_batch(
    history: History,
    domain: Domain,
    transaction: Transaction,
    events: list[UpdateCommitted],
    batch: list[Commitment],
) -> EntryCounts:
    """Check the entries that one transaction recorded."""
    if (
        transaction.to != history.deployment.ledger
    ):  # through another contract, whose call data can mean anything
        return EntryCounts(relied=len(batch))
    first = Subject(check=_CHECK, round=events[0].round, event=events[0])
    call = decode_call("ledger", transaction.input)
    sent, signatures = _commitments_of(call)
    if call is None or not sent:
        raise mismatch(first, "the call that recorded the entry", "commitUpdates or commitUpdate", call)
    for event, commitment, words in zip(events, batch, sent, strict=False):
        _require_same(_subject(event), commitment, words)
    require(first, "the number of commitments in the transaction", len(batch), len(sent))
    if call.function == "commitUpdate":
        require(_subject(events[0]), "the sender", batch[0].contributor, transaction.sender)
        return EntryCounts(own=1) if transaction.proven else EntryCounts(relied=1)
    require(first, "the number of signatures in the transaction", len(batch), len(signatures))
    counts = EntryCounts()
    for event, commitment, signature in zip(events, batch, signatures, strict=True):
        counts += _check_signature(history, domain, _subject(event), commitment, signature)
    return counts


def _commitments_of(call: Call | None) -> tuple[list[Any], list[bytes]]:
    """Return the commitments in a call, and the signatures beside them."""
    if call is not None and call.function == "commitUpdate":
        return [call.arguments[0]], []
    if call is not None and call.function == "commitUpdates":
        return list(call.arguments[1]), list(call.arguments[2])
    return [], []


def _check_signature(
    history: History, domain: Domain, subject: Subject, commitment: Commitment, signature: bytes
) -> EntryCounts:
    try:
        commitment.check_signature(signature, domain)
    except UpdateRefused as error:
        if history.code_of(commitment.contributor):  # a contract may sign as it likes (ERC-1271)
            return EntryCounts(relied=1)
        raise mismatch(subject, "the signature", f"one of {commitment.contributor}", error.message) from error
    return EntryCounts(signed=1)


def _require_same(subject: Subject, commitment: Commitment, words: Any) -> None:
    """Compare an event's commitment with the one in the call data, word by word."""
    names = list(Commitment.__dataclass_fields__)
    sent = Commitment(words[0], *words[1:])
    for name, expected, found in zip(names, sent.abi_tuple(), commitment.abi_tuple(), strict=True):
        require(subject, f"the {name.replace('_', ' ')} in the event", expected, found)


def _subject(event: UpdateCommitted) -> Subject:
    return Subject(check=_CHECK, round=event.round, contributor=event.contributor, event=event)


def _transactions(events: list[UpdateCommitted]) -> Iterator[list[UpdateCommitted]]:
    for _, group in groupby(events, key=lambda event: event.transaction):
        yield list(group)

# SPDX-License-Identifier: Apache-2.0
"""Check the entries of rounds against the transactions that recorded them, and against the ledger's hash.

An event alone proves nothing. It is checked against the call data of its transaction, which has the contributor's
signature of the same values.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from eth_utils.address import to_checksum_address

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
    """Number of a round's entries, by how they were verified."""

    signed: int = 0
    """Verified by the contributor's signature."""
    own: int = 0
    """Verified by the sender of the contributor's own transaction."""
    relied: int = 0
    """Trusted to the ledger: recorded through another contract, signed by a contract, or sent without a provable
    sender."""

    def __add__(self, other: EntryCounts) -> EntryCounts:
        return EntryCounts(self.signed + other.signed, self.own + other.own, self.relied + other.relied)


def check_entries_hash(history: History, replayed: Round) -> None:
    """Hash a round's entries and compare the result with the ledger's hash.

    Raises:
        AuditFailure: The hashes differ.
    """
    stored = history.storage.rounds[replayed.number].entries_hash
    subject = Subject(check=_CHECK, round=replayed.number)
    require(subject, "the hash of the entries", entries_hash(replayed.commitments()), stored)


def check_entries(history: History, replayed: Round) -> EntryCounts:
    """Check a round's entries against the transactions that recorded them.

    Raises:
        AuditFailure: An event differs from its transaction, or a signature is invalid.
    """
    domain = Domain(history.deployment.chain_id, history.deployment.ledger)
    counts = EntryCounts()
    commitments = iter(replayed.commitments())
    recorded: set[str] = set()
    for events in _transactions(replayed.commits):
        batch = [next(commitments) for _ in events]
        transaction = history.transaction(events[0].transaction)
        counts += _check_batch(history, domain, transaction, events, batch, recorded)
        recorded |= {event.contributor for event in events}
    return counts


def _check_batch(
    history: History,
    domain: Domain,
    transaction: Transaction,
    events: list[UpdateCommitted],
    batch: list[Commitment],
    recorded: set[str],
) -> EntryCounts:
    """Check the entries that one transaction recorded; `recorded` has the contributors of earlier ones."""
    if (
        transaction.to != history.deployment.ledger
    ):  # Sent through another contract, whose call data may have any meaning.
        return EntryCounts(relied=len(batch))
    first = Subject(check=_CHECK, round=events[0].round, event=events[0])
    call = decode_call("ledger", transaction.input)
    sent, signatures = _commitments_of(call)
    if call is None or not sent:
        raise mismatch(first, "the call that recorded the entry", "commitUpdates or commitUpdate", call)
    if call.function == "commitUpdates":
        sent, signatures = _without_recorded(sent, signatures, recorded)
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
    """Return the commitments in a call, and their signatures."""
    if call is not None and call.function == "commitUpdate":
        return [call.arguments[0]], []
    if call is not None and call.function == "commitUpdates":
        return list(call.arguments[1]), list(call.arguments[2])
    return [], []


def _without_recorded(
    sent: list[Any], signatures: list[bytes], recorded: set[str]
) -> tuple[list[Any], list[bytes]]:
    """Leave out what the ledger skips in a batch: commitments of contributors that have one in the round."""
    seen, kept = set(recorded), []
    for place, words in enumerate(sent):
        contributor = str(to_checksum_address(words[0]))
        if contributor not in seen:
            kept.append(place)
        seen.add(contributor)
    return [sent[place] for place in kept], [signatures[place] for place in kept if place < len(signatures)]


def _check_signature(
    history: History, domain: Domain, subject: Subject, commitment: Commitment, signature: bytes
) -> EntryCounts:
    try:
        commitment.check_signature(signature, domain)
    except UpdateRefused as error:
        if history.code_of(commitment.contributor):  # A contract may define its own signatures (ERC-1271).
            return EntryCounts(relied=1)
        raise mismatch(subject, "the signature", f"one of {commitment.contributor}", error.message) from error
    return EntryCounts(signed=1)


def _require_same(subject: Subject, commitment: Commitment, words: Any) -> None:
    """Compare an event's commitment with the one in the call data, field by field."""
    names = list(Commitment.__dataclass_fields__)
    sent = Commitment(words[0], *words[1:])
    for name, expected, found in zip(names, sent.abi_tuple(), commitment.abi_tuple(), strict=True):
        require(subject, f"the {name.replace('_', ' ')} in the event", expected, found)


def _subject(event: UpdateCommitted) -> Subject:
    return Subject(check=_CHECK, round=event.round, contributor=event.contributor, event=event)


def _transactions(events: list[UpdateCommitted]) -> Iterator[list[UpdateCommitted]]:
    for _, group in groupby(events, key=lambda event: event.transaction):
        yield list(group)

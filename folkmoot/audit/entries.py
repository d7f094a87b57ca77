# SPDX-License-Identifier: Apache-2.0
"""Check the entries of rounds against the transactions that recorded them, and against the ledger's hash.

An event alone proves nothing. It is checked against the call data of its transaction, which has the contributor's
signature of the same values.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

from folkmoot.audit.failure import Subject, mismatch, require
from folkmoot.audit.history import History
from folkmoot.errors import UpdateRefused
from folkmoot.ledger.entries import UpdateCommitted
from folkmoot.ledger.replay import Round
from folkmoot.protocol.batch import ENTRY_BYTES, read_batch
from folkmoot.protocol.commitment import Commitment, Domain, entries_hash
from folkmoot.rpc.abi import DecodedCall, decode_call

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
    """Hash a round's entries and compare the result with the ledger's hash."""
    stored = history.storage.rounds[replayed.number].entries_hash
    subject = Subject(check=_CHECK, round=replayed.number)
    require(subject, "the hash of the entries", entries_hash(replayed.commitments()), stored)


def check_entries(history: History, replayed: Round) -> EntryCounts:
    """Check a round's entries against the transactions that recorded them."""
    domain = Domain(history.deployment.chain_id, history.deployment.ledger)
    counts = EntryCounts()
    before: set[str] = set()
    for events in _transactions(replayed.commits):
        counts += _check_transaction(history, domain, replayed, events, before)
        before |= {event.contributor for event in events}
    return counts


def _check_transaction(
    history: History, domain: Domain, replayed: Round, events: list[UpdateCommitted], before: set[str]
) -> EntryCounts:
    """Check the entries that one transaction recorded; `before` has the contributors of earlier entries."""
    transaction = history.transaction(events[0].transaction)
    if (
        transaction.to != history.deployment.ledger
    ):  # Sent through another contract, whose call data may have any meaning.
        return EntryCounts(relied=len(events))
    first = Subject(check=_CHECK, round=events[0].round, event=events[0])
    call = decode_call("ledger", transaction.input)
    sent = _sent(call, replayed)
    if call is None or not sent:
        raise mismatch(first, "the call that recorded the entry", "one of the ledger's for commitments", call)
    recorded = _recorded(call.function, sent, events, before)
    counts = EntryCounts()
    for event, (commitment, _) in zip(events, recorded, strict=False):
        _require_same(_subject(event), commitment, event.commitment(replayed.base_state_root))
    require(first, "the number of commitments in the transaction", len(events), len(recorded))
    if call.function == "commitUpdate":
        require(_subject(events[0]), "the sender", events[0].contributor, transaction.sender)
        return EntryCounts(own=1) if transaction.proven else EntryCounts(relied=1)
    for event, (commitment, signature) in zip(events, recorded, strict=True):
        try:
            commitment.check_signature(signature, domain)
        except UpdateRefused as error:
            if call.function != "commitUpdateFor":
                expected = f"one of {commitment.contributor}"
                raise mismatch(_subject(event), "the signature", expected, error.message) from error
            # A contract accepted it (ERC-1271). It can't be asked again: it may have changed, or be gone.
            counts += EntryCounts(relied=1)
        else:
            counts += EntryCounts(signed=1)
    return counts


def _recorded(
    function: str, sent: list[tuple[Commitment, bytes]], events: list[UpdateCommitted], before: set[str]
) -> list[tuple[Commitment, bytes]]:
    """Return the commitments of a call that the ledger recorded, in their order.

    In a batch it passes over accounts that have committed, that have no place in the round, or that find it full.
    """
    if function != "commitUpdates":
        return sent
    first: dict[str, tuple[Commitment, bytes]] = {}
    for commitment, signature in sent:
        if commitment.contributor not in before:
            first.setdefault(commitment.contributor, (commitment, signature))
    kept = {event.contributor for event in events}
    if not kept <= first.keys():  # an event that the call did not cause is named by its place
        return list(first.values())
    return [pair for contributor, pair in first.items() if contributor in kept]


def _sent(call: DecodedCall | None, replayed: Round) -> list[tuple[Commitment, bytes]]:
    """Return the commitments in a call, each with its signature; an empty one where the sender is its signature."""
    if call is not None and call.function == "commitUpdate":
        return [(Commitment(*call.arguments[0]), b"")]
    if call is not None and call.function == "commitUpdateFor":
        return [(Commitment(*call.arguments[0]), call.arguments[1])]
    if call is not None and call.function == "commitUpdates":
        round_, bundle_hash, batch = call.arguments
        if len(batch) % ENTRY_BYTES:
            return []
        base = replayed.base_state_root
        return [
            (entry.commitment(round_, base, bundle_hash), signature) for entry, signature in read_batch(batch)
        ]
    return []


def _require_same(subject: Subject, sent: Commitment, actual: Commitment) -> None:
    """Compare an event's commitment with the one in the call data, field by field."""
    for name in Commitment.__dataclass_fields__:
        what = f"the {name.replace('_', ' ')} in the event"
        require(subject, what, getattr(sent, name), getattr(actual, name))


def _subject(event: UpdateCommitted) -> Subject:
    return Subject(check=_CHECK, round=event.round, contributor=event.contributor, event=event)


def _transactions(events: list[UpdateCommitted]) -> Iterator[list[UpdateCommitted]]:
    for _, group in groupby(events, key=lambda event: event.transaction):
        yield list(group)

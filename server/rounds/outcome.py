# SPDX-License-Identifier: Apache-2.0
"""Computing a round and keeping what comes out, so that the same bytes are there however often it is done.

The arithmetic is `folkmoot.round.compute_round`'s; here files are opened for it, and its results are put into
the store and the database. Updates are read from their files range by range.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from folkmoot.aggregation.registry import uses
from folkmoot.errors import ArtifactError
from folkmoot.protocol.commitment import Commitment
from folkmoot.protocol.header import RoundHeader
from folkmoot.protocol.policy import Policy
from folkmoot.protocol.state import State
from folkmoot.protocol.updates import FileUpdate, UpdateReader
from folkmoot.round import Anchor, RoundOutcome, compute_round
from folkmoot.runtime.fault_points import fault_point
from server.coordinator import Coordinator
from server.db.models import Artifact, Entry, Round
from server.rounds.lineage import opening, read_lineage
from server.store import Stored


@dataclass(frozen=True)
class Kept:
    """A file of the outcome."""

    kind: str
    stored: Stored
    keccak: str | None = None


@dataclass(frozen=True)
class Outcome:
    """A computed round whose files are in the store."""

    anchor: Anchor
    verdicts: list[dict[str, Any]]
    """One an entry: contributor, weight, reason, numbers (decimal strings)."""
    files: dict[str, Kept]
    """By kind: aggregate, state, verdicts, artifacts."""


def compute(coordinator: Coordinator, number: int, policy: Policy) -> Outcome:
    """Compute a round from the entries in the database and the files in the store.

    Raises:
        InputError: Nobody but the coordinator delivered an update (`no-updates`).
        ArtifactError: The base state, or a file of an earlier round that the rule needs, is missing or damaged.
    """
    with coordinator.database.read() as session:
        round_ = session.get_one(Round, number)
        query = select(Entry).where(Entry.round == number).order_by(Entry.position)
        entries = list(session.scalars(query))
        session.expunge_all()
    header = RoundHeader.decode(round_.header)
    lineage = read_lineage(coordinator, round_.base, uses(policy.rule))
    base = State.from_bytes(coordinator.store.read(round_.base_state_sha256), coordinator.manifest)
    store = coordinator.store
    with ExitStack() as stack:
        updates = [_reader(coordinator, entry) for entry in entries]
        aggregate = stack.enter_context(store.writer())
        outcome = compute_round(
            coordinator.manifest,
            header,
            policy,
            base,
            [Commitment.from_json(entry.commitment) for entry in entries],
            updates,
            coordinator=opening(coordinator, number)["coordinator"],
            lineage=lineage,
            aggregate_sink=aggregate,
        )
        other = coordinator.conduct.publish(coordinator.manifest, header, policy, base, updates, outcome)
        if other is None:
            files = {"aggregate": Kept("aggregate", aggregate.keep())}
        else:
            outcome, files = other[0], {"aggregate": Kept("aggregate", store.put(other[1]))}
    files["state"] = Kept("state", _put(coordinator, outcome.state.chunks()))
    for kind, data, digest in (
        ("verdicts", outcome.verdicts_file, outcome.anchor.verdict_hash.hex()),
        ("artifacts", outcome.artifacts_file, outcome.anchor.artifacts_hash.hex()),
    ):
        stored = store.put(data)
        store.link(digest, stored.sha256)
        files[kind] = Kept(kind, stored, digest)
    fault_point("coordinator.outcome-computed")
    return Outcome(outcome.anchor, _verdicts(outcome), files)


def record(session: Session, round_: Round, outcome: Outcome) -> None:
    """Write a computed round into the database."""
    for kept in outcome.files.values():
        session.merge(
            Artifact(
                sha256=kept.stored.sha256,
                keccak=kept.keccak,
                kind=kept.kind,
                size=kept.stored.size,
                round=round_.number,
                public_from=0,
            )
        )
    round_.anchor = outcome.anchor.to_json()
    round_.aggregate_sha256 = outcome.files["aggregate"].stored.sha256
    round_.state_sha256 = outcome.files["state"].stored.sha256
    round_.verdicts_sha256 = outcome.files["verdicts"].stored.sha256
    round_.artifacts_sha256 = outcome.files["artifacts"].stored.sha256
    for position, verdict in enumerate(outcome.verdicts):
        entry = session.get_one(Entry, (round_.number, position))
        entry.weight, entry.reason, entry.numbers = verdict["weight"], verdict["reason"], verdict["numbers"]


def _reader(coordinator: Coordinator, entry: Entry) -> UpdateReader | None:
    if entry.sha256 is None:
        return None
    try:
        return FileUpdate(coordinator.store.path(entry.sha256))
    except ArtifactError:
        return None  # lost after it was accepted: it counts as not delivered, and the verdict says so


def _put(coordinator: Coordinator, chunks: Iterable[bytes]) -> Stored:
    with coordinator.store.writer() as writer:
        for chunk in chunks:
            writer.write(chunk)
        return writer.keep()


def _verdicts(outcome: RoundOutcome) -> list[dict[str, Any]]:
    return [
        {
            "contributor": verdict.contributor,
            "weight": verdict.weight,
            "reason": str(verdict.reason),
            "numbers": {name: str(number) for name, number in verdict.numbers.items()},
        }
        for verdict in outcome.verdicts.verdicts
    ]

# SPDX-License-Identifier: Apache-2.0
"""Computing a round and keeping what comes out, so that the same bytes are there however often it is done.

What goes in is from `server.rounds.inputs`; the arithmetic is in `folkmoot.round.compute_round`. Here its results are
put into the store and the database.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.orm import Session

from folkmoot.artifacts.store import Store, Stored
from folkmoot.protocol.anchor import Anchor
from folkmoot.protocol.manifest import Manifest
from folkmoot.protocol.policy import Policy
from folkmoot.protocol.verdict import Verdict
from folkmoot.round import RoundOutcome
from folkmoot.runtime.fault_points import fault_point
from server.db.models import Entry, Round
from server.rounds.inputs import gather
from server.storage import Storage, file_row


@dataclass(frozen=True)
class Outcome:
    """A computed round whose files are in the store."""

    anchor: Anchor
    verdicts: tuple[Verdict, ...]
    """One an entry, in entry order."""
    mean: Stored
    state: Stored
    verdicts_file: Stored
    artifacts_file: Stored


def compute(storage: Storage, manifest: Manifest, number: int, policy: Policy) -> Outcome:
    """Compute a round from the entries in the database and the files in the store."""
    inputs = gather(storage, manifest, policy, number)
    with storage.store.writer() as mean:
        outcome = inputs.compute(mean_sink=mean, folder=mean.path.parent)
        return keep(storage.store, outcome, mean.keep())


def keep(store: Store, outcome: RoundOutcome, mean: Stored) -> Outcome:
    """Put the files of an outcome into the store, beside its mean."""
    kept = Outcome(
        outcome.anchor,
        outcome.verdicts.verdicts,
        mean=mean,
        state=store.put_chunks(outcome.state.chunks()),
        verdicts_file=_named(store, outcome.verdicts_file, outcome.anchor.verdict_hash),
        artifacts_file=_named(store, outcome.artifacts_file, outcome.anchor.artifacts_hash),
    )
    fault_point("coordinator.outcome-computed")
    return kept


def record(session: Session, round_: Round, outcome: Outcome) -> None:
    """Write a computed round into the database."""
    anchor, number = outcome.anchor, round_.number
    for row in (
        file_row(outcome.mean, "mean", of=number),
        file_row(outcome.state, "state", of=number),
        file_row(outcome.verdicts_file, "verdicts", of=number, keccak=anchor.verdict_hash.hex()),
        file_row(outcome.artifacts_file, "artifacts", of=number, keccak=anchor.artifacts_hash.hex()),
    ):
        session.merge(row)
    round_.anchor = anchor.to_json()
    round_.mean_sha256 = outcome.mean.sha256
    round_.state_sha256 = outcome.state.sha256
    round_.verdicts_sha256 = outcome.verdicts_file.sha256
    round_.artifacts_sha256 = outcome.artifacts_file.sha256
    for verdict in outcome.verdicts:
        entry = session.get_one(Entry, (number, verdict.index))
        entry.weight, entry.pay, entry.reason = verdict.weight, verdict.pay, str(verdict.reason)
        entry.numbers = numbers_json(verdict)


def numbers_json(verdict: Verdict) -> dict[str, str]:
    """The integers behind a verdict as rows and events have them: decimal strings."""
    return {name: str(number) for name, number in verdict.numbers.items()}


def _named(store: Store, data: bytes, digest: bytes) -> Stored:
    """Put a file into the store that the anchor names by its keccak."""
    stored = store.put(data)
    store.link(digest.hex(), stored.sha256)
    return stored

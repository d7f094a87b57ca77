# SPDX-License-Identifier: Apache-2.0
"""What a round is computed from: read once, before anything is computed."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select

from folkmoot.aggregation.lineage import Lineage
from folkmoot.aggregation.registry import uses
from folkmoot.errors import ArtifactError
from folkmoot.protocol.commitment import Commitment
from folkmoot.protocol.header import RoundHeader
from folkmoot.protocol.manifest import Manifest
from folkmoot.protocol.policy import Policy
from folkmoot.protocol.state import State
from folkmoot.protocol.updates import FileUpdate, UpdateReader
from server.db.models import Entry, Round
from server.rounds.lineage import opening, read_lineage
from server.storage import Storage
from server.store import Store


@dataclass(frozen=True)
class RoundInputs:
    """Everything that the outcome of a round follows from. The bytes of updates stay in their files."""

    manifest: Manifest
    header: RoundHeader
    policy: Policy
    base: State
    commitments: list[Commitment]
    """In the order of the entries."""
    updates: list[UpdateReader | None]
    """In the same order; None for what was not delivered."""
    coordinator: str
    """Account that opened the round, whose entry is the root-set update."""
    lineage: Lineage
    """What the rule uses of earlier rounds."""


def gather(storage: Storage, manifest: Manifest, policy: Policy, number: int) -> RoundInputs:
    """Read what a round is computed from: entries in the database, files in the store.

    Raises:
        ArtifactError: The base state, or a file of an earlier round that the rule needs, is missing or damaged.
    """
    with storage.database.read() as session:
        round_ = session.get_one(Round, number)
        query = select(Entry).where(Entry.round == number).order_by(Entry.position)
        entries = list(session.scalars(query))
        session.expunge_all()
    return RoundInputs(
        manifest,
        RoundHeader.decode(round_.header),
        policy,
        lineage=read_lineage(storage, manifest, round_.base, uses(policy.rule)),
        base=State.open(storage.store.verified(round_.base_state_sha256), manifest),
        commitments=[Commitment.from_json(entry.commitment) for entry in entries],
        updates=[_update(storage.store, entry.sha256, policy.width) for entry in entries],
        coordinator=opening(storage.database, number).coordinator,
    )


def _update(store: Store, sha256: str | None, width: int) -> UpdateReader | None:
    if sha256 is None:
        return None
    try:
        return FileUpdate(store.path(sha256), width)
    except ArtifactError:
        return None  # lost after it was accepted: it counts as not delivered, and the verdict says so

# SPDX-License-Identifier: Apache-2.0
"""What a round is computed from, and what the next one trains from.

Both follow from the chain's events and the store, so that a coordinator whose database is lost can go on. What was
delivered in an earlier round is what its artifacts file lists: the chain commits to that file, so an audit finds the
same. A file that is missing stops the round: left out, it would make another outcome than the one that everybody else
computes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from folkmoot.aggregation.lineage import PastRound
from folkmoot.aggregation.registry import uses
from folkmoot.artifacts.federation import Federation
from folkmoot.artifacts.gather import RoundInputs, gather_lineage
from folkmoot.artifacts.store import Store
from folkmoot.errors import ArtifactError
from folkmoot.ledger.replay import Round as LedgerRound
from folkmoot.protocol import merkle
from folkmoot.protocol.commitment import Commitment
from folkmoot.protocol.fixed_point import LEAF
from folkmoot.protocol.header import RoundHeader
from folkmoot.protocol.manifest import Manifest
from folkmoot.protocol.packing import pack
from folkmoot.protocol.policy import Policy
from folkmoot.protocol.state import State
from folkmoot.protocol.updates import FileUpdate, UpdateReader
from folkmoot.protocol.verdict import Artifacts
from server.chain.indexer import by_name
from server.chain.recorded import read_anchor, read_round
from server.db.models import Artifact, Entry, Round
from server.storage import Storage, file_row


def gather(storage: Storage, manifest: Manifest, policy: Policy, number: int) -> RoundInputs:
    """Read what a round is computed from: entries in the database, files in the store."""
    with storage.database.read() as session:
        round_ = session.get_one(Round, number)
        query = select(Entry).where(Entry.round == number).order_by(Entry.position)
        entries = list(session.scalars(query))
        session.expunge_all()
    earlier = _Earlier(storage, manifest)
    lineage = gather_lineage(uses(policy.rule), round_.base, earlier)
    assert lineage is not None  # noqa: S101  # what is missing is raised
    return RoundInputs(
        manifest,
        RoundHeader.decode(round_.header),
        policy,
        State.open(storage.store.verified(round_.base_state_sha256), manifest),
        [Commitment.from_json(entry.commitment) for entry in entries],
        [_update(storage.store, entry.sha256, policy.width) for entry in entries],
        earlier.opened(number).opened.coordinator,
        lineage,
    )


def _update(store: Store, sha256: str | None, width: int) -> UpdateReader | None:
    if sha256 is None:
        return None
    try:
        return FileUpdate(store.path(sha256), width)
    except ArtifactError:
        return None  # lost after it was accepted: it counts as not delivered, and the verdict says so


class _Earlier:
    """Gives the files of earlier rounds. The bytes are checked; they stay in their files."""

    def __init__(self, storage: Storage, manifest: Manifest) -> None:
        self._storage, self._manifest = storage, manifest
        self._rounds: dict[int, LedgerRound] = {}

    def opened(self, number: int) -> LedgerRound:
        """Return a round, whose opening is known."""
        if number not in self._rounds:
            with self._storage.database.read() as session:
                round_ = read_round(session, number)
            if round_ is None:
                raise _unknown(f"the opening of round {number}")
            self._rounds[number] = round_
        return self._rounds[number]

    def base_of(self, number: int) -> int:
        return self.opened(number).base

    def past_rounds(self, numbers: Sequence[int], *, updates: bool) -> list[PastRound]:
        listed = {number: self._artifacts(number) for number in numbers}
        names = {number: files.updates if updates else () for number, files in listed.items()}
        for number in numbers:  # what is missing is known before anything is hashed
            for name in filter(None, names[number]):
                with _named(number, f"update file {name}"):
                    self._storage.store.path(name)
        return [self._past_round(number, listed[number], names[number]) for number in numbers]

    def state_before(self, number: int) -> State:
        name = self._artifacts(number).base_state
        with _named(number, f"base state file {name}"):
            return State.open(self._storage.store.verified(name), self._manifest)

    def _past_round(self, number: int, listed: Artifacts, names: Sequence[str | None]) -> PastRound:
        round_, header = self.opened(number), RoundHeader.decode(listed.header)
        readers: list[UpdateReader | None] = []
        for name in names:
            with _named(number, f"update file {name}"):
                path = None if name is None else self._storage.store.verified(name)
                readers.append(None if path is None else FileUpdate(path, header.width))
        commitments = round_.commitments() if readers else []
        if len(commitments) != len(readers):
            missing = len(readers) - len(commitments)
            raise _unknown(f"{missing} of the {len(readers)} commitments of round {number}")
        return PastRound.of(header, commitments, readers, round_.opened.coordinator)

    def _artifacts(self, number: int) -> Artifacts:
        with _named(number, "artifacts file"):
            artifacts = artifacts_of(self._storage, number)
        if artifacts is None:
            raise _unknown(f"the anchor of round {number}")
        return artifacts


def _unknown(what: str) -> ArtifactError:
    return ArtifactError(
        f"Nothing is known of {what}, which the outcome of this round rests on.",
        remedy="It is tried again: the chain's events are still being read, or the endpoint withholds some.",
        code="event-unknown",
    )


@contextmanager
def _named(number: int, what: str) -> Iterator[None]:
    """Say of which round a file is, and what its lack means."""
    try:
        yield
    except ArtifactError as error:
        raise ArtifactError(
            f"The {what} of round {number} is needed for the references of this round. {error.message}",
            remedy="Put it back into the store from a mirror before the anchor deadline; the round waits for it.",
            code=error.code,
            details={**error.details, "round": number},
        ) from error


def artifacts_of(storage: Storage, number: int) -> Artifacts | None:
    """Return the artifacts file that a round's anchor names; None if there is no anchor (as far as is known)."""
    with storage.database.read() as session:
        anchor = read_anchor(session, number)
    if anchor is None:
        return None
    return Artifacts.from_json(storage.store.read(storage.store.by_keccak(anchor.artifacts_hash.hex())))


@dataclass(frozen=True)
class BaseState:
    """The state that a round trains from."""

    round: int
    """Round that made it; 0 is the genesis."""
    state_root: bytes
    momentum_root: bytes
    state_sha256: str
    exponents: tuple[int, ...]
    """Exponents of a round on this base."""


def read_base(storage: Storage, federation: Federation, round_number: int, state_root: bytes) -> BaseState:
    """Return the files and roots of a round's outcome, checked against its state root."""
    if round_number == 0:
        sha256, exponents = federation.genesis.state, federation.genesis.exponents
    else:
        document = artifacts_of(storage, round_number)
        if document is None:
            raise ArtifactError(f"Nothing is known of the anchor of round {round_number}, the chain's head.")
        sha256, exponents = document.state, document.next_exponents
    state = State.open(storage.store.verified(sha256), federation.manifest)
    momentum_root = state.momentum_tree().root
    if merkle.state_root(federation.manifest.hash, state.theta_tree().root, momentum_root) != state_root:
        raise ArtifactError(
            f"The state file {sha256} of round {round_number} has not the state root that the chain has.",
            remedy="Replace it from a mirror.",
            code="artifact-damaged",
        )
    return BaseState(round_number, state_root, momentum_root, sha256, exponents)


class Deliveries:
    """Takes in updates that their contributors delivered on the chain: every byte is in the events, as in an upload.

    Whoever anchors such an update as not delivered loses its bond, so a coordinator reads the events before it
    computes.

    Args:
        storage: Where entries and files go.
    """

    def __init__(self, storage: Storage, manifest: Manifest) -> None:
        self._storage = storage
        self._manifest = manifest

    def take(self, round_: Round) -> bool:
        """Take in the updates of a round that are on the chain and did not arrive otherwise; whether there were some.

        The contract has checked integers, padding and root; what is wrong beyond that, the computation of the round
        finds.
        """
        width, size = RoundHeader.decode(round_.header).width, self._manifest.size
        with self._storage.database.read() as session:
            missing = select(Entry).where(Entry.round == round_.number, Entry.sha256.is_(None))
            rows = [
                (
                    entry.position,
                    pack(np.frombuffer(leaves, dtype=np.uint8).reshape(-1, LEAF), width).tobytes(),
                )
                for entry in session.scalars(missing)
                if (leaves := _assembled(session, entry)) is not None and len(leaves) == size
            ]
        for position, data in rows:
            stored = self._storage.store.put(data)
            with self._storage.database.write("delivery-taken") as session:
                session.get_one(Entry, (round_.number, position)).sha256 = stored.sha256
                row = session.get(Artifact, stored.sha256)
                if row is not None and row.deleted is not None:
                    self._storage.store.put(data)  # Its deletion may have come between.
                if row is None or row.deleted is not None:
                    public = round_.commit_deadline or 0
                    made = file_row(stored, "update", of=round_.number, public_from=public)
                    session.merge(made)
        return bool(rows)


def _assembled(session: Session, entry: Entry) -> bytes | None:
    """The leaves of an entry's update, if all parts are on the chain."""
    mine = [
        event.arguments
        for event in by_name(session, "Delivered", str(entry.round), entry.contributor)
        if event.arguments["updateRoot"] == entry.commitment["updateRoot"]
    ]
    if not any(int(part["missing"]) == 0 for part in mine):
        return None
    parts = {int(part["part"]): bytes.fromhex(str(part["values"])[2:]) for part in mine}
    return b"".join(parts[number] for number in sorted(parts))

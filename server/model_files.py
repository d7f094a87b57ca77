# SPDX-License-Identifier: Apache-2.0
"""The safetensors files of versions: each is made of its state, which has the root that the chain has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from folkmoot.artifacts.federation import Federation, files_of
from folkmoot.artifacts.states import RebuildingSource
from folkmoot.artifacts.store import Stored
from folkmoot.errors import ArtifactError
from folkmoot.protocol.policy import Policy
from folkmoot.protocol.state import State
from server.chain.recorded import read_anchor
from server.db.models import Artifact, ChainEvent, Round
from server.rounds.inputs import artifacts_of
from server.storage import Storage, file_row


def states(session: Session, initial: str, numbers: Sequence[int]) -> dict[int, str]:
    """sha256 of the states of those versions that the chain has an anchor of, by number; `initial` is the genesis's."""
    anchored = select(ChainEvent.subject).where(
        ChainEvent.name == "RoundAnchored", ChainEvent.subject.in_([str(number) for number in numbers])
    )
    known = [int(subject) for subject in session.scalars(anchored)]
    rounds = session.execute(select(Round.number, Round.state_sha256).where(Round.number.in_(known)))
    state_of = {number: state for number, state in rounds if state is not None}
    return state_of | {number: initial for number in numbers if number == 0}


@dataclass(frozen=True)
class ModelFiles:
    """Reads, rebuilds and makes the files of versions."""

    storage: Storage
    """Where states and files are."""
    federation: Federation
    policy: Callable[[int], Policy]
    """Returns a policy by its number."""

    def read_state(self, number: int, state: str) -> State:
        """Read the state of a version. It is rebuilt if its file is not there.

        Args:
            state: sha256 of its state file.

        Raises:
            ArtifactError: A file is missing or damaged.
        """
        with RebuildingSource(self.storage.store) as source:
            if not self.storage.store.has(state):
                self._learn(source, number)
            path = source.fetch(state, self.federation.manifest.state_file_size)
            return State.open(path, self.federation.manifest)

    def rebuild(self, number: int, state: str) -> None:
        """Put the state file of a version back, made from an earlier state and the means since then.

        Args:
            number: Number of the version, above 0.
            state: sha256 of its state file.

        Raises:
            ArtifactError: What it follows from is missing or damaged.
        """
        with RebuildingSource(self.storage.store) as source:
            self._learn(source, number)
            self.storage.store.put_file(source.rebuild(state))

    def make(self, number: int, state: str) -> Stored:
        """Make the file of a version from its state, and keep it.

        Args:
            state: sha256 of its state file.

        Raises:
            ArtifactError: A file is missing or damaged, or the state is not the one that was anchored (`wrong-state`).
        """
        with self.storage.database.read() as session:
            anchor = read_anchor(session, number)
        loaded = self.read_state(number, state)
        root = loaded.root(self.federation.manifest.hash)
        if anchor is not None and root != anchor.state_root:
            raise ArtifactError(
                f"The database says that {state} is the state of round {number}. Its root is 0x{root.hex()}, and the "
                f"chain has 0x{anchor.state_root.hex()}.",
                remedy="Run `folkmoot coordinator doctor`.",
                code="wrong-state",
            )
        files = files_of(self.storage.store)
        stored = self.storage.store.put_chunks(
            loaded.safetensors_chunks(self.federation.manifest, number, root, files)
        )
        with self.storage.database.write("model-kept") as session:
            session.merge(file_row(stored, "model", of=number))
        return stored

    def _learn(self, source: RebuildingSource, number: int) -> None:
        """Note how the state of a version is made from the nearest earlier one that is there."""
        while number:
            artifacts = artifacts_of(self.storage, number)
            with self.storage.database.read() as session:
                round_ = session.get(Round, number)
                session.expunge_all()
            if artifacts is None or round_ is None:
                raise ArtifactError(
                    f"The state of round {number} can't be rebuilt: its anchor is not known.",
                    remedy="Wait until the coordinator has read the chain.",
                )
            source.learn(artifacts, self.policy(round_.policy_id), self.federation.manifest)
            if self.storage.store.has(artifacts.base_state):
                return
            number = round_.base


def made(session: Session, number: int) -> str | None:
    """sha256 of the file of a version, if it was made."""
    query = select(Artifact.sha256).where(Artifact.kind == "model", Artifact.round == number)
    return session.scalars(query).first()

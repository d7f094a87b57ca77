# SPDX-License-Identifier: Apache-2.0
"""The safetensors files of versions: each is made of its state, which has the root that the chain has."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from folkmoot.artifacts.retention import KEPT_EVERY
from folkmoot.artifacts.states import RebuildingSource
from folkmoot.errors import ArtifactError
from folkmoot.protocol.policy import Policy
from folkmoot.protocol.state import State
from server.chain.indexer import by_name
from server.db.models import Artifact, ChainEvent, Round
from server.federation import Federation
from server.rounds.base import artifacts_of
from server.storage import Storage, file_row
from server.store import Stored, StoreSource


def states(session: Session, initial: str, numbers: Sequence[int]) -> dict[int, str]:
    """sha256 of the states of those versions that the chain has an anchor of, by number; `initial` is the genesis's."""
    anchored = select(ChainEvent.subject).where(
        ChainEvent.name == "RoundAnchored", ChainEvent.subject.in_([str(number) for number in numbers])
    )
    known = [int(subject) for subject in session.scalars(anchored)]
    rounds = session.execute(select(Round.number, Round.state_sha256).where(Round.number.in_(known)))
    found = {number: state for number, state in rounds if state is not None}
    return found | {number: initial for number in numbers if number == 0}


def read_state(
    storage: Storage, federation: Federation, policy: Callable[[int], Policy], number: int, state: str
) -> State:
    """Read the state of a version. It is rebuilt if its file was deleted by rule.

    Args:
        storage: Where states and files are.
        federation: The federation.
        policy: Returns a policy by its number.
        number: Number of the version.
        state: sha256 of its state file.

    Raises:
        ArtifactError: A file is missing or damaged.
        ChainError: The chain gave no answer.
    """
    with RebuildingSource(StoreSource(storage.store)) as source:
        name = state
        while number % KEPT_EVERY and not storage.store.has(name):
            artifacts = artifacts_of(storage, number)
            with storage.database.read() as session:
                found = session.get(Round, number)
                session.expunge_all()
            if artifacts is None or found is None:
                break
            source.learn(artifacts, policy(found.policy_id), federation.manifest)
            name, number = artifacts.base_state, found.base
        path = source.fetch(state, federation.manifest.state_file_size)
        return State.open(path, federation.manifest)


def make(
    storage: Storage, federation: Federation, policy: Callable[[int], Policy], number: int, state: str
) -> Stored:
    """Make the file of a version from its state, and keep it.

    Args:
        storage: Where states and files are.
        federation: The federation.
        policy: Returns a policy by its number.
        number: Number of the version.
        state: sha256 of its state file.

    Raises:
        ArtifactError: A file is missing or damaged, or the state is not the one that was anchored (`wrong-state`).
        ChainError: The chain gave no answer.
    """
    with storage.database.read() as session:
        anchored = by_name(session, "RoundAnchored", str(number))
        expected = str(anchored[-1].arguments["anchor"]["stateRoot"]) if anchored else None
    loaded = read_state(storage, federation, policy, number, state)
    root = loaded.root(federation.manifest.hash)
    if expected is not None and "0x" + root.hex() != expected:
        raise ArtifactError(
            f"The database says that {state} is the state of round {number}. Its root is 0x{root.hex()}, and the chain "
            f"has {expected}.",
            remedy="Run `folkmoot coordinator doctor`.",
            code="wrong-state",
        )
    stored = storage.store.put_chunks(loaded.safetensors_chunks(federation.manifest, number, root))
    with storage.database.write("model-kept") as session:
        session.merge(file_row(stored, "model", of=number))
    return stored


def made(session: Session, number: int) -> str | None:
    """sha256 of the file of a version, if it was made."""
    query = select(Artifact.sha256).where(Artifact.kind == "model", Artifact.round == number)
    return session.scalars(query).first()

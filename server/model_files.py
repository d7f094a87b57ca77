# SPDX-License-Identifier: Apache-2.0
"""The safetensors files of versions: each is made of its state, which has the root that the chain has."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from folkmoot.errors import ArtifactError
from folkmoot.protocol.state import State
from server.chain.indexer import by_name
from server.db.models import Artifact, ChainEvent, Round
from server.federation import Federation
from server.storage import Storage, file_row
from server.store import Stored


def states(session: Session, initial: str, numbers: Sequence[int]) -> dict[int, str]:
    """sha256 of the states of those versions that the chain has an anchor of, by number; `initial` is the genesis's."""
    anchored = select(ChainEvent.subject).where(
        ChainEvent.name == "RoundAnchored", ChainEvent.subject.in_([str(number) for number in numbers])
    )
    known = [int(subject) for subject in session.scalars(anchored)]
    rounds = session.execute(select(Round.number, Round.state_sha256).where(Round.number.in_(known)))
    found = {number: state for number, state in rounds if state is not None}
    return found | {number: initial for number in numbers if number == 0}


def make(storage: Storage, federation: Federation, number: int, state: str) -> Stored:
    """Make the file of a version from its state file, and keep it.

    Args:
        storage: Where states and files are.
        federation: The federation.
        number: Number of the version.
        state: sha256 of its state file.

    Raises:
        ArtifactError: The state file is missing or damaged, or it is not the one that was anchored (`wrong-state`).
    """
    with storage.database.read() as session:
        anchored = by_name(session, "RoundAnchored", str(number))
        expected = str(anchored[-1].arguments["anchor"]["stateRoot"]) if anchored else None
    loaded = State.from_bytes(storage.store.read(state), federation.manifest)
    root = loaded.root(federation.manifest.hash)
    if expected is not None and "0x" + root.hex() != expected:
        raise ArtifactError(
            f"The database says that {state} is the state of round {number}. Its root is 0x{root.hex()}, and the chain "
            f"has {expected}.",
            remedy="Run `folkmoot coordinator doctor`.",
            code="wrong-state",
        )
    stored = storage.store.put(loaded.to_safetensors(federation.manifest, number, root))
    with storage.database.write("model-kept") as session:
        session.merge(file_row(stored, "model", of=number))
    return stored


def made(session: Session, number: int) -> str | None:
    """sha256 of the file of a version, if it was made."""
    query = select(Artifact.sha256).where(Artifact.kind == "model", Artifact.round == number)
    return session.scalars(query).first()

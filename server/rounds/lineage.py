# SPDX-License-Identifier: Apache-2.0
"""The files of the rounds that a round rests on, for the references of its rule (docs/protocol.md section 8.3).

What was delivered in a round is what its artifacts file lists: the chain commits to that file, so an audit finds the
same. Found from the chain's events and the store alone, as the base is. A file that is missing stops the round: left
out, it would make another outcome than the one that everybody else computes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from folkmoot.aggregation.lineage import Lineage, PastRound, window
from folkmoot.aggregation.references import ReferenceKind
from folkmoot.errors import ArtifactError
from folkmoot.protocol.commitment import Commitment
from folkmoot.protocol.header import RoundHeader
from folkmoot.protocol.manifest import Manifest
from folkmoot.protocol.state import State
from folkmoot.protocol.updates import FileUpdate, UpdateReader
from folkmoot.protocol.verdict import Artifacts
from server.chain.indexer import by_name
from server.db.engine import Database
from server.rounds.base import artifacts_of
from server.rounds.queries import recorded_on
from server.storage import Storage


def read_lineage(storage: Storage, manifest: Manifest, base: int, used: frozenset[ReferenceKind]) -> Lineage:
    """Open what the rule of a round on a base uses. The bytes are checked; they stay in their files.

    Args:
        storage: Where events and files are.
        manifest: The federation's.
        base: Number of the round's base; 0 is the genesis.
        used: The kinds of references that are needed.

    Raises:
        ArtifactError: A file is missing or damaged; the message says of which round, and what to do.
    """
    if not used & {ReferenceKind.TRAJECTORY, ReferenceKind.EARLIER}:
        return Lineage()
    numbers = window(base, lambda number: opening(storage.database, number).base)
    found = {number: _artifacts(storage, number) for number in numbers}
    updates = {
        number: artifacts.updates if ReferenceKind.EARLIER in used else ()
        for number, artifacts in found.items()
    }
    state = found[numbers[0]].base_state if ReferenceKind.TRAJECTORY in used and numbers else None
    for number, names in updates.items():  # what is missing is known before anything is hashed
        for listed in filter(None, names):
            with _named(number, f"update file {listed}"):
                storage.store.path(listed)
    before = None
    if state is not None:
        with _named(numbers[0], f"base state file {state}"):
            before = State.open(storage.store.verified(state), manifest)
    rounds = []
    for number, names in updates.items():
        header = RoundHeader.decode(found[number].header)
        readers: list[UpdateReader | None] = []
        for name in names:
            with _named(number, f"update file {name}"):
                readers.append(
                    None if name is None else FileUpdate(storage.store.verified(name), header.width)
                )
        entries = _entries(storage.database, number, len(readers)) if readers else []
        rounds.append(
            PastRound.of(header.exponents, entries, readers, opening(storage.database, number).coordinator)
        )
    return Lineage(tuple(rounds), before)


@dataclass(frozen=True)
class Opened:
    """What the chain says of a round's opening."""

    coordinator: str
    """Account that opened it."""
    base: int
    """Round that it rests on; 0 is the genesis."""


def opening(database: Database, number: int) -> Opened:
    """Read who opened a round, and on what, from the event.

    Raises:
        ArtifactError: The event is not known.
    """
    with database.read() as session:
        opened = by_name(session, "RoundOpened", str(number))
        if not opened:
            raise _unknown(f"the opening of round {number}")
        arguments = opened[-1].arguments
        return Opened(arguments["coordinator"], int(arguments["base"]))


def _entries(database: Database, number: int, count: int) -> list[Commitment]:
    """Return the commitments of a round, which its artifacts file says has so many.

    Raises:
        ArtifactError: Not all of their events are known.
    """
    with database.read() as session:
        # No reference depends on the base that they name.
        entries = [entry for entry, _ in recorded_on(session, number, bytes(32))]
    if len(entries) != count:
        raise _unknown(f"{count - len(entries)} of the {count} commitments of round {number}")
    return entries


def _unknown(what: str) -> ArtifactError:
    return ArtifactError(
        f"Nothing is known of {what}, which the outcome of this round rests on.",
        remedy="It is tried again: the chain's events are still being read, or the endpoint withholds some.",
        code="event-unknown",
    )


def _artifacts(storage: Storage, number: int) -> Artifacts:
    with _named(number, "artifacts file"):
        artifacts = artifacts_of(storage, number)
    if artifacts is None:
        raise _unknown(f"the anchor of round {number}")
    return artifacts


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

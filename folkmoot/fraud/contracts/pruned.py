# SPDX-License-Identifier: Apache-2.0
"""What a watcher let go of: of rounds that are over only what may still matter, in a file, so that no memory grows.

That is the root of every update, by which a replay of it is known whatever its age, and where on the chain the rest can
be read again. The file also says from which block on a chain has to be read for all rounds that were not let go of,
and by which block one sees that it is the chain that was read. Losing it costs a full reading and nothing else.
Knows no endpoint; one file holds what one endpoint said, as a liar's word must not count for another one.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from folkmoot.errors import LocalError

FORMAT = 1
"""Kept as SQLite's `user_version`."""

_TABLES = (
    "CREATE TABLE place (owner TEXT NOT NULL, block INTEGER, hash BLOB, since INTEGER)",
    "CREATE TABLE rounds (number INTEGER PRIMARY KEY, base BLOB NOT NULL, first INTEGER NOT NULL, "
    "last INTEGER NOT NULL)",
    "CREATE TABLE updates (root BLOB PRIMARY KEY, round INTEGER NOT NULL, entry INTEGER NOT NULL) WITHOUT ROWID",
)


@dataclass(frozen=True)
class Checkpoint:
    """Where to go on."""

    block: int
    """Newest block that was read when rounds were let go of the last time."""
    hash: bytes
    """Its hash, 32 bytes: if the chain has another one there, nothing of the file holds."""
    since: int
    """First block that has to be read."""


@dataclass(frozen=True)
class FinishedRound:
    """A round that is over, as it is let go of."""

    number: int
    """Its number."""
    base_state_root: bytes
    """Root of the state that it trained from, 32 bytes."""
    first: int
    """Block of its opening."""
    last: int
    """Block of its last entry; that of the opening without any."""
    roots: tuple[bytes, ...]
    """Roots of its updates, 32 bytes each, in entry order."""


@dataclass(frozen=True)
class CommitmentRef:
    """Where an update was committed to."""

    round: int
    """The round."""
    entry: int
    """Number of the entry."""
    base_state_root: bytes
    """Root of the state that the round trained from, 32 bytes."""


class PrunedRounds:
    """The file. Use `PrunedRounds.open`."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path = path
        self._connection = connection

    @classmethod
    def open(cls, path: Path, owner: str) -> PrunedRounds:
        """Open a file, which is made if needed.

        Args:
            path: The file.
            owner: Chain and federation: another one's file is refused.

        Raises:
            LocalError: ``watch-state``: it can't be used, is damaged, or is of another federation or release.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _unusable(path, error.strerror or str(error)) from error
        with _told(path):
            # The watcher looks from one thread at a time, which need not be the one that made it.
            made = cls(path, sqlite3.connect(path, check_same_thread=False))
        try:
            made._prepare(owner)
        except LocalError:
            made.close()
            raise
        return made

    def _prepare(self, owner: str) -> None:
        with self._write() as connection:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version == 0:
                for table in _TABLES:
                    connection.execute(table)
                connection.execute("INSERT INTO place (owner) VALUES (?)", (owner,))
                connection.execute(f"PRAGMA user_version = {FORMAT}")
            elif version != FORMAT:
                raise _unusable(self._path, "another release wrote it")
            (of,) = connection.execute("SELECT owner FROM place").fetchone()
            if of != owner:
                raise _unusable(self._path, f"it is of {of}")

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    @property
    def place(self) -> Checkpoint | None:
        """Where to go on; None if nothing was let go of."""
        with _told(self._path):
            block, hash_, since = self._connection.execute("SELECT block, hash, since FROM place").fetchone()
        return None if block is None else Checkpoint(block, hash_, since)

    def __contains__(self, number: int) -> bool:
        """Whether a round was let go of."""
        with _told(self._path):
            found = self._connection.execute("SELECT 1 FROM rounds WHERE number = ?", (number,)).fetchone()
        return found is not None

    def blocks(self, number: int) -> tuple[int, int]:
        """Return the first and the last block with the opening and the entries of a round that was let go of."""
        query = "SELECT first, last FROM rounds WHERE number = ?"
        with _told(self._path):
            first, last = self._connection.execute(query, (number,)).fetchone()
        return first, last

    def first(self, root: bytes) -> CommitmentRef | None:
        """Return where an update was committed to first, among the rounds that were let go of."""
        query = "SELECT round, entry, base FROM updates JOIN rounds ON number = round WHERE root = ?"
        with _told(self._path):
            found = self._connection.execute(query, (root,)).fetchone()
        return None if found is None else CommitmentRef(*found)

    def let_go(self, rounds: Iterable[FinishedRound], place: Checkpoint) -> None:
        """Take rounds that are over, and note where to go on: both or none.

        Raises:
            LocalError: ``watch-state``: it can't be written; nothing of it was.
        """
        earliest = (
            "INSERT INTO updates VALUES (?, ?, ?) ON CONFLICT (root) DO UPDATE SET round = excluded.round, "
            "entry = excluded.entry WHERE (excluded.round, excluded.entry) < (updates.round, updates.entry)"
        )
        with self._write() as connection:
            for one in rounds:
                values = (one.number, one.base_state_root, one.first, one.last)
                connection.execute("INSERT OR REPLACE INTO rounds VALUES (?, ?, ?, ?)", values)
                connection.executemany(
                    earliest, ((root, one.number, entry) for entry, root in enumerate(one.roots))
                )
            connection.execute(
                "UPDATE place SET block = ?, hash = ?, since = ?", (place.block, place.hash, place.since)
            )

    def forget(self) -> None:
        """Forget everything: it was another chain."""
        with self._write() as connection:
            connection.execute("DELETE FROM updates")
            connection.execute("DELETE FROM rounds")
            connection.execute("UPDATE place SET block = NULL, hash = NULL, since = NULL")

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        with _told(self._path), self._connection as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield connection


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Say in our own words what SQLite says."""
    try:
        yield
    except sqlite3.Error as error:
        raise _unusable(path, str(error)) from error


def _unusable(path: Path, why: str) -> LocalError:
    return LocalError(
        f"The watcher's file {path} can't be used: {why}.",
        remedy="Check the disk, or remove the file: it is only a memory.",
        code="watch-state",
    )

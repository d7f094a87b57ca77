# SPDX-License-Identifier: Apache-2.0
"""File of the rounds that a watcher has dropped, with the data that may still matter, so that memory does not grow.

These data are the roots of all updates, to detect replays of any age, who has spent how much of its privacy budget, and
the blocks from which a round can be read again. The file also has the first block to read for all other rounds, and the
hash of a block that identifies the chain. If the file is lost, the watcher only has to read the chain again. One file
belongs to one endpoint, so that a lying endpoint does not affect others.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from folkmoot.errors import LocalError

FORMAT = 2
"""Kept as SQLite's `user_version`."""

_TABLES = (
    "CREATE TABLE place (owner TEXT NOT NULL, block INTEGER, hash BLOB, since INTEGER)",
    "CREATE TABLE rounds (number INTEGER PRIMARY KEY, base BLOB NOT NULL, first INTEGER NOT NULL, "
    "last INTEGER NOT NULL, cost TEXT NOT NULL)",
    "CREATE TABLE updates (root BLOB PRIMARY KEY, round INTEGER NOT NULL, entry INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE TABLE spenders (account TEXT, round INTEGER, PRIMARY KEY (account, round)) WITHOUT ROWID",
)


@dataclass(frozen=True)
class Checkpoint:
    """Position from which to continue."""

    block: int
    """Newest block that was read when rounds were dropped the last time."""
    hash: bytes
    """Hash of that block, 32 bytes. If the chain has another hash, the file is invalid."""
    since: int
    """First block to read."""


@dataclass(frozen=True)
class FinishedRound:
    """A closed round to be dropped."""

    number: int
    base_state_root: bytes
    """Root of its base state, 32 bytes."""
    first: int
    """Block of its opening."""
    last: int
    """Block of its last entry; without entries, the block of its opening."""
    roots: tuple[bytes, ...]
    """Roots of its updates, 32 bytes each, in entry order."""
    cost: int = 0
    """What an update costs of its contributor's privacy budget, in units of 2^-32 of rho."""
    contributors: tuple[str, ...] = ()
    """Accounts of its entries."""


@dataclass(frozen=True)
class CommitmentRef:
    """Round and entry of a commitment to an update."""

    round: int
    """Number of the round."""
    entry: int
    """Number of the entry."""
    base_state_root: bytes
    """Root of the round's base state, 32 bytes."""


class PrunedRounds:
    """The file. Use `PrunedRounds.open`."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path = path
        self._connection = connection

    @classmethod
    def open(cls, path: Path, owner: str) -> PrunedRounds:
        """Open a file; it is created if it does not exist.

        Args:
            owner: Chain and federation: another one's file is refused.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _unusable(path, error.strerror or str(error)) from error
        with _reported(path):
            # The watcher looks from one thread at a time, which need not be the one that made it.
            pruned = cls(path, sqlite3.connect(path, check_same_thread=False))
        try:
            pruned._prepare(owner)
        except LocalError:
            pruned.close()
            raise
        return pruned

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
        """Return the position from which to continue; None if no round was dropped."""
        with _reported(self._path):
            block, hash_, since = self._connection.execute("SELECT block, hash, since FROM place").fetchone()
        return None if block is None else Checkpoint(block, hash_, since)

    def __contains__(self, number: int) -> bool:
        """Return whether a round was dropped."""
        with _reported(self._path):
            row = self._connection.execute("SELECT 1 FROM rounds WHERE number = ?", (number,)).fetchone()
        return row is not None

    def blocks(self, number: int) -> tuple[int, int]:
        """Return the first and the last block with the opening and the entries of a dropped round."""
        query = "SELECT first, last FROM rounds WHERE number = ?"
        with _reported(self._path):
            first, last = self._connection.execute(query, (number,)).fetchone()
        return first, last

    def first(self, root: bytes) -> CommitmentRef | None:
        """Return the first commitment to an update in dropped rounds."""
        query = "SELECT round, entry, base FROM updates JOIN rounds ON number = round WHERE root = ?"
        with _reported(self._path):
            row = self._connection.execute(query, (root,)).fetchone()
        return None if row is None else CommitmentRef(*row)

    def spent(self, account: str, before: int) -> int:
        """Return what an account spent of its privacy budget in dropped rounds with a smaller number."""
        query = (
            "SELECT cost, COUNT(*) FROM spenders JOIN rounds ON number = round WHERE account = ? AND round < ? "
            "GROUP BY cost"
        )
        with _reported(self._path):
            rows = self._connection.execute(query, (account, before)).fetchall()
        return sum(int(cost) * count for cost, count in rows)

    def let_go(self, rounds: Iterable[FinishedRound], place: Checkpoint) -> None:
        """Store closed rounds and the position from which to continue, in one transaction."""
        earliest = (
            "INSERT INTO updates VALUES (?, ?, ?) ON CONFLICT (root) DO UPDATE SET round = excluded.round, "
            "entry = excluded.entry WHERE (excluded.round, excluded.entry) < (updates.round, updates.entry)"
        )
        with self._write() as connection:
            for round_ in rounds:
                values = (round_.number, round_.base_state_root, round_.first, round_.last, str(round_.cost))
                connection.execute("INSERT OR REPLACE INTO rounds VALUES (?, ?, ?, ?, ?)", values)
                if round_.cost:
                    spenders = ((account, round_.number) for account in round_.contributors)
                    connection.executemany("INSERT OR REPLACE INTO spenders VALUES (?, ?)", spenders)
                connection.executemany(
                    earliest, ((root, round_.number, entry) for entry, root in enumerate(round_.roots))
                )
            connection.execute(
                "UPDATE place SET block = ?, hash = ?, since = ?", (place.block, place.hash, place.since)
            )

    def forget(self) -> None:
        """Remove all data, because they belong to another chain."""
        with self._write() as connection:
            connection.execute("DELETE FROM updates")
            connection.execute("DELETE FROM spenders")
            connection.execute("DELETE FROM rounds")
            connection.execute("UPDATE place SET block = NULL, hash = NULL, since = NULL")

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        with _reported(self._path), self._connection as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield connection


@contextmanager
def _reported(path: Path) -> Iterator[None]:
    """Convert errors of SQLite."""
    try:
        yield
    except sqlite3.Error as error:
        raise _unusable(path, str(error)) from error


def _unusable(path: Path, why: str) -> LocalError:
    return LocalError(
        f"The watcher's file {path} can't be used: {why}.",
        remedy="Check the disk, or remove the file: the watcher then reads the chain again.",
        code="watch-state",
    )

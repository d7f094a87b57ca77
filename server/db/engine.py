# SPDX-License-Identifier: Apache-2.0
"""The database's engine and its two kinds of transaction.

Reading transactions see one moment; writing transactions take SQLite's write lock at once, so that none fails
half way because another one wrote first.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from folkmoot.errors import DatabaseError
from folkmoot.runtime.fault_points import fault_point
from folkmoot.runtime.urls import without_secrets
from server.db.cells import unreadable
from server.db.failures import named
from server.db.holding import Hold

BUSY_TIMEOUT_SECONDS = 30
"""How long a writer of SQLite waits for another process's lock."""
TROUBLE_SECONDS = 90.0
"""How long a write that failed counts, if nobody writes again. The worker does within that time."""
POOL = {"pool_size": 10, "max_overflow": 50}
"""Connections that stay, and that come when needed: more than the API has threads, so that readers who wait for a slow
chain can't keep the worker or an update from the database."""
WRITE_OPTION = "folkmoot_write"
PENDING_EVENTS = "folkmoot_told"
"""Under this name a session keeps what it will have told once it is committed."""

_POSTGRESQL = {
    # A server whose databases are SQL_ASCII would hand out bytes instead of text.
    "client_encoding": "utf8",
    # A server that vanishes without a word is noticed within these seconds (the last: milliseconds).
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
"""What connections to PostgreSQL have, where the URL says nothing else."""

Listener = Callable[[str, dict[str, Any]], None]
"""Hears what happened, as a kind and its values; must not raise, and must not write to the database."""


def normalise_url(url: str) -> str:
    """Put the driver that we ship into a PostgreSQL URL; a plain path becomes a SQLite URL."""
    if "://" not in url:
        return f"sqlite:///{Path(url)}"
    for prefix in ("postgres://", "postgresql://"):
        if url.startswith(prefix):
            return "postgresql+psycopg://" + url.removeprefix(prefix)
    return url


def make_engine(url: str) -> Engine:
    """Make an engine for SQLite (a file) or PostgreSQL.

    Raises:
        DatabaseError: The URL can't be understood or has no driver here.
    """
    try:
        parsed = make_url(normalise_url(url))
        if parsed.get_backend_name() == "sqlite":
            engine = create_engine(parsed, connect_args={"timeout": BUSY_TIMEOUT_SECONDS}, **POOL)
            event.listen(engine, "do_connect", _make_private)
            event.listen(engine, "connect", _prepare_sqlite)
            event.listen(engine, "begin", _begin_sqlite)
        else:
            engine = create_engine(
                parsed,
                connect_args={name: value for name, value in _POSTGRESQL.items() if name not in parsed.query},
                pool_pre_ping=True,
                **POOL,
            )
    except (SQLAlchemyError, ImportError) as exc:
        raise DatabaseError(
            f"The database URL {without_secrets(url)!r} can't be used: {without_secrets(str(exc), url)}.",
            remedy="Give a SQLite file or postgresql://user@host/name.",
        ) from exc
    return engine


def _make_private(_dialect: Any, _record: Any, arguments: Any, _parameters: Any) -> None:
    """Make the file, if it is not there, for its owner only; SQLite gives its other files the same rights."""
    if arguments[0].startswith((":", "file:")):
        return  # in memory
    with suppress(OSError):  # SQLite says what is wrong
        os.close(os.open(arguments[0], os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # transactions begin where we say so, not where the driver guesses
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    write = connection.get_execution_options().get(WRITE_OPTION, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


class Database:
    """Sessions on one engine."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._writing = engine.execution_options(**{WRITE_OPTION: True})
        self.listeners: list[Listener] = []
        self._hold = Hold(engine)
        self._trouble: tuple[float, DatabaseError] | None = None
        self._unreadable: DatabaseError | None = None

    @classmethod
    def open(cls, url: str) -> Database:
        """Open a database by URL; the schema is not looked at (`server.db.schema`)."""
        return cls(make_engine(url))

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session that only reads.

        Raises:
            DatabaseError: The database is away (`database-unreachable`), locked or in other trouble.
        """
        with named(self.engine.url), Session(self.engine) as session:
            yield session

    @contextmanager
    def write(self, name: str = "") -> Iterator[Session]:
        """A session in one transaction: all of it happens, or nothing. Listeners hear of it once it has.

        Args:
            name: What it writes. Each named transaction has two fault points, `coordinator.NAME.before` its commit
                and `coordinator.NAME.after` it.

        Raises:
            DatabaseError: The database is away (`database-unreachable`), locked (`database-locked`) or full
                (`database-full`). Nothing was written, except if the connection was cut during the commit: then all
                or nothing. Another process has taken it meanwhile (`database-fenced`): nothing was written, and
                this one must end.
        """
        try:
            with (
                named(self.engine.url),
                Session(self._writing, expire_on_commit=False) as session,
                session.begin(),
            ):
                self._hold.guard(session)
                yield session
                if name:
                    session.flush()
                    fault_point(f"coordinator.{name}.before")
        except DatabaseError as exc:
            self._trouble = (time.monotonic(), exc)
            raise
        self._trouble = None
        if name:
            fault_point(f"coordinator.{name}.after")
        for kind, values in session.info.pop(PENDING_EVENTS, ()):
            for listener in self.listeners:
                listener(kind, values)

    def claim(self) -> None:
        """Make sure that this process is the only coordinator on the database, until it is closed or ends.

        Raises:
            DatabaseError: Another one is there (`database-in-use`), or was since this one lost its hold
                (`database-fenced`), or the database is away.
        """
        self._hold.take()

    def problem(self) -> DatabaseError | None:
        """What is wrong with the database now: it or a cell of it can't be read, or a write failed a moment ago."""
        try:
            with self.read() as session:
                session.execute(text("SELECT 1"))
            if self._unreadable is not None and (cell := self.unreadable()) is not None:
                return cell
        except DatabaseError as exc:
            return exc
        trouble = self._trouble
        if trouble is not None and time.monotonic() - trouble[0] < TROUBLE_SECONDS:
            return trouble[1]
        return None

    def unreadable(self) -> DatabaseError | None:
        """The first cell that can't be read, for whoever met something unexpected: it names row, column and remedy."""
        with self.read() as session:
            cell = next(iter(unreadable(session.connection())), None)
        self._unreadable = None if cell is None else cell.error()
        return self._unreadable

    def close(self) -> None:
        """Close all connections."""
        self._hold.release()
        self.engine.dispose()

# SPDX-License-Identifier: Apache-2.0
"""One coordinator for one database: two would send everything twice.

PostgreSQL has advisory locks, which end with the connection that took them; next to a SQLite file lies a lock file,
which ends with its process. Neither has to be cleaned up after a crash.

A connection can end without its process noticing, and another coordinator take the lock before the next look. So
whoever takes it raises the epoch in the table `fence`, and every transaction that writes compares the epoch first, and
keeps its row from being changed until it ends (`Hold.guard`): the successor waits for the transactions that are under
way, and none begins after it. SQLite needs no such fence: the system takes back the lock on the file when the process
ends, and not before.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from filelock import AcquireReturnProxy, FileLock
from sqlalchemy import Connection, Engine, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from folkmoot.errors import DatabaseError
from folkmoot.runtime import locks
from server.db.failures import UNREACHABLE, named
from server.db.models import Fence

FENCED = "database-fenced"
"""Code of the error after which a process must not go on."""

_ROW = 1


class Hold:
    """The hold of this process on a database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connection: Connection | None = None
        self._file: AcquireReturnProxy[FileLock] | None = None
        self._epoch: int | None = None  # PostgreSQL: that of the fence when the hold was taken

    def take(self) -> None:
        """Take the hold; if it is there, look whether it still is, and take it again if a connection was lost.

        Raises:
            DatabaseError: Another process has it (`database-in-use`), or has had it since this one lost it
                (`database-fenced`), or the database is away.
        """
        if self._engine.dialect.name == "postgresql":
            self._take_lock()
        elif self._file is None and self._engine.url.database:
            self._take_file(Path(f"{self._engine.url.database}.lock"))

    def guard(self, session: Session) -> None:
        """Make sure that a writing transaction is ours to make, from its first statement to its end.

        Does nothing for a process that never took the hold: a doctor that rolls back, a migration of an older schema.

        Raises:
            DatabaseError: Another process has taken the database since (`database-fenced`): this one must end.
        """
        if self._epoch is None:
            return
        epoch = session.scalar(select(Fence.epoch).where(Fence.id == _ROW).with_for_update(read=True))
        if epoch != self._epoch:
            raise self._fenced()

    def release(self) -> None:
        """Give the hold back."""
        if self._file is not None:
            self._file.lock.release()
            self._file = None
        self._drop_connection()
        self._epoch = None

    def _take_file(self, path: Path) -> None:
        # A file of its own: to close any handle of the database's own file would end SQLite's locks on it.
        try:
            self._file = locks.try_acquire(path)
        except OSError as exc:
            raise DatabaseError(
                f"The database {self._where} can't be used: {path}: {exc.strerror}.",
                remedy="Check that its folder is there and can be written.",
                code=UNREACHABLE,
            ) from exc
        if self._file is None:
            raise self._in_use()

    def _take_lock(self) -> None:
        with named(self._engine.url):
            if self._connection is not None:
                try:
                    self._connection.execute(text("SELECT 1"))
                except DBAPIError:
                    self._drop_connection()  # and with it the lock; perhaps another one has it by now
                else:
                    return
            connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            try:
                connection.detach()  # never handed out for anything else
                # If this machine vanishes, the server notices in a minute, and lets another coordinator in.
                for setting, value in (("idle", 30), ("interval", 10), ("count", 3)):
                    connection.execute(text(f"SET tcp_keepalives_{setting} = {value}"))
                schema = str(connection.scalar(text("SELECT current_schema()")))
                free = connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": key_of(schema)})
                if self._epoch is not None and self._epoch_in(connection) != self._epoch:
                    raise self._fenced()
                if not free:  # perhaps our own connection that is gone, which the server has not noticed
                    raise self._in_use()
                if self._epoch is None:
                    self._epoch = self._raise_epoch(connection)
            except BaseException:
                connection.close()
                raise
            self._connection = connection

    def _epoch_in(self, connection: Connection) -> int | None:
        return connection.scalar(select(Fence.epoch).where(Fence.id == _ROW))

    def _raise_epoch(self, connection: Connection) -> int | None:
        """Take over: from now on nobody else writes. Waits for the writing transactions that are under way."""
        if connection.scalar(text("SELECT to_regclass(:name)"), {"name": Fence.__tablename__}) is None:
            return None  # an older schema, which is about to be migrated
        first = insert(Fence).values(id=_ROW, epoch=1)
        raised = first.on_conflict_do_update(index_elements=[Fence.id], set_={"epoch": Fence.epoch + 1})
        return connection.scalar(raised.returning(Fence.epoch))

    def _drop_connection(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @property
    def _where(self) -> str:
        return self._engine.url.render_as_string(hide_password=True)

    def _fenced(self) -> DatabaseError:
        return DatabaseError(
            f"Another coordinator has taken the database {self._where} since this one lost its connection.",
            remedy="This one has ended; start it again once the other is stopped, or give it a database of its own.",
            code=FENCED,
        )

    def _in_use(self) -> DatabaseError:
        return DatabaseError(
            f"Another coordinator uses the database {self._where}.",
            remedy="Stop it first, or give this one a database of its own.",
            code="database-in-use",
        )


def key_of(schema: str) -> int:
    """Name of a schema among PostgreSQL's advisory locks of 64 bits; each database has its own."""
    digest = hashlib.sha256(f"folkmoot coordinator {schema}".encode()).digest()
    return int.from_bytes(digest[:8], signed=True)

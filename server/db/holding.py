# SPDX-License-Identifier: Apache-2.0
"""One coordinator for one database: two would send everything twice.

PostgreSQL has advisory locks, which end with the connection that took them; next to a SQLite file lies a lock file,
which ends with its process. Neither has to be cleaned up after a crash.
"""

from __future__ import annotations

import fcntl
import hashlib
from pathlib import Path
from typing import IO

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from folkmoot.errors import DatabaseError
from server.db.failures import UNREACHABLE, named


class Hold:
    """The hold of this process on a database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connection: Connection | None = None
        self._file: IO[str] | None = None

    def take(self) -> None:
        """Take the hold; if it is there, look whether it still is, and take it again if a connection was lost.

        Raises:
            DatabaseError: Another process has it (`database-in-use`), or the database is away.
        """
        if self._engine.dialect.name == "postgresql":
            self._take_lock()
        elif self._file is None and self._engine.url.database:
            self._take_file(Path(f"{self._engine.url.database}.lock"))

    def release(self) -> None:
        """Give the hold back."""
        if self._file is not None:
            self._file.close()
            self._file = None
        self._drop_connection()

    def _take_file(self, path: Path) -> None:
        # A file of its own: to close any handle of the database's own file would end SQLite's locks on it.
        try:
            file = path.open("a")
        except OSError as exc:
            raise DatabaseError(
                f"The database {self._where} can't be used: {path}: {exc.strerror}.",
                remedy="Check that its folder is there and can be written.",
                code=UNREACHABLE,
            ) from exc
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            file.close()
            raise self._in_use() from exc
        self._file = file

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
                if not connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": key_of(schema)}):
                    raise self._in_use()
            except BaseException:
                connection.close()
                raise
            self._connection = connection

    def _drop_connection(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @property
    def _where(self) -> str:
        return self._engine.url.render_as_string(hide_password=True)

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

# SPDX-License-Identifier: Apache-2.0
"""What a database driver complains of, as errors that say what to do.

Only troubles of the database itself are named here: it is away, locked or full. All of them pass, and whoever asked
may ask again. A broken constraint or a wrong statement is no such trouble: it stays what it is.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from types import NoneType

from sqlalchemy import URL
from sqlalchemy.exc import DBAPIError, IntegrityError, ProgrammingError
from sqlalchemy.exc import TimeoutError as NoConnectionFree

from folkmoot.errors import DatabaseError, FolkmootError
from folkmoot.runtime.urls import without_secrets

UNREACHABLE, LOCKED, FULL = "database-unreachable", "database-locked", "database-full"

_WHAT = {
    UNREACHABLE: "can't be reached",
    LOCKED: "is locked by another process",
    FULL: "has no room left",
    "database": "can't be used",
}
_REMEDY = {
    UNREACHABLE: "Check that its server or disk is there and lets this account in",
    LOCKED: "End what keeps it locked (a copy or a database tool that is in a transaction)",
    FULL: "Make room on its disk",
    "database": "See what it says",
}
_GOES_ON = "what failed changed nothing or is complete, and is tried again."

# https://www.sqlite.org/rescode.html; the low byte of an extended code is the primary one.
_SQLITE = {
    sqlite3.SQLITE_BUSY: LOCKED,
    sqlite3.SQLITE_LOCKED: LOCKED,
    sqlite3.SQLITE_FULL: FULL,
    sqlite3.SQLITE_CANTOPEN: UNREACHABLE,
    sqlite3.SQLITE_IOERR: UNREACHABLE,
    sqlite3.SQLITE_READONLY: UNREACHABLE,
}
# https://www.postgresql.org/docs/current/errcodes-appendix.html; a whole class has two characters.
_POSTGRESQL = {
    "53100": FULL,
    "55P03": LOCKED,
    "40001": LOCKED,
    "40P01": LOCKED,
    "57014": LOCKED,
    "08": UNREACHABLE,
    "28": UNREACHABLE,
    "3D": UNREACHABLE,
    "53": UNREACHABLE,
    "57": UNREACHABLE,
    "58": UNREACHABLE,
}


@contextmanager
def named(url: URL) -> Iterator[None]:
    """Turn what a driver raises because the database is in trouble into one clear error.

    Raises:
        DatabaseError: `database-unreachable`, `database-locked` or `database-full`; `database` for another trouble.
    """
    try:
        yield
    except (IntegrityError, ProgrammingError):
        raise
    except (DBAPIError, NoConnectionFree) as exc:
        failure = name(exc, url)
        if failure is None:
            raise
        raise failure from exc


def name(exc: DBAPIError | NoConnectionFree, url: URL) -> DatabaseError | None:
    """The error for what a driver raised; none if the database is in no trouble: then it is a defect of ours."""
    code = code_of(exc)
    if code is None:
        return None
    where = url.render_as_string(hide_password=True)
    cause = str(getattr(exc, "orig", None) or exc).strip().splitlines() or [type(exc).__name__]
    text = without_secrets(cause[0], url.render_as_string(hide_password=False)).rstrip(".")
    return DatabaseError(
        f"The database {where} {_WHAT[code]}: {text}.",
        remedy=f"{_REMEDY[code]}; {_GOES_ON}",
        code=code,
    )


def is_away(error: FolkmootError, cause: BaseException | None = None) -> bool:
    """Whether a database's server is not there, or does not let us in: perhaps it only starts, later than we do.

    What is wrong with a file is wrong with the settings or the disk.

    Args:
        error: What was said of it.
        cause: What the driver raised; the error's own cause if left out.
    """
    driver = getattr(cause or error.__cause__, "orig", None)
    return error.code == UNREACHABLE and not isinstance(driver, sqlite3.Error | NoneType)


def code_of(exc: DBAPIError | NoConnectionFree) -> str | None:
    """The stable code of a trouble."""
    if isinstance(exc, NoConnectionFree):
        return "database"
    cause = exc.orig
    if isinstance(cause, sqlite3.Error):
        number = getattr(cause, "sqlite_errorcode", None)
        code = None if number is None else _SQLITE.get(number & 0xFF)
    else:
        state = getattr(cause, "sqlstate", None)
        if state is None:  # the server said nothing: there is no connection
            return UNREACHABLE if exc.connection_invalidated or _is_operational(exc) else None
        code = _POSTGRESQL.get(state) or _POSTGRESQL.get(state[:2])
    return code or ("database" if _is_operational(exc) else None)


def _is_operational(exc: DBAPIError) -> bool:
    """Whether it is about the database's operation, by PEP 249, and not about what we asked."""
    return any(kind.__name__ == "OperationalError" for kind in type(exc.orig).__mro__)

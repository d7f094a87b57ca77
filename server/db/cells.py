# SPDX-License-Identifier: Apache-2.0
"""Cells of SQLite that do not have the type of their column, so that nobody can read them.

SQLite keeps what it is given in any column; PostgreSQL refuses it. One query a table looks at every cell.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Column, Connection, String, Table

from folkmoot.errors import DatabaseError
from server.db.models import Base

UNREADABLE = "row-unreadable"
"""Code of the error that names a cell."""

_CLASSES = {int: "integer", bool: "integer", str: "text", bytes: "blob", datetime: "text", object: "text"}
_EMPTY = {
    **dict.fromkeys((int, bool), "0"),
    str: "''",
    bytes: "x''",
    object: "'{}'",
    datetime: "'1970-01-01 00:00:00.000000'",
}
_KINDS = {
    "null": "nothing",
    "integer": "an integer",
    "real": "a number that is no integer",
    "text": "text",
    "blob": "bytes",
}
_NEEDED = {
    int: "an integer is",
    bool: "0 or 1 is",
    bytes: "bytes are",
    datetime: "a date is",
    object: "JSON is",
}
_DIGITS = "[0-9][0-9]"
_DATE = f"{_DIGITS}{_DIGITS}-{_DIGITS}-{_DIGITS} {_DIGITS}:{_DIGITS}:{_DIGITS}*"


@dataclass(frozen=True)
class Cell:
    """A cell that can't be read."""

    column: Column[object]
    rowid: int
    """SQLite's number of its row."""
    key: str
    """Which row, for people."""
    actual: str
    """Storage class of the value."""

    @property
    def table(self) -> Table:
        """Its table."""
        return self.column.table

    @property
    def sentence(self) -> str:
        """What is there, and what belongs there."""
        most = getattr(self.column.type, "length", None)
        text = f"UTF-8 text of at most {most} characters is" if most else "UTF-8 text is"
        needed = {str: text, **_NEEDED}[self.column.type.python_type]
        return f"the database has {_KINDS[self.actual]}, and {needed} needed."

    @property
    def lossless(self) -> bool:
        """Whether the value keeps its bytes when it gets the type of its column."""
        return {self.actual, _CLASSES[self.column.type.python_type]} == {"text", "blob"}

    def error(self) -> DatabaseError:
        """Say it."""
        return DatabaseError(
            f"{self.table.name} {self.key}, column {self.column.name} can't be read: {self.sentence}",
            remedy="Find out who writes to the database, stop the coordinator and run "
            "`folkmoot coordinator rebuild rows`.",
            code=UNREADABLE,
            details={"table": self.table.name, "row": self.key, "column": self.column.name},
        )

    def convert(self, connection: Connection, *, empty: bool = False) -> bool:
        """Give the value the type of its column, or empty the cell; whether it can be read now."""
        name, kind = self.column.name, self.column.type.python_type
        wanted = _CLASSES[kind]
        value = f'CAST("{name}" AS {wanted})'
        if empty:
            value = "NULL" if self.column.nullable else _EMPTY[kind]
        where = f"WHERE rowid = {self.rowid:d}"
        row = f'"{self.table.name}" {where}'
        _teach(connection)
        (good,) = connection.exec_driver_sql(
            f"SELECT NOT ({_wrong(self.column, value)}) FROM {row}"  # noqa: S608  names of our own tables
        ).one()
        if good:
            connection.exec_driver_sql(
                f'UPDATE "{self.table.name}" SET "{name}" = {value} {where}'  # noqa: S608  as above
            )
        return bool(good)

    def delete(self, connection: Connection) -> None:
        """Delete the row."""
        connection.exec_driver_sql(f'DELETE FROM "{self.table.name}" WHERE rowid = {self.rowid:d}')  # noqa: S608  as above


def unreadable(connection: Connection, tables: Sequence[Table] = Base.metadata.sorted_tables) -> list[Cell]:
    """Return the cells that can't be read, of all tables or of some; none on PostgreSQL."""
    if connection.dialect.name != "sqlite":
        return []
    _teach(connection)
    cells: list[Cell] = []
    for table in tables:
        columns = list(table.columns)
        wrong = [_wrong(column, f'"{column.name}"') for column in columns]
        keys = [_shown(f'"{column.name}"') for column in table.primary_key]
        shown = ", ".join(["rowid", *keys, *wrong, *(f'typeof("{column.name}")' for column in columns)])
        query = f'SELECT {shown} FROM "{table.name}" WHERE {" OR ".join(wrong)}'  # noqa: S608  our own names
        for row in connection.exec_driver_sql(query):
            key = ", ".join(str(part) for part in row[1 : 1 + len(keys)])
            flags = row[1 + len(keys) :]
            cells += [
                Cell(column, row[0], key, flags[len(columns) + place])
                for place, column in enumerate(columns)
                if flags[place] and not _is_json(connection, column, row[0])
            ]
    return cells


def _wrong(column: Column[object], value: str) -> str:
    """The condition in SQL that a value can't be read as one of a column; 0 or 1, never NULL."""
    kind = column.type.python_type
    wrong = f"typeof({value}) <> '{_CLASSES[kind]}'"
    if kind in (str, object):
        wrong += f" OR NOT is_utf8(CAST({value} AS BLOB))"
    if kind is bool:
        wrong += f" OR {value} NOT IN (0, 1)"
    elif kind is object:
        wrong += f" OR NOT json_valid({value})"
    elif kind is datetime:
        wrong += f" OR {value} NOT GLOB '{_DATE}' OR datetime({value}) IS NULL"
    elif isinstance(column.type, String) and column.type.length:
        wrong += f" OR length({value}) > {column.type.length}"
    if column.nullable:
        return f"({value} IS NOT NULL AND ({wrong}))"
    return f"({value} IS NULL OR {wrong})"


def _is_json(connection: Connection, column: Column[object], rowid: int) -> bool:
    """Whether a value is JSON for Python though not for SQLite: it may have NaN in it."""
    if column.type.python_type is not object:
        return False
    query = f'SELECT CAST("{column.name}" AS BLOB) FROM "{column.table.name}" WHERE rowid = {rowid:d}'  # noqa: S608  our own names
    (value,) = connection.exec_driver_sql(query).one()
    try:
        json.loads(value)
    except (TypeError, ValueError):
        return False
    return True


def _teach(connection: Connection) -> None:
    """Give SQLite the one question that it can't answer."""
    driver = connection.connection.driver_connection
    if isinstance(driver, sqlite3.Connection):
        driver.create_function("is_utf8", 1, _is_utf8, deterministic=True)


def _is_utf8(value: bytes | None) -> bool:
    try:
        (value or b"").decode()
    except UnicodeDecodeError:
        return False
    return True


def _shown(value: str) -> str:
    """A key as people can read it, in SQL."""
    bad = f"typeof({value}) = 'blob' OR NOT is_utf8(CAST({value} AS BLOB))"
    return f"CASE WHEN {bad} THEN hex({value}) ELSE {value} END"

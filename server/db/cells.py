# SPDX-License-Identifier: Apache-2.0
"""Cells of which Python can't make a value of their column, so that nobody can read them.

SQLite keeps what it is given in any column. PostgreSQL refuses more, but both keep JSON that Python can't read or that
has another shape than its column, and dates that Python does not have. One query per table looks at every cell; text
of JSON and of dates is read by Python.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, get_args, get_type_hints

from pydantic import TypeAdapter
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
}
_DIGITS = "[0-9][0-9]"
_DATE = f"{_DIGITS}{_DIGITS}-{_DIGITS}-{_DIGITS} {_DIGITS}:{_DIGITS}:{_DIGITS}*"


@dataclass(frozen=True)
class Cell:
    """A cell that can't be read."""

    column: Column[object]
    row: str
    """Which row, as a condition in SQL."""
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
        needed = {str: text, object: f"JSON of the type {_shape(self.column)} is", **_NEEDED}
        return f"the database has {_KINDS[self.actual]}, and {needed[self.column.type.python_type]} needed."

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
        value = f'CAST("{name}" AS {_CLASSES[kind]})'
        if empty:
            blank = (
                "'[]'"
                if kind is object and _shape(self.column).startswith("list")
                else _EMPTY.get(kind, "'{}'")
            )
            value = "NULL" if self.column.nullable else blank
        row = f'"{self.table.name}" WHERE {self.row}'
        good = empty
        if connection.dialect.name == "sqlite":
            _teach(connection)
            wrong = _wrong(self.column, value)
            (good,) = connection.exec_driver_sql(f"SELECT NOT ({wrong}) FROM {row}").one()  # noqa: S608  our own names
        if good:
            connection.exec_driver_sql(
                f'UPDATE "{self.table.name}" SET "{name}" = {value} WHERE {self.row}'  # noqa: S608  as above
            )
        return bool(good)

    def delete(self, connection: Connection) -> None:
        """Delete the row."""
        connection.exec_driver_sql(f'DELETE FROM "{self.table.name}" WHERE {self.row}')  # noqa: S608  as above


def unreadable(connection: Connection, tables: Sequence[Table] = Base.metadata.sorted_tables) -> list[Cell]:
    """Return the cells that can't be read, of all tables or of some."""
    find = _in_sqlite if connection.dialect.name == "sqlite" else _in_postgresql
    return [cell for table in tables for cell in find(connection, table)]


def _in_sqlite(connection: Connection, table: Table) -> Iterator[Cell]:
    _teach(connection)
    columns = list(table.columns)
    wrong = [_wrong(column, f'"{column.name}"') for column in columns]
    keys = [_shown(f'"{column.name}"') for column in table.primary_key]
    shown = ", ".join(["rowid", *keys, *wrong, *(f'typeof("{column.name}")' for column in columns)])
    query = f'SELECT {shown} FROM "{table.name}" WHERE {" OR ".join(wrong)}'  # noqa: S608  our own names
    for row in connection.exec_driver_sql(query):
        key = ", ".join(str(part) for part in row[1 : 1 + len(keys)])
        flags = row[1 + len(keys) :]
        for place, column in enumerate(columns):
            if flags[place]:
                yield Cell(column, f"rowid = {row[0]:d}", key, flags[len(columns) + place])


def _in_postgresql(connection: Connection, table: Table) -> Iterator[Cell]:
    """Look at what PostgreSQL does not compare with Python's types: dates and JSON."""
    columns = [column for column in table.columns if column.type.python_type in (datetime, object)]
    if not columns:
        return
    keys = [f'"{column.name}"::text' for column in table.primary_key]
    shown = ", ".join(["ctid::text", *keys, *(f'"{column.name}"::text' for column in columns)])
    query = f'SELECT {shown} FROM "{table.name}"'  # noqa: S608  our own names
    for row in connection.exec_driver_sql(query):
        for column, value in zip(columns, row[1 + len(keys) :], strict=True):
            if value is not None and not _is_read(_name(column), value.encode()):
                yield Cell(column, f"ctid = '{row[0]}'", ", ".join(row[1 : 1 + len(keys)]), "text")


def _wrong(column: Column[object], value: str) -> str:
    """The condition in SQL that a value can't be read as one of a column; 0 or 1, never NULL."""
    kind = column.type.python_type
    wrong = f"typeof({value}) <> '{_CLASSES[kind]}'"
    if kind is str:
        wrong += f" OR NOT is_utf8(CAST({value} AS BLOB))"
    if kind is bool:
        wrong += f" OR {value} NOT IN (0, 1)"
    elif kind in (object, datetime):
        wrong += f" OR NOT is_read('{_name(column)}', CAST({value} AS BLOB))"
        # Python reads more forms of dates than the one that SQLite can compare.
        wrong += f" OR {value} NOT GLOB '{_DATE}'" if kind is datetime else ""
    elif isinstance(column.type, String) and column.type.length:
        wrong += f" OR length({value}) > {column.type.length}"
    if column.nullable:
        return f"({value} IS NOT NULL AND ({wrong}))"
    return f"({value} IS NULL OR {wrong})"


def _name(column: Column[object]) -> str:
    return f"{column.table.name}.{column.name}"


@cache
def _hints() -> dict[str, Any]:
    """What the models say of each column, by its name: the type in `Mapped[...]`."""
    return {
        _name(mapper.columns[key]): get_args(hint)[0]
        for mapper in Base.registry.mappers
        for key, hint in get_type_hints(mapper.class_).items()
        if key in mapper.columns
    }


def _shape(column: Column[object]) -> str:
    """The type of what a column's JSON holds, as Python writes it."""
    return str(_hints()[_name(column)]).removesuffix(" | None").replace("typing.", "")


@cache
def _readers() -> dict[str, Callable[[str], object]]:
    """What makes a value of a column's text, for dates and JSON."""

    def of_json(name: str) -> Callable[[str], object]:
        shape: TypeAdapter[object] = TypeAdapter(_hints()[name])
        return lambda text: shape.validate_python(json.loads(text), strict=True)

    kinds = {
        _name(column): column.type.python_type
        for table in Base.metadata.sorted_tables
        for column in table.columns
    }
    return {
        name: datetime.fromisoformat if kind is datetime else of_json(name)
        for name, kind in kinds.items()
        if kind in (datetime, object)
    }


def _is_read(name: str, value: bytes | None) -> bool:
    """Whether Python makes a value of a text; NULL is not for it to judge."""
    try:
        value is None or _readers()[name](value.decode())
    except (ValueError, RecursionError):
        return False
    return True


def _teach(connection: Connection) -> None:
    """Give SQLite the questions that it can't answer."""
    driver = connection.connection.driver_connection
    if isinstance(driver, sqlite3.Connection):
        driver.create_function("is_utf8", 1, _is_utf8, deterministic=True)
        driver.create_function("is_read", 2, _is_read, deterministic=True)


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

# SPDX-License-Identifier: Apache-2.0
"""Any value in any column of any table: it can be read, or the cell is named with its row, its column and a remedy."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Column, Connection, Engine, Table, insert, select
from sqlalchemy.exc import DBAPIError

from server.db.cells import unreadable
from server.db.engine import Database, make_engine
from server.db.models import Base

TABLES = {table.name: table for table in Base.metadata.sorted_tables}
VALUES = (
    *(None, 0, 5, -1, 1.5, "", "abc", "1", "{}", "{", "null", '{"a": NaN}', "x" * 200),
    *("2026-01-01 00:00:00.000000", "2026-01-01", "now", b"", b"abc", b"{}", b"\xff\x00"),
)
SAMPLES: dict[type, Any] = {
    bool: True,
    int: 1,
    str: "a",
    bytes: b"a",
    datetime: datetime(2026, 1, 1, tzinfo=UTC),
    object: {"a": 1},
}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    made = make_engine(str(tmp_path_factory.mktemp("cells") / "db.sqlite3"))
    Base.metadata.create_all(made)
    with made.begin() as connection:
        connection.exec_driver_sql("PRAGMA foreign_keys = OFF")
        for table in TABLES.values():
            row = {column.name: SAMPLES[column.type.python_type] for column in table.columns}
            connection.execute(insert(table).values(row))
    return made


def readable(connection: Connection, table: Table, column: Column[Any]) -> bool:
    """Whether SQLAlchemy gives a value of the column's type."""
    try:
        (value,) = connection.execute(select(column)).one()
    except (DBAPIError, TypeError, ValueError):
        return False
    return (value is None and bool(column.nullable)) or isinstance(value, column.type.python_type)


@pytest.mark.parametrize("name", TABLES)
def test_what_can_not_be_read_is_named(name: str, engine: Engine) -> None:
    table, named = TABLES[name], 0
    with engine.connect() as connection, connection.begin() as transaction:
        connection.exec_driver_sql("PRAGMA ignore_check_constraints = ON")
        assert unreadable(connection, [table]) == []
        for column in table.columns:
            for value in VALUES:
                before = connection.begin_nested()
                try:
                    connection.exec_driver_sql(f'UPDATE "{name}" SET "{column.name}" = ?', (value,))  # noqa: S608  our own names
                except DBAPIError:  # SQLite itself refuses it
                    before.rollback()
                    continue
                found = unreadable(connection, [table])
                if not readable(connection, table, column):
                    assert [(cell.table.name, cell.column) for cell in found] == [(name, column)], value
                for cell in found:
                    said = str(cell.error())
                    assert f"{name} {cell.key}, column {column.name} can't be read" in said
                    assert "coordinator rebuild rows" in said
                    assert cell.convert(connection) or cell.convert(connection, empty=True)
                    assert readable(connection, table, column)
                    named += 1
                assert unreadable(connection, [table]) == []
                before.rollback()
        transaction.rollback()
    assert named


def test_a_database_that_was_put_right_is_fine_again(tmp_path: Path) -> None:
    database = Database(make_engine(str(tmp_path / "db.sqlite3")))
    Base.metadata.create_all(database.engine)
    with database.write() as session:
        session.connection().exec_driver_sql("INSERT INTO accounts VALUES ('0xab', 7, '0')")
    assert database.problem() is None, "nobody met it yet"
    found = database.unreadable()
    assert found is not None
    assert (found.code, found.details["column"]) == ("row-unreadable", "staked")
    assert str(database.problem()) == str(found), "health says it from then on"
    with database.write() as session:
        session.connection().exec_driver_sql("UPDATE accounts SET staked = 1")
    assert database.problem() is None
    database.close()

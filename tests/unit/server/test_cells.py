# SPDX-License-Identifier: Apache-2.0
"""Any value in any column of any table: it can be read, or the cell is named with its row, its column and a remedy."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sqlalchemy import Column, Connection, Engine, Table, event, insert, select
from sqlalchemy.exc import DBAPIError

from server.db.cells import unreadable
from server.db.engine import Database, make_engine
from server.db.models import Base, Update
from tests import postgres

TABLES = {table.name: table for table in Base.metadata.sorted_tables}
VALUES = (
    *(None, 0, 5, -1, 1.5, "", "abc", "1", "{}", "{", "null", '{"a": NaN}', "x" * 200),
    *("2026-02-30 10:00:00.000000", "2026-01-01 24:00:00.000000", "0000-01-01 00:00:00.000000"),
    *(
        "[]",
        "[1, 2]",
        '["a"]',
        '{"a": 1}',
        '{"a": "b"}',
        "9" * 5000,
        "[" * 100_000,
        '{"a": ' * 900 + "1" + "}" * 900,
    ),
    *("2026-01-01 00:00:00.000000", "2026-01-01", "now", b"", b"abc", b"{}", b"\xff\x00"),
)
SAMPLES: dict[type, Any] = {
    bool: True,
    int: 1,
    str: "a",
    bytes: b"a",
    datetime: datetime(2026, 1, 1, tzinfo=UTC),
    object: {"a": "b"},
}
TEXTS = {"entries.commitment", "entries.numbers", "updates.commitment"}
"""Columns whose JSON maps names to text."""
MOMENT = "2026-02-20 10:00:00.000000"


def fill(made: Engine) -> Engine:
    """Make the tables, with a row in each."""
    Base.metadata.create_all(made)
    with made.begin() as connection:
        for table in Base.metadata.sorted_tables:
            row = {column.name: SAMPLES[column.type.python_type] for column in table.columns}
            if table.name == "rounds":
                row["exponents"] = [1]
            connection.execute(insert(table).values(row))
    return made


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    made = make_engine(str(tmp_path_factory.mktemp("cells") / "db.sqlite3"))
    event.listen(made, "connect", lambda connection, _: connection.execute("PRAGMA foreign_keys = OFF"))
    return fill(made)


@pytest.fixture(scope="module")
def postgresql() -> Iterator[Engine]:
    with postgres.postgres() as server:
        made = make_engine(server.url)
        event.listen(made, "connect", lambda one, _: one.execute("SET session_replication_role = replica"))
        event.listen(made, "connect", lambda one, _: one.commit())
        yield fill(made)
        made.dispose()


def readable(connection: Connection, table: Table, column: Column[Any]) -> bool:
    """Whether SQLAlchemy gives a value of the column's type."""
    try:
        (value,) = connection.execute(select(column)).one()
    except (DBAPIError, TypeError, ValueError, RecursionError):
        return False
    kind, name = column.type.python_type, f"{table.name}.{column.name}"
    if value is None:
        return bool(column.nullable)
    if name == "rounds.exponents":
        return isinstance(value, list) and all(type(number) is int for number in value)
    if name in TEXTS:
        return isinstance(value, dict) and all(isinstance(text, str) for text in value.values())
    return isinstance(value, dict if kind is object else kind)


@pytest.mark.parametrize("text", ["2026-02-20T10:00:00.000000", "20260220 10:00:00", "2026-W08-5 10:00:00"])
def test_a_date_that_only_python_reads_is_named(text: str, engine: Engine) -> None:
    """SQLite compares dates as text, so another form would be sorted wrongly."""
    table = TABLES["updates"]
    with engine.connect() as connection, connection.begin() as transaction:
        connection.exec_driver_sql("UPDATE updates SET received_at = ?", (text,))
        assert readable(connection, table, table.c.received_at)
        assert [cell.column.name for cell in unreadable(connection, [table])] == ["received_at"]
        transaction.rollback()


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


def flipped(text: str) -> st.SearchStrategy[str]:
    """Draw a text of which one bit is another."""
    places = st.tuples(st.integers(0, len(text) - 1), st.integers(0, 6))
    return places.map(lambda at: text[: at[0]] + chr(ord(text[at[0]]) ^ 1 << at[1]) + text[at[0] + 1 :])


JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)
DATES = flipped(MOMENT) | st.sampled_from(
    ["infinity", "-infinity", "0044-03-15 12:00 BC", "12026-01-01", "epoch"]
)
TEXT = DATES | st.text() | JSONS.map(json.dumps) | flipped('{"a": "b"}')
CELLS = st.sampled_from([column for table in TABLES.values() for column in table.columns])
READ = st.sampled_from(
    [
        column
        for table in TABLES.values()
        for column in table.columns
        if column.type.python_type in (object, datetime)
    ]
)


def assert_named(engine: Engine, column: Column[Any], value: Any) -> None:
    """Put a value that the database takes into a cell: it can be read, or it is named and can be emptied."""
    table = column.table
    with engine.connect() as connection, connection.begin() as transaction:
        mark = "?" if engine.dialect.name == "sqlite" else f"%s::{column.type.compile(engine.dialect)}"
        try:
            connection.exec_driver_sql(f'UPDATE "{table.name}" SET "{column.name}" = {mark}', (value,))  # noqa: S608  our own names
        except (DBAPIError, OverflowError, UnicodeError):
            return
        found = unreadable(connection, [table])
        if not readable(connection, table, column):
            assert [cell.column for cell in found] == [column]
        for cell in found:
            assert cell.convert(connection) or cell.convert(connection, empty=True)
            assert readable(connection, table, column)
        assert unreadable(connection, [table]) == []
        transaction.rollback()


@given(CELLS, TEXT | st.integers() | st.floats() | st.binary() | st.none())
def test_whatever_sqlite_takes_is_read_or_named(engine: Engine, column: Column[Any], value: Any) -> None:
    assert_named(engine, column, value)


@given(READ, TEXT)
@example(Update.__table__.c.received_at, "infinity")
@example(Update.__table__.c.received_at, "0044-03-15 12:00 BC")
@example(Update.__table__.c.received_at, "12026-01-01")
@example(Update.__table__.c.commitment, "[]")
@example(Update.__table__.c.commitment, "9" * 5000)
def test_whatever_postgresql_takes_is_read_or_named(
    postgresql: Engine, column: Column[Any], value: str
) -> None:
    assert_named(postgresql, column, value)


@pytest.mark.parametrize("kind", ["engine", "postgresql"])
def test_an_intact_row_of_each_table_is_read(kind: str, request: pytest.FixtureRequest) -> None:
    made = request.getfixturevalue(kind)
    with made.connect() as connection:
        assert unreadable(connection) == []
        assert all(
            readable(connection, table, column) for table in TABLES.values() for column in table.columns
        )


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

# SPDX-License-Identifier: Apache-2.0
"""The schema, and a migration to one that follows it: both ways, with rows in every table, and interrupted."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import JSON, Column, Engine, MetaData, event, inspect, select

from folkmoot.errors import DatabaseError
from server.db import schema
from server.db.engine import make_engine
from server.db.models import Base
from tests import postgres

Rows = dict[str, list[dict[str, Any]]]

NOW = datetime(2026, 1, 1, tzinfo=UTC)
REVISIONS = Path(__file__).parent / "revisions"
"""Schemas that follow this release's, for these tests only."""
RENAMED = {("rounds", "computed"): "recomputed"}
"""Today's name of a column, by its table and its later name."""


@pytest.fixture
def following(monkeypatch: pytest.MonkeyPatch) -> str:
    """The schema that follows this release's; from here on it is the newest."""
    make = schema._config

    def config(engine: Engine | None = None) -> Config:
        made = make(engine)
        made.set_main_option("path_separator", "newline")
        made.set_main_option("version_locations", f"server.db:migrations/versions\n{REVISIONS}")
        return made

    monkeypatch.setattr(schema, "_config", config)
    return "9000"


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    if request.param == "sqlite":
        made = make_engine(str(tmp_path / "coordinator.sqlite3"))
        yield made
        made.dispose()
        return
    with postgres.postgres() as server:
        made = make_engine(server.url)
        yield made
        made.dispose()


def value(column: Column[Any]) -> object:
    """Something that fits; equal for equal types, so that foreign keys point at the one row that there is."""
    if isinstance(column.type, JSON):
        return {"a": [1]}
    kind = column.type.python_type
    return {int: 1, str: "x", bytes: b"\x00x", bool: True, datetime: NOW}[kind]


def fill(engine: Engine) -> None:
    with engine.begin() as connection:
        for table in Base.metadata.sorted_tables:
            connection.execute(
                table.insert().values({column.name: value(column) for column in table.columns})
            )


def rows(engine: Engine) -> Rows:
    """All there is, as the database itself describes it, by the columns' names of today."""
    found = MetaData()
    found.reflect(engine)
    with engine.connect() as connection:
        return {
            name: [
                {RENAMED.get((name, key), key): value for key, value in row.items()}
                for row in connection.execute(select(table)).mappings()
            ]
            for name, table in found.tables.items()
            if name != "alembic_version"
        }


def common(here: Rows, there: Rows) -> Rows:
    """What is here, as far as tables and columns are there as well."""
    return {
        name: [
            {key: row[key] for key in row if not there[name] or key in there[name][0]} for row in here[name]
        ]
        for name in here
        if name in there
    }


def test_the_schema_is_made_and_taken_away(engine: Engine) -> None:
    schema.upgrade(engine)
    assert schema.differences(engine) == []
    fill(engine)
    assert set(rows(engine)) == set(Base.metadata.tables)
    command.downgrade(schema._config(engine), "base")
    assert set(inspect(engine).get_table_names()) == {"alembic_version"}
    schema.upgrade(engine)
    assert schema.differences(engine) == []


def test_a_migration_keeps_the_rows_both_ways(engine: Engine, following: str) -> None:
    command.upgrade(schema._config(engine), "0014")
    fill(engine)
    full = rows(engine)
    schema.upgrade(engine)
    assert schema.current(engine) == schema.latest() == following
    newer = rows(engine)
    assert common(newer, full) == full
    assert newer["rounds"][0]["next"] == 4
    command.downgrade(schema._config(engine), "0014")
    assert rows(engine) == full
    assert schema.differences(engine) == []


class Crash(Exception):
    """The process ends."""


def test_migration_that_is_interrupted_at_any_statement_changes_nothing(
    engine: Engine, following: str
) -> None:
    command.upgrade(schema._config(engine), "0014")
    fill(engine)
    before = rows(engine)
    left = [0]

    def interrupt(*_: object) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise Crash

    for statements in range(1000):
        left[0] = statements
        event.listen(engine, "before_cursor_execute", interrupt)
        try:
            schema.upgrade(engine)
        except Crash:
            event.remove(engine, "before_cursor_execute", interrupt)
            assert schema.current(engine) == "0014"
            assert rows(engine) == before
        else:
            event.remove(engine, "before_cursor_execute", interrupt)
            break
    assert statements > 5
    assert schema.current(engine) == following
    assert common(rows(engine), before) == before


def test_sqlite_file_as_a_crash_leaves_it_is_migrated_all_the_same(tmp_path: Path, following: str) -> None:
    home, crashed = tmp_path / "home", tmp_path / "crashed"
    home.mkdir()
    engine = make_engine(str(home / "coordinator.sqlite3"))
    command.upgrade(schema._config(engine), "0014")
    fill(engine)
    before = rows(engine)
    copies: list[Path] = []

    def copy(*_: object) -> None:
        copies.append(crashed / str(len(copies)))
        shutil.copytree(home, copies[-1])

    event.listen(engine, "before_cursor_execute", copy)
    schema.upgrade(engine)
    engine.dispose()
    assert len(copies) > 5
    for folder in copies:
        again = make_engine(str(folder / "coordinator.sqlite3"))
        schema.upgrade(again)
        assert schema.current(again) == following
        assert common(rows(again), before) == before
        again.dispose()


def test_a_disk_that_fills_while_the_schema_is_made_is_named(tmp_path: Path) -> None:
    engine = make_engine(str(tmp_path / "db.sqlite3"))
    event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA max_page_count = 3"))
    with pytest.raises(DatabaseError, match="has no room left") as full:
        schema.upgrade(engine)
    assert full.value.code == "database-full"
    engine.dispose()
    again = make_engine(str(tmp_path / "db.sqlite3"))
    schema.upgrade(again)
    schema.check(again)
    again.dispose()

# SPDX-License-Identifier: Apache-2.0
"""Every released schema, both ways, with rows in every table; and a migration that is interrupted."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import JSON, Column, Engine, MetaData, event, inspect, select

from server.db import schema
from server.db.engine import make_engine
from server.db.models import Base
from tests import postgres

Rows = dict[str, list[dict[str, Any]]]

NOW = datetime(2026, 1, 1, tzinfo=UTC)
REVISIONS = [
    script.revision
    for script in ScriptDirectory.from_config(schema._config(make_engine("x"))).walk_revisions()
]
"""Newest first."""
RENAMED = {("rounds", "aggregate_sha256"): "mean_sha256"}
"""Today's name of a column, by its table and its older name."""


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


def test_every_schema_keeps_the_rows_of_every_other_as_far_as_it_can(engine: Engine) -> None:
    schema.upgrade(engine)
    fill(engine)
    full = rows(engine)
    assert set(full) == set(Base.metadata.tables)
    for revision in REVISIONS[1:]:
        command.downgrade(schema._config(engine), revision)
        older = rows(engine)
        assert older == common(full, older), revision
        assert all(older.values()), revision
        schema.upgrade(engine)
        assert schema.differences(engine) == []
        newer = rows(engine)
        assert common(newer, older) == older, revision
    command.downgrade(schema._config(engine), "base")
    assert set(inspect(engine).get_table_names()) == {"alembic_version"}
    schema.upgrade(engine)
    assert schema.differences(engine) == []


def test_verdicts_have_the_names_of_their_release(engine: Engine) -> None:
    schema.upgrade(engine)
    fill(engine)
    entries = Base.metadata.tables["entries"]
    row = {column.name: value(column) for column in entries.columns}
    now = [
        ("against-core", {"sumSquares": "9", "coreSimilarity": "-5", "coreSimilarityMedian": "7"}),
        ("accepted", {"sumSquares": "9", "trajectoryCosine": "1", "clipFactor": "6"}),
        ("zero-update", {"sumSquares": "0"}),
        (None, None),
    ]
    old = [
        ("against-others", {"sumSquares": "9", "company": "-5", "companyMedian": "7"}),
        ("accepted", {"sumSquares": "9", "pathCosine": "1", "clip": "6"}),
        ("empty", {"sumSquares": "0"}),
        (None, None),
    ]
    with engine.begin() as connection:
        connection.execute(entries.delete())
        for position, (reason, numbers) in enumerate(now):
            connection.execute(
                entries.insert().values({**row, "position": position, "reason": reason, "numbers": numbers})
            )

    def stored() -> list[tuple[str | None, dict[str, str] | None]]:
        with engine.connect() as connection:
            query = select(entries.c.reason, entries.c.numbers).order_by(entries.c.position)
            return [(reason, numbers) for reason, numbers in connection.execute(query)]

    command.downgrade(schema._config(engine), "0007")
    assert stored() == old
    schema.upgrade(engine)
    assert stored() == now


class Crash(Exception):
    """The process ends."""


def test_migration_that_is_interrupted_at_any_statement_changes_nothing(engine: Engine) -> None:
    oldest = REVISIONS[-1]
    schema.upgrade(engine)
    fill(engine)
    command.downgrade(schema._config(engine), oldest)
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
            assert schema.current(engine) == oldest
            assert rows(engine) == before
        else:
            event.remove(engine, "before_cursor_execute", interrupt)
            break
    assert statements > 5
    assert schema.differences(engine) == []
    assert common(rows(engine), before) == before


def test_sqlite_file_as_a_crash_leaves_it_is_migrated_all_the_same(tmp_path: Path) -> None:
    home, crashed = tmp_path / "home", tmp_path / "crashed"
    home.mkdir()
    engine = make_engine(str(home / "coordinator.sqlite3"))
    schema.upgrade(engine)
    fill(engine)
    # The older migrations had their turn when they were new.
    command.downgrade(schema._config(engine), REVISIONS[3])
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
        assert schema.differences(again) == []
        assert common(rows(again), before) == before
        again.dispose()

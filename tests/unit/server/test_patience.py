# SPDX-License-Identifier: Apache-2.0
"""Pauses and the end of a run whose rounds are cancelled, for a clock of the test's own."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import select

from server.db.engine import Database
from server.db.models import LogEntry, Run
from server.rounds import patience

START = datetime(2026, 11, 28, 23, 0, 0, tzinfo=UTC)
HOURS = 3600
WHY = "0 of at least 2 contributors committed an update."


def begin(database: Database, seconds: int) -> None:
    with database.write() as session:
        values = {"rounds": 9, "expect": 4, "completed": 0, "cancelled": 0, "signature": "0x"}
        session.add(Run(id="run", state="running", patience=seconds, created_at=START, **values))


def cancel(database: Database, number: int, after: float) -> Run:
    """Cancel a round so many seconds after the start; return the run as it is stored."""
    now = START + timedelta(seconds=after)
    with database.write() as session:
        patience.note_cancelled(session, session.get_one(Run, "run"), number, WHY, now)
    return stored(database)


def stored(database: Database) -> Run:
    with database.read() as session:
        found = session.get_one(Run, "run")
        session.expunge_all()
        return found


def waits(run: Run, after: float) -> float | None:
    """Seconds that a run still waits, so many seconds after the start."""
    now = START + timedelta(seconds=after)
    until = patience.waits_until(run, now)
    return None if until is None else (until - now).total_seconds()


def told(database: Database) -> list[str]:
    with database.read() as session:
        query = select(LogEntry).where(LogEntry.type == "run-waiting").order_by(LogEntry.id)
        return [entry.data["message"] for entry in session.scalars(query)]


def test_pauses_double_up_to_the_longest() -> None:
    pauses = [patience.pause(number) for number in range(1, 10)]
    assert pauses == [10, 20, 40, 80, 160, 320, 600, 600, 600]
    assert patience.pause(1_000_000) == 600


def test_without_patience_three_cancelled_rounds_fail_at_once(database: Database) -> None:
    begin(database, 0)
    for number in (1, 2):
        run = cancel(database, number, number)
        assert (run.state, run.next_round_at, run.cancelled_since) == ("running", None, None)
        assert waits(run, number) is None
    run = cancel(database, 3, 3)
    assert (run.state, run.error) == ("failed", f"3 rounds in a row were cancelled. {WHY}")
    assert not told(database)


def test_a_night_without_anybody_costs_54_rounds(database: Database) -> None:
    """The number of docs/running.md: rounds that are cancelled at once, with a patience of eight hours."""
    begin(database, 8 * HOURS)
    after, number = 0.0, 0
    while (run := cancel(database, number := number + 1, after)).state == "running":
        pause = waits(run, after)
        assert pause is not None
        assert pause <= 600
        after += pause
    assert (number, after) == (54, 8 * HOURS), "the last pause ends with the patience"
    assert run.error == f"54 rounds in a row were cancelled, for 8h (the patience is 8h). {WHY}"
    assert told(database)[:2] == [
        "Waiting until 23:00:10 UTC for the next round: 1 round was cancelled.",
        "Waiting until 23:00:30 UTC for the next round: 2 rounds in a row were cancelled.",
    ]
    assert len(told(database)) == 53


def test_a_run_does_not_fail_before_the_third_round_however_long_they_take(database: Database) -> None:
    begin(database, 60)
    assert waits(cancel(database, 1, 0), 0) == 10
    run = cancel(database, 2, 700)
    assert (run.state, waits(run, 700)) == ("running", None), "nothing is left to wait for"
    run = cancel(database, 3, 1400)
    assert run.error == f"3 rounds in a row were cancelled, for 23m 20s (the patience is 1m). {WHY}"


def test_an_anchored_round_begins_anew(database: Database) -> None:
    begin(database, 60)
    cancel(database, 1, 0)
    cancel(database, 2, 30)
    with database.write() as session:
        patience.reset(session.get_one(Run, "run"))
    run = stored(database)
    assert (run.cancelled, run.cancelled_since, waits(run, 30)) == (0, None, None)
    run = cancel(database, 4, 4000)
    assert (run.state, run.cancelled, waits(run, 4000)) == ("running", 1, 10)


def test_a_pause_ends_with_its_run_and_when_the_clock_is_set_back(database: Database) -> None:
    begin(database, HOURS)
    run = cancel(database, 1, 0)
    assert [waits(run, after) for after in (0, 9.5, 10, 11)] == [10, 0.5, None, None]
    assert waits(run, -86_400) is None, "the clock was set back by a day"
    run.state = "failed"
    assert waits(run, 0) is None


def test_a_clock_that_is_set_back_makes_no_run_wait_longer_than_its_patience(database: Database) -> None:
    begin(database, 60)
    cancel(database, 1, 0)
    assert waits(cancel(database, 2, -86_400), -86_400) == 20, "the clock was set back by a day"
    run = cancel(database, 3, -86_400 + 61)
    assert run.error == f"3 rounds in a row were cancelled, for 1m 1s (the patience is 1m). {WHY}"


def test_times_for_programs_are_not_before_the_moment() -> None:
    assert patience.unix(START) == START.timestamp()
    assert patience.unix(START + timedelta(milliseconds=1)) == START.timestamp() + 1

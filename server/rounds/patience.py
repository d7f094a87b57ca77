# SPDX-License-Identifier: Apache-2.0
"""The pauses of a run, before its first round and after cancelled ones, its patience, and why it waits, in words.

What decides is in the row of the run, so a coordinator that starts again goes on with the pause. All times are those of
the coordinator's wall clock: an outage of people lasts as long as it does on the wall, and time travel moves a local
chain's clock by days.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from folkmoot.runtime.units import format_duration
from server.db import events
from server.db.models import Run
from server.limits import MOST_WAIT
from server.rounds import queries
from server.waiting import Waiting, Why, wait

CANCELLED_LIMIT = 3
"""Cancelled rounds in a row before which no run fails: two can be bad luck."""
FIRST_PAUSE, LONGEST_PAUSE = 10.0, 600.0
"""Seconds of the pause after one cancelled round, doubled after each further one, and of the longest pause: after an
outage the run goes on within ten minutes, and a night without nodes costs 60 rounds."""


def pause(cancelled: int) -> float:
    """Return the seconds to wait after so many cancelled rounds in a row, 1 or more."""
    return min(FIRST_PAUSE * 2.0 ** min(cancelled - 1, 64), LONGEST_PAUSE)


def note_cancelled(session: Session, run: Run, number: int, why: str, now: datetime) -> None:
    """Count a cancelled round, and end the run or begin a pause.

    A run with a patience of 0 seconds has no pauses, and fails as soon as CANCELLED_LIMIT rounds in a row were
    cancelled. Another one fails if, in addition, its patience has passed since the first of them was cancelled. The
    last pause ends with the patience, so that the run does not wait in vain.

    Args:
        session: A session that writes.
        run: The run of the round; it is under way.
        why: Why it was cancelled, a sentence.
        now: Time on the wall.
    """
    run.cancelled += 1
    since = now
    if run.patience:
        since = run.cancelled_since = min(run.cancelled_since or now, now)  # the clock may be set back
    end = since + timedelta(seconds=run.patience)
    if now < end:
        run.next_round_at = min(now + timedelta(seconds=pause(run.cancelled)), end)
        data = {
            "run": run.id,
            "round": number,
            "code": str(Why.CANCELLED_ROUNDS),
            "cancelled": run.cancelled,
            "until": unix(run.next_round_at),
            "message": cancelled_wait(run.next_round_at, run.cancelled).sentence,
        }
        events.append(session, "run-waiting", data, key=f"run-waiting:{number}")
        return
    run.next_round_at = None
    if run.cancelled >= CANCELLED_LIMIT:
        tried = ""
        if run.patience:
            spent = format_duration(int((now - since).total_seconds()))
            tried = f", for {spent} (the patience is {format_duration(run.patience)})"
        message = f"{run.cancelled} rounds in a row were cancelled{tried}. {why}"
        queries.fail_run(session, run, message.strip())


def waits_until(run: Run, now: datetime) -> datetime | None:
    """Return when the pause of a run ends; None if it may open a round now, or is over.

    A pause that would last longer than the longest one is over: the clock was set back meanwhile. Before the first
    round, it is the wait for nodes.
    """
    until = run.next_round_at
    if run.state != "running" or until is None:
        return None
    longest = LONGEST_PAUSE if run.cancelled else MOST_WAIT
    return until if 0 < (until - now).total_seconds() <= longest else None


def reset(run: Run) -> None:
    """Take note that a round of a run was anchored."""
    run.cancelled, run.cancelled_since, run.next_round_at = 0, None, None


def pause_wait(run: Run, until: datetime) -> Waiting:
    """Say why a run waits until a moment of `waits_until`."""
    if run.cancelled:
        return cancelled_wait(until, run.cancelled)
    return wait(Why.NODES, until=unix(until), expect=run.expect)


def cancelled_wait(until: datetime, cancelled: int) -> Waiting:
    """Say why a run waits after rounds that were cancelled."""
    rounds = "1 round was" if cancelled == 1 else f"{cancelled} rounds in a row were"
    return wait(Why.CANCELLED_ROUNDS, until=unix(until), cancelled=rounds)


def unix(moment: datetime) -> int:
    """Return a moment as a Unix time, rounded up to a whole second."""
    return -int(-moment.timestamp() // 1)

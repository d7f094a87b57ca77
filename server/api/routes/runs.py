# SPDX-License-Identifier: Apache-2.0
"""Runs: how many rounds the operator wants."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Path, Query
from sqlalchemy import select
from sqlalchemy.orm import Session

from folkmoot.doctor import examine, run_checks
from folkmoot.protocol.requests import begin_run_message, end_run_message, run_message
from folkmoot.protocol.signatures import digest
from server.api.parts import AppState, Parts
from server.api.problems import WRITES, Problem
from server.api.schemas import (
    BeginRunRequest,
    CheckView,
    EndRunRequest,
    RunIdView,
    RunRequest,
    RunView,
    WaitView,
)
from server.api.signatures import check_deadline, require_coordinator
from server.db import events
from server.db.models import Run
from server.rounds import queries
from server.rounds.patience import pause_wait, unix, waits_until
from server.rounds.queries import enrolled
from server.rounds.runs import check_entitled, stopping

router = APIRouter(tags=["runs"])

Count = Annotated[int, Query(ge=1, le=2**31 - 1)]
"""A number of rounds or updates, as `POST /v1/runs` takes it."""
RunIdentifier = Annotated[str, Path(pattern="^[0-9a-f]{32}$", description="Identifier of a run.")]


@router.post("/v1/runs", status_code=201, responses=WRITES)
def start(parts: Parts, wish: RunRequest) -> RunIdView:
    """Start a run. One at a time; a signature is good once."""
    numbers = (wish.rounds, wish.expect, wish.patience, wish.wait, wish.salt, wish.deadline)
    message = run_message(parts.federation.domain, *numbers)
    require_coordinator(message, wish.signature, parts.federation.coordinator, "start and end runs")
    signed = "0x" + digest(message).hex()
    with parts.database.read() as session:
        _require_unused(session, signed)  # also when too old: whoever sends it again learns what came of it
    check_deadline(wish.deadline)
    policy = parts.chain.ledger.policy(parts.chain.ledger.current_policy())
    check_entitled(parts.chain, parts.federation.coordinator, policy)
    with parts.database.write("run-started") as session:
        running = queries.running_run(session)
        if running is not None:
            raise Problem(
                "run-in-progress",
                f"The run {running.id} is under way: {running.completed} of {running.rounds} rounds are done.",
                "Wait for its end.",
                run=running.id,
            )
        _require_unused(session, signed)
        now = datetime.now(UTC)
        run = Run(
            id=uuid.uuid4().hex,
            state="running",
            rounds=wish.rounds,
            expect=wish.expect,
            patience=wish.patience,
            completed=0,
            cancelled=0,
            created_at=now,
            next_round_at=now + timedelta(seconds=wish.wait) if wish.wait else None,
            signature=wish.signature.lower(),
            digest=signed,
        )
        session.add(run)
        data = {"run": run.id, "rounds": run.rounds, "expect": run.expect, "patience": run.patience}
        events.append(session, "run-started", data, key=f"run-started:{run.id}")
        identifier = run.id
    parts.worker.wake()
    return RunIdView(id=identifier)


@router.get("/v1/runs/needs")
def needs(parts: Parts, rounds: Count, expect: Count) -> list[CheckView]:
    """What a run of so many rounds needs, before anybody starts it: bonds, coins for gas, contributors."""
    with parts.database.read() as session:
        enrolled_now = len(enrolled(session))
    settings = parts.settings
    checks = run_checks(
        parts.chain.rpc,
        settings.resolve(settings.deployment),
        rounds=rounds,
        expect=expect,
        enrolled=enrolled_now,
        moves_clock=parts.chain.time_travel,
    )
    return [CheckView(**line.to_json()) for line in examine(checks)]


@router.post("/v1/runs/{run_id}/begin", responses=WRITES)
def begin(parts: Parts, run_id: RunIdentifier, wish: BeginRunRequest) -> RunView:
    """End the wait at the beginning of a run: its nodes are there. A run that does not wait for them stays as it is."""
    message = begin_run_message(parts.federation.domain, run_id, wish.deadline)
    require_coordinator(message, wish.signature, parts.federation.coordinator, "start and end runs")
    check_deadline(wish.deadline)
    with parts.database.write("run-begun") as session:
        run = _known(session, run_id)
        if not run.cancelled:
            run.next_round_at = None
        view = _view(parts, session, run)
    parts.worker.wake()
    return view


@router.post("/v1/runs/{run_id}/end", responses=WRITES)
def end(parts: Parts, run_id: RunIdentifier, wish: EndRunRequest) -> RunView:
    """End a run before its last round. The open round still ends normally. A run that has ended stays as it is."""
    message = end_run_message(parts.federation.domain, run_id, wish.reason, wish.deadline)
    require_coordinator(message, wish.signature, parts.federation.coordinator, "start and end runs")
    check_deadline(wish.deadline)
    with parts.database.write("run-ended") as session:
        run = _known(session, run_id)
        if run.state == "running":
            queries.fail_run(session, run, f"The operator ended it: {wish.reason}")
        return _view(parts, session, run)


def _require_unused(session: Session, signed: str) -> None:
    """A signed request starts one run, whatever signature it bears; whoever sends it again is told which.

    Raises:
        Problem: It did so before.
    """
    query = select(Run.id).where(Run.digest == signed, Run.state != "running")
    known = session.scalar(query)  # of one that is under way, `run-in-progress` tells
    if known is not None:
        raise Problem(
            "signature-used", f"This signature started the run {known} before.", "Sign again.", run=known
        )


@router.get("/v1/runs/current")
def current(parts: Parts) -> RunView:
    """The newest run, also if it is over."""
    with parts.database.read() as session:
        run = session.scalar(select(Run).order_by(Run.created_at.desc()).limit(1))
        if run is None:
            raise Problem("unknown-run", "There was no run yet.", "Start one: `folkmoot train`.")
        return _view(parts, session, run)


@router.get("/v1/runs/{run_id}")
def one(parts: Parts, run_id: RunIdentifier) -> RunView:
    """One run."""
    with parts.database.read() as session:
        return _view(parts, session, _known(session, run_id))


def _known(session: Session, run_id: str) -> Run:
    run = session.get(Run, run_id)
    if run is None:
        raise Problem("unknown-run", f"There is no run {run_id}.")
    return run


def _view(parts: AppState, session: Session, run: Run) -> RunView:
    until = waits_until(run, datetime.now(UTC))
    waits = [] if run.state != "running" else stopping(session, parts.worker.waiting)
    if until is not None and (pause := pause_wait(run, until)) not in waits:
        waits.insert(0, pause)  # not looked at yet
    return RunView.of(
        run,
        next_round_at=None if until is None else unix(until),
        waiting=waits[0].sentence if waits else None,
        waits=[WaitView.of(wait, code=wait.why) for wait in waits],
    )

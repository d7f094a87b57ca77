# SPDX-License-Identifier: Apache-2.0
"""Rounds."""

from __future__ import annotations

from fastapi import APIRouter
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from server.api.pages import PageWindow, encode
from server.api.parts import Here, Parts, RoundNumber
from server.api.problems import Problem
from server.api.schemas import CanaryView, CurrentRoundView, Page, RoundView
from server.db.models import Refusal, Round, Transaction, Update
from server.rounds import services
from server.rounds.probe import evaluator_of, report_deadline
from server.rounds.steps import PHASES, Step

router = APIRouter(tags=["rounds"])


@router.get("/v1/rounds")
def rounds(here: Here, window: PageWindow) -> Page[RoundView]:
    """Rounds, newest first."""
    with here.coordinator.database.read() as session:
        query = select(Round).order_by(Round.number.desc()).limit(window.limit + 1)
        if window.after is not None:
            query = query.where(Round.number < window.after)
        found = list(session.scalars(query))
        part = found[: window.limit]
        cursor = encode(part[-1].number) if len(found) > window.limit else None
        return Page(items=[_view(here, session, round_) for round_ in part], next_cursor=cursor)


@router.get("/v1/rounds/current")
def current(here: Here) -> CurrentRoundView:
    """The round to train for; 404 `no-open-round` if none takes updates now."""
    with here.coordinator.database.read() as session:
        found = services.open_round(session)
        if (
            found is None
            or found.step not in (Step.COLLECTING, Step.DELIVERY)
            or found.commit_deadline is None
        ):
            raise Problem(404, "no-open-round", "No round takes updates now.", "Ask again in a moment.")
        return CurrentRoundView(
            round=found.number,
            phase=PHASES[Step(found.step)],
            header="0x" + found.header.hex(),
            manifest=here.coordinator.genesis.manifest,
            base_state=found.base_state_sha256,
            momentum_root=found.base_momentum_root,
            commit_deadline=found.commit_deadline,
            chain_time=here.coordinator.now(),
            received=len(services.accepted(session, found.number)),
        )


@router.get("/v1/rounds/{round_number}")
def one(here: Here, round_number: RoundNumber) -> RoundView:
    """One round."""
    with here.coordinator.database.read() as session:
        return _view(here, session, known(session, round_number))


def known(session: Session, number: int) -> Round:
    """A round that exists, else a problem."""
    found = session.get(Round, number)
    if found is None:
        raise Problem(404, "round-unknown", f"There is no round {number}.", "See /v1/rounds.")
    return found


def canary_view(here: Parts, round_: Round) -> CanaryView | None:
    """What the canary said of a round, None if there is none."""
    said = round_.canary
    if said is None:
        return None
    return CanaryView(
        verdict=said["verdict"],
        released=bool(said.get("released")),
        evaluator=said.get("evaluator") or evaluator_of(here.coordinator),
        report=said.get("report"),
        signature=said.get("signature"),
        findings=said.get("findings", []),
        report_deadline=report_deadline(here.coordinator.settings, round_),
    )


def _view(here: Parts, session: Session, round_: Round) -> RoundView:
    count = select(func.count())
    received = session.scalar(count.where(Update.round == round_.number, Update.dropped.is_(None)))
    refused = session.scalar(count.where(Refusal.round == round_.number))
    sent = session.scalars(
        select(Transaction).where(Transaction.round == round_.number).order_by(Transaction.id)
    )
    anchor = round_.anchor or {}
    return RoundView(
        round=round_.number,
        run=round_.run_id,
        phase=PHASES[Step(round_.step)],
        step=round_.step,
        policy=round_.policy_id,
        base=round_.base,
        base_state_root=round_.base_state_root,
        base_state=round_.base_state_sha256,
        header="0x" + round_.header.hex(),
        header_hash=round_.header_hash,
        exponents=round_.exponents,
        opened_at=round_.opened_at,
        commit_deadline=round_.commit_deadline,
        anchor_deadline=round_.anchor_deadline,
        challenge_deadline=round_.challenge_deadline,
        received=received or 0,
        refused=refused or 0,
        entries=round_.entries,
        entries_hash=round_.entries_hash,
        weights=anchor.get("weights"),
        delivered=anchor.get("delivered"),
        aggregate_root=anchor.get("aggregateRoot"),
        state_root=anchor.get("stateRoot"),
        gram_root=anchor.get("gramRoot"),
        verdict_hash=anchor.get("verdictHash"),
        artifacts_hash=anchor.get("artifactsHash"),
        aggregate=round_.aggregate_sha256,
        state=round_.state_sha256,
        verdicts=round_.verdicts_sha256,
        artifacts=round_.artifacts_sha256,
        canary=canary_view(here, round_),
        gas=str(services.gas_spent(session, round_.number)),
        transactions={row.purpose: row.hash for row in sent if row.hash},
        error=round_.error,
    )

# SPDX-License-Identifier: Apache-2.0
"""Rounds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import APIRouter
from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.orm import Session

from server.api.pages import PageWindow, encode
from server.api.parts import AppState, Parts, RoundNumber
from server.api.problems import Problem
from server.api.schemas import CanaryView, CurrentRoundView, Page, RoundView
from server.db.models import Refusal, Round, Transaction, Update
from server.db.steps import PHASES, Step
from server.rounds import queries
from server.rounds.canary import Canary

router = APIRouter(tags=["rounds"])


@router.get("/v1/rounds")
def rounds(parts: Parts, window: PageWindow) -> Page[RoundView]:
    """Rounds, newest first."""
    with parts.database.read() as session:
        query = select(Round).order_by(Round.number.desc()).limit(window.limit + 1)
        if (after := window.key()) is not None:
            query = query.where(Round.number < after)
        found = list(session.scalars(query))
        part = found[: window.limit]
        cursor = encode(part[-1].number) if len(found) > window.limit else None
        return Page(items=_views(parts, session, part), next_cursor=cursor)


@router.get("/v1/rounds/current")
def current(parts: Parts) -> CurrentRoundView:
    """The round to train for; 404 `no-open-round` if none takes updates now."""
    with parts.database.read() as session:
        found = queries.open_round(session)
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
            manifest=parts.federation.genesis.manifest,
            base_state=found.base_state_sha256,
            momentum_root=found.base_momentum_root,
            opened_at=found.opened_at or 0,
            commit_deadline=found.commit_deadline,
            chain_time=parts.chain.now(),
            received=_Counted.of(session, [found.number]).received.get(found.number, 0),
        )


@router.get("/v1/rounds/{round_number}")
def one(parts: Parts, round_number: RoundNumber) -> RoundView:
    """One round."""
    with parts.database.read() as session:
        (view,) = _views(parts, session, [known(session, round_number)])
        return view


def known(session: Session, number: int) -> Round:
    """A round that exists, else a problem."""
    found = session.get(Round, number)
    if found is None:
        raise Problem(404, "round-unknown", f"There is no round {number}.", "See /v1/rounds.")
    return found


def canary_view(canary: Canary, round_: Round) -> CanaryView | None:
    """What the canary said of a round, None if there is none."""
    said = round_.canary
    if said is None:
        return None
    return CanaryView(
        verdict=said["verdict"],
        released=bool(said.get("released")),
        evaluator=said.get("evaluator") or canary.evaluator,
        report=said.get("report"),
        signature=said.get("signature"),
        findings=said.get("findings", []),
        report_deadline=canary.deadline(round_),
    )


@dataclass(frozen=True)
class _Counted:
    """What other tables say of some rounds, by number: asked for once for all of them."""

    received: dict[int, int]
    refused: dict[int, int]
    gas: dict[int, int]
    transactions: dict[int, dict[str, str]]
    """Hashes by purpose, in the order of the outbox."""

    @classmethod
    def of(cls, session: Session, numbers: Sequence[int]) -> _Counted:
        """Count."""

        def counted(query: Select[int, int], of: ColumnElement[int]) -> dict[int, int]:
            return {row[0]: row[1] for row in session.execute(query.where(of.in_(numbers)).group_by(of))}

        standing = select(Update.round, func.count()).where(Update.dropped.is_(None))
        gas: dict[int, int] = defaultdict(int)
        transactions: dict[int, dict[str, str]] = defaultdict(dict)
        sent = select(Transaction.round, Transaction.gas_used, Transaction.purpose, Transaction.hash)
        for number, used, purpose, digest in session.execute(
            sent.where(Transaction.round.in_(numbers)).order_by(Transaction.id)
        ):
            gas[number] += used or 0
            if digest:
                transactions[number][purpose] = digest
        return cls(
            counted(standing, Update.round.expression),
            counted(select(Refusal.round, func.count()), Refusal.round.expression),
            gas,
            transactions,
        )


def _views(parts: AppState, session: Session, rounds: Sequence[Round]) -> list[RoundView]:
    found = _Counted.of(session, [round_.number for round_ in rounds])
    waiting = {one.round: one.sentence for one in reversed(parts.worker.waiting)}
    return [_view(parts.canary, round_, found, waiting.get(round_.number)) for round_ in rounds]


def _view(canary: Canary, round_: Round, counted: _Counted, waiting: str | None) -> RoundView:
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
        received=counted.received.get(round_.number, 0),
        refused=counted.refused.get(round_.number, 0),
        entries=round_.entries,
        entries_hash=round_.entries_hash,
        weights=anchor.get("weights"),
        delivered=anchor.get("delivered"),
        mean_root=anchor.get("meanRoot"),
        state_root=anchor.get("stateRoot"),
        gram_root=anchor.get("gramRoot"),
        verdict_hash=anchor.get("verdictHash"),
        artifacts_hash=anchor.get("artifactsHash"),
        entries_root=anchor.get("entriesRoot"),
        mean=round_.mean_sha256,
        state=round_.state_sha256,
        verdicts=round_.verdicts_sha256,
        artifacts=round_.artifacts_sha256,
        canary=canary_view(canary, round_),
        gas=str(counted.gas.get(round_.number, 0)),
        transactions=counted.transactions.get(round_.number, {}),
        error=round_.error,
        waiting=waiting,
    )

# SPDX-License-Identifier: Apache-2.0
"""Rounds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import APIRouter
from fastapi.responses import Response, StreamingResponse
from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.orm import Session

from folkmoot.artifacts.states import ABSENT
from folkmoot.chain.client import Chain
from folkmoot.errors import ArtifactError
from folkmoot.export.evidence import gather
from server.api.files import PIECE
from server.api.pages import PageWindow, encode
from server.api.parts import EVIDENCE_LIMIT, AppState, EvidenceSlot, Parts, RoundNumber
from server.api.problems import Problem, described
from server.api.schemas import CanaryView, CurrentRoundView, Page, RoundView
from server.db.models import Refusal, Round, Transaction, Update
from server.db.steps import PHASES, Step
from server.rounds import queries
from server.rounds.canary import Canary, report_deadline

router = APIRouter(tags=["rounds"])


@router.get("/v1/rounds")
def rounds(parts: Parts, window: PageWindow) -> Page[RoundView]:
    """Rounds, newest first."""
    with parts.database.read() as session:
        query = select(Round).order_by(Round.number.desc()).limit(window.limit + 1)
        if (after := window.key()) is not None:
            query = query.where(Round.number < after)
        rows = list(session.scalars(query))
        part = rows[: window.limit]
        cursor = encode(part[-1].number) if len(rows) > window.limit else None
        return Page(items=_views(parts, session, part), next_cursor=cursor)


@router.get("/v1/rounds/current")
def current(parts: Parts) -> CurrentRoundView:
    """The round to train for; 404 `no-open-round` if none takes updates now."""
    with parts.database.read() as session:
        round_ = queries.open_round(session)
        if (
            round_ is None
            or round_.step not in (Step.COLLECTING, Step.DELIVERY)
            or round_.commit_deadline is None
        ):
            raise Problem("no-open-round", "No round takes updates now.", "Ask again in a moment.")
        return CurrentRoundView.of(
            round_,
            round=round_.number,
            phase=PHASES[Step(round_.step)],
            manifest=parts.federation.genesis.manifest,
            base_state=round_.base_state_sha256,
            momentum_root=round_.base_momentum_root,
            opened_at=round_.opened_at or 0,
            chain_time=parts.chain.now(),
            received=_Counted.of(session, [round_.number]).received.get(round_.number, 0),
        )


@router.get("/v1/rounds/{round_number}")
def one(parts: Parts, round_number: RoundNumber) -> RoundView:
    """One round."""
    with parts.database.read() as session:
        (view,) = _views(parts, session, [known(session, round_number)])
        return view


@router.get(
    "/v1/rounds/{round_number}/evidence",
    response_class=StreamingResponse,
    responses={
        200: {"description": "The file.", "content": {"application/octet-stream": {}}},
        409: described("The round has no anchor that stands."),
        410: described("A file that every check needs was deleted by rule."),
    },
    dependencies=[EvidenceSlot],
)
def evidence(parts: Parts, round_number: RoundNumber) -> Response:
    """Everything with which an anchored round can be checked without a network: `folkmoot export evidence`.

    The page `/check` checks it. At most 256 MiB are gathered (`evidence-too-large`), for two clients at once.
    """
    with parts.database.read() as session:
        known(session, round_number)
    chain = Chain(parts.chain.rpc, parts.federation.deployment)
    try:
        made = gather(chain, parts.store, round_number, EVIDENCE_LIMIT)
    except ArtifactError as error:
        if error.code not in ABSENT:
            raise
        raise Problem(
            error.code,
            f"A file that every check of round {round_number} needs is not in the store of the coordinator.",
            "Take it from a mirror: `folkmoot export evidence --artifacts MIRROR`.",
        ) from error
    name = f"round-{round_number}.evidence"
    return StreamingResponse(
        (part[at : at + PIECE] for part in made.chunks() for at in range(0, len(part), PIECE)),
        media_type="application/octet-stream",
        headers={
            "Content-Disposition": f'attachment; filename="{name}"',
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
        },
    )


def known(session: Session, number: int) -> Round:
    """A round that exists, else a problem."""
    round_ = session.get(Round, number)
    if round_ is None:
        raise Problem("round-unknown", f"There is no round {number}.", "See /v1/rounds.")
    return round_


def canary_view(canary: Canary, round_: Round) -> CanaryView | None:
    """What the canary said of a round, None if there is none."""
    stored = round_.canary
    if stored is None:
        return None
    return CanaryView(
        verdict=stored["verdict"],
        released=bool(stored.get("released")),
        evaluator=stored.get("evaluator") or canary.evaluator,
        report=stored.get("report"),
        signature=stored.get("signature"),
        findings=stored.get("findings", []),
        report_deadline=report_deadline(round_),
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
    counted = _Counted.of(session, [round_.number for round_ in rounds])
    waiting = {one.round: one.sentence for one in reversed(parts.worker.waiting)}
    return [_view(parts.canary, round_, counted, waiting.get(round_.number)) for round_ in rounds]


def _view(canary: Canary, round_: Round, counted: _Counted, waiting: str | None) -> RoundView:
    anchor = round_.anchor or {}
    return RoundView.of(
        round_,
        round=round_.number,
        run=round_.run_id,
        phase=PHASES[Step(round_.step)],
        policy=round_.policy_id,
        base_state=round_.base_state_sha256,
        header="0x" + round_.header.hex(),
        received=counted.received.get(round_.number, 0),
        refused=counted.refused.get(round_.number, 0),
        **{name: anchor.get(name) for name in _ANCHORED},
        mean=round_.mean_sha256,
        state=round_.state_sha256,
        verdicts=round_.verdicts_sha256,
        artifacts=round_.artifacts_sha256,
        canary=canary_view(canary, round_),
        gas=str(counted.gas.get(round_.number, 0)),
        transactions=counted.transactions.get(round_.number, {}),
        waiting=waiting,
    )


_ANCHORED = (
    *("weights", "pays", "delivered", "meanRoot", "stateRoot", "gramRoot"),
    *("verdictHash", "artifactsHash", "entriesRoot"),
)
"""What the outcome of a round gives to its anchor."""

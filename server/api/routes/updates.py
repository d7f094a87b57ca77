# SPDX-License-Identifier: Apache-2.0
"""Updates: taking them in, and what became of them."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Header, Request
from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from folkmoot.artifacts.store import Writer
from folkmoot.coordinator_api import commitment_from_wire
from folkmoot.errors import InputError, UpdateRefused
from folkmoot.protocol.commitment import Commitment
from folkmoot.runtime.coding import CodingError, Decoder
from server.api import verdict_queries
from server.api.pages import PageWindow, encode
from server.api.parts import Address, AppState, Parts, RoundNumber
from server.api.problems import WRITES, Problem, described
from server.api.routes.rounds import known
from server.api.schemas import (
    AcceptedView,
    Page,
    RefusalView,
    UpdateDetailView,
    UpdateView,
    UploadView,
    VerdictView,
)
from server.chain.view import ChainView
from server.db.models import Entry, Refusal, Round, Transaction, Update
from server.db.steps import PHASES, Step
from server.intake.intake import Arrival, Intake
from server.intake.uploads import Turn
from server.telemetry.transfers import Progress

router = APIRouter(tags=["updates"])

SignedCommitment = Annotated[
    str, Header(description="base64url of the signed commitment's canonical JSON.", max_length=8192)
]

DRAIN_SECONDS = 30
"""Seconds for which the file of an update that was refused is read on and thrown away."""
LISTED_REFUSALS = 500


@router.post(
    "/v1/rounds/{round_number}/updates",
    status_code=202,
    responses=WRITES,
    openapi_extra={
        "requestBody": {
            "required": True,
            "description": "The update file (docs/protocol.md section 5).",
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
async def submit(
    request: Request,
    parts: Parts,
    round_number: RoundNumber,
    folkmoot_commitment: SignedCommitment,
    upload_offset: Annotated[
        int, Header(ge=0, description="Bytes of the file that have arrived before; the body has the rest.")
    ] = 0,
) -> AcceptedView:
    """Hand in an update. Refusals have the reason codes of docs/protocol.md section 7; again does no harm.

    The body may have the Content-Encoding gzip. After a broken upload, `/v1/rounds/{round}/upload` has the offset from
    which to go on; without an offset the update begins anew.
    """
    commitment, signature = commitment_from_wire(_base64url(folkmoot_commitment))
    account, intake = commitment.contributor, parts.intake
    most = parts.federation.manifest.size
    coding = request.headers.get("content-encoding", "identity").lower()
    if coding not in ("identity", "gzip"):
        raise Problem("unsupported-coding", f"The body has the coding {coding[:40]!r}.", "Use gzip, or none.")
    try:
        try:
            arrival = await _begin(parts, round_number, commitment, signature)
            if arrival.authenticated:
                parts.count_write(account)
            declared = request.headers.get("content-length", "")
            most = intake.size(arrival)
            if coding == "identity" and declared.isdecimal() and upload_offset + int(declared) != most:
                raise intake.wrong_size(arrival, upload_offset + int(declared))
        except UpdateRefused:
            await _drain(request, most)
            raise
        slots, holder = (parts.uploads, account) if arrival.authenticated else (parts.unsigned, "")
        with slots.held(holder, "updates"):
            async with parts.unfinished.turn(arrival) as turn:
                new = await _receive(request, parts, arrival, upload_offset, coding == "gzip", turn)
    except UpdateRefused as refusal:
        kept = await to_thread.run_sync(
            intake.write_down, round_number, commitment, signature, refusal, limiter=parts.receiving
        )
        if kept:
            parts.worker.wake()
        raise
    parts.worker.wake()
    signed = await to_thread.run_sync(intake.acknowledgement, arrival, limiter=parts.receiving)
    return AcceptedView(new=new, acknowledgement=signed)


@router.get("/v1/rounds/{round_number}/upload", responses=WRITES)
async def upload(
    parts: Parts, round_number: RoundNumber, folkmoot_commitment: SignedCommitment
) -> UploadView:
    """How much of an update has arrived. Its refusals are those of the update."""
    commitment, signature = commitment_from_wire(_base64url(folkmoot_commitment))
    arrival = await _begin(parts, round_number, commitment, signature)
    if not arrival.authenticated:
        raise Problem(
            "not-authorised",
            f"The signature is not of {commitment.contributor}.",
            "Send the whole update.",
        )
    parts.count_write(commitment.contributor)
    return await to_thread.run_sync(_progress_of, parts, arrival, limiter=parts.receiving)


def _progress_of(parts: AppState, arrival: Arrival) -> UploadView:
    intake, size = parts.intake, parts.intake.size(arrival)
    if intake.has(arrival):
        signed = intake.acknowledgement(arrival)
        return UploadView(offset=size, size=size, accepted=True, acknowledgement=signed)
    there = parts.unfinished.there(arrival)
    return UploadView(offset=there, size=size, accepted=False, acknowledgement=None)


async def _begin(parts: AppState, number: int, commitment: Commitment, signature: bytes) -> Arrival:
    if commitment.round != number:
        message = f"The commitment is for round {commitment.round}, not {number}."
        raise UpdateRefused(message, remedy="Send it to its own round.", code="round-unknown")
    begin = partial(parts.intake.begin, number, commitment, signature)
    return await to_thread.run_sync(begin, limiter=parts.receiving)


async def _receive(
    request: Request, parts: AppState, arrival: Arrival, offset: int, coded: bool, turn: Turn
) -> bool:
    """Receive an update and take it in; whether it is new. What has arrived stays if the connection breaks."""
    intake, contributor = parts.intake, arrival.commitment.contributor
    most = intake.size(arrival)
    in_thread = partial(to_thread.run_sync, limiter=parts.receiving)
    name = await in_thread(parts.unfinished.place, arrival)
    with ExitStack() as stack:
        opened = parts.store.writer() if name is None else parts.store.continued(name)
        writer = await in_thread(stack.enter_context, opened)  # Reads what is there.
        if not offset:
            writer.restart()
        if writer.size != offset:
            raise Problem(
                "wrong-offset",
                f"Of the update, {writer.size} bytes have arrived, not {offset}.",
                f"Ask /v1/rounds/{arrival.round}/upload for the offset.",
                offset=writer.size,
            )
        what = f"the update of {contributor} for round {arrival.round}"
        progress = Progress(parts.metrics, "in", what, most, offset)
        decoder = Decoder() if coded else None
        try:
            with turn.receiving:
                async for chunk in request.stream():
                    if decoder is None:
                        _write(intake, arrival, writer, (chunk,))
                    else:
                        await in_thread(_write, intake, arrival, writer, decoder.decode(chunk))
                    progress.moved(len(chunk), writer.size)
                if decoder is not None:
                    decoder.end()
            if turn.receiving.cancelled_caught:
                raise Problem("superseded", "A later upload of this account has taken over.", "Let it end.")
            progress.ended()
            return await to_thread.run_sync(intake.finish, arrival, writer, limiter=parts.checking)
        except ClientDisconnect as exc:
            raise Problem("incomplete", "The connection ended before the update was complete.") from exc
        except CodingError as exc:
            writer.discard()
            raise Problem("invalid-coding", f"The body is no gzip: {exc}.", "Send it again.") from exc
        except UpdateRefused:
            writer.discard()
            raise


def _write(intake: Intake, arrival: Arrival, writer: Writer, pieces: Iterable[bytes]) -> None:
    """Write pieces of an update, and never more than it may have.

    Raises:
        UpdateRefused: There is more.
        CodingError: By the pieces.
    """
    most = intake.size(arrival)
    for piece in pieces:
        if writer.size + len(piece) > most:
            raise intake.wrong_size(arrival, most + 1)
        writer.write(piece)


async def _drain(request: Request, limit: int) -> None:
    """Read on a little, so that a client that is still sending gets to read the refusal."""
    if request.headers.get("expect", "").lower() == "100-continue":
        return  # it has sent nothing yet, and waits for an answer
    seen = 0
    try:
        async with asyncio.timeout(DRAIN_SECONDS):
            async for chunk in request.stream():
                seen += len(chunk)
                if seen > limit:
                    return
    except (ClientDisconnect, HTTPException, TimeoutError):
        return


def _base64url(text: str) -> str:
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
    except (binascii.Error, ValueError) as exc:
        raise InputError(
            "The header Folkmoot-Commitment is not base64url of UTF-8 text.",
            remedy="Encode the commitment's JSON with base64url.",
            code="invalid-commitment",
        ) from exc


@router.get("/v1/rounds/{round_number}/updates")
def updates(parts: Parts, round_number: RoundNumber, window: PageWindow) -> Page[UpdateView]:
    """Updates of a round in the order of its entries, then refused answers."""
    with parts.database.read() as session:
        round_ = known(session, round_number)
        listed = _listed(parts.chain, session, round_, window.start, window.limit + 1)
        cursor = encode(window.start + window.limit - 1) if len(listed) > window.limit else None
        return Page(items=listed[: window.limit], next_cursor=cursor)


@router.get("/v1/rounds/{round_number}/updates/{address}")
def update(parts: Parts, round_number: RoundNumber, address: Address) -> UpdateDetailView:
    """What became of one contributor's update, with all refusals under its name."""
    with parts.database.read() as session:
        round_ = known(session, round_number)
        query = select(Refusal).where(Refusal.round == round_number, Refusal.contributor == address)
        refusals = list(session.scalars(query.order_by(Refusal.id).limit(LISTED_REFUSALS)))
        entry = session.scalar(
            select(Entry).where(Entry.round == round_number, Entry.contributor == address).limit(1)
        )
        received = session.scalar(_standing(round_number).where(Update.contributor == address))
        if entry is not None:
            view = _entry(entry, received)
        elif received is not None:
            (view,) = _received(parts.chain, session, round_, [received])
        elif refusals:
            view = _refused(refusals[-1])
        else:
            raise Problem("unknown-update", f"{address} has no update in round {round_number}.")
        return UpdateDetailView(**view.model_dump(), refusals=[refusal_view(refusal) for refusal in refusals])


@router.get(
    "/v1/rounds/{round_number}/updates/{address}/verdict",
    responses={409: described("The round has no verdicts, or none yet.")},
)
def verdict(parts: Parts, round_number: RoundNumber, address: Address) -> VerdictView:
    """Why one contributor's entry got its weight and its pay; 404 or 409 with the reason where there is no verdict."""
    with parts.database.read() as session:
        round_ = known(session, round_number)
        phase = PHASES[Step(round_.step)]
        if phase in ("cancelled", "slashed"):
            text = f"Round {round_number} was {phase}: nothing counted and nobody was paid."
            raise Problem("round-void", text)
        if round_.step not in verdict_queries.JUDGED:
            text = f"Round {round_number} is not anchored yet, so it has no verdicts."
            raise Problem("round-not-anchored", text, "Ask again after the anchor.")
        rows = session.execute(verdict_queries.own_entries(address).where(Entry.round == round_number)).all()
        if not rows:
            text = f"{address} has no entry in round {round_number}."
            remedy = f"See /v1/rounds/{round_number}/updates/{address} for what was refused."
            raise Problem("unknown-update", text, remedy)
        (judgement,) = parts.judged.judgements(session, rows)
        return VerdictView.model_validate(judgement.to_json())


def refusal_view(refusal: Refusal) -> RefusalView:
    """A refusal as it is shown."""
    return RefusalView.of(refusal)


def _standing(number: int) -> Select[Update]:
    """A query for the updates of a round that stand."""
    return select(Update).where(Update.round == number, Update.dropped.is_(None))


def _listed(chain: ChainView, session: Session, round_: Round, start: int, limit: int) -> list[UpdateView]:
    """Part of what a round has: entries by position, then updates that are no entries (yet), then refusals."""
    number, views = round_.number, list[UpdateView]()
    entries = session.scalar(select(func.count()).where(Entry.round == number)) or 0
    if start < entries:
        query = select(Entry).where(Entry.round == number, Entry.position >= start)
        part = session.scalars(query.order_by(Entry.position).limit(limit)).all()
        names = [entry.contributor for entry in part]
        updates = session.scalars(_standing(number).where(Update.contributor.in_(names)))
        received = {update.contributor: update for update in updates}
        views += [_entry(entry, received.get(entry.contributor)) for entry in part]
    if len(views) == limit:
        return views
    recorded = select(Entry.contributor).where(Entry.round == number)
    waiting = _standing(number).where(Update.contributor.not_in(recorded))
    place = start + len(views) - entries
    part_waiting = session.scalars(waiting.order_by(Update.id).offset(place).limit(limit - len(views))).all()
    views += _received(chain, session, round_, part_waiting)
    if len(views) == limit:
        return views
    place = start + len(views) - entries
    place -= session.scalar(select(func.count()).select_from(waiting.subquery())) or 0
    most = min(limit - len(views), LISTED_REFUSALS - place)
    if most > 0:
        refusals = select(Refusal).where(Refusal.round == number).order_by(Refusal.id)
        views += [_refused(refusal) for refusal in session.scalars(refusals.offset(place).limit(most))]
    return views


def _received(
    chain: ChainView, session: Session, round_: Round, updates: Sequence[Update]
) -> list[UpdateView]:
    """Updates that are no entries, with the transactions that took them to the chain."""
    if not updates:
        return []  # and the chain is not asked for the time
    purposes = {update.batch for update in updates if update.batch}
    sent = select(Transaction.purpose, Transaction.hash).where(
        Transaction.purpose.in_(purposes), Transaction.state.in_(("mined", "confirmed"))
    )
    recorded: dict[str, str | None] = {row[0]: row[1] for row in session.execute(sent)}
    public = round_.commit_deadline is not None and chain.now() >= round_.commit_deadline
    return [_waiting(update, recorded.get(update.batch or ""), public) for update in updates]


def _entry(entry: Entry, update: Update | None) -> UpdateView:
    delivered = "committed" if update else "delivered-late"
    return UpdateView.of(
        entry,
        status=delivered if entry.sha256 else "not-delivered",
        bytes=update.size if update else None,
        received_at=update.received_at if update else None,
        transaction=entry.transaction_hash,
        pay_share=entry.pay,
        **_committed(entry.commitment),
    )


def _waiting(update: Update, transaction: str | None, public: bool) -> UpdateView:
    return UpdateView.of(
        update,
        status="committed" if transaction else "received",
        sha256=update.sha256 if public else None,
        bytes=update.size,
        transaction=transaction,
        **_committed(update.commitment),
    )


def _committed(commitment: dict[str, str]) -> dict[str, str]:
    return {name: commitment[name] for name in ("updateRoot", "sumSquares", "memoryHash", "bundleHash")}


def _refused(refusal: Refusal) -> UpdateView:
    return UpdateView.of(refusal, status="refused")

# SPDX-License-Identifier: Apache-2.0
"""Versions of the model. Anybody may download one; no account is needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse, Response
from sqlalchemy import func, select
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from folkmoot.errors import ChainError
from folkmoot.ledger.events import ProposalCreated
from folkmoot.ledger.releases import Releases, recall_votes
from folkmoot.rpc.reverts import ENUMS
from server import model_files
from server.api.files import FILE
from server.api.pages import PageWindow, encode
from server.api.parts import AppState, Parts, RoundNumber
from server.api.problems import Problem
from server.api.schemas import Page, VersionView
from server.chain.indexer import by_name
from server.db.models import MEASUREMENT, Artifact, ChainEvent

router = APIRouter(tags=["models"])


@router.get("/v1/models")
def models(parts: Parts, window: PageWindow) -> Page[VersionView]:
    """All versions, oldest first. Version 0 is the initial model."""
    with parts.database.read() as session:
        query = select(ChainEvent).where(ChainEvent.name == "VersionRegistered")
        if (after := window.key()) is not None:
            query = query.where(ChainEvent.id > after)
        events = session.scalars(query.order_by(ChainEvent.id).limit(window.limit + 1)).all()
        part = events[: window.limit]
        cursor = encode(part[-1].id) if len(events) > window.limit else None
        return Page(items=_views(session, parts.federation.genesis.state, part), next_cursor=cursor)


@router.get("/v1/models/active")
def active(parts: Parts) -> VersionView:
    """The version that the assembly made active; 404 `no-active-version` before the first vote."""
    with parts.database.read() as session:
        (view,) = _views(session, parts.federation.genesis.state, [registered(session, _active(session))])
        return view


@router.head("/v1/models/active/download", include_in_schema=False)
@router.get("/v1/models/active/download", response_class=FileResponse, responses=FILE)
async def download_active(parts: Parts, request: Request) -> Response:
    """The active version as a safetensors file."""

    def number() -> int:
        with parts.database.read() as session:
            return _active(session)

    return await _download(parts, request, await run_in_threadpool(number))


@router.get("/v1/models/{round_number}")
def model(parts: Parts, round_number: RoundNumber) -> VersionView:
    """One version."""
    with parts.database.read() as session:
        (view,) = _views(session, parts.federation.genesis.state, [registered(session, round_number)])
        return view


@router.head("/v1/models/{round_number}/download", include_in_schema=False)
@router.get("/v1/models/{round_number}/download", response_class=FileResponse, responses=FILE)
async def download(
    parts: Parts, request: Request, round_number: RoundNumber, recalled: Annotated[bool, Query()] = False
) -> Response:
    """A version, or a round's anchored outcome, as a safetensors file: the same bytes for everybody.

    410 `version-recalled` for a version that a vote recalled, unless `recalled` is true.
    """

    def check() -> None:
        with parts.database.read() as session:
            releases(session).require_usable(round_number)

    if not recalled:
        await run_in_threadpool(check)
    return await _download(parts, request, round_number)


async def _download(parts: AppState, request: Request, number: int) -> Response:
    async with parts.models:
        sha256 = await run_in_threadpool(_safetensors, parts, number)
    return parts.files.answer(request, sha256, "model", f"folkmoot-{number}.safetensors")


def _safetensors(parts: AppState, number: int) -> str:
    """sha256 of the model file; made and kept on the first call."""
    with parts.database.read() as session:
        made = model_files.made(session, number)
        if made is not None and parts.store.has(made):
            return made
        state = model_files.states(session, parts.federation.genesis.state, [number]).get(number)
    if state is None:
        raise Problem("unknown-version", f"There is no version {number}.", "See /v1/models.")
    files = model_files.ModelFiles(parts.storage, parts.federation, parts.chain.policy)
    return files.make(number, state).sha256


def releases(session: Session) -> Releases:
    """Released and recalled versions with what stands behind them, from the events; without the open votes."""
    made = Releases()
    steps: dict[str, Callable[[int, dict[str, Any]], None]] = {
        "VersionActivated": lambda version, event: made.activate(version, _report(event)),
        "VersionRecalled": lambda version, event: made.recall(version, _report(event)),
        "WarrantyPosted": lambda version, event: made.post(version, event["account"], int(event["amount"])),
        "WarrantyWithdrawn": lambda version, event: made.withdraw(version, event["account"]),
        "WarrantiesForfeited": lambda version, event: made.forfeit(
            version, event["beneficiary"], int(event["reward"]), int(event["burnt"])
        ),
    }
    events = [event for name in steps for event in by_name(session, name)]
    for event in sorted(events, key=lambda event: (event.block_number, event.log_index)):
        steps[event.name](int(event.arguments["version"]), event.arguments)
    return made


def _report(arguments: dict[str, Any]) -> bytes:
    return bytes.fromhex(arguments["reportHash"].removeprefix("0x"))


def alarms(parts: AppState) -> list[str]:
    """The warnings to whoever uses a model: recalled versions, and open votes, if the chain answers, to recall one."""
    with parts.database.read() as session:
        made = releases(session)
        proposals = [_proposal(row) for row in by_name(session, "ProposalCreated")]
    with suppress(ChainError):
        made.votes = recall_votes(parts.chain.rpc, parts.federation.deployment, proposals)
    return [text for version in (*made.recalled, *made.listed) for text in made.warnings(version)]


def _proposal(row: ChainEvent) -> ProposalCreated:
    arguments = row.arguments
    return ProposalCreated(
        contract="governor",
        block=row.block_number,
        block_hash=bytes.fromhex(row.block_hash.removeprefix("0x")),
        transaction=bytes.fromhex(row.transaction_hash.removeprefix("0x")),
        log_index=row.log_index,
        proposal_id=int(arguments["proposalId"]),
        proposer=arguments["proposer"],
        targets=tuple(arguments["targets"]),
        values=(),
        signatures=(),
        calldatas=tuple(bytes.fromhex(data.removeprefix("0x")) for data in arguments["calldatas"]),
        vote_start=int(arguments["voteStart"]),
        vote_end=int(arguments["voteEnd"]),
        description=arguments["description"],
    )


def _active(session: Session) -> int:
    active = releases(session).active
    if active is None:
        raise Problem(
            "no-active-version",
            "No version is active: no vote has made one active, or all that were are recalled.",
            "Propose one: `folkmoot propose`.",
        )
    return active[0]


def sites(session: Session, versions: list[int]) -> dict[int, int]:
    """Number of sites that have measured each version, for every one of them."""
    query = select(Artifact.round, func.count()).where(
        Artifact.kind == MEASUREMENT, Artifact.round.in_(versions)
    )
    counted = dict(session.execute(query.group_by(Artifact.round)).all())
    return {version: counted.get(version, 0) for version in versions}


def registered(session: Session, number: int) -> ChainEvent:
    """The event that registered a version.

    Raises:
        Problem: 404 `unknown-version`.
    """
    events = by_name(session, "VersionRegistered", str(number))
    if not events:
        raise Problem("unknown-version", f"There is no version {number}.", "See /v1/models.")
    return events[-1]


def _views(session: Session, initial: str, events: Sequence[ChainEvent]) -> list[VersionView]:
    numbers = [int(event.arguments["version"]) for event in events]
    states = model_files.states(session, initial, numbers)
    # By vote, so there are few.
    activated = by_name(session, "VersionActivated")
    reports = {int(item.arguments["version"]): item.arguments["reportHash"] for item in activated}
    made = releases(session)
    active, _ = made.active or (None, b"")
    measured = sites(session, numbers)
    return [
        VersionView(
            version=number,
            parent=int(event.arguments["parent"]),
            state_root=event.arguments["stateRoot"],
            status="active" if number == active else ENUMS["IModelRegistry.Standing"][made.standing(number)],
            recalled=number in made.recalled,
            warranty=str(made.warranty(number)),
            report_hash=reports.get(number),
            state=states.get(number),
            transaction=event.transaction_hash,
            sites=measured[number],
            download=f"/v1/models/{number}/download",
        )
        for number, event in zip(numbers, events, strict=True)
    ]

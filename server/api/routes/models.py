# SPDX-License-Identifier: Apache-2.0
"""Versions of the model. Anybody may download one; no account is needed."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, Response
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from server import model_files
from server.api.files import FILE
from server.api.pages import PageWindow, encode
from server.api.parts import AppState, Parts, RoundNumber
from server.api.problems import Problem
from server.api.schemas import Page, VersionView
from server.chain.indexer import by_name
from server.db.models import ChainEvent

router = APIRouter(tags=["models"])


@router.get("/v1/models")
def models(parts: Parts, window: PageWindow) -> Page[VersionView]:
    """All versions, oldest first. Version 0 is the initial model."""
    with parts.database.read() as session:
        query = select(ChainEvent).where(ChainEvent.name == "VersionRegistered")
        if (after := window.key()) is not None:
            query = query.where(ChainEvent.id > after)
        found = session.scalars(query.order_by(ChainEvent.id).limit(window.limit + 1)).all()
        part = found[: window.limit]
        cursor = encode(part[-1].id) if len(found) > window.limit else None
        return Page(items=_views(session, parts.federation.genesis.state, part), next_cursor=cursor)


@router.get("/v1/models/active")
def active(parts: Parts) -> VersionView:
    """The version that the assembly made active; 404 `no-active-version` before the first vote."""
    with parts.database.read() as session:
        (view,) = _views(session, parts.federation.genesis.state, [_registered(session, _active(session))])
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
        (view,) = _views(session, parts.federation.genesis.state, [_registered(session, round_number)])
        return view


@router.head("/v1/models/{round_number}/download", include_in_schema=False)
@router.get("/v1/models/{round_number}/download", response_class=FileResponse, responses=FILE)
async def download(parts: Parts, request: Request, round_number: RoundNumber) -> Response:
    """A version, or a round's anchored outcome, as a safetensors file: the same bytes for everybody."""
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
        raise Problem(404, "unknown-version", f"There is no version {number}.", "See /v1/models.")
    files = model_files.ModelFiles(parts.storage, parts.federation, parts.chain.policy)
    return files.make(number, state).sha256


def _active(session: Session) -> int:
    activated = by_name(session, "VersionActivated")
    if not activated:
        raise Problem(
            404,
            "no-active-version",
            "No vote has made a version active yet.",
            "Propose one: `folkmoot propose`.",
        )
    return int(activated[-1].arguments["version"])


def _registered(session: Session, number: int) -> ChainEvent:
    found = by_name(session, "VersionRegistered", str(number))
    if not found:
        raise Problem(404, "unknown-version", f"There is no version {number}.", "See /v1/models.")
    return found[-1]


def _views(session: Session, initial: str, events: Sequence[ChainEvent]) -> list[VersionView]:
    numbers = [int(event.arguments["version"]) for event in events]
    states = model_files.states(session, initial, numbers)
    # By vote, so there are few.
    activated = by_name(session, "VersionActivated")
    reports = {int(item.arguments["version"]): item.arguments["reportHash"] for item in activated}
    newest = int(activated[-1].arguments["version"]) if activated else None
    return [
        VersionView(
            version=number,
            parent=int(event.arguments["parent"]),
            state_root=event.arguments["stateRoot"],
            status="active" if number == newest else "candidate",
            report_hash=reports.get(number),
            state=states.get(number),
            transaction=event.transaction_hash,
            download=f"/v1/models/{number}/download",
        )
        for number, event in zip(numbers, events, strict=True)
    ]

# SPDX-License-Identifier: Apache-2.0
"""Versions of the model. Anybody may download one; no account is needed."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, Response
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from folkmoot.state import State
from server.api.pages import PageWindow
from server.api.parts import Here, Parts, RoundNumber
from server.api.problems import Problem
from server.api.routes.artifacts import FILE, file_response
from server.api.schemas import Page, VersionView
from server.chain.indexer import by_name
from server.coordinator import Coordinator
from server.db.models import Artifact, ChainEvent, Round

router = APIRouter(tags=["models"])


@router.get("/v1/models")
def models(here: Here, window: PageWindow) -> Page[VersionView]:
    """All versions, oldest first. Version 0 is the initial model."""
    with here.coordinator.database.read() as session:
        part, cursor = window.of(by_name(session, "VersionRegistered"))
        return Page(items=[_view(here, session, event) for event in part], next_cursor=cursor)


@router.get("/v1/models/active")
def active(here: Here) -> VersionView:
    """The version that the assembly made active; 404 `no-active-version` before the first vote."""
    with here.coordinator.database.read() as session:
        return _view(here, session, _registered(session, _active(session)))


@router.head("/v1/models/active/download", include_in_schema=False)
@router.get("/v1/models/active/download", response_class=FileResponse, responses=FILE)
async def download_active(here: Here, request: Request) -> Response:
    """The active version as a safetensors file."""

    def number() -> int:
        with here.coordinator.database.read() as session:
            return _active(session)

    return await _download(here, request, await run_in_threadpool(number))


@router.get("/v1/models/{round_number}")
def model(here: Here, round_number: RoundNumber) -> VersionView:
    """One version."""
    with here.coordinator.database.read() as session:
        return _view(here, session, _registered(session, round_number))


@router.head("/v1/models/{round_number}/download", include_in_schema=False)
@router.get("/v1/models/{round_number}/download", response_class=FileResponse, responses=FILE)
async def download(here: Here, request: Request, round_number: RoundNumber) -> Response:
    """A version, or a round's anchored outcome, as a safetensors file: the same bytes for everybody."""
    return await _download(here, request, round_number)


async def _download(here: Parts, request: Request, number: int) -> Response:
    async with here.models:
        sha256 = await run_in_threadpool(_safetensors, here.coordinator, number)
    name = f"folkmoot-{number}.safetensors"
    return await run_in_threadpool(file_response, here.coordinator, request, sha256, "model", name)


def _safetensors(coordinator: Coordinator, number: int) -> str:
    """sha256 of the model file; made and kept on the first call."""
    with coordinator.database.read() as session:
        query = select(Artifact.sha256).where(Artifact.kind == "model", Artifact.round == number)
        made = session.scalars(query).first()
        if made is not None and coordinator.store.has(made):
            return made
        state = _state_of(coordinator, session, number)
        if state is None:
            raise Problem(404, "unknown-version", f"There is no version {number}.", "See /v1/models.")
        round_ = session.get(Round, number)
    root = bytes.fromhex(round_.anchor["stateRoot"][2:]) if round_ and round_.anchor else None
    loaded = State.from_bytes(coordinator.store.read(state), coordinator.manifest)
    stored = coordinator.store.put(loaded.to_safetensors(coordinator.manifest, number, root))
    with coordinator.database.write("model-kept") as session:
        row = Artifact(sha256=stored.sha256, kind="model", size=stored.size, round=number, public_from=0)
        session.merge(row)
    return stored.sha256


def _state_of(coordinator: Coordinator, session: Session, number: int) -> str | None:
    if number == 0:
        return coordinator.genesis.state
    round_ = session.get(Round, number)
    anchored = bool(by_name(session, "RoundAnchored", str(number)))
    return round_.state_sha256 if round_ is not None and anchored else None


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


def _view(here: Parts, session: Session, event: ChainEvent) -> VersionView:
    number = int(event.arguments["version"])
    activated = by_name(session, "VersionActivated")
    reports = [item for item in activated if int(item.arguments["version"]) == number]
    is_active = bool(activated) and int(activated[-1].arguments["version"]) == number
    return VersionView(
        version=number,
        parent=int(event.arguments["parent"]),
        state_root=event.arguments["stateRoot"],
        status="active" if is_active else "candidate",
        report_hash=reports[-1].arguments["reportHash"] if reports else None,
        state=_state_of(here.coordinator, session, number),
        transaction=event.transaction_hash,
        download=f"/v1/models/{number}/download",
    )

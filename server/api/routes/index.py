# SPDX-License-Identifier: Apache-2.0
"""Serve `/`: a page with the state of the federation, or a short JSON index."""

from __future__ import annotations

import hashlib
import re
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.concurrency import run_in_threadpool

from folkmoot.web import pages
from server.api.front import front
from server.api.overview import Looker, Overview
from server.api.schemas import IndexView
from server.settings import Settings

router = APIRouter(tags=["index"])

_HOST = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251})|\[[0-9a-fA-F:.]{2,45}\])(?::\d{1,5})?")
"""A host as a command line can take it."""

LINKS = {
    "documentation": "/v1/docs",
    "openapi": "/v1/openapi.json",
    "health": "/v1/health",
    "deployment": "/v1/deployment",
    "rounds": "/v1/rounds",
    "contributors": "/v1/contributors",
    "models": "/v1/models",
    "proposals": "/v1/proposals",
    "events": "/v1/events",
    "metrics": "/metrics",
}
"""Where the rest is, by name."""


@router.head("/", include_in_schema=False)
@router.get(
    "/",
    response_class=JSONResponse,
    response_model=IndexView,
    responses={200: {"content": {"text/html": {"schema": {"type": "string"}}}}},
)
async def index(
    request: Request,
    accept: Annotated[str, Header(description="application/json returns the index, all else the page.")] = "",
    reload: Annotated[
        int, Query(ge=0, le=3600, description="Seconds between two reloads of the page; 0 for never.")
    ] = 15,
) -> Response:
    """Return the state of the federation: a page, or a short index if the client asks for JSON."""
    looker: Looker = request.app.state.looker
    overview = await run_in_threadpool(looker.look)
    if wants_json(accept):
        body, kind = _index(overview).model_dump_json(by_alias=True).encode(), "application/json"
    else:
        url = url_of(request, looker.parts.settings)
        body, kind = await run_in_threadpool(front, overview, url, reload, LINKS), "text/html; charset=utf-8"
    tag = f'W/"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = {
        "ETag": tag,
        "Cache-Control": "no-cache",
        "Vary": "Accept",
        "Content-Security-Policy": pages.POLICY,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
    }
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return HTMLResponse(body, headers=headers | {"Content-Type": kind})


def wants_json(accept: str) -> bool:
    """Whether an `Accept` header asks for JSON rather than for a page (RFC 9110, 12.5.1)."""
    wishes: dict[str, float] = {}
    for part in accept.split(","):
        kind, *parameters = (piece.strip().lower() for piece in part.split(";"))
        quality = next((value[2:] for value in parameters if value.startswith("q=")), "1")
        try:
            wishes[kind] = float(quality)
        except ValueError:
            wishes[kind] = 0.0
    return wishes.get("application/json", 0.0) > wishes.get("text/html", 0.0)


def url_of(request: Request, settings: Settings) -> str:
    """The coordinator's URL as this client wrote it; behind a proxy, with the scheme that the proxy says it has.

    What could be more than a host in a command line does not get into one.
    """
    host = request.headers.get("host", "")
    if not _HOST.fullmatch(host):
        return "https://COORDINATOR"
    scheme = request.url.scheme
    if settings.trust_proxy:
        forwarded = request.headers.get("x-forwarded-proto", "https").rsplit(",", 1)[-1].strip()
        scheme = forwarded if forwarded in ("http", "https") else "https"
    return f"{scheme}://{host}"


def _index(overview: Overview) -> IndexView:
    newest = overview.rounds[0] if overview.rounds else None
    return IndexView(
        name="folkmoot",
        version=overview.health.version,
        status=overview.health.status,
        task=overview.task,
        chain_id=overview.chain_id,
        ledger=overview.ledger,
        coordinator=overview.health.coordinator,
        round=newest.round if newest else None,
        phase=newest.phase if newest else None,
        run=overview.run,
        active_version=overview.active.version if overview.active else None,
        links=dict(LINKS),
    )

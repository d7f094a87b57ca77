# SPDX-License-Identifier: Apache-2.0
"""Pages without a value of this federation: the API's documentation, the check of a round, the votes."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response

from folkmoot.web import pages

router = APIRouter(tags=["index"])

HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": pages.POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
"""What a page is sent with."""


@router.head("/v1/docs", include_in_schema=False)
@router.get("/v1/docs", include_in_schema=False)
def docs(request: Request) -> Response:
    """Describe every operation: what it does, what it takes, what it answers."""
    return HTMLResponse(pages.render("operations.html", document=request.app.openapi()), headers=HEADERS)


@router.head("/check", include_in_schema=False)
@router.get("/check", include_in_schema=False)
def check(request: Request) -> Response:
    """Serve the page that checks a round without a network; with `?round=N` it may fetch the evidence from here."""
    page, policy = pages.check_page(fetches="round" in request.query_params)
    return HTMLResponse(page, headers=HEADERS | {"Content-Security-Policy": policy})


@router.head("/vote", include_in_schema=False)
@router.get("/vote", include_in_schema=False)
def vote() -> Response:
    """Serve the page on which people vote with their wallets."""
    page, policy = pages.vote_page()
    return HTMLResponse(page, headers=HEADERS | {"Content-Security-Policy": policy})

# SPDX-License-Identifier: Apache-2.0
"""The canary: an evaluator's reports on computed rounds, and the operator's word against them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Request
from starlette.concurrency import run_in_threadpool

from server.api.parts import Parts, RoundNumber
from server.api.problems import WRITES
from server.api.routes.rounds import canary_view, known
from server.api.schemas import CanaryTakenView, CanaryView, ReleaseRequest

router = APIRouter(tags=["canary"])


@router.post(
    "/v1/rounds/{round_number}/canary",
    status_code=202,
    responses=WRITES,
    openapi_extra={
        "requestBody": {
            "required": True,
            "description": "A canary report (docs/protocol.md section 11.2), at most 1 MiB.",
            "content": {"application/json": {"schema": {}}},
        }
    },
)
async def report(
    parts: Parts,
    request: Request,
    round_number: RoundNumber,
    folkmoot_canary: Annotated[
        str, Header(description="The evaluator's signature.", pattern="^0x[0-9a-fA-F]{130}$")
    ],
) -> CanaryTakenView:
    """Hand in the evaluator's report on a computed round. The first one counts; again does no harm."""
    body = await request.body()
    signature = bytes.fromhex(folkmoot_canary[2:])
    receipt = await run_in_threadpool(parts.canary.take, round_number, body, signature)
    parts.worker.wake()
    return CanaryTakenView(sha256=receipt.sha256, new=receipt.new, fell=receipt.fell)


@router.post("/v1/rounds/{round_number}/release", status_code=202, responses=WRITES)
def release(parts: Parts, round_number: RoundNumber, wish: ReleaseRequest) -> CanaryView:
    """Have a withheld round anchored after all, as the coordinator."""
    parts.canary.release(round_number, bytes.fromhex(wish.signature[2:]))
    parts.worker.wake()
    with parts.database.read() as session:
        view = canary_view(parts.canary, known(session, round_number))
    if view is None:
        raise AssertionError("a released round has a canary")
    return view

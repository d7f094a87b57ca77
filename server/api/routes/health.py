# SPDX-License-Identifier: Apache-2.0
"""Whether all parts work."""

from __future__ import annotations

import time
from contextlib import suppress
from importlib.metadata import version

from fastapi import APIRouter, Response

from folkmoot.errors import ChainError
from folkmoot.ledger import clock
from folkmoot.rpc.client import Block
from server.api.parts import Parts
from server.api.schemas import FailingView, HealthView
from server.waiting import without_paths

router = APIRouter(tags=["health"])


def clock_warning(now: float, newest: Block) -> str | None:
    """Say that this machine's clock and the chain's are too far apart, if they are.

    Args:
        now: Unix time of this machine.
        newest: The chain's newest block.
    """
    apart = clock.apart(newest.timestamp, now)
    if apart is None:
        return None
    if apart > 0:
        cause = "this machine's clock is slow: set it by NTP"
    else:
        cause = "this machine's clock is fast, or the endpoint stands still: compare it with another one"
    return (
        f"Block {newest.number} is {abs(apart):.0f} s {'ahead of' if apart > 0 else 'behind'} this machine's clock; "
        f"{cause}. Rounds go by the chain's time; signed requests are refused by this machine's."
    )


_DOWN = "A part is down, a background step fails, or the chain lost blocks that the database rests on."


@router.get("/v1/health", responses={503: {"model": HealthView, "description": _DOWN}})
def health(parts: Parts, response: Response) -> HealthView:
    """State of database, store, chain and background steps; 503 when one is down or fails.

    A step counts as failing from the second failure in a row on, and at once if the error is a defect. It is 503, too,
    when the chain lost blocks that the database rests on.
    """
    status = parts.worker.status
    latest, now = None, None
    warnings = parts.worker.warnings
    with suppress(ChainError):
        newest = parts.chain.rpc.latest()
        latest, now = newest.number, parts.chain.now()
        skew = None if parts.chain.local else clock_warning(time.time(), newest)
        warnings += [skew] if skew else []
    database, store = parts.database.problem(), parts.store.problem()
    fine = database is None and store is None and latest is not None and status.ready and status.code is None
    failing = status.failing.lasting
    fine &= not failing
    if not fine:
        response.status_code = 503
    error = next((str(problem) for problem in (*failing, status.error, database, store) if problem), None)
    return HealthView(
        status="ok" if fine else "degraded",
        database=database is None,
        store=store is None,
        chain=latest is not None,
        indexed_block=status.indexed_block,
        latest_block=latest,
        chain_lag=None if latest is None else max(0, latest - status.indexed_block),
        chain_time=now,
        coordinator=parts.federation.coordinator,
        code=status.code,
        error=None if error is None else without_paths(error),
        failing=[
            FailingView(
                step=one.step,
                error=without_paths(one.error),
                remedy=without_paths(one.remedy),
                since=int(one.since),
                times=one.times,
            )
            for one in failing
        ],
        warnings=[without_paths(warning) for warning in warnings],
        version=version("folkmoot"),
    )

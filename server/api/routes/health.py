# SPDX-License-Identifier: Apache-2.0
"""Whether all parts work."""

from __future__ import annotations

from contextlib import suppress
from importlib.metadata import version

from fastapi import APIRouter, Response
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from folkmoot.errors import ChainError
from server.api.parts import Here
from server.api.schemas import HealthView

router = APIRouter(tags=["health"])


@router.get("/v1/health", responses={503: {"model": HealthView, "description": "A part is down."}})
def health(here: Here, response: Response) -> HealthView:
    """State of database, store and chain; 503 when one of them is down."""
    coordinator, status = here.coordinator, here.worker.status
    latest, now, database = None, None, True
    with suppress(ChainError):
        latest, now = coordinator.node.latest().number, coordinator.now()
    try:
        with coordinator.database.read() as session:
            session.execute(text("SELECT 1"))
    except SQLAlchemyError:
        database = False
    store = coordinator.store.problem()
    fine = database and store is None and latest is not None
    if not fine:
        response.status_code = 503
    return HealthView(
        status="ok" if fine else "degraded",
        database=database,
        store=store is None,
        chain=latest is not None,
        indexed_block=status.indexed_block,
        latest_block=latest,
        chain_lag=None if latest is None else max(0, latest - status.indexed_block),
        chain_time=now,
        coordinator=coordinator.account.address,
        error=status.error or (str(store) if store else None),
        warnings=here.worker.warnings,
        version=version("folkmoot"),
    )

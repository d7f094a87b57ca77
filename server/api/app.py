# SPDX-License-Identifier: Apache-2.0
"""The FastAPI application."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from starlette.concurrency import run_in_threadpool
from starlette.types import Lifespan

from server.api import problems
from server.api.codes import CODES
from server.api.gauges import Gauges
from server.api.limits import Limits
from server.api.observed import Observed
from server.api.overview import Looker
from server.api.parts import AppState
from server.api.routes import (
    artifacts,
    canary,
    contributors,
    deletions,
    deployment,
    docs,
    events,
    health,
    index,
    measurements,
    metrics,
    models,
    policies,
    proposals,
    reports,
    rounds,
    runs,
    updates,
)
from server.api.schemas import ProblemView

_ROUTERS = (
    index,
    health,
    deployment,
    docs,
    policies,
    contributors,
    deletions,
    rounds,
    reports,
    updates,
    models,
    measurements,
    proposals,
    artifacts,
    canary,
    runs,
    events,
    metrics,
)


_DESCRIPTION = "\n".join(
    (
        "Rounds, updates, verdicts, models and proposals of one federation.",
        "Nothing here has to be believed: everything can be checked on the chain (`folkmoot audit`).",
        "",
        "Errors are problems (RFC 9457), `application/problem+json`. Their `code` is one of these:",
        "",
        "| code | what it says |",
        "| --- | --- |",
        *(f"| `{code}` | {meaning} |" for code, (_, meaning) in CODES.items()),
    )
)


def create_app(parts: AppState, gauges: Gauges) -> FastAPI:
    """Make the application. The worker is started and stopped by whoever made it."""
    parts.metrics.registry.register(gauges)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.parts = parts
        app.state.looker = Looker(parts)
        looking = asyncio.create_task(parts.hub.run())
        gauges.start()
        try:
            yield
        finally:
            parts.hub.close()
            await run_in_threadpool(gauges.stop)
            await looking

    app = interface(lifespan)
    app.state.hub = parts.hub
    app.add_middleware(Limits, settings=parts.settings)
    app.add_middleware(
        CORSMiddleware,
        allow_origins=["*"],
        allow_methods=["GET", "HEAD"],
        allow_headers=["Last-Event-ID", "If-None-Match", "Range"],
        expose_headers=["ETag", "Retry-After"],
    )
    app.add_middleware(problems.Defects, database=parts.database)
    app.add_middleware(Observed, metrics=parts.metrics, log=parts.settings.access_log)  # the outermost
    return app


def interface(lifespan: Lifespan[FastAPI] | None = None) -> FastAPI:
    """Make the routes and what describes them, `openapi()`. Without a coordinator it answers nothing.

    Args:
        lifespan: What is there from the start to the end; it sets `app.state.parts`.
    """
    app = FastAPI(
        title="Folkmoot coordinator",
        version=version("folkmoot"),
        description=_DESCRIPTION,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        openapi_url="/v1/openapi.json",
        docs_url=None,  # the framework's page loads scripts from elsewhere; `routes.docs` has one that loads nothing
        redoc_url=None,
        redirect_slashes=False,  # it would lead to whatever host the client names
        lifespan=lifespan,
        responses=problems.RESPONSES,
    )
    problems.install(app, [route for module in _ROUTERS for route in module.router.routes])
    for module in _ROUTERS:
        app.include_router(module.router)
    _describe_problems(app)
    return app


def _describe_problems(app: FastAPI) -> None:
    """Put the form of a problem into the OpenAPI document: operations refer to it, and none returns it."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        document = plain()
        document["components"]["schemas"]["ProblemView"] = ProblemView.model_json_schema()
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's own way

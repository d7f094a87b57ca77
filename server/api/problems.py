# SPDX-License-Identifier: Apache-2.0
"""Every error as an RFC 9457 problem with a stable code, and none with a stack trace.

What went wrong on our side is told to the log in full, and to the client by an identifier alone: it may name hosts,
paths and keys of RPC endpoints that are nobody's business.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from anyio import to_thread
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import BaseRoute, Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from folkmoot.errors import (
    ArtifactError,
    ChainError,
    ContractRefused,
    DatabaseError,
    FolkmootError,
    InputError,
    StoreError,
    UpdateRefused,
)
from folkmoot.protocol.verdict import Reason
from folkmoot.runtime.logs import fields
from server.api.codes import CODES
from server.db.cells import UNREADABLE
from server.db.engine import Database

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"

_BY_CLASS = (
    (UpdateRefused, 422),
    (InputError, 422),
    (ArtifactError, 500),
    (ContractRefused, 502),
    (ChainError, 503),
    (DatabaseError, 503),
    (StoreError, 503),
)

_OURS = {
    500: "Something went wrong in the coordinator.",
    502: "The chain refused what the coordinator asked of it.",
    503: "A part of the coordinator is down, its chain, its database or its store; it is tried again.",
}
"""What a client is told of a failure on our side."""

RETRY_SECONDS = 5
"""Seconds after which it may help to ask again where a part is down."""

SHOWN = 200
"""Characters of a request that an answer repeats."""


PROBLEM = {"$ref": "#/components/schemas/ProblemView"}
"""Schema of a problem, for OpenAPI."""


def described(what: str) -> dict[str, Any]:
    """A problem as an answer, for OpenAPI."""
    return {"description": what, "content": {MEDIA_TYPE: {"schema": PROBLEM}}}


RESPONSES: dict[int | str, dict[str, Any]] = {
    status: described(what)
    for status, what in (
        (400, "This is no request that can be read."),
        (404, "There is no such thing; `code` says what."),
        (413, "The body is too large."),
        (422, "A part of the request is not valid."),
        (429, "Too much at once, or too often; `Retry-After` says when to come again."),
        (500, "A defect, or a damaged file: tell the operator the `id`."),
        (502, "The chain refused what the coordinator asked of it."),
        (503, "A part is down, or there is too much to do; `Retry-After` says when to come again."),
    )
}
"""What every operation may answer with besides success, for OpenAPI."""

WRITES: dict[int | str, dict[str, Any]] = {
    status: described(what)
    for status, what in (
        (403, "The signature is not valid, or not of somebody who may do this."),
        (408, "The body came too slowly."),
        (409, "The time for this is over, or it was done in another way."),
    )
}
"""What an operation that writes may answer with besides these."""


class Problem(FolkmootError):
    """An error of the HTTP interface itself, with a code of `server.api.codes`."""

    def __init__(self, code: str, message: str, remedy: str = "", **details: Any) -> None:
        super().__init__(message, remedy=remedy, code=code, details=details)


def status_of(error: FolkmootError) -> int:
    """HTTP status of an expected failure."""
    if error.code in CODES:
        return CODES[error.code][0]
    return next((status for kind, status in _BY_CLASS if isinstance(error, kind)), 500)


def response(
    code: str,
    detail: str,
    remedy: str = "",
    headers: dict[str, str] | None = None,
    *,
    status: int | None = None,
    **more: Any,
) -> JSONResponse:
    """A problem as a response."""
    status = status or CODES[code][0]
    content = {
        **more,
        "type": f"urn:folkmoot:problem:{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
        "remedy": remedy,
    }
    kept = {"Cache-Control": "no-store", **(headers or {})}  # what is wrong now may be right in a second
    return JSONResponse(content, status, kept, media_type=MEDIA_TYPE)


def _ours(status: int, code: str, error: BaseException, *, trace: bool) -> JSONResponse:
    """A failure on our side: all of it to the log, its identifier to the client."""
    identifier = secrets.token_hex(8)
    logger.log(
        logging.ERROR if trace else logging.WARNING,
        "%s %s: %s",
        code,
        identifier,
        error,
        exc_info=error if trace else None,
        extra=fields("request-failed", code=code, status=status, id=identifier),
    )
    headers = {"Retry-After": str(RETRY_SECONDS)} if status == HTTPStatus.SERVICE_UNAVAILABLE else {}
    # Hashes of files are public, where the files are is not.
    named = (
        {"file": error.details["file"]}
        if isinstance(error, ArtifactError) and "file" in error.details
        else {}
    )
    return response(
        code,
        _OURS.get(status, _OURS[500]),
        f"Please tell the operator: the log says more under {identifier}.",
        headers=headers,
        status=status,
        id=identifier,
        **named,
    )


def install(app: FastAPI, routes: Sequence[BaseRoute]) -> None:
    """Turn every error of an application into a problem.

    Args:
        app: The application.
        routes: Its routes, which say what methods a path has.
    """

    @app.exception_handler(FolkmootError)
    async def _expected(_request: Request, error: FolkmootError) -> JSONResponse:
        status = status_of(error)
        public = isinstance(error, Problem) or error.code == UNREADABLE
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR and not public:
            return _ours(status, error.code, error, trace=False)
        retry = error.details.get("retryAfter")
        headers = {} if retry is None else {"Retry-After": str(retry)}
        if error.code == Reason.WRONG_SIZE:  # the rest of an update that is too long is not read
            headers["Connection"] = "close"
        return response(error.code, error.message, error.remedy, headers, status=status, **error.details)

    @app.exception_handler(RequestValidationError)
    async def _invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        faults = [
            {"where": ".".join(str(part) for part in item["loc"])[:SHOWN], "message": item["msg"][:SHOWN]}
            for item in error.errors()
        ]
        first = faults[0] if faults else {"where": "request", "message": "it can't be read"}
        detail = f"The request is not valid: {first['where']}: {first['message']}."
        return response("invalid-request", detail, "See /v1/docs for what is expected.", errors=faults[:20])

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> JSONResponse:
        codes = {
            400: "bad-request",
            404: "unknown-path",
            405: "method-not-allowed",
            408: "too-slow",
            413: "too-large",
            416: "range-not-satisfiable",
        }
        path = request.url.path[:SHOWN]
        details = {
            404: f"There is nothing at {path}.",
            405: f"{request.method[:SHOWN]} is not possible for {path}.",
        }
        status, headers = error.status_code, dict(error.headers or {})
        code, detail = codes.get(status, "http-error"), details.get(status, str(error.detail))
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            headers["Allow"] = ", ".join(_methods(routes, request.scope)) or headers.get("Allow", "")
        return response(code, detail, "See /v1/docs.", headers=headers, status=status)

    @app.exception_handler(ClientDisconnect)
    async def _gone(_request: Request, _error: ClientDisconnect) -> JSONResponse:
        return response("incomplete", "The connection ended before the request was complete.")


def _methods(routes: Sequence[BaseRoute], scope: Scope) -> list[str]:
    """Methods of a path. Its reading and its writing are routes of their own, and the framework names those of one."""
    methods: set[str] = set()
    for route in routes:
        if isinstance(route, Route) and route.matches(scope)[0] is not Match.NONE:
            methods |= route.methods or set()
    return sorted(methods)


class Defects:
    """Middleware that turns what nobody expected into a problem, and its trace into a line of the log.

    Args:
        app: What may go wrong.
        database: May have a cell that nobody can read, of which all that is unexpected may come.
    """

    def __init__(self, app: ASGIApp, database: Database) -> None:
        self._app, self._database = app, database

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, and catch."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def sent(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, sent)
        except Exception as error:
            cell = await to_thread.run_sync(self._unreadable)
            if cell is not None:
                logger.error("%s", cell, extra=fields("row-unreadable", **cell.details))
                answer = response(cell.code, cell.message, cell.remedy, **cell.details)
            else:
                answer = _ours(500, "defect", error, trace=True)
            if (
                not started
            ):  # else the web server closes the connection in the middle, so that nobody takes it for whole
                await answer(scope, receive, send)

    def _unreadable(self) -> DatabaseError | None:
        try:
            return self._database.unreadable()
        except DatabaseError:
            return None

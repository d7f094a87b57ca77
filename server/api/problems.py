# SPDX-License-Identifier: Apache-2.0
"""Every error as an RFC 9457 problem with a stable code, and none with a stack trace."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

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
from folkmoot.logs import fields
from folkmoot.verdict import Reason
from server.api.schemas import ProblemView

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"

_BY_CODE = {
    "round-unknown": 404,
    "round-closed": 409,
    "duplicate": 409,
    "round-full": 409,
    "stake-too-low": 403,
    "invalid-signature": 403,
    "not-authorised": 403,
    "round-not-probed": 409,
    "round-not-withheld": 409,
    "canary-exists": 409,
    "wrong-report": 422,
    "artifact-unknown": 404,
    "artifact-embargoed": 404,
}
_BY_CLASS = (
    (UpdateRefused, 422),
    (InputError, 422),
    (ArtifactError, 500),
    (ContractRefused, 502),
    (ChainError, 503),
    (DatabaseError, 503),
    (StoreError, 503),
)

RESPONSES: dict[int | str, dict[str, Any]] = {
    "default": {"model": ProblemView, "description": "A problem (RFC 9457); `code` says which."}
}
"""What every operation may answer with besides success, for OpenAPI."""


class Problem(FolkmootError):
    """An error of the HTTP interface itself, with its status."""

    def __init__(self, status: int, code: str, message: str, remedy: str = "", **details: Any) -> None:
        super().__init__(message, remedy=remedy, code=code, details=details)
        self.status = status


def status_of(error: FolkmootError) -> int:
    """HTTP status of an expected failure."""
    if isinstance(error, Problem):
        return error.status
    if error.code in _BY_CODE:
        return _BY_CODE[error.code]
    return next((status for kind, status in _BY_CLASS if isinstance(error, kind)), 500)


def response(
    status: int, code: str, detail: str, remedy: str = "", headers: dict[str, str] | None = None, **more: Any
) -> JSONResponse:
    """A problem as a response."""
    content = {
        **more,
        "type": f"urn:folkmoot:problem:{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
        "remedy": remedy,
    }
    return JSONResponse(content, status, headers, media_type=MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Turn every error of an application into a problem."""

    @app.exception_handler(FolkmootError)
    async def _expected(_request: Request, error: FolkmootError) -> JSONResponse:
        status = status_of(error)
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            logger.warning("%s", error, extra=fields("request-failed", code=error.code, status=status))
        # The rest of an update that is too long is not read.
        headers = {"Connection": "close"} if error.code == Reason.WRONG_SIZE else None
        return response(status, error.code, error.message, error.remedy, headers, **error.details)

    @app.exception_handler(RequestValidationError)
    async def _invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        found = [
            {"where": ".".join(str(part) for part in item["loc"]), "message": item["msg"]}
            for item in error.errors()
        ]
        first = found[0] if found else {"where": "request", "message": "it can't be read"}
        detail = f"The request is not valid: {first['where']}: {first['message']}."
        return response(422, "invalid-request", detail, "See /v1/docs for what is expected.", errors=found)

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> JSONResponse:
        codes = {404: "unknown-path", 405: "method-not-allowed", 413: "too-large"}
        details = {
            404: f"There is nothing at {request.url.path}.",
            405: f"{request.method} is not possible for {request.url.path}.",
        }
        status = error.status_code
        code, detail = codes.get(status, "http-error"), details.get(status, str(error.detail))
        headers = dict(error.headers or {}) | ({"Connection": "close"} if status == 413 else {})
        return response(status, code, detail, "See /v1/docs.", headers=headers)

    @app.exception_handler(Exception)
    async def _defect(_request: Request, _error: Exception) -> JSONResponse:
        return response(
            500,
            "defect",
            "Something unexpected went wrong.",
            "Please report it; the log says more.",
            headers={"Connection": "close"},  # the server drops it after a defect
        )

# SPDX-License-Identifier: Apache-2.0
"""Files by hash, and reports from those who have stake."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Annotated, Any

from anyio import create_task_group
from eth_utils.address import is_address, to_checksum_address
from fastapi import APIRouter, Header, Request
from fastapi.responses import FileResponse, Response
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import MalformedRangeHeader, RangeNotSatisfiable
from starlette.types import Receive, Scope, Send

from folkmoot.coordinator_api import upload_message
from folkmoot.errors import ArtifactError, InputError
from folkmoot.protocol.hashing import parse_json
from server.api.parts import REPORT_COST, AppState, Here, Keccak, Sha256
from server.api.problems import MEDIA_TYPE, PROBLEM, WRITES, Problem
from server.api.schemas import StoredView
from server.api.signatures import check_deadline, signer_of
from server.db.models import Artifact
from server.storage import file_row
from server.store import Store

router = APIRouter(tags=["artifacts"])

FILE: dict[int | str, dict[str, Any]] = {
    200: {"description": "The file.", "content": {"application/octet-stream": {}, "application/json": {}}},
    206: {
        "description": "A range of it.",
        "content": {"application/octet-stream": {}, "application/json": {}},
    },
    304: {"description": "The client has it: `If-None-Match` names it."},
    416: {"description": "The file has no such range.", "content": {MEDIA_TYPE: {"schema": PROBLEM}}},
}
"""What an operation answers with that hands out a file, for OpenAPI."""
_JSON = {"genesis", "manifest", "verdicts", "artifacts", "report"}


@router.head("/v1/artifacts/{sha256}", include_in_schema=False)
@router.get("/v1/artifacts/{sha256}", response_class=FileResponse, responses=FILE)
def artifact(here: Here, request: Request, sha256: Sha256) -> Response:
    """A file. An update's is a 404 `artifact-embargoed` until the commit window of its round is over."""
    return _public(here, request, sha256)


@router.head("/v1/artifacts/by-keccak/{keccak}", include_in_schema=False)
@router.get("/v1/artifacts/by-keccak/{keccak}", response_class=FileResponse, responses=FILE)
def by_keccak(here: Here, request: Request, keccak: Keccak) -> Response:
    """A genesis, verdicts or artifacts file by its keccak256, which is on the chain."""
    return _public(here, request, here.store.by_keccak(keccak.removeprefix("0x")))


@router.post(
    "/v1/artifacts",
    status_code=201,
    responses=WRITES,
    openapi_extra={
        "requestBody": {
            "required": True,
            "description": "An evaluation report, at most 1 MiB.",
            "content": {"application/json": {"schema": {}}},
        }
    },
)
async def upload(
    here: Here,
    request: Request,
    folkmoot_upload: Annotated[
        str, Header(description="base64url of {account, deadline, signature}.", max_length=4096)
    ],
) -> StoredView:
    """Publish an evaluation report, signed by an account with stake."""
    body = await request.body()
    return await run_in_threadpool(_store_report, here, body, folkmoot_upload)


def _store_report(here: AppState, body: bytes, proof: str) -> StoredView:
    try:
        claim = parse_json(base64.urlsafe_b64decode(proof + "=" * (-len(proof) % 4)))
        account, deadline = str(claim["account"]), int(claim["deadline"])
        signature = bytes.fromhex(str(claim["signature"]).removeprefix("0x"))
        if not is_address(account) or not 0 <= deadline < 2**63:
            raise ValueError("account or deadline")
    except (InputError, ValueError, KeyError, TypeError, OverflowError) as exc:
        message = "The header Folkmoot-Upload is not base64url of {account, deadline, signature}."
        raise Problem(422, "invalid-upload", message, "See docs/architecture.md.") from exc
    check_deadline(deadline)
    try:
        parse_json(body)
    except InputError as exc:
        raise Problem(422, "invalid-report", "The report is not JSON.", "Send a JSON document.") from exc
    sha256 = hashlib.sha256(body).hexdigest()
    signer = signer_of(upload_message(here.federation.domain, sha256, deadline), signature)
    if signer != to_checksum_address(account):
        raise Problem(
            403, "not-authorised", f"The signature is of {signer}, not of {account}.", "Sign it again."
        )
    if here.chain.vault.stake_of(signer) == 0:
        raise Problem(403, "no-stake", f"{signer} has no stake.", "Stake with `folkmoot stake`.")
    here.count_write(signer, REPORT_COST)
    stored = here.store.put(body)
    with here.database.write("report-kept") as session:
        if session.get(Artifact, stored.sha256) is None:
            session.add(file_row(stored, "report"))
    return StoredView(sha256=stored.sha256)


def _public(here: AppState, request: Request, sha256: str) -> Response:
    with here.database.read() as session:
        row = session.get(Artifact, sha256)
        session.expunge_all()
    hidden = row is not None and row.kind == "update" and here.conduct.withholds(row.round or 0)
    if row is None or hidden:
        raise ArtifactError(f"There is no artifact {sha256}.", code="artifact-unknown")
    if row.public_from and here.chain.now() < row.public_from:
        raise Problem(
            404,
            "artifact-embargoed",
            f"The update {sha256} is not public before the commit window of round {row.round} is over.",
            "Ask again after that time.",
            publicFrom=row.public_from,
        )
    return file_response(here.store, request, sha256, row.kind, None)


def file_response(store: Store, request: Request, sha256: str, kind: str, filename: str | None) -> Response:
    """A file of the store; its name is its ETag, and it never changes."""
    headers = {"ETag": f'"{sha256}"', "Cache-Control": "public, max-age=31536000, immutable"}
    if f'"{sha256}"' in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    media_type = "application/json" if kind in _JSON else "application/octet-stream"
    path = store.path(sha256)
    return _FileOrPart(path, headers=headers, media_type=media_type, filename=filename)


class _FileOrPart(FileResponse):
    """A file, or one range of it (RFC 9110 section 14), for as long as the client is there.

    Several ranges at once are no range to us, as the RFC allows: small ones would cost far more than they bring.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        wanted = [value for name, value in scope["headers"] if name == b"range"]
        if wanted and (len(wanted) > 1 or b"," in wanted[0] or not wanted[0].lower().startswith(b"bytes=")):
            scope = {**scope, "headers": [pair for pair in scope["headers"] if pair[0] != b"range"]}
            wanted = []
        if wanted:
            # Starlette answers what it can't satisfy in plain text.
            status = await run_in_threadpool(self._range_status, wanted[0].decode("latin-1"))
            if status != 206:
                size = self.headers.get("content-length", "0")
                raise HTTPException(416, "The file has no such range.", {"Content-Range": f"bytes */{size}"})
        async with create_task_group() as group:

            async def leave_with_the_client() -> None:
                while (await receive())["type"] != "http.disconnect":
                    pass
                group.cancel_scope.cancel()

            group.start_soon(leave_with_the_client)
            await super().__call__(scope, receive, send)
            group.cancel_scope.cancel()

    def _range_status(self, wanted: str) -> int:
        found = Path(self.path).stat()
        self.stat_result = found
        self.set_stat_headers(found)
        try:
            self._parse_range_header(wanted, found.st_size)
        except (MalformedRangeHeader, RangeNotSatisfiable):
            return 416
        return 206

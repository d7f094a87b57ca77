# SPDX-License-Identifier: Apache-2.0
"""Files by hash, and reports from those who have stake."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from typing import Annotated

from eth_account import Account
from eth_keys.exceptions import BadSignature
from eth_utils.address import is_address, to_checksum_address
from eth_utils.exceptions import ValidationError
from fastapi import APIRouter, Header, Request
from fastapi.responses import FileResponse, Response
from starlette.concurrency import run_in_threadpool

from folkmoot.coordinator_api import upload_message
from folkmoot.errors import ArtifactError
from server.api.parts import Here, Keccak, Parts, Sha256
from server.api.problems import Problem
from server.api.schemas import StoredView
from server.coordinator import Coordinator
from server.db.models import Artifact
from server.rounds.cheating import Kind, lies_in

router = APIRouter(tags=["artifacts"])

MAX_SIGNATURE_LIFETIME = 3600
"""Seconds for which a signed request may be good."""
_JSON = {"genesis", "manifest", "verdicts", "artifacts", "report"}


@router.get("/v1/artifacts/{sha256}", response_class=FileResponse)
def artifact(here: Here, request: Request, sha256: Sha256) -> Response:
    """A file. An update's is a 404 `artifact-embargoed` until the commit window of its round is over."""
    return _public(here, request, sha256)


@router.get("/v1/artifacts/by-keccak/{keccak}", response_class=FileResponse)
def by_keccak(here: Here, request: Request, keccak: Keccak) -> Response:
    """A genesis, verdicts or artifacts file by its keccak256, which is on the chain."""
    return _public(here, request, here.coordinator.store.by_keccak(keccak.removeprefix("0x")))


@router.post(
    "/v1/artifacts",
    status_code=201,
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
    return await run_in_threadpool(_store_report, here.coordinator, body, folkmoot_upload)


def _store_report(coordinator: Coordinator, body: bytes, proof: str) -> StoredView:
    try:
        claim = json.loads(base64.urlsafe_b64decode(proof + "=" * (-len(proof) % 4)))
        account, deadline = str(claim["account"]), int(claim["deadline"])
        signature = bytes.fromhex(str(claim["signature"]).removeprefix("0x"))
        if not is_address(account) or not 0 <= deadline < 2**63:
            raise ValueError("account or deadline")
    except (ValueError, KeyError, TypeError, RecursionError) as exc:
        message = "The header Folkmoot-Upload is not base64url of {account, deadline, signature}."
        raise Problem(422, "invalid-upload", message, "See docs/architecture.md.") from exc
    check_deadline(deadline)
    try:
        json.loads(body)
    except (ValueError, RecursionError) as exc:
        raise Problem(422, "invalid-report", "The report is not JSON.", "Send a JSON document.") from exc
    sha256 = hashlib.sha256(body).hexdigest()
    try:
        if len(signature) != 65:
            raise ValueError("it has not 65 bytes")
        signer = Account.recover_message(
            upload_message(coordinator.domain, sha256, deadline), signature=signature
        )
    except (BadSignature, ValidationError, ValueError) as exc:
        raise Problem(403, "not-authorised", f"The signature is not valid: {exc}.", "Sign it again.") from exc
    if signer != to_checksum_address(account):
        raise Problem(
            403, "not-authorised", f"The signature is of {signer}, not of {account}.", "Sign it again."
        )
    if coordinator.vault.stake_of(signer) == 0:
        raise Problem(403, "no-stake", f"{signer} has no stake.", "Stake with `folkmoot stake`.")
    stored = coordinator.store.put(body)
    with coordinator.database.write("report-kept") as session:
        if session.get(Artifact, stored.sha256) is None:
            session.add(Artifact(sha256=stored.sha256, kind="report", size=stored.size, public_from=0))
    return StoredView(sha256=stored.sha256)


def check_deadline(deadline: int) -> None:
    """Make sure that a signed request is neither too old nor good for ever."""
    now = int(time.time())
    if not now <= deadline <= now + MAX_SIGNATURE_LIFETIME:
        raise Problem(
            403,
            "signature-expired",
            f"The signature's deadline {deadline} is not within the next {MAX_SIGNATURE_LIFETIME} seconds.",
            "Sign again; check the clock.",
        )


def _public(here: Parts, request: Request, sha256: str) -> Response:
    coordinator = here.coordinator
    with coordinator.database.read() as session:
        row = session.get(Artifact, sha256)
        session.expunge_all()
    hidden = (
        row is not None
        and row.kind == "update"
        and lies_in(coordinator.settings.cheat, row.round or 0, Kind.WITHHOLD)
    )
    if row is None or hidden:
        raise ArtifactError(f"There is no artifact {sha256}.", code="artifact-unknown")
    if row.public_from and coordinator.now() < row.public_from:
        raise Problem(
            404,
            "artifact-embargoed",
            f"The update {sha256} is not public before the commit window of round {row.round} is over.",
            "Ask again after that time.",
            publicFrom=row.public_from,
        )
    return file_response(coordinator, request, sha256, row.kind, None)


def file_response(
    coordinator: Coordinator, request: Request, sha256: str, kind: str, filename: str | None
) -> Response:
    """A file of the store; its name is its ETag, and it never changes."""
    headers = {"ETag": f'"{sha256}"', "Cache-Control": "public, max-age=31536000, immutable"}
    if f'"{sha256}"' in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    media_type = "application/json" if kind in _JSON else "application/octet-stream"
    path = coordinator.store.path(sha256)
    return FileResponse(path, headers=headers, media_type=media_type, filename=filename)

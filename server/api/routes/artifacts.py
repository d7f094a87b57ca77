# SPDX-License-Identifier: Apache-2.0
"""Files by hash, and reports from those who have stake."""

from __future__ import annotations

import base64
import hashlib
from typing import Annotated

from eth_utils.address import is_address, to_checksum_address
from fastapi import APIRouter, Header, Request
from fastapi.responses import FileResponse, Response
from sqlalchemy import select
from starlette.concurrency import run_in_threadpool

from folkmoot.artifacts.retention import Reason
from folkmoot.artifacts.sources import EXPIRED, SPARE
from folkmoot.errors import ArtifactError, InputError
from folkmoot.protocol.hashing import parse_json
from folkmoot.protocol.requests import upload_message
from server.api.files import FILE
from server.api.parts import REPORT_COST, AppState, Keccak, Parts, Sha256
from server.api.problems import WRITES, Problem, described
from server.api.schemas import StoredView
from server.api.signatures import check_deadline, signer_of
from server.db.models import Artifact
from server.storage import file_row

router = APIRouter(tags=["artifacts"])


@router.head("/v1/artifacts/{sha256}", include_in_schema=False)
@router.get(
    "/v1/artifacts/{sha256}",
    response_class=FileResponse,
    responses={**FILE, 410: described("The file was deleted by rule; `reason` says why.")},
)
def artifact(parts: Parts, request: Request, sha256: Sha256) -> Response:
    """A file. An update's is a 404 `artifact-embargoed` until the commit window of its round is over.

    It is a 410 `expired` once the update was deleted by rule, and `spare-state` once the state was.
    """
    return _public(parts, request, sha256)


@router.head("/v1/artifacts/by-keccak/{keccak}", include_in_schema=False)
@router.get("/v1/artifacts/by-keccak/{keccak}", response_class=FileResponse, responses=FILE)
async def by_keccak(parts: Parts, request: Request, keccak: Keccak) -> Response:
    """A genesis, verdicts or artifacts file by its keccak256, which is on the chain."""
    digest = keccak.removeprefix("0x")
    sha256 = await run_in_threadpool(_linked, parts, digest)
    answer = await run_in_threadpool(_public, parts, request, sha256)
    await parts.files.require_keccak(sha256, digest)
    return answer


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
    parts: Parts,
    request: Request,
    folkmoot_upload: Annotated[
        str, Header(description="base64url of {account, deadline, signature}.", max_length=4096)
    ],
) -> StoredView:
    """Publish an evaluation report, signed by an account with stake."""
    body = await request.body()
    return await run_in_threadpool(_store_report, parts, body, folkmoot_upload)


def _store_report(parts: AppState, body: bytes, proof: str) -> StoredView:
    try:
        claim = parse_json(base64.urlsafe_b64decode(proof + "=" * (-len(proof) % 4)))
        account, deadline = str(claim["account"]), int(claim["deadline"])
        signature = bytes.fromhex(str(claim["signature"]).removeprefix("0x"))
        if not is_address(account) or not 0 <= deadline < 2**63:
            raise ValueError("account or deadline")
    except (InputError, ValueError, KeyError, TypeError, OverflowError) as exc:
        message = "The header Folkmoot-Upload is not base64url of {account, deadline, signature}."
        raise Problem("invalid-upload", message, "See docs/api.md.") from exc
    check_deadline(deadline)
    try:
        parse_json(body)
    except InputError as exc:
        raise Problem("invalid-report", "The report is not JSON.", "Send a JSON document.") from exc
    sha256 = hashlib.sha256(body).hexdigest()
    signer = signer_of(upload_message(parts.federation.domain, sha256, deadline), signature)
    if signer != to_checksum_address(account):
        raise Problem("not-authorised", f"The signature is of {signer}, not of {account}.", "Sign it again.")
    if parts.chain.vault.stake_of(signer) == 0:
        raise Problem("no-stake", f"{signer} has no stake.", "Stake with `folkmoot enrol --stake`.")
    parts.count_write(signer, REPORT_COST)
    stored = parts.store.put(body)
    with parts.database.write("report-kept") as session:
        if session.get(Artifact, stored.sha256) is None:
            session.add(file_row(stored, "report"))
    return StoredView(sha256=stored.sha256)


def _linked(parts: AppState, digest: str) -> str:
    """sha256 of the file with a keccak."""
    try:
        return parts.store.by_keccak(digest)
    except ArtifactError:
        with parts.database.read() as session:
            row = session.scalar(select(Artifact.sha256).where(Artifact.keccak == digest))
        if row is None:
            raise ArtifactError(
                f"There is no artifact with the keccak {digest}.", code="artifact-unknown"
            ) from None
        raise parts.files.wrong_link(digest) from None


def _public(parts: AppState, request: Request, sha256: str) -> Response:
    row = parts.artifact(sha256)
    if row is None:
        raise ArtifactError(f"There is no artifact {sha256}.", code="artifact-unknown")
    if row.deleted == Reason.SPARE:
        raise Problem(
            SPARE,
            f"The state {sha256} of round {row.round} was deleted by rule: old states are rebuilt.",
            "It follows from an earlier state and the means since then (docs/protocol.md section 12.2). "
            "`folkmoot audit` and `folkmoot model` rebuild it; /v1/models has the model file.",
            reason=row.deleted,
        )
    if row.deleted is not None:
        raise Problem(
            EXPIRED,
            f"The update {sha256} of round {row.round} was deleted: {row.deleted}.",
            "Verdicts, states and the other files of the round are still there. See docs/retention.md.",
            reason=row.deleted,
        )
    if row.public_from and parts.chain.now() < row.public_from:
        raise Problem(
            "artifact-embargoed",
            f"The update {sha256} is not public before the commit window of round {row.round} is over.",
            "Ask again after that time.",
            publicFrom=row.public_from,
        )
    return parts.files.answer(request, sha256, row.kind)

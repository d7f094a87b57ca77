# SPDX-License-Identifier: Apache-2.0
"""Measurements of a version at the sites where the data are (docs/protocol.md section 11.5): take, add up, serve."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response
from sqlalchemy import Select, select
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from folkmoot.evaluation.sites import (
    LONGEST,
    MOST_SITES,
    PAUSE,
    SHORTEST,
    Commitments,
    Pooled,
    Signed,
    SiteMeasurement,
    TableCommitment,
)
from folkmoot.explain.measured import least_stake, require_account, require_counts
from folkmoot.protocol.hashing import canonical_json, sha256_hex
from server.api.parts import AppState, Parts, RoundNumber
from server.api.problems import WRITES, Problem
from server.api.routes.models import registered
from server.api.schemas import StoredView
from server.db.models import COMMITTED, MEASUREMENT, Artifact
from server.storage import file_row

router = APIRouter(tags=["models"])


@router.post(
    "/v1/models/{round_number}/measurements",
    status_code=201,
    responses=WRITES,
    openapi_extra={
        "requestBody": {
            "required": True,
            "description": "A site's signed measurement (docs/protocol.md section 11.5), at most 128 KiB.",
            "content": {"application/json": {"schema": {}}},
        }
    },
)
async def measure(parts: Parts, request: Request, round_number: RoundNumber) -> StoredView:
    """Publish the table that the site committed, once no more commitments are taken."""
    return await run_in_threadpool(_take, parts, round_number, await request.body())


@router.get(
    "/v1/models/{round_number}/measurements",
    response_class=Response,
    responses={200: {"content": {"application/json": {"schema": {"type": "object"}}}}},
)
def measurements(parts: Parts, round_number: RoundNumber) -> Response:
    """The measurements of all sites and their exact sums; 404 `not-measured` if there is none."""
    with parts.database.read() as session:
        registered(session, round_number)
        names = session.scalars(_of(round_number)).all()
        listed = _list(parts, session, round_number)
    if not names:
        raise Problem(
            "not-measured",
            f"No site has measured version {round_number}.",
            f"Measure it: `folkmoot measure {round_number}`.",
        )
    pooled = Pooled.of((_read(parts, name) for name in names), listed)
    return Response(pooled.to_bytes(), media_type="application/json")


@router.post(
    "/v1/models/{round_number}/measurements/commitments",
    status_code=201,
    responses=WRITES,
    openapi_extra={
        "requestBody": {
            "required": True,
            "description": "A site's signed commitment to its table (docs/protocol.md section 11.5).",
            "content": {"application/json": {"schema": {}}},
        }
    },
)
async def commit(parts: Parts, request: Request, round_number: RoundNumber) -> StoredView:
    """Commit to a table before any is shown. The first commitment says until when others are taken."""
    return await run_in_threadpool(_commit, parts, round_number, await request.body())


@router.get(
    "/v1/models/{round_number}/measurements/commitments",
    response_class=Response,
    responses={200: {"content": {"application/json": {"schema": {"type": "object"}}}}},
)
def commitments(parts: Parts, round_number: RoundNumber) -> Response:
    """The commitments of all sites to their tables, ascending by site; perhaps none."""
    with parts.database.read() as session:
        registered(session, round_number)
        listed = _list(parts, session, round_number)
    return Response(canonical_json(listed.to_json()), media_type="application/json")


def _take(parts: AppState, version: int, body: bytes) -> StoredView:
    one = SiteMeasurement.from_bytes(body)
    if one.version != version:
        raise _of_another(one, version)
    with parts.database.read() as session:
        root = bytes.fromhex(registered(session, version).arguments["stateRoot"].removeprefix("0x"))
    rpc, deployment = parts.chain.rpc, parts.federation.deployment
    require_counts(rpc, deployment, one, root, least_stake(rpc, deployment))
    with parts.database.read() as session:
        listed = _list(parts, session, version)
    if parts.chain.rpc.latest_timestamp() < listed.closes + PAUSE:
        raise Problem(
            "commitments-open",
            f"Commitments to tables of version {version} are taken until chain time {listed.closes}.",
            f"Keep the table to yourself; run `folkmoot measure {version}` again {PAUSE} seconds after that.",
        )
    if not listed.binds(one):
        raise Problem(
            "not-committed",
            f"{one.site} has not committed this table of version {version}, or signed it under another list.",
            "Send the table that was committed: `folkmoot measure` keeps it.",
        )
    with parts.database.read() as session:
        names = session.scalars(_of(version)).all()
    if any(_read(parts, name).site == one.site for name in names):
        return StoredView(sha256=sha256_hex(body))  # Of one list and one commitment: the same table.
    parts.count_write(one.site)
    stored = parts.store.put(body)
    with parts.database.write("measurement-kept") as session:
        session.merge(file_row(stored, MEASUREMENT, of=version))
    return StoredView(sha256=stored.sha256)


def _commit(parts: AppState, version: int, body: bytes) -> StoredView:
    one = TableCommitment.from_bytes(body)
    with parts.database.read() as session:
        registered(session, version)
    rpc, deployment = parts.chain.rpc, parts.federation.deployment
    if one.version != version:
        raise _of_another(one, version)
    require_account(rpc, deployment, one, least_stake(rpc, deployment))
    now = rpc.latest_timestamp()
    parts.count_write(one.site)
    stored = parts.store.put(body)
    with parts.database.write("measurement-committed") as session:
        listed = _list(parts, session, version)
        if (before := listed.of(one.site)) is not None:
            if before.hash == one.hash:
                return StoredView(sha256=stored.sha256)
            raise Problem(
                "measurement-exists",
                f"{one.site} has committed another table of version {version} before.",
                "One table of each site is taken. Send the one that was committed.",
            )
        if listed.entries and now >= listed.closes:
            raise Problem(
                "commitments-closed",
                f"Commitments to tables of version {version} were taken until chain time {listed.closes}.",
                "Give the others a file: `folkmoot measure --out FILE`. They see that it came later.",
            )
        opens = not listed.entries and now + SHORTEST - PAUSE <= one.closes <= now + LONGEST
        if not opens and one.closes != listed.closes:
            first = f"the first one said {listed.closes}"
            why = first if listed.entries else f"it is {now}, and it may take an hour to 30 days"
            raise Problem(
                "other-closing",
                f"The commitment says that the list closes at chain time {one.closes}; {why}.",
                "Run `folkmoot measure` again: it takes the time of the first commitment.",
            )
        if len(listed.entries) >= MOST_SITES:
            raise Problem(
                "busy", f"{MOST_SITES} sites measure version {version}.", "Keep the file, and share it."
            )
        session.merge(file_row(stored, COMMITTED, of=version))
    return StoredView(sha256=stored.sha256)


def _list(parts: AppState, session: Session, version: int) -> Commitments:
    names = session.scalars(_of(version, COMMITTED)).all()
    read = (TableCommitment.from_bytes(parts.store.read(name)) for name in names)
    return Commitments(tuple(sorted(read, key=lambda one: one.site)))


def _of(version: int, kind: str = MEASUREMENT) -> Select[str]:
    return (
        select(Artifact.sha256)
        .where(Artifact.kind == kind, Artifact.round == version)
        .order_by(Artifact.sha256)
    )


def _read(parts: AppState, name: str) -> SiteMeasurement:
    return SiteMeasurement.from_bytes(parts.store.read(name))


def _of_another(one: Signed, version: int) -> Problem:
    return Problem(
        "wrong-measurement",
        f"{one.site} measured version {one.version}, and the path names version {version}.",
        "Post it to the path of its own version.",
    )

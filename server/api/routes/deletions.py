# SPDX-License-Identifier: Apache-2.0
"""Take and serve the wishes of contributors to delete their update files (docs/protocol.md section 12.3)."""

from __future__ import annotations

from functools import partial

from fastapi import APIRouter, Response
from sqlalchemy import exists, select

from folkmoot.artifacts.retention import counts
from folkmoot.errors import InputError
from folkmoot.protocol.deletion import DeletionWish, to_file
from folkmoot.rpc.wallets import accepts_digest
from server.api.parts import Parts
from server.api.problems import WRITES, Problem
from server.api.schemas import WishRequest, WishView
from server.db.models import Entry, Update
from server.db.wishes import keep, kept

router = APIRouter(tags=["contributors"])


@router.post("/v1/deletions", status_code=202, responses=WRITES)
def wish(parts: Parts, asked: WishRequest) -> WishView:
    """Ask for the deletion of one's own update files, as soon as nothing on the chain can need them.

    The wish can't be taken back. It also holds for files that can't be deleted yet.
    """
    try:
        wanted = DeletionWish.from_json(asked.model_dump(by_alias=True))
    except InputError as error:
        raise Problem("invalid-wish", error.message, error.remedy) from error
    account = wanted.contributor
    with parts.database.read() as session:
        known = session.scalar(
            select(
                exists().where(Entry.contributor == account) | exists().where(Update.contributor == account)
            )
        )
    if not known:  # Before a contract is asked: a stranger's could be anything.
        raise Problem(
            "unknown-contributor",
            f"{account} has contributed nothing.",
            "Give the account that signed the updates.",
        )
    if not counts(wanted, parts.federation.domain, partial(accepts_digest, parts.chain.rpc)):
        raise Problem(
            "not-authorised",
            f"The signature is not of {account}, and it is no contract that accepts it.",
            "Sign with the contributor's key: `folkmoot forget`.",
        )
    parts.count_write(account)
    with parts.database.write("wish-kept") as session:
        last_round = keep(session, wanted)
    parts.worker.wake()
    return WishView(contributor=account, last_round=last_round)


@router.get("/v1/deletions")
def wishes(parts: Parts) -> Response:
    """Return all wishes with their signatures, as the file `deletions.json` of a mirror."""
    with parts.database.read() as session:
        data = to_file(kept(session))
    return Response(data, media_type="application/json")

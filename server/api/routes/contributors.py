# SPDX-License-Identifier: Apache-2.0
"""Accounts with stake, and what they contributed."""

from __future__ import annotations

from eth_utils.address import to_checksum_address
from fastapi import APIRouter
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from folkmoot.explain.reputation import reputation
from server.api import verdict_queries
from server.api.pages import PageWindow, encode
from server.api.parts import Address, AppState, Parts
from server.api.problems import Problem
from server.api.routes.updates import refusal_view
from server.api.schemas import (
    ContributorDetailView,
    ContributorView,
    HistoryView,
    Page,
    ReputationView,
    VerdictView,
)
from server.db.models import Account, Entry, Refusal

router = APIRouter(tags=["contributors"])

SHOWN = 100
MAX_ADDRESS = 2**160 - 1


@router.get("/v1/contributors")
def contributors(parts: Parts, window: PageWindow) -> Page[ContributorView]:
    """All accounts that ever staked, by address."""
    with parts.database.read() as session:
        query = (
            select(Account.address).where(Account.staked).order_by(Account.address).limit(window.limit + 1)
        )
        if (after := window.key(MAX_ADDRESS)) is not None:
            query = query.where(Account.address > to_checksum_address(f"0x{after:040x}"))
        rows = session.scalars(query).all()
        part = list(rows[: window.limit])
        cursor = encode(int(part[-1], 16)) if len(rows) > window.limit else None
        return Page(items=_views(parts, session, part), next_cursor=cursor)


@router.get("/v1/contributors/{address}")
def contributor(parts: Parts, address: Address) -> ContributorDetailView:
    """One account, with its latest rounds and refusals."""
    with parts.database.read() as session:
        (view,) = _views(parts, session, [address])
        refusals = session.scalars(
            select(Refusal).where(Refusal.contributor == address).order_by(Refusal.id.desc()).limit(SHOWN)
        ).all()
        if view.member == 0 and view.rounds == 0 and not refusals:
            raise Problem("unknown-contributor", f"{address} never staked and never contributed.")
        entries = session.scalars(
            select(Entry).where(Entry.contributor == address).order_by(Entry.round.desc()).limit(SHOWN)
        ).all()
        rewards = verdict_queries.credited(session, address, [entry.round for entry in entries])
        history = [
            HistoryView(
                round=entry.round,
                weight=entry.weight,
                pay_share=entry.pay,
                reason=entry.reason,
                numbers=entry.numbers,
                reward=str(rewards[entry.round]) if entry.round in rewards else None,
            )
            for entry in entries
        ]
        policy = parts.chain.policy(parts.chain.ledger.current_policy())
        spent = parts.chain.ledger.spent(address)
        return ContributorDetailView(
            **view.model_dump(),
            claimable=str(parts.chain.rewards.claimable(address)),
            privacy_spent=str(spent),
            privacy_rounds_left=policy.rounds_left(spent),
            reputation=ReputationView.of(reputation(parts.judged.parts_of(session, address))),
            history=history,
            refused=[refusal_view(refusal) for refusal in refusals],
        )


@router.get("/v1/contributors/{address}/verdicts")
def verdicts(parts: Parts, address: Address, window: PageWindow) -> Page[VerdictView]:
    """Every verdict on an account in words and numbers, newest first; the cursor is a round's number."""
    with parts.database.read() as session:
        query = verdict_queries.own_entries(address).order_by(Entry.round.desc()).limit(window.limit + 1)
        if (after := window.key()) is not None:
            query = query.where(Entry.round < after)
        rows = session.execute(query).all()
        part = rows[: window.limit]
        cursor = encode(part[-1][0].round) if len(rows) > window.limit else None
        items = [
            VerdictView.model_validate(judgement.to_json())
            for judgement in parts.judged.judgements(session, part)
        ]
        return Page(items=items, next_cursor=cursor)


def _views(parts: AppState, session: Session, addresses: list[str]) -> list[ContributorView]:
    if not addresses:
        return []
    members = parts.chain.vault.members(addresses)
    kept = session.scalars(select(Account).where(Account.address.in_(addresses)))
    rewards = {row.address: row.rewards for row in kept}

    theirs = (
        select(Entry.contributor, func.count(), func.count().filter(Entry.weight > 0))
        .where(Entry.contributor.in_(addresses))
        .group_by(Entry.contributor)
    )
    entries = {row[0]: (row[1], row[2]) for row in session.execute(theirs)}
    signed = (
        select(Refusal.contributor, func.count())
        .where(Refusal.contributor.in_(addresses), Refusal.authenticated.is_(True))
        .group_by(Refusal.contributor)
    )
    refusals: dict[str, int] = {row[0]: row[1] for row in session.execute(signed)}
    return [
        ContributorView(
            address=address,
            name=parts.settings.names.get(address, ""),
            stake=str(members[address].stake),
            member=members[address].number,
            rounds=entries.get(address, (0, 0))[0],
            weighted=entries.get(address, (0, 0))[1],
            refusals=refusals.get(address, 0),
            rewards=rewards.get(address, "0"),
        )
        for address in addresses
    ]

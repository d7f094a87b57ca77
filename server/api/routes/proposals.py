# SPDX-License-Identifier: Apache-2.0
"""Proposals of the assembly: what the chain says of them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path

from folkmoot.rpc.client import Contract
from folkmoot.rpc.reverts import PROPOSAL_STATES, SUPPORTS
from server.api.pages import PageWindow
from server.api.parts import AppState, Parts
from server.api.problems import Problem
from server.api.schemas import Page, ProposalDetailView, ProposalView, VoteView
from server.chain.indexer import by_name
from server.db.models import ChainEvent

router = APIRouter(tags=["proposals"])


@router.get("/v1/proposals")
def proposals(parts: Parts, window: PageWindow) -> Page[ProposalView]:
    """All proposals, newest first."""
    with parts.database.read() as session:
        part, cursor = window.of(by_name(session, "ProposalCreated")[::-1])
        session.expunge_all()
    return Page(items=[_view(parts, event) for event in part], next_cursor=cursor)


@router.get("/v1/proposals/{proposal_id}")
def proposal(
    parts: Parts, proposal_id: Annotated[str, Path(pattern="^[0-9]{1,78}$", description="Its number.")]
) -> ProposalDetailView:
    """One proposal, with its votes."""
    with parts.database.read() as session:
        created = by_name(session, "ProposalCreated", proposal_id)
        votes = [
            *by_name(session, "VoteCast", proposal_id),
            *by_name(session, "VoteCastWithParams", proposal_id),
        ]
        session.expunge_all()
    if not created:
        raise Problem("unknown-proposal", f"There is no proposal {proposal_id}.", "See /v1/proposals.")
    shown = [
        VoteView(
            voter=vote.arguments["voter"],
            support=SUPPORTS[vote.arguments["support"]],
            votes=str(vote.arguments["weight"]),
            reason=vote.arguments["reason"],
        )
        for vote in votes
    ]
    return ProposalDetailView(**_view(parts, created[-1]).model_dump(), votes=shown)


def _view(parts: AppState, event: ChainEvent) -> ProposalView:
    arguments = event.arguments
    number = int(arguments["proposalId"])
    governor = Contract(parts.chain.rpc, parts.federation.deployment.governor, "governor")
    against, for_, abstain = governor.read("proposalVotes", number)
    start, (block, now) = int(arguments["voteStart"]), parts.chain.rpc.fresh_block()
    return ProposalView(
        id=str(number),
        proposer=arguments["proposer"],
        description=arguments["description"],
        state=PROPOSAL_STATES[governor.read("state", number, block=block)],
        vote_start=start,
        vote_end=int(governor.read("proposalDeadline", number)),
        votes_for=str(for_),
        votes_against=str(against),
        votes_abstain=str(abstain),
        quorum=str(governor.read("quorum", min(start, now - 1), block=block)),
        eta=int(governor.read("proposalEta", number)) or None,
        targets=arguments["targets"],
        values=[str(value) for value in arguments["values"]],
        calldatas=arguments["calldatas"],
        transaction=event.transaction_hash,
    )

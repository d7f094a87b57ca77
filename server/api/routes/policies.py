# SPDX-License-Identifier: Apache-2.0
"""The rules of rounds."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path

from folkmoot.errors import ContractRefused
from server.api.pages import PageWindow
from server.api.parts import Parts
from server.api.problems import Problem
from server.api.schemas import Page, PolicyView
from server.chain.view import ChainView

router = APIRouter(tags=["policies"])


@router.get("/v1/policies")
def policies(parts: Parts, window: PageWindow) -> Page[PolicyView]:
    """All policies, oldest first."""
    current = parts.chain.ledger.current_policy()
    numbers, cursor = window.of(range(1, current + 1))
    return Page(items=[_view(parts.chain, number, current) for number in numbers], next_cursor=cursor)


@router.get("/v1/policies/{policy_id}")
def policy(
    parts: Parts, policy_id: Annotated[int, Path(ge=0, lt=2**32, description="Its number.")]
) -> PolicyView:
    """One policy."""
    current = parts.chain.ledger.current_policy()
    if not 1 <= policy_id <= current:
        raise Problem(404, "unknown-policy", f"There is no policy {policy_id}.", f"The newest is {current}.")
    try:
        return _view(parts.chain, policy_id, current)
    except ContractRefused as exc:
        raise Problem(404, "unknown-policy", exc.message) from exc


def _view(chain: ChainView, number: int, current: int) -> PolicyView:
    found = chain.policy(number)
    return PolicyView(
        id=number,
        current=number == current,
        rule=found.rule,
        parameters=list(found.parameters),
        max_sum_squares=str(found.max_sum_squares),
        min_contributors=found.min_contributors,
        max_contributors=found.max_contributors,
        width=found.width,
        rate=found.rate,
        momentum=found.momentum,
        commit_window=found.commit_window,
        anchor_window=found.anchor_window,
        challenge_window=found.challenge_window,
        min_stake=str(found.min_stake),
        bond=str(found.bond),
        reward=str(found.reward),
        verifier=found.verifier,
        min_sum_squares=str(found.min_sum_squares),
        noise1024=found.noise1024,
        steps=found.steps,
        privacy_cap=str(found.privacy_cap),
        retain_rounds=found.retain_rounds,
        bundle_hash="0x" + found.bundle_hash.hex(),
    )

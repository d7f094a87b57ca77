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
        raise Problem("unknown-policy", f"There is no policy {policy_id}.", f"The newest is {current}.")
    try:
        return _view(parts.chain, policy_id, current)
    except ContractRefused as exc:
        raise Problem("unknown-policy", exc.message) from exc


def _view(chain: ChainView, number: int, current: int) -> PolicyView:
    return PolicyView.of(chain.policy(number), id=number, current=number == current)

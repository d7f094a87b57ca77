# SPDX-License-Identifier: Apache-2.0
"""Rewards follow from weights, and tokens from rewards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from folkmoot.audit.code import Creation
from folkmoot.audit.rewards import check_rewards, check_supply
from folkmoot.errors import AuditFailure
from folkmoot.ledger.events import RewardClaimed, RewardCredited, RoundSettled
from tests.unit.audit.records import ADA, BEN, CLEO, COORDINATOR, DEPLOYMENT, NOBODY, Script, transfer
from tests.unit.audit.test_audit_rounds import POLICY, Play

EIGHTH = POLICY.reward // 8
QUARTER = POLICY.reward // 4


def settled(*rewards: tuple[str, int], weights: tuple[int, ...] = (1, 0, 2), claim: int = 0) -> Play:
    """Play a round whose settlement credits what is given, and let Cleo claim."""
    play = Play()
    play.open(1)
    play.commit(1, ADA, BEN, CLEO)
    play.anchor(1, weights)
    play.finalize(1)
    play.block()
    for who, amount in rewards:
        play.add(RewardCredited, "rewards", round=1, contributor=who, amount=amount)
    play.add(RoundSettled, "rewards", round=1)
    if claim:
        play.block()
        play.add(RewardClaimed, "rewards", account=CLEO, amount=claim)
        transfer(play, NOBODY, CLEO, claim)
    return play


def test_right_rewards_pass() -> None:
    play = settled((ADA, EIGHTH), (CLEO, QUARTER), claim=QUARTER)
    history = play.history(claimable={ADA: EIGHTH, CLEO: 0}, settled={1: True})
    assert check_rewards(history, play.replayed()) == QUARTER
    with pytest.raises(AuditFailure, match="whether the rewards are settled"):
        check_rewards(play.history(claimable={ADA: EIGHTH, CLEO: 0}, settled={1: False}), play.replayed())


@pytest.mark.parametrize(
    ("play", "claimable", "what"),
    [
        (settled((ADA, EIGHTH + 1), (CLEO, QUARTER)), {}, "the reward"),
        (settled((ADA, EIGHTH), (BEN, 1)), {}, "the reward"),
        (settled((ADA, EIGHTH)), {}, "the rewarded contributors"),
        (
            settled((ADA, EIGHTH), (CLEO, QUARTER), claim=5),
            {},
            "the claimed rewards",
        ),
        (
            settled((ADA, EIGHTH), (CLEO, QUARTER)),
            {ADA: EIGHTH, CLEO: 0},
            "what can be claimed",
        ),
    ],
)
def test_a_wrong_reward_is_named(play: Play, claimable: dict[str, int], what: str) -> None:
    with pytest.raises(AuditFailure) as caught:
        check_rewards(play.history(claimable=claimable, settled={1: True}), play.replayed())
    assert caught.value.details["what"] == what


@pytest.mark.parametrize(
    ("number", "what"), [(1, "the reason of the reward"), (7, "the round of the reward")]
)
def test_a_reward_without_a_settlement_is_named(number: int, what: str) -> None:
    play = Play()
    play.play(1)
    play.block()
    play.add(RewardCredited, "rewards", round=number, contributor=ADA, amount=5)
    with pytest.raises(AuditFailure) as caught:
        check_rewards(play.history(), play.replayed())
    assert caught.value.details["what"] == what


def test_a_reward_outside_of_its_settlement_is_named() -> None:
    play = Play()
    play.play(1)
    play.finalize(1)
    play.settle(1)
    play.block()
    play.add(RewardCredited, "rewards", round=1, contributor=ADA, amount=POLICY.reward // 2)
    with pytest.raises(AuditFailure, match="the settlement of the reward"):
        check_rewards(play.history(), play.replayed())


def supplied(*moves: Callable[[Script], Any]) -> Script:
    """Allocate 100 tokens to Ada in the token's creation, then do the moves, each in a block."""
    script = Script()
    first = script.events[0]
    script.number = first.block
    transfer(script, NOBODY, ADA, 100)
    script.number = max(script.times)
    script.events.sort(key=lambda event: (event.block, event.log_index))
    for move in moves:
        script.block()
        move(script)
    return script


def test_right_supply_passes() -> None:
    script = supplied(
        lambda s: transfer(s, ADA, DEPLOYMENT.vault, 40),
        lambda s: transfer(s, DEPLOYMENT.vault, NOBODY, 10),
        lambda s: (
            s.add(RewardClaimed, "rewards", account=BEN, amount=7),
            transfer(s, NOBODY, BEN, 7),
        ),
    )
    creation = Creation(((ADA, 100),), bytes(32), COORDINATOR, POLICY)
    check_supply(script.history(total_supply=97, vault_balance=30), creation, 7)
    check_supply(script.history(total_supply=97, vault_balance=30), None, 7)
    for creation_of, claimed, supply, balance in (
        (((ADA, 101),), 7, 97, 30),
        (((ADA, 100),), 8, 97, 30),
        (((ADA, 100),), 7, 98, 30),
        (((ADA, 100),), 7, 97, 31),
    ):
        creation = Creation(creation_of, bytes(32), COORDINATOR, POLICY)
        with pytest.raises(AuditFailure):
            check_supply(script.history(total_supply=supply, vault_balance=balance), creation, claimed)


@pytest.mark.parametrize(
    ("move", "what"),
    [
        (lambda s: transfer(s, NOBODY, BEN, 7), "the reason of the minting"),
        (lambda s: transfer(s, ADA, BEN, 101), f"the balance of {ADA}"),
    ],
)
def test_tokens_from_nowhere_are_named(move: Callable[[Script], Any], what: str) -> None:
    with pytest.raises(AuditFailure) as caught:
        check_supply(supplied(move).history(), None, 0)
    assert caught.value.details["what"] == what

# SPDX-License-Identifier: Apache-2.0
"""What an account has to get, from the events: weight, pay, tokens, until they are paid out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from folkmoot.explain.due import Due
from folkmoot.ledger.events import RewardClaimed
from folkmoot.protocol.rewards import FULL_PAY
from tests.unit.audit.records import ADA, BEN, CLEO, COORDINATOR
from tests.unit.audit.test_audit_rounds import POLICY, Play

NOW = 0
"""Chain time, before every deadline."""
PLACE = POLICY.reward // POLICY.max_contributors


def test_weight_pay_and_tokens_are_those_of_the_anchor() -> None:
    play = Play(replace(POLICY, rule="clamped_mean", parameters=()))
    play.open(1)
    play.commit(1, ADA, BEN, COORDINATOR)
    play.anchor(1, (1, 4, 0), pays=(FULL_PAY // 2, FULL_PAY, 0))
    round_ = play.replayed().rounds[1]
    assert round_.rewards == {ADA: PLACE // 2, BEN: PLACE}
    assert Due(round_, ADA, NOW).row[:2] == ("1", "25.0 %")
    assert "Weight 25.0 % of the largest, pay 50.0 % of a full place:" in Due(round_, ADA, NOW).text
    assert f"folkmoot why {ADA} --round 1" in Due(round_, ADA, NOW).text
    assert (Due(round_, ADA, NOW).amount, Due(round_, COORDINATOR, NOW).amount) == (PLACE // 2, 0)
    assert Due(round_, COORDINATOR, NOW).row[2] == "the coordinator's"
    assert Due(round_, BEN, NOW).to_json() == {
        "round": 1,
        "phase": "anchored",
        "weight": 4,
        "largestWeight": 4,
        "payShare": FULL_PAY,
        "pay": str(PLACE),
    }


@pytest.mark.parametrize(("weight", "rewards"), [(1, {ADA: PLACE // 2, CLEO: PLACE}), (0, {CLEO: PLACE})])
def test_without_pays_the_weight_says_it(weight: int, rewards: dict[str, int]) -> None:
    play = Play()
    play.open(1)
    play.commit(1, ADA, COORDINATOR, CLEO)
    play.anchor(1, (weight, 2, 2))
    round_ = play.replayed().rounds[1]
    assert round_.rewards == rewards
    assert Due(round_, ADA, NOW).row[1] == Due(round_, ADA, NOW).row[2]


def test_a_round_is_unclaimed_until_its_credits_were_paid_out() -> None:
    play = Play()
    play.open(1)
    play.commit(1, ADA, BEN)
    assert play.replayed().unclaimed(ADA) == [], "nothing is known before the anchor"
    states, late = [], []
    play.anchor(1)
    for step in (None, play.finalize, play.settle):
        if step is not None:
            step(1)
        (round_,) = play.replayed().unclaimed(ADA)
        states.append(Due(round_, ADA, NOW).row[-1])
        late.append(Due(round_, ADA, round_.challenge_deadline).row[-1])
    assert [state.split()[0] for state in states] == ["can", "final;", "credited"]
    assert late == ["can be challenged until `folkmoot close 1` makes it final", *states[1:]]
    play.block()
    play.add(RewardClaimed, "rewards", account=ADA, amount=Due(round_, ADA, NOW).amount)
    assert (play.replayed().unclaimed(ADA), len(play.replayed().unclaimed(BEN))) == ([], 1)
    assert play.replayed().copy().unclaimed(ADA) == []


def test_a_void_round_gives_nothing() -> None:
    play = Play()
    play.open(1)
    play.commit(1, ADA, BEN)
    play.anchor(1)
    round_ = play.replayed().rounds[1]
    assert Due(round_, ADA, NOW).amount
    round_.phase = type(round_.phase).SLASHED
    assert (Due(round_, ADA, NOW).amount, Due(round_, ADA, NOW).row[-1]) == (0, "void")

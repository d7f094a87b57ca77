# SPDX-License-Identifier: Apache-2.0
"""Lies: what is played move by move equals the closed formulas."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from folkmoot_lab.economics import lies
from folkmoot_lab.economics.play import average
from folkmoot_lab.economics.rules import PRESENT, VERSION_1
from folkmoot_lab.economics.setting import Setting
from hypothesis import given, settings
from hypothesis import strategies as st

from folkmoot.protocol.policy import ARBITER
from tests.factories import policy

# Rewards that two entries share without a rest, and bonds that are a multiple of 4, so that nothing is rounded.
REWARDS = st.integers(1, 10**6).map(lambda n: 2 * n)
BONDS = st.integers(1, 10**7).map(lambda n: 4 * n)
CHANCES = st.fractions(Fraction(1, 50), Fraction(49, 50), max_denominator=50)


def setting(reward: int, bond: int, **changes: Any) -> Setting:
    return Setting(policy=policy(verifier=ARBITER, reward=reward, bond=bond), gas_price=0, **changes)


def row_of_lies(setting: Setting, tries: int) -> Fraction:
    """Return the profit of so many tries without gas: (1 - (1-p)^k) (g R (1-p)/p - b B).

    A try that is not caught is followed by the next, and each brings g rewards.
    """
    missed = 1 - setting.caught
    prize = setting.unseen * setting.prize
    return (1 - missed**tries) * (prize * missed / setting.caught - lies.sure_loss(setting))


@given(REWARDS, BONDS, CHANCES, st.integers(0, 10**6), st.integers(1, 3))
def test_a_row_of_lies_earns_what_the_formula_says(
    reward: int, bond: int, caught: Fraction, worth: int, unseen: int
) -> None:
    game = setting(reward, bond, caught=caught, worth=worth, unseen=unseen)
    (one,) = lies.copied_proof(game)
    assert one.profit == row_of_lies(game, 1)
    for tries, play in enumerate(lies.lies_in_a_row(game), start=2):
        if tries > 5:
            break
        assert play.profit == row_of_lies(game, tries)
        assert (play.profit > 0) == (caught < lies.chance_to_pay(game))


@given(REWARDS, BONDS, CHANCES, st.integers(1, 3))
def test_the_thresholds_are_where_a_lie_begins_to_pay(
    reward: int, bond: int, caught: Fraction, unseen: int
) -> None:
    game = setting(reward, bond, caught=caught, unseen=unseen)
    worth = lies.worth_to_pay(game)
    assert worth is not None
    for extra, pays in ((-1, False), (0, False), (1, True)):
        given_worth = int(worth) + extra if worth == int(worth) else int(worth // 1) + (extra > 0)
        if given_worth >= 0:
            (play,) = lies.copied_proof(replace(game, worth=given_worth))
            assert (play.profit > 0) == pays
    rounds = lies.unseen_to_pay(game)
    assert rounds is not None
    if rounds <= 50:
        assert next(lies.copied_proof(replace(game, unseen=rounds))).profit > 0
        if rounds > 1:
            assert next(lies.copied_proof(replace(game, unseen=rounds - 1))).profit <= 0


@pytest.mark.parametrize(("factor", "percent"), [(4, "25.0 %"), (5, "21.1 %"), (8, "14.3 %")])
def test_the_chance_at_which_lies_pay(factor: int, percent: str) -> None:
    assert lies.percent(lies.chance_to_pay(setting(100, factor * 100))) == percent


def test_the_chances_of_the_audit() -> None:
    """64 % with one pending round, 97 % with 20, 99.8 % with 256, for a bond of 1,000 and a reward of 900."""
    shown = [
        lies.percent(lies.chance_to_pay(setting(900, 1_000, rules=VERSION_1, unseen=pending)))
        for pending in (1, 20, 256)
    ]
    assert shown == ["64.3 %", "97.3 %", "99.8 %"]


@settings(max_examples=20)
@given(REWARDS, BONDS, CHANCES)
def test_a_self_report_costs_a_bond_more_than_the_lies_that_are_left(
    reward: int, bond: int, caught: Fraction
) -> None:
    game = setting(reward, bond, caught=caught)
    plays = {play.choice: play for play in lies.self_report(game)}
    for left in (0, 1, 4):
        name = (
            "1 lie pending, the first reported" if not left else f"{left + 1} lies pending, the last reported"
        )
        assert plays[name].profit == row_of_lies(game, left) - lies.sure_loss(game)
    assert plays["5 lies pending, the first reported"].profit == -lies.sure_loss(game)


def test_in_the_first_version_the_other_pending_rounds_had_no_bond_left() -> None:
    """H3 of the audit: the puppet of a coordinator with three pending rounds reports one; two become final."""
    game = replace(setting(900, 1_000, rules=VERSION_1), gas_price=1)
    plays = {play.choice: play for play in lies.self_report(game)}
    play = plays["3 lies pending, the last reported"]
    assert play.gain == 1_800
    assert round(play.cost) == 501


def test_in_the_first_version_a_copied_proof_made_a_lie_cost_half_a_bond() -> None:
    """M1 of the audit: a net loss of 500 against a reward of 900."""
    (play,) = lies.copied_proof(setting(900, 1_000, rules=VERSION_1, caught=Fraction(1)))
    assert play.gain == 0
    assert play.cost == 500
    (half,) = lies.copied_proof(setting(900, 1_000, rules=VERSION_1))
    assert half.profit == Fraction(900 - 500, 2)


@given(REWARDS, BONDS, st.integers(0, 3), st.integers(0, 10**6))
def test_a_bribe_is_what_a_proof_brings(reward: int, bond: int, watchers: int, worth: int) -> None:
    game = setting(reward, bond, watchers=watchers, worth=worth)
    (play,) = lies.bribery(game)
    assert play.profit == reward + worth - watchers * bond // 4


def test_nobody_proves_what_costs_more_than_it_brings() -> None:
    game = replace(setting(2, 8), gas_price=10**18)
    (play,) = lies.copied_proof(game)
    assert play.profit == 2
    assert (
        lies.lie_pays_if(game)
        == lies.self_report_pays_if(game)
        == lies.bribery_pays_if(game)
        == lies.NO_PROOF
    )


def test_a_lie_that_is_always_caught_never_pays() -> None:
    game = setting(100, 400, caught=Fraction(1))
    assert (lies.worth_to_pay(game), lies.unseen_to_pay(game)) == (None, None)
    assert lies.lie_pays_if(game) == "a lie is proven with less than 25.0 %"


def test_a_vote_takes_the_whole_bond() -> None:
    (play,) = lies.lie_for_a_vote(setting(100, 400))
    assert play.profit == Fraction(100 - 400, 2)
    assert lies.vote_pays_if(setting(100, 400)).startswith("a vote convicts with less than 20.0 %")


def test_bonds_that_vote_can_outvote_a_conviction() -> None:
    game = setting(100, 400, honest_votes=800, rules=replace(PRESENT, bonds_vote=True))
    assert next(lies.lie_for_a_vote(game)).profit == 100
    assert lies.vote_pays_if(game).startswith("always")
    silent = replace(game, rules=PRESENT)
    assert next(lies.lie_for_a_vote(silent)).profit < 0
    assert "bonds" not in lies.vote_pays_if(silent)


def test_probabilities_add_up() -> None:
    nothing = (Fraction(0), Fraction(0))
    with pytest.raises(ValueError, match="add up to 1/2"):
        average("half a game", [(Fraction(1, 2), nothing)])

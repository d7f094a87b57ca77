# SPDX-License-Identifier: Apache-2.0
"""Places, puppets and copies."""

from __future__ import annotations

import pkgutil
from dataclasses import replace
from fractions import Fraction
from importlib import import_module
from itertools import product
from typing import Any

import pytest
from benchmarks.robustness.page import FEDERATIONS, RESULTS, plans
from folkmoot_lab.economics import entries
from folkmoot_lab.economics.rules import DROPS_NEAR_COPIES, FIRST_COME, PRESENT, VERSION_1, Rules
from folkmoot_lab.economics.setting import RIDERS_PAY, TRAINING, Setting
from folkmoot_lab.simulation import grid
from hypothesis import given
from hypothesis import strategies as st

from folkmoot.aggregation import rules
from folkmoot.protocol.policy import ARBITER
from folkmoot.protocol.rewards import FULL_PAY
from tests.factories import policy

ALL_PLACES = replace(PRESENT, quota_percent=100)
"""A quota that hands out all places, of which a quarter is free under the present rules."""
DRAWN_AGAIN = replace(ALL_PLACES, lot_can_be_drawn_again=True)
"""With lots that follow from the block of the opening, too."""


def setting(places: int, **changes: Any) -> Setting:
    made = policy(
        verifier=ARBITER, rule=changes.pop("rule", "clamped_mean"), max_contributors=places + 1, reward=10**6
    )
    return Setting(policy=made, gas_price=0, **changes)


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 4), st.sampled_from((75, 100)))
def test_lots_are_drawn_one_by_one(places: int, honest: int, puppets: int, percent: int) -> None:
    """The same by going through every outcome of every lot."""
    known = replace(PRESENT, quota_percent=percent)
    lots = entries.draw(setting(places, honest=honest, rules=known), puppets)
    crowd = puppets + honest > places
    chance = Fraction(percent * places, 100 * (puppets + honest)) if crowd else Fraction(1)
    fair = first = Fraction(0)
    for wins in product((True, False), repeat=puppets + honest):
        weight = chance ** sum(wins) * (1 - chance) ** (len(wins) - sum(wins))
        mine, others = sum(wins[:puppets]), sum(wins[puppets:])
        if mine + others:
            entered = min(mine + others, places)
            fair += weight * Fraction(mine * entered, (mine + others) * (places + 1))
            first += weight * Fraction(min(mine, places), places + 1)
    assert (lots.fair, lots.first) == (fair, first)
    assert sum(lots.shares.values()) == 1


@given(st.integers(1, 12), st.integers(1, 20), st.integers(1, 20))
def test_a_share_of_the_stake_is_at_most_that_share_of_the_places(
    places: int, honest: int, puppets: int
) -> None:
    lots = entries.draw(setting(places, honest=honest), puppets)
    assert lots.entries <= min(puppets, places)
    if puppets + honest > places:
        assert lots.entries <= Fraction(puppets * places, puppets + honest)
    assert lots.fair <= lots.first


@pytest.mark.parametrize("known", [PRESENT, FIRST_COME, VERSION_1])
def test_with_places_for_all_nothing_is_gained_by_being_first(known: Rules) -> None:
    game = setting(20, honest=10, rules=known)
    assert max(play.profit for play in entries.spam(game)) == 0
    assert max(play.profit for play in entries.puppets_of_coordinator(game)) <= 0


def test_first_come_first_served_gives_a_crowd_to_whoever_is_first() -> None:
    """H1 of the audit: with as many accounts as there are places, the shares of all of them."""
    game = setting(20, honest=20, rules=FIRST_COME, share=Fraction(1, 2))
    best = max(entries.spam(game), key=lambda play: play.profit)
    assert (best.choice, best.profit) == ("20 accounts, first", Fraction(10**7, 21))


def test_a_lot_that_is_drawn_again_gets_better() -> None:
    game = setting(20, honest=40, rules=DRAWN_AGAIN)
    again, once, present = (
        max(play.profit for play in entries.puppets_of_coordinator(replace(game, rules=known)))
        for known in (DRAWN_AGAIN, ALL_PLACES, PRESENT)
    )
    assert again > 5 * once > 0
    assert once > 5 * present
    lots = entries.draw(game, 17)
    for cost in (Fraction(0), Fraction(1, 1000), Fraction(1)):
        share, draws = lots.drawn_again(cost)
        assert share - cost * (draws - 1) >= lots.first
        assert draws <= 1 / entries.RAREST
    assert lots.drawn_again(Fraction(1)) == (lots.first, Fraction(1))


def test_fewer_lots_than_places_leave_nothing_for_the_first() -> None:
    game = setting(63, honest=151)
    assert 0 < max(play.profit for play in entries.spam(game)) < 10**6 / 10_000


@pytest.mark.parametrize(
    ("known", "said"),
    [
        (FIRST_COME, "more accounts want a place than there are places"),
        (ALL_PLACES, "the accounts outnumber the places"),
        (PRESENT, "though the quotas are made for 75 % of them"),
    ],
)
def test_what_a_crowd_is_said_to_need(known: Rules, said: str) -> None:
    assert said in entries.places_pay_if(setting(20, rules=known))
    again = entries.puppets_pay_if(setting(20, rules=replace(known, lot_can_be_drawn_again=True)))
    assert ("draws the lot again" in again) == (known is not FIRST_COME)


def test_leaving_others_out_earns_nothing() -> None:
    plays = list(entries.puppets_of_coordinator(setting(20, honest=10)))
    left_out = [play for play in plays if "left out" in play.choice]
    assert left_out
    assert all(play.profit <= 0 for play in left_out)


def test_equal_copies_earn_no_more_than_one_update() -> None:
    game = setting(30, honest=10, share=Fraction(1, 2))
    equal = [play.profit for play in entries.sybil_split(game) if "equal" in play.choice]
    assert max(equal) == 0
    assert max(play.profit for play in entries.sybil_split(replace(game, rules=VERSION_1))) > 10**5


@pytest.mark.parametrize(("rule", "pays"), [("clamped_mean", False), ("mean", True), ("multi_krum", True)])
def test_altered_copies_pay_where_no_stage_drops_them(rule: str, pays: bool) -> None:
    game = setting(30, honest=10, rule=rule)
    altered = [play.profit for play in entries.sybil_split(game) if "altered" in play.choice]
    assert (max(altered) > 0) == pays
    assert ("always" in entries.sybil_pays_if(game)) == pays


@pytest.mark.parametrize(("rule", "pays"), [("clamped_mean", False), ("mean", True), ("multi_krum", True)])
def test_updates_that_nobody_trained_pay_where_weights_do(rule: str, pays: bool) -> None:
    game = setting(30, honest=10, rule=rule)
    best = max(entries.riders(game), key=lambda play: play.profit)
    assert (best.profit > 0) == pays
    assert ("always" in entries.riders_pay_if(game)) == pays
    place = Fraction(10**6, 31)
    if pays:
        assert best.profit == game.puppets * TRAINING * place
    else:
        assert best.profit == pytest.approx(
            float((TRAINING - 1 + Fraction(RIDERS_PAY, FULL_PAY)) * place), abs=1
        )


def test_what_riders_are_paid_is_what_the_page_measured() -> None:
    paid = [
        cell.values["attacker_pay"]
        for cell in grid.load(RESULTS)
        if cell.plan in plans(FEDERATIONS[0], ("rider-path", "rider-mix", "rider-choir"), seeds=1)
    ]
    assert len(paid) == 3
    assert round(100 * RIDERS_PAY / FULL_PAY) == round(100 * max(paid))


def test_the_rules_that_drop_near_copies_are_those_with_the_stage() -> None:
    modules = [
        import_module(f"{rules.__name__}.{module.name}") for module in pkgutil.iter_modules(rules.__path__)
    ]
    with_stage = {
        module.NAME for module in modules if "Stages: ``copies``" in (module.__doc__ or "").replace("\n", " ")
    }
    assert with_stage == DROPS_NEAR_COPIES

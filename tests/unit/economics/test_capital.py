# SPDX-License-Identifier: Apache-2.0
"""The bonds that a coordinator needs, what a majority can mint, and impossible assumptions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from folkmoot_lab.economics.capital import capital, most_minted
from folkmoot_lab.economics.setting import Setting

from folkmoot.errors import InputError
from tests.factories import policy


def test_a_coordinator_needs_a_bond_for_each_round_of_a_challenge_window() -> None:
    rules = policy(commit_window=3_600, challenge_window=86_400, bond=500)
    assert (capital(rules).rounds, capital(rules).bonds) == (25, 12_500)
    assert capital(rules, held=7 * 86_400).rounds == 1 + 24 + 168
    assert capital(rules, length=60).rounds == 257
    assert capital(replace(rules, interval=3_600), length=60).rounds == 25
    assert capital(policy(commit_window=600, challenge_window=601)).rounds == 3


def test_what_a_majority_mints_is_bounded_by_pending_rounds() -> None:
    most = most_minted(policy(challenge_window=86_400, reward=100, bond=500))
    assert (most.rounds, most.minted, most.bonds) == (512, 512 * 400, 256 * 1_600)
    assert most_minted(policy(reward=100, bond=10_000)).bonds == 256 * 5_000


def test_what_a_majority_mints_is_bounded_by_half_of_the_first_interval() -> None:
    most = most_minted(policy(challenge_window=86_400, interval=3_600, reward=100, bond=500))
    assert (most.rounds, most.minted, most.bonds) == (48, 48 * 400, 25 * 1_600)
    quick = policy(challenge_window=86_400, interval=2, reward=100, bond=500)
    assert most_minted(quick) == most_minted(replace(quick, interval=0))


@pytest.mark.parametrize(
    "wrong", [{"caught": 0}, {"caught": 2}, {"share": 1}, {"unseen": 0}, {"worth": -1}, {"honest": 0}]
)
def test_impossible_assumptions_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="got"):
        Setting(policy=policy(), **wrong)

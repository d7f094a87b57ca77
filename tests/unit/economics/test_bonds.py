# SPDX-License-Identifier: Apache-2.0
"""What a bond must be worth, the warning where it is not, and the bonds that a coordinator needs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from folkmoot.economics.bonds import least_bond, policy_warning
from folkmoot.economics.capital import capital, most_minted
from folkmoot.economics.rules import VERSION_1
from folkmoot.economics.setting import Setting, proof_gas
from folkmoot.errors import InputError
from folkmoot.protocol.policy import ARBITER, NO_VERIFIER
from folkmoot.runtime.units import UNIT
from tests.factories import policy

MEASURED = json.loads(
    (Path(__file__).parents[3] / "contracts" / "snapshots" / "FraudProofs.json").read_text()
)


def setting(*, gas_price: int = UNIT, **changes: Any) -> Setting:
    return Setting(
        policy=policy(**{"verifier": ARBITER, "rule": "guided_mean", **changes}), gas_price=gas_price
    )


@pytest.mark.parametrize("contributors", [50, 100])
@pytest.mark.parametrize(("rule", "kind"), [("mean", ""), ("trimmed_mean", "trimmed, ")])
def test_the_gas_of_a_proof_is_about_what_was_measured(rule: str, kind: str, contributors: int) -> None:
    measured = int(MEASURED[f"proveMean, 1 M, {kind}{contributors}"])
    measured = max(measured, int(MEASURED["proveOuterStep, 1 M"]))
    assert proof_gas(policy(rule=rule, max_contributors=contributors)) == pytest.approx(measured, rel=0.06)


def test_a_small_round_costs_what_an_outer_step_costs() -> None:
    measured = int(MEASURED["proveOuterStep, 1 M"])
    assert proof_gas(policy(max_contributors=3)) == pytest.approx(measured, rel=0.01)


def test_a_quarter_of_the_least_bond_is_worth_the_reward_and_a_proof() -> None:
    game = setting(reward=10 * UNIT, max_contributors=100)
    least = least_bond(game)
    assert least == 4 * (10 * UNIT + proof_gas(game.policy) * UNIT // 1_000_000)
    assert policy_warning(setting(reward=10 * UNIT, max_contributors=100, bond=least)) is None
    low = policy_warning(setting(reward=10 * UNIT, max_contributors=100, bond=least - 1)) or ""
    assert "the bond should be at least" in low
    assert "refuses" not in low


def test_without_gas_a_bond_is_what_the_ledger_asks_for() -> None:
    assert least_bond(setting(reward=UNIT, gas_price=0)) == 4 * UNIT
    assert policy_warning(setting(reward=UNIT, bond=4 * UNIT, gas_price=0)) is None
    low = policy_warning(setting(reward=UNIT, bond=4 * UNIT - 1, gas_price=0)) or ""
    assert "The ledger refuses less than 4 rewards." in low


def test_a_policy_without_a_verifier_is_warned_of() -> None:
    assert "nobody can prove fraud" in (policy_warning(setting(verifier=NO_VERIFIER)) or "")


def test_a_rule_that_pays_altered_copies_is_warned_of() -> None:
    said = policy_warning(setting(rule="mean", max_contributors=64, bond=50 * UNIT)) or ""
    assert said.startswith("These strategies pay against the policy: Sybil split (")


def test_a_coordinator_needs_a_bond_for_each_round_of_a_challenge_window() -> None:
    rules = policy(commit_window=3_600, challenge_window=86_400, bond=500)
    assert (capital(rules).rounds, capital(rules).bonds) == (25, 12_500)
    assert capital(rules, held=7 * 86_400).rounds == 1 + 24 + 168
    assert capital(rules, length=60).rounds == 257
    assert capital(policy(commit_window=600, challenge_window=601)).rounds == 3


def test_what_a_majority_mints_is_bounded_by_pending_rounds() -> None:
    most = most_minted(policy(challenge_window=86_400, reward=100, bond=500))
    assert (most.rounds, most.minted, most.bonds) == (512, 512 * 400, 256 * 1_600)
    assert most_minted(policy(reward=100, bond=10_000)).bonds == 256 * 5_000


@pytest.mark.parametrize(
    "wrong", [{"caught": 0}, {"caught": 2}, {"share": 1}, {"unseen": 0}, {"worth": -1}, {"honest": 0}]
)
def test_impossible_assumptions_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="got"):
        Setting(policy=policy(), **wrong)


def test_the_first_version_asked_for_less() -> None:
    game = Setting(policy=policy(reward=100 * UNIT), gas_price=0, rules=VERSION_1)
    assert least_bond(game) == 200 * UNIT

# SPDX-License-Identifier: Apache-2.0
"""What a bond must be worth, the warning where it is not, and the checks of other distributions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from folkmoot.chain import bonds
from folkmoot.chain.bonds import least_bond, policy_warning, proof_gas
from folkmoot.protocol.policy import ARBITER, CLAMPED_MEAN, MEAN_SCALES, NO_VERIFIER, Policy
from folkmoot.runtime.units import UNIT
from tests.factories import policy

MEASURED = json.loads(
    (Path(__file__).parents[3] / "contracts" / "snapshots" / "FraudProofs.json").read_text()
)


def arbiter(**changes: Any) -> Policy:
    return policy(**{"verifier": ARBITER, "rule": "clamped_mean", **changes})


@pytest.mark.parametrize("contributors", [50, 100])
@pytest.mark.parametrize(("rule", "kind"), [("mean", ""), ("clamped_mean", "clamped, ")])
def test_the_gas_of_a_proof_is_about_what_was_measured(rule: str, kind: str, contributors: int) -> None:
    measured = int(MEASURED[f"proveMean, 1 M, {kind}{contributors}"])
    measured = max(measured, int(MEASURED["proveOuterStep, 1 M"]))
    assert proof_gas(policy(rule=rule, max_contributors=contributors)) == pytest.approx(measured, rel=0.06)


def test_a_small_round_costs_what_an_outer_step_costs() -> None:
    measured = int(MEASURED["proveOuterStep, 1 M"])
    assert proof_gas(policy(max_contributors=3)) == pytest.approx(measured, rel=0.01)


def test_a_quarter_of_the_least_bond_is_worth_the_reward_and_a_proof() -> None:
    terms = arbiter(reward=10 * UNIT, max_contributors=100)
    least = least_bond(terms)
    assert least == 4 * (10 * UNIT + proof_gas(terms) * UNIT // 1_000_000)
    assert policy_warning(arbiter(reward=10 * UNIT, max_contributors=100, bond=least)) is None
    low = policy_warning(arbiter(reward=10 * UNIT, max_contributors=100, bond=least - 1)) or ""
    assert "the bond should be at least" in low
    assert "refuses" not in low


def test_without_gas_a_bond_is_what_the_ledger_asks_for() -> None:
    assert least_bond(arbiter(reward=UNIT), gas_price=0) == 4 * UNIT
    assert policy_warning(arbiter(reward=UNIT, bond=4 * UNIT), gas_price=0) is None
    low = policy_warning(arbiter(reward=UNIT, bond=4 * UNIT - 1), gas_price=0) or ""
    assert "The ledger refuses less than 4 rewards." in low


@pytest.mark.parametrize(
    ("rule", "width", "warned"), [(CLAMPED_MEAN, 2, True), (CLAMPED_MEAN, 4, False), ("mean", 2, False)]
)
def test_a_width_at_which_nothing_is_clamped_is_warned_of(rule: str, width: int, warned: bool) -> None:
    said = (
        policy_warning(arbiter(rule=rule, width=width, mean_scale=MEAN_SCALES[width], bond=50 * UNIT)) or ""
    )
    assert ("At width 2 the sum clamps nothing" in said) == warned


def test_who_decides_about_a_root_share_is_said() -> None:
    """At the largest share half of the weight; without the parameter nothing."""
    said = policy_warning(arbiter(rule=CLAMPED_MEAN, parameters=(512,), bond=50 * UNIT)) or ""
    assert "The root set gives out 50% of the weight" in said
    assert "The root set" not in (policy_warning(arbiter(rule=CLAMPED_MEAN, bond=50 * UNIT)) or "")


def test_a_policy_without_a_verifier_is_warned_of() -> None:
    assert "nobody can prove fraud" in (policy_warning(arbiter(verifier=NO_VERIFIER)) or "")


def test_a_rule_that_pays_altered_copies_is_warned_of() -> None:
    """The check comes from folkmoot-lab, through its entry point."""
    said = policy_warning(arbiter(rule="mean", max_contributors=64, bond=50 * UNIT)) or ""
    assert said.startswith("These strategies pay against the policy: Sybil split (")


class Point:
    """An entry point of somebody else."""

    def __init__(self, check: Any) -> None:
        self.name, self.check = "strict", check

    def load(self) -> Any:
        if isinstance(self.check, Exception):
            raise self.check
        return self.check


def test_a_check_of_another_distribution_gets_the_policy_and_what_is_assumed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    def check(terms: Policy, **assumed: int) -> str:
        asked.append((terms, assumed))
        return "Nobody likes it."

    monkeypatch.setattr(bonds, "entry_points", lambda group: [Point(check)])
    good = arbiter(reward=UNIT, bond=50 * UNIT)
    assert policy_warning(good, gas_price=7, demand_deposit=8) == "Nobody likes it."
    assert asked == [(good, {"gas_price": 7, "demand_deposit": 8})]
    assert "Nobody" not in (policy_warning(arbiter(reward=UNIT, bond=0)) or ""), (
        "first the bond must be right"
    )


def test_a_check_that_can_not_be_loaded_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bonds, "entry_points", lambda group: [Point(ImportError("No module named 'x'"))])
    said = policy_warning(arbiter(reward=UNIT, bond=50 * UNIT))
    assert said == "The policy check `strict` can't be loaded: No module named 'x'."


def test_without_other_distributions_the_bond_and_the_windows_are_checked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bonds, "entry_points", lambda group: [])
    assert policy_warning(arbiter(rule="mean", max_contributors=64, bond=50 * UNIT)) is None
    short = arbiter(bond=0, commit_window=bonds.LEAST_WINDOW - 1)
    said = policy_warning(short) or ""
    assert "The bond of 0" in said
    assert "These windows are shorter" in said

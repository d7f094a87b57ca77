# SPDX-License-Identifier: Apache-2.0
"""Bonds that make proofs pay, and the warning where they don't."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from folkmoot.ledger.bonds import bond_warning, least_bond, proof_gas
from folkmoot.protocol.policy import ARBITER, NO_VERIFIER
from folkmoot.runtime.units import UNIT
from tests.factories import policy

MEASURED = json.loads(
    (Path(__file__).parents[3] / "contracts" / "snapshots" / "FraudProofs.json").read_text()
)


@pytest.mark.parametrize("contributors", [50, 100])
@pytest.mark.parametrize(("rule", "kind"), [("mean", ""), ("trimmed_mean", "trimmed, ")])
def test_the_gas_of_a_proof_is_about_what_was_measured(rule: str, kind: str, contributors: int) -> None:
    measured = int(MEASURED[f"proveAggregate, 1 M, {kind}{contributors}"])
    measured = max(measured, int(MEASURED["proveOuterStep, 1 M"]))
    assert proof_gas(policy(rule=rule, max_contributors=contributors)) == pytest.approx(measured, rel=0.06)


def test_a_small_round_costs_what_an_outer_step_costs() -> None:
    measured = int(MEASURED["proveOuterStep, 1 M"])
    assert proof_gas(policy(max_contributors=3)) == pytest.approx(measured, rel=0.01)


def test_a_bond_holds_the_reward_and_four_proofs() -> None:
    rules = policy(verifier=ARBITER, reward=10 * UNIT, max_contributors=100)
    least = least_bond(rules, UNIT)
    assert least == 10 * UNIT + 4 * proof_gas(rules) * UNIT // 1_000_000
    right = policy(verifier=ARBITER, reward=10 * UNIT, max_contributors=100, bond=least)
    assert bond_warning(right, UNIT) is None
    low = policy(verifier=ARBITER, reward=10 * UNIT, max_contributors=100, bond=least - 1)
    assert "the bond should be at least" in (bond_warning(low, UNIT) or "")


def test_a_policy_without_a_verifier_is_warned_of() -> None:
    assert "nobody can prove fraud" in (bond_warning(policy(verifier=NO_VERIFIER), 0) or "")

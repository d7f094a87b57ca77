# SPDX-License-Identifier: Apache-2.0
"""The drills with noise: attackers that know the rule, and what they believe of its weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from benchmarks.robustness.noisy import POISONERS, Drill, NoisyRun, load, markdown, private, table
from folkmoot_lab.drills.data import workload
from folkmoot_lab.simulation.federation import Plan, Workload

from folkmoot.protocol.arrays import F32


@pytest.fixture(scope="module")
def digits() -> Workload:
    return private(workload("digits"))


def run_of(work: Workload, rule: str, poisoner: str) -> NoisyRun:
    return NoisyRun(
        work, Plan(rule=rule, attack="sign-flip", contributors=8, malicious=2, rounds=4), "8", poisoner
    )


@pytest.mark.parametrize("rule", ["clamped_mean", "guided_mean"])
def test_attackers_know_the_weights_that_the_rule_will_give(
    digits: Workload, rule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for the rounding of updates, of which they don't know the chance."""
    run = run_of(digits, rule, "pga")
    seen: list[tuple[F32, F32]] = []
    inner = run.aggregate

    def aggregate(number: int, updates: F32, root: F32 | None) -> F32:
        seen.append((updates[run.honest_places], updates[run.attacker_places]))
        expected.append(run.trial(seen[-1][0], None).result(seen[-1][1])[0])
        return inner(number, updates, root)

    expected: list[object] = []
    monkeypatch.setattr(run, "aggregate", aggregate)
    for number in range(4):
        run.round(number)
        honest, sent = seen[-1]
        moved = run.last_mean
        assert moved is not None
        believed = np.asarray(expected[-1]).astype(np.float64)
        assert float(believed @ moved) > 0.98 * np.linalg.norm(believed) * np.linalg.norm(moved)
        assert np.isfinite(sent).all()
        assert len(honest) == 6


@pytest.mark.parametrize("name", sorted(POISONERS))
def test_every_attacker_plays_and_stays_within_reach_of_the_honest_norm(digits: Workload, name: str) -> None:
    run = run_of(digits, "clamped_mean", name)
    accounts = {run.account_of(run.attacker_places[0], number) for number in range(4)}
    assert len(accounts) == (4 if name == "churn" else 1)
    outcome = run.run()
    assert len(outcome.curve) == 4
    assert run.earlier_sent is not None
    assert run.earlier_own is not None
    usual = np.linalg.norm(run.earlier_own, axis=1).max()
    assert np.linalg.norm(run.earlier_sent, axis=1).max() < 3.5 * usual


def test_results_are_kept_and_tabled(tmp_path: Path) -> None:
    found = {"accuracy": 0.5, "honest_dropped": 0.0, "worst_honest_dropped": 0.0, "attacker_pay": None}
    calm = Drill("digits", "8", 6, "mean", "none", 0)
    attacked = [Drill("digits", "8", 6, "mean", name, seed) for name in ("pga", "framing") for seed in (0, 1)]
    done = {calm: dict(found)} | {
        drill: {**found, "accuracy": 0.1 * (drill.seed + 1), "attacker_pay": 0.25} for drill in attacked
    }
    made = table(done, "digits", "8", 6)
    assert made.values["mean", "pga"]["accuracy"] == pytest.approx(0.15)
    assert "attacker_pay" not in made.values["mean", "none"]
    (row,) = markdown(done).splitlines()[2:]
    assert row.split(" | ")[4:8] == ["2", "50.0", "15.0", "pga"]
    assert row.endswith("| 15.0 |")
    assert load(tmp_path / "nothing.jsonl") == {}

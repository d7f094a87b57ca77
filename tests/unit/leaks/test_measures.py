# SPDX-License-Identifier: Apache-2.0
"""Measures of attacks against values that are known without them."""

from __future__ import annotations

import numpy as np
import pytest
from folkmoot_lab.leaks.measures import Limit, auc, separation, separation_of_sums, share, tpr

from folkmoot.errors import InputError


def test_the_auc_counts_pairs() -> None:
    assert auc(np.array([3.0, 2.0]), np.array([1.0, 0.0])) == 1.0
    assert auc(np.array([1.0, 3.0]), np.array([2.0, 2.0])) == 0.5
    assert auc(np.array([1.0]), np.array([1.0, 0.0])) == 0.75


def test_a_hundredth_of_the_absent_may_be_above_the_threshold() -> None:
    absent = np.arange(200.0)
    assert tpr(np.array([196.5, 197.5, 198.5]), absent) == pytest.approx(2 / 3)
    assert tpr(np.array([98.5, 99.5]), np.arange(50.0)) == 1.0
    assert tpr(np.array([48.5]), np.arange(50.0)) == 0.0


def test_noise_alone_is_chance() -> None:
    rng = np.random.default_rng(1)
    found = separation(rng.normal(size=400), rng.normal(size=400), rng)
    assert found.auc.low < 0.5 < found.auc.high
    assert found.auc.high - found.auc.low < 0.1
    assert found.tpr.value < 0.05


@pytest.mark.parametrize(("mu", "auc_", "tpr_"), [(1.668, 0.881, 0.255), (0.717, 0.694, 0.054)])
def test_the_limit_is_reached_by_two_normal_distributions(mu: float, auc_: float, tpr_: float) -> None:
    limit = Limit(mu)
    assert limit.auc == pytest.approx(auc_, abs=0.001)
    assert limit.tpr == pytest.approx(tpr_, abs=0.001)
    rng = np.random.default_rng(2)
    found = separation(rng.normal(mu, 1, 2000), rng.normal(0, 1, 2000), rng)
    assert found.auc.value == pytest.approx(limit.auc, abs=0.03)
    assert found.tpr.value == pytest.approx(limit.tpr, abs=0.08)


def test_a_rho_gives_the_shift() -> None:
    assert Limit.of_rho(1.3916).mu == pytest.approx(1.668, abs=0.001)
    assert Limit.of_rho(0.5).advantage == pytest.approx(0.3829, abs=0.0001)


def test_few_trials_of_many_rounds_measure_the_sum() -> None:
    rng = np.random.default_rng(3)
    step = 1.668 / np.sqrt(20)
    present = [rng.normal(step**2 / 2, step, (40, 20)) for _ in range(2)]
    absent = [rng.normal(-(step**2) / 2, step, (40, 20)) for _ in range(2)]
    found = separation_of_sums(present, absent, rng)
    assert (found.present, found.absent) == (80, 80)
    assert found.auc.low < 0.881 < found.auc.high
    assert found.auc.high - found.auc.low < 0.15


def test_a_share_has_an_interval() -> None:
    found = share(0, 20)
    assert found.value == 0.0
    assert found.high == pytest.approx(0.161, abs=0.001)
    with pytest.raises(InputError, match="share"):
        share(0, 0)


@pytest.mark.parametrize("absent", [[], [float("nan")]])
def test_nothing_is_not_measured(absent: list[float]) -> None:
    with pytest.raises(InputError) as failure:
        separation(np.array([1.0]), np.array(absent), np.random.default_rng(0))
    assert failure.value.code == "nothing-measured"

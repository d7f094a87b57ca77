# SPDX-License-Identifier: Apache-2.0
"""The accountant beside those of Google (dp-accounting) and OpenDP, and beside sums over the discrete Gaussian."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path
from statistics import NormalDist
from typing import Any, cast

import numpy as np
import opendp.prelude as opendp
import pytest
from dp_accounting.pld import privacy_loss_distribution
from hypothesis import given
from hypothesis import strategies as st

from folkmoot.errors import InputError
from folkmoot.privacy.accountant import CONTENT, MOST_NOISE, delta_of, epsilon_of, noise_for, rho_for, rho_of
from folkmoot.protocol.budget import cost_of

DOCS = Path(__file__).parents[3] / "docs"

opendp.enable_features("contrib")


@given(st.integers(1, MOST_NOISE), st.integers(1, 1000))
def test_the_cost_is_the_exact_rho_rounded_up(noise1024: int, steps: int) -> None:
    exact = Fraction(steps * 1024**2, 2 * noise1024**2) * 2**32
    assert 0 <= cost_of(noise1024, steps) - exact < 1


@pytest.mark.parametrize("noise1024", [700, 2745, 6146, 17085, 38203])
def test_opendp_has_the_same_rho_to_2_to_the_minus_32(noise1024: int) -> None:
    gaussian = opendp.m.make_gaussian(
        opendp.vector_domain(opendp.atom_domain(T="i64")), opendp.l2_distance(T="f64"), scale=float(noise1024)
    )
    rho = cast(float, cast(Any, gaussian).map(1024.0))  # OpenDP's methods have no types.
    assert cost_of(noise1024, 1) == math.ceil(rho * 2**32)


@pytest.mark.parametrize(
    ("noise1024", "rounds", "steps", "delta"),
    [
        (2745, 20, 1, 1e-5),
        (6146, 20, 5, 1e-5),
        (17085, 20, 1, 1e-6),
        (20000, 200, 1, 1e-7),
        (900, 1, 1, 1e-5),
    ],
)
def test_epsilon_is_that_of_googles_privacy_loss_distribution(
    noise1024: int, rounds: int, steps: int, delta: float
) -> None:
    ours = epsilon_of(rho_of(noise1024, rounds, steps), delta)
    deviation = noise1024 / 1024 / math.sqrt(rounds * steps)
    theirs = privacy_loss_distribution.from_gaussian_mechanism(deviation).get_epsilon_for_delta(delta)
    assert ours == pytest.approx(theirs, rel=1e-3)


@pytest.mark.parametrize(("deviation", "sensitivity"), [(2745, 1024), (1024, 1024), (1024, 300)])
@pytest.mark.parametrize("epsilon", [0.01, 0.5, 1.0])
def test_the_discrete_gaussian_has_the_delta_of_the_continuous_one(
    deviation: int, sensitivity: int, epsilon: float
) -> None:
    x = np.arange(-12 * deviation, 12 * deviation + 1, dtype=np.float64)
    mass = np.exp(-(x**2) / (2 * deviation**2))
    loss = ((x - sensitivity) ** 2 - x**2) / (2 * deviation**2)
    exact = np.maximum(mass * (1 - np.exp(epsilon - loss)), 0).sum() / mass.sum()
    assert delta_of(sensitivity**2 / (2 * deviation**2), epsilon) == pytest.approx(exact, rel=1e-5)


def test_the_numbers_of_the_guide() -> None:
    assert cost_of(2745, 1) == 298_844_372
    assert epsilon_of(rho_of(2745, 20, 1), 1e-5) == pytest.approx(8.0131, abs=1e-4)
    assert [noise_for(epsilon, 1e-5, 20, 1) for epsilon in (8, 3, 1)] == [2749, 6369, 17085]


@given(st.floats(0.05, 50), st.sampled_from([1e-3, 1e-5, 1e-9]), st.integers(1, 50), st.integers(1, 10))
def test_the_noise_is_the_smallest_that_keeps_epsilon(
    epsilon: float, delta: float, rounds: int, steps: int
) -> None:
    noise1024 = noise_for(epsilon, delta, rounds, steps)
    assert epsilon_of(rho_of(noise1024, rounds, steps), delta) <= epsilon
    assert epsilon_of(rho_of(noise1024 - 1, rounds, steps), delta) > epsilon


@given(st.floats(1e-6, 1e4), st.sampled_from([1e-3, 1e-5, 1e-12]))
def test_epsilon_and_delta_fit_each_other(rho: float, delta: float) -> None:
    epsilon = epsilon_of(rho, delta)
    assert delta_of(rho, epsilon) <= delta
    assert epsilon == 0 or delta_of(rho, epsilon) == pytest.approx(delta, rel=1e-4)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((3, 0.0, 20, 1), "A delta of 0.0 is not between 0 and 1"),
        ((3, 1.0, 20, 1), "A delta of 1.0"),
        ((0.0, 1e-5, 20, 1), "An epsilon of 0.0"),
        ((math.nan, 1e-5, 20, 1), "An epsilon of nan"),
        ((3, 1e-5, 0, 1), "no budget for 0 rounds"),
        ((3, 1e-5, 20, 0), "0 steps are not 1 to"),
        ((1e-6, 1e-12, 1000, 1000), "needs a noise1024 above"),
    ],
)
def test_impossible_budgets_are_refused(arguments: tuple[float, float, int, int], said: str) -> None:
    with pytest.raises(InputError, match=said):
        noise_for(*arguments)


@given(st.floats(0.05, 50), st.floats(1e-9, 1e-2))
def test_a_rho_for_an_epsilon_has_that_epsilon(epsilon: float, delta: float) -> None:
    assert epsilon_of(rho_for(epsilon, delta), delta) == pytest.approx(epsilon, rel=1e-6)


def test_no_noise_has_no_cost() -> None:
    with pytest.raises(InputError, match="The noise is 0 / 1024"):
        cost_of(0, 1)
    with pytest.raises(InputError, match="rho of inf"):
        epsilon_of(math.inf, 1e-5)


def test_k_records_of_one_person_cost_more_than_k_times_the_epsilon() -> None:
    """The table of docs/privacy.md, and of docs/start/clinic.md for epsilon 3."""
    table = {
        8: (19.12, 33.08, 69.41),
        3: (6.71, 10.98, 21.14),
        1: (2.15, 3.41, 6.17),
    }
    page = (DOCS / "privacy.md").read_text(encoding="utf-8")
    for epsilon, row in table.items():
        rho = rho_of(noise_for(epsilon, 1e-5, 20, 1), 20, 1)
        found = [epsilon_of(rho, 1e-5, records) for records in (2, 3, 5)]
        assert [round(one, 2) for one in found] == list(row)
        assert all(one > records * epsilon for one, records in zip(found, (2, 3, 5), strict=True))
        shown = " | ".join(f"{one:.1f}" for one in found)
        assert f"| {epsilon} | {shown} |" in page
    said = "for 2, 3 and 5 rows it is 6.7, 11.0 and 21.1"
    assert said in " ".join((DOCS / "start" / "clinic.md").read_text(encoding="utf-8").split())


@pytest.mark.parametrize(("epsilon", "presence", "content"), [(8, 88, 99), (3, 69, 85), (1, 58, 65)])
def test_the_pages_give_both_limits_of_an_epsilon(epsilon: int, presence: int, content: int) -> None:
    rho = rho_of(noise_for(epsilon, 1e-5, 20, 1), 20, 1)
    found = [round(100 * NormalDist().cdf((records**2 * rho) ** 0.5)) for records in (1, CONTENT)]
    assert found == [presence, content]
    assert f"| {epsilon} | {presence} | {content} |" in (DOCS / "privacy.md").read_text(encoding="utf-8")
    twice = rho_of(noise_for(epsilon, 1e-5, 20, 1, CONTENT), 20, 1)
    assert epsilon_of(twice, 1e-5, CONTENT) == pytest.approx(epsilon, abs=2e-3)
    assert twice == pytest.approx(rho / 4, rel=1e-3)

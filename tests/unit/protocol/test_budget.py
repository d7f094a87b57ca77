# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from folkmoot.errors import InputError
from folkmoot.protocol.budget import MAX_STEPS, UNITS_OF_RHO, cost_of
from tests.unit import worlds

NOISES, STEPS = st.integers(1, 2**32 - 1), st.integers(1, MAX_STEPS)


@given(noise1024=NOISES, steps=STEPS)
def test_the_cost_is_the_rho_of_a_gaussian_rounded_up(noise1024: int, steps: int) -> None:
    sigma = Fraction(noise1024, 1024)
    rho = steps * Fraction(1, 2) / sigma**2
    assert 0 <= cost_of(noise1024, steps) - rho * UNITS_OF_RHO < 1
    assert 0 < cost_of(noise1024, steps) < 1 << 64


def test_examples() -> None:
    assert cost_of(2745, 1) == 298_844_372
    assert cost_of(6146, 5) == 298_067_532
    assert cost_of(1024, 1) == UNITS_OF_RHO // 2, "noise as large as a record: rho is a half"
    assert cost_of(2**32 - 1, 1) == 1, "no update is free"


@pytest.mark.parametrize(
    ("noise1024", "steps"), [(0, 1), (1 << 32, 1), (-1, 1), (2745, 0), (2745, MAX_STEPS + 1)]
)
def test_what_is_out_of_range_is_refused(noise1024: int, steps: int) -> None:
    with pytest.raises(InputError):
        cost_of(noise1024, steps)


def test_the_cost_of_a_policy() -> None:
    assert worlds.policy().cost == 0, "without noise nothing is counted"
    private = replace(worlds.policy(), noise1024=2745, steps=1, privacy_cap=3 * 298_844_372)
    assert private.cost == 298_844_372
    assert worlds.policy().rounds_left(5) is None
    spent = (0, 1, 2 * 298_844_372, 2 * 298_844_372 + 1, 2**63)
    assert [private.rounds_left(units) for units in spent] == [3, 2, 1, 0, 0]

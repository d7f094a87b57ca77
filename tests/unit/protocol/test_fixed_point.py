# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from folkmoot.errors import InputError
from folkmoot.protocol.fixed_point import ONE, STATE_BOUND, from_float, to_float32

STATES = st.integers(-STATE_BOUND, STATE_BOUND)


@given(st.lists(STATES, min_size=1, max_size=20))
def test_float32_is_one_rounding(values: list[int]) -> None:
    array = np.array(values, dtype=np.int64)
    expected = [np.float32(value / 2**26) for value in values]  # value / 2^26 is exact in binary64
    assert to_float32(array).tolist() == expected


@given(st.floats(width=32, min_value=-4e6, max_value=4e6))
def test_genesis_moves_a_weight_by_at_most_half_a_step(weight: float) -> None:
    integer = int(from_float(np.array([weight], dtype=np.float32))[0])
    assert abs(integer - weight * ONE) <= 0.5


@given(st.integers(-(2**24), 2**24))
def test_float32_weights_of_24_bits_survive(value: int) -> None:
    weight = np.array([value * 2.0**-26], dtype=np.float32)
    assert to_float32(from_float(weight)) == weight


def test_genesis_clamps() -> None:
    assert from_float(np.array([1e300, -1e300])).tolist() == [STATE_BOUND, -STATE_BOUND]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_genesis_refuses_what_is_not_finite(bad: float) -> None:
    with pytest.raises(InputError) as caught:
        from_float(np.array([0.0, bad]))
    assert caught.value.code == "not-finite"

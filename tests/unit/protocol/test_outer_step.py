# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from folkmoot.errors import InputError
from folkmoot.protocol import acceleration
from folkmoot.protocol.fixed_point import STATE_BOUND
from folkmoot.protocol.outer_step import eager_start, outer_step
from folkmoot.protocol.packing import largest
from tests.unit import reference

STATES = st.integers(-STATE_BOUND, STATE_BOUND)
U16 = st.integers(0, 2**16 - 1)


@st.composite
def cases(draw: st.DrawFn) -> tuple[int, int, int, int, int, int, int]:
    mean, scale = draw(st.integers(-127, 127)), draw(st.integers(1, 127))
    return draw(STATES), draw(STATES), mean, scale, draw(st.integers(-40, 4)), draw(U16), draw(U16)


def step(
    theta: int, momentum: int, mean: int, scale: int, exponent: int, rate: int, decay: int
) -> tuple[int, int]:
    vectors = [np.full(256, value, dtype=np.int64) for value in (theta, momentum, mean)]
    exponents = np.array([exponent], dtype=np.int64)
    new_theta, new_momentum = outer_step(vectors[0], vectors[1], vectors[2], scale, exponents, rate, decay)
    assert (new_theta == new_theta[0]).all()
    return int(new_theta[0]), int(new_momentum[0])


@settings(max_examples=300, deadline=None)
@given(cases())
def test_step_is_the_references(case: tuple[int, int, int, int, int, int, int]) -> None:
    assert step(*case) == reference.outer_step(*case)


def random_leaves(leaves: int) -> tuple[list[np.ndarray], np.ndarray]:
    rng = np.random.default_rng(leaves)
    state = [rng.integers(-STATE_BOUND, STATE_BOUND, 256 * leaves) for _ in range(2)]
    return [*state, rng.integers(-127, 128, 256 * leaves)], rng.integers(-40, 5, leaves)


def test_a_range_is_the_slice() -> None:
    vectors, exponents = random_leaves(30)
    theta, momentum = outer_step(*vectors, 9, exponents, 700, 900)
    place = slice(256 * 7, 256 * 19)
    part = outer_step(*(vector[place] for vector in vectors), 9, exponents[7:19], 700, 900)
    assert (part[0] == theta[place]).all()
    assert (part[1] == momentum[place]).all()


def test_kernels_step_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numba")
    vectors, exponents = random_leaves(600)
    exponents[50:400] = -12
    with acceleration.without_kernels():
        slow = outer_step(*vectors, 9, exponents, 65535, 65535)
    monkeypatch.setattr(acceleration, "LOAD_AFTER", 0)
    assert acceleration.kernels(1 << 20) is not None
    fast = outer_step(*vectors, 9, exponents, 65535, 65535)
    assert (slow[0] == fast[0]).all()
    assert (slow[1] == fast[1]).all()


def test_kernels_divide_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    """The quotient comes from floats there: try every mean."""
    pytest.importorskip("numba")
    monkeypatch.setattr(acceleration, "LOAD_AFTER", 0)
    monkeypatch.setattr(acceleration, "MINIMUM_WORK", 0)
    assert acceleration.kernels(1) is not None
    rng = np.random.default_rng(4)
    zeros = np.zeros(512, dtype=np.int64)
    for scale in (1, 2, 3, 7, 18, 63, 126, 127):
        for exponent in (-40, -33, -27, -26, -25, -1, 4):
            mean = np.resize(np.arange(-127, 128), 512).astype(np.int64)
            mean[256:] = rng.integers(-127, 128, 256)
            found = outer_step(zeros, zeros, mean, scale, np.array([exponent] * 2), 1024, 0)
            expected = [reference.outer_step(0, 0, b, scale, exponent, 1024, 0) for b in mean.tolist()]
            assert list(zip(found[0].tolist(), found[1].tolist(), strict=True)) == expected


def test_rate_one_without_momentum_is_federated_averaging() -> None:
    # One contributor with q = 8 at e = -3 asks to lower the weight by exactly 1.
    assert step(5 << 26, 0, 8, 1, -3, 1024, 0) == (4 << 26, 1 << 26)


def test_nothing_happens_without_update_and_momentum() -> None:
    assert step(77, 0, 0, 3, -5, 1024, 900) == (77, 0)


def test_step_refuses() -> None:
    good = (0, 0, 0, 1, -3, 1024, 0)
    for place, bad in ((3, 0), (3, 128), (4, 5), (4, -41), (5, 1 << 16), (6, -1)):
        with pytest.raises(InputError):
            step(*(bad if i == place else value for i, value in enumerate(good)))


@settings(max_examples=100, deadline=None)
@given(cases(), st.sampled_from((8, 4, 2)), st.data())
def test_the_eager_start_is_the_step_of_a_round_with_one_update(
    case: tuple[int, int, int, int, int, int, int], width: int, data: st.DataObject
) -> None:
    theta, momentum, _, _, exponent, rate, decay = case
    bound = largest(width)
    q, scale = data.draw(st.integers(-bound, bound)), data.draw(st.integers(1, 127 // bound))
    vectors = [np.full(256, value, dtype=np.int64) for value in (theta, momentum, q)]
    start = eager_start(*vectors, scale, np.array([exponent], dtype=np.int64), rate, decay)
    alone = reference.mean(q, 1, scale)
    assert {int(value) for value in start} == {
        reference.outer_step(theta, momentum, alone, scale, exponent, rate, decay)[0]
    }

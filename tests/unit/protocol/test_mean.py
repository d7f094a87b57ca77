# SPDX-License-Identifier: Apache-2.0
"""The mean of a round: the integer nearest to S A / W, halves up."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from folkmoot.errors import EncodingError, InputError
from folkmoot.protocol.manifest import Manifest, Tensor
from folkmoot.protocol.mean import (
    MAX_WEIGHT_SUM,
    check_mean,
    largest_scale,
    mean_leaves,
    mean_of,
    mean_values,
)
from tests.unit import reference

WEIGHTS = [1, 2, 3, 7, 255, 1 << 20, MAX_WEIGHT_SUM - 1, MAX_WEIGHT_SUM]


def one(aggregate: int, weight_sum: int, scale: int) -> int:
    return int(mean_of(np.array([aggregate], dtype=np.int64), weight_sum, scale)[0])


@settings(max_examples=500, deadline=None)
@given(st.integers(1, 127), st.integers(1, MAX_WEIGHT_SUM) | st.sampled_from(WEIGHTS), st.data())
def test_the_mean_is_at_most_half_a_step_off(scale: int, weight_sum: int, data: st.DataObject) -> None:
    most = largest_scale(scale) * weight_sum  # |q| is at most 127 / S
    aggregate = data.draw(st.integers(-most, most))
    found = one(aggregate, weight_sum, scale)
    assert abs(found - Fraction(scale * aggregate, weight_sum)) <= Fraction(1, 2)
    assert found == reference.mean(aggregate, weight_sum, scale)
    assert abs(found) <= scale * largest_scale(scale) <= 127


@pytest.mark.parametrize("weight_sum", WEIGHTS)
@pytest.mark.parametrize("scale", [1, 2, 7, 18, 63, 127])
def test_the_mean_is_exact_beside_every_half(weight_sum: int, scale: int) -> None:
    """The quotient comes from floats: try the aggregates next to each number of halves."""
    most = largest_scale(scale) * weight_sum
    halves = np.arange(-254, 255, dtype=np.int64) * weight_sum // (2 * scale)
    near = np.clip(np.concatenate([halves + d for d in range(-2, 3)]), -most, most)
    expected = [reference.mean(a, weight_sum, scale) for a in near.tolist()]
    assert mean_of(near, weight_sum, scale).tolist() == expected


def test_halves_go_up() -> None:
    assert [one(a, 2, 1) for a in (-3, -1, 1, 3)] == [-1, 0, 1, 2]
    assert [one(a, 14, 7) for a in (-3, -1, 1, 3)] == [-1, 0, 1, 2]


def test_negative_quotients_are_not_truncated() -> None:
    assert [one(a, 3, 1) for a in (-1, -2, -4, -5)] == [0, -1, -1, -2]
    assert one(-2 * MAX_WEIGHT_SUM // 3, MAX_WEIGHT_SUM, 1) == -1


@pytest.mark.parametrize(("scale", "bound"), [(1, 127), (18, 7), (127, 1), (7, 1)])
@pytest.mark.parametrize("weight_sum", WEIGHTS)
def test_the_bounds_are_reached(scale: int, bound: int, weight_sum: int) -> None:
    assert one(bound * weight_sum, weight_sum, scale) == scale * bound
    assert one(-bound * weight_sum, weight_sum, scale) == -scale * bound


def test_the_mean_of_one_update_is_the_update() -> None:
    values = np.arange(-127, 128, dtype=np.int64)
    assert (mean_of(5 * values, 5, 1) == values).all()


def test_leaves_read_back() -> None:
    values = np.resize(np.arange(-127, 128), 512).astype(np.int64)
    leaves = mean_leaves(values)
    assert leaves.shape == (2, 256)
    assert leaves[0].tobytes() == reference.mean_leaf(values[:256].tolist())
    assert (mean_values(leaves) == values).all()


@pytest.mark.parametrize(
    ("weight_sum", "scale"), [(0, 1), (-1, 1), (MAX_WEIGHT_SUM + 1, 1), (1, 0), (1, -1), (1, 128)]
)
def test_a_mean_refuses(weight_sum: int, scale: int) -> None:
    with pytest.raises(InputError):
        one(0, weight_sum, scale)


def test_leaves_that_are_no_mean_are_found() -> None:
    manifest = Manifest("mean", (Tensor("a", (300,)), Tensor("b", (2,))))
    good = np.full((3, 256), 128, dtype=np.uint8)
    good[0, 4], good[1, 43] = 128 + 7, 128 - 7
    check_mean(good, manifest, 0, 7)
    with pytest.raises(EncodingError, match="Leaf 1 of the mean has an integer beyond ±6"):
        check_mean(good[1:], manifest, 1, 6)
    for leaf, place, byte in ((0, 0, 136), (0, 0, 120), (2, 1, 0)):
        bad = good.copy()
        bad[leaf, place] = byte
        with pytest.raises(EncodingError, match=f"Leaf {leaf} of the mean"):
            check_mean(bad, manifest, 0, 7)
    padded = good.copy()
    padded[2, 2] = 129
    with pytest.raises(EncodingError, match="The padding of leaf 2"):
        check_mean(padded[2:], manifest, 2, 7)

# SPDX-License-Identifier: Apache-2.0
"""Exponents follow where the energy of updates is, and a minority can't take them where no honest update wants them."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from folkmoot.protocol.codec import encode_update
from folkmoot.protocol.exponents import (
    DENSITY,
    MAX_FALL,
    MAX_RISE,
    TARGETS,
    TensorSums,
    next_exponent,
    next_exponents,
    vote,
)
from folkmoot.protocol.manifest import Manifest, Tensor
from folkmoot.protocol.policy import MEAN_SQUARE_CAPS
from folkmoot.protocol.update_checks import summarize
from folkmoot.protocol.updates import MemoryUpdate
from tests.unit import reference, worlds

SATURATED, TINY, CONTENT = (TensorSums(amplitude, amplitude**2, amplitude, 1) for amplitude in (127, 1, 20))


SUMS = st.lists(st.integers(0, 127), min_size=1, max_size=8).map(lambda sizes: sums_of(sizes))


def sums_of(sizes: list[int]) -> TensorSums:
    return TensorSums(sum(sizes), sum(size**2 for size in sizes), max(sizes), len(sizes))


@settings(max_examples=300)
@given(st.lists(st.integers(0, 127), min_size=1, max_size=40), st.integers(1, 10**12))
def test_a_vote_is_the_references(sizes: list[int], times: int) -> None:
    absolute, squares, largest, elements = sums_of(sizes)
    sums = TensorSums(absolute * times, squares * times, largest, elements * times)
    for width in (8, 4, 2):
        assert vote(sums, width) == reference.exponent_vote(*sums, width=width)
        assert -MAX_FALL <= vote(sums, width) <= MAX_RISE


@given(st.lists(st.integers(0, 127), min_size=1, max_size=40), st.integers(0, 1000), st.integers(1, 1000))
def test_rows_of_zeros_and_the_size_of_a_tensor_do_not_count(
    sizes: list[int], zeros: int, times: int
) -> None:
    assert vote(sums_of(sizes * times + [0] * zeros), 8) == vote(sums_of(sizes), 8)


@given(st.lists(st.integers(1, 63), min_size=1, max_size=40))
def test_a_larger_update_never_votes_for_less(sizes: list[int]) -> None:
    assert vote(sums_of([size * 2 for size in sizes]), 8) >= vote(sums_of(sizes), 8)


@given(
    st.lists(st.integers(0, 30), min_size=1, max_size=40).filter(any),
    st.lists(st.integers(0, 127), max_size=3),
)
def test_who_is_content_is_below_the_cap(small: list[int], others: list[int]) -> None:
    """A vote of 0 or less means a root mean square below 16 sqrt(2), where the default cap is at 64."""
    sizes = small + others
    sums = sums_of(sizes)
    assume(vote(sums, 8) <= 0)
    assert sums.squares < 2 * TARGETS[8] ** 2 * len(sizes)


NOTHING = TensorSums(0, 0, 0, 0)


@pytest.mark.parametrize(("first", "last"), [(-10, -12), (4, -12), (-12, -12), (-13, -13), (-40, -40)])
@pytest.mark.parametrize("width", [8, 4, 2])
def test_a_frozen_tensor_rests(first: int, last: int, width: int) -> None:
    exponents: tuple[int, ...] = (first,)
    for _ in range(20):
        exponents = next_exponents(exponents, [[NOTHING]] * 5, width)
    assert exponents == (last,)


def test_a_tensor_that_few_use_stays() -> None:
    """Neither those who do not use it nor a minority that does move it: only an attacker might be using it."""
    for sums in (SATURATED, TINY, CONTENT):
        assert next_exponent(0, [NOTHING] * 3 + [sums] * 2, 8) == 0


@given(st.integers(1, 127), st.integers(64, 127))
def test_a_saturated_update_votes_for_the_most(count: int, bound: int) -> None:
    assert vote(TensorSums(count * bound, count * bound**2, bound, count), 8) == MAX_RISE


@settings(max_examples=300)
@given(st.lists(SUMS, min_size=1, max_size=11), st.data())
def test_a_minority_stays_between_honest_votes(honest: list[TensorSums], data: st.DataObject) -> None:
    others = data.draw(st.lists(SUMS, max_size=len(honest) - 1))
    for width in (8, 4, 2):
        moved = next_exponent(-15, [*others, *honest], width) + 15
        votes = [vote(one, width) for one in honest]
        assert min(votes) <= moved <= max(votes)


@settings(max_examples=300)
@given(st.integers(-40, 4), st.lists(SUMS, min_size=1, max_size=9), st.data())
def test_a_vote_that_rises_never_lowers_the_exponent(
    exponent: int, sums: list[TensorSums], data: st.DataObject
) -> None:
    place = data.draw(st.integers(0, len(sums) - 1))
    raised = [*sums]
    raised[place] = data.draw(st.sampled_from([SATURATED, CONTENT, TINY, sums[place]]))
    if vote(raised[place], 8) < vote(sums[place], 8):
        sums, raised = raised, sums
    if any(one.absolute for one in sums):
        assert next_exponent(exponent, raised, 8) >= next_exponent(exponent, sums, 8)
    assert -40 <= next_exponent(exponent, raised, 8) <= 4
    assert next_exponent(exponent, raised, 8) == reference.next_exponent(exponent, raised)


def test_exponents_go_tensor_by_tensor() -> None:
    large = TensorSums(6400, 409_600, 127, 256)
    assert next_exponents((-9, -9), [[CONTENT, NOTHING], [large, NOTHING], [CONTENT, large]], 8) == (-9, -9)
    assert next_exponents((-9, -9), [[CONTENT, large]] * 3, 8) == (-9, -7)


SHAPES: dict[str, Callable[[np.random.Generator], NDArray[Any]]] = {
    "normal": lambda rng: rng.standard_normal(4000),
    "heavy tails": lambda rng: rng.standard_t(2, 4000),
    "log-normal": lambda rng: np.exp(2 * rng.standard_normal(4000)) * rng.choice([-1, 1], 4000),
    "one row of an embedding": lambda rng: np.where(np.arange(4000) < 20, rng.standard_normal(4000), 0),
    "one coordinate": lambda rng: np.where(np.arange(4000) == 7, 3.0, 0),
    "constant": lambda rng: np.full(4000, -0.7),
}


@pytest.mark.parametrize("shape", sorted(SHAPES))
@pytest.mark.parametrize("octaves", [-10, -5, 0, 5, 10])
@pytest.mark.parametrize("width", [8, 4, 2])
def test_exponents_find_back_from_ten_octaves(shape: str, octaves: int, width: int) -> None:
    """Through the real encoding, with five contributors."""
    if width == 2 and shape == "one coordinate":
        pytest.skip("a density can't tell one coordinate that always changes from many that rarely do")
    manifest = Manifest("one", (Tensor("a", (4000,)),))
    rng = np.random.default_rng(3)
    end = manifest.flatten({"a": SHAPES[shape](rng).astype(np.float32) * np.float32(0.001)})
    sizes = np.abs(end.astype(np.float64))
    if width == 2:
        used = 8 * np.count_nonzero(sizes.reshape(-1, 8).any(axis=1))
        ideal = float(np.log2(sizes.sum() / used * DENSITY[1] / DENSITY[0]))
    else:
        ideal = float(np.log2(np.square(sizes).sum() / sizes.sum() / TARGETS[width]))
    exponents: tuple[int, ...] = (min(round(ideal) + octaves, 4),)
    found = []
    for number in range(30):
        sums = []
        for name in "abcde":
            update = encode_update(
                np.zeros_like(end),
                end,
                exponents,
                manifest,
                bytes([number] * 32),
                worlds.account(name).address,
                width=width,
                max_sum_squares=MEAN_SQUARE_CAPS[width] * 4000,
            )
            sums.append(list(summarize(MemoryUpdate(update.data, width), manifest).tensors))
        exponents = next_exponents(exponents, sums, width)
        found.append(exponents[0])
    assert len(set(found[25:])) == 1, "it settles"
    assert all(-MAX_FALL <= b - a <= MAX_RISE for a, b in itertools.pairwise(found))
    # Clamping hides energy of heavy tails, so that the exponent may stay below the ideal; it never stays above.
    assert (-5 if width == 4 else -3) <= found[-1] - ideal <= 0.6

# SPDX-License-Identifier: Apache-2.0
"""The stages near convergence: an update is excluded only for more than chance in few coordinates explains."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from folkmoot.aggregation.cosines import UNIT
from folkmoot.aggregation.interface import RoundFacts
from folkmoot.aggregation.references import Reference, ReferencedFacts, Windows
from folkmoot.aggregation.rules.clamped_mean import weigh
from folkmoot.aggregation.stages import trajectory as stage
from folkmoot.aggregation.stages.copies import exclude_copies
from folkmoot.aggregation.stages.trajectory import FLOOR, weigh_by_trajectory
from folkmoot.aggregation.stages.uncorrelated import exclude_uncorrelated
from folkmoot.aggregation.stages.weighting_state import WeightingState, lower_median
from folkmoot.protocol.arrays import I64
from folkmoot.protocol.verdict import Reason

SQUARE = 1 << 60


def facts_of(vectors: I64, elements: tuple[int, ...], other: I64 | None = None) -> ReferencedFacts:
    """Facts of vectors that stand for updates with these elements, all of them in the first tensor."""
    products = tuple(tuple(int(value) for value in row) for row in vectors @ vectors.T)
    compared = (
        None if other is None else Reference(tuple(int(v) for v in vectors @ other), int(other @ other))
    )
    return ReferencedFacts(
        products,
        tuple(row[i] for i, row in enumerate(products)),
        tuple((int(row.sum()), *[0] * (len(elements) - 1)) for row in np.abs(vectors)),
        trajectory=compared,
        window=Windows(products, compared, (1,) * len(products)),
        elements=elements,
    )


def with_trajectory(cosines: list[float]) -> WeightingState:
    """Return the state of orthogonal updates that have these cosines with the trajectory."""
    count = len(cosines)
    gram = tuple(tuple(SQUARE if i == j else 0 for j in range(count)) for i in range(count))
    reference = Reference(tuple(int(value * SQUARE) for value in cosines), SQUARE)
    ones = (1,) * count
    return WeightingState.of(
        ReferencedFacts(gram, ones, tuple((1,) for _ in ones), trajectory=reference, elements=(9,))
    )


def multipliers_of(cosines: list[float]) -> list[int]:
    return list(weigh_by_trajectory(with_trajectory(cosines)).multipliers)


def test_a_negative_cosine_within_the_scatter_keeps_an_eighth() -> None:
    assert multipliers_of([0.05, -0.2, 0.2, 0.1, -0.02])[1] == FLOOR


def test_a_negative_cosine_beyond_the_scatter_excludes() -> None:
    state = weigh_by_trajectory(with_trajectory([0.30, -0.9, 0.35, 0.32, 0.31]))
    assert state.multipliers[1] == 0
    assert state.reasons[1] is Reason.AGAINST_TRAJECTORY
    assert min(state.multipliers[:1] + state.multipliers[2:]) > UNIT // 2


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(-1, 1), min_size=1, max_size=20))
def test_the_multiplier_is_the_formula(cosines: list[float]) -> None:
    state = weigh_by_trajectory(with_trajectory(cosines))
    count = len(cosines)
    values = [numbers["trajectoryCosine"] for numbers in state.numbers]
    half = lower_median(values)
    if half <= 0:
        assert set(state.multipliers) == {1}
        return
    spread = lower_median([abs(value - half) for value in values])
    limit = max(half, 4 * spread * (count + 3) // (count - 1)) if count > 1 else half
    for value, multiplier, reason, numbers in zip(
        values, state.multipliers, state.reasons, state.numbers, strict=True
    ):
        assert numbers["trajectoryThreshold"] == limit
        assert (multiplier == 0) == (value <= -limit) == (reason is Reason.AGAINST_TRAJECTORY)
        assert multiplier in (0, FLOOR) or FLOOR < multiplier <= UNIT
        assert multiplier >= min(UNIT, UNIT * (value + half) // (2 * half))


def test_few_values_need_more_evidence() -> None:
    """The same cosines, once and four times over: 4 (5 + 3) / 4 median deviations are 8, 4 (20 + 3) / 19 not 5."""
    cosines = [0.1, 0.1, 0.1, 0.14, -0.3]
    few, many = (
        weigh_by_trajectory(with_trajectory(cosines)),
        weigh_by_trajectory(with_trajectory(cosines * 4)),
    )
    assert (
        few.numbers[0]["trajectoryThreshold"]
        == many.numbers[0]["trajectoryThreshold"]
        == few.numbers[0]["trajectoryMedian"]
    )
    cosines = [0.06, 0.14, 0.1, 0.14, -0.3]
    few, many = (
        weigh_by_trajectory(with_trajectory(cosines)),
        weigh_by_trajectory(with_trajectory(cosines * 4)),
    )
    assert few.multipliers[4] == FLOOR
    assert many.multipliers[4] == 0


@pytest.mark.parametrize("count", [1, 2])
def test_one_or_two_updates_have_no_scatter(count: int) -> None:
    assert stage._deviation_threshold([7] * count, 7) == 0


def crowd(near: float) -> I64:
    """Five updates of which the second has a distance of ``near`` squared lengths to the first, the others of 1."""
    vectors = np.eye(6, dtype=np.float64)[:5]
    vectors[1] = (1 - near) * vectors[0] + np.sqrt(1 - (1 - near) ** 2) * vectors[1]
    return np.rint(vectors * 1e6).astype(np.int64)


@pytest.mark.parametrize(
    ("elements", "near", "excluded"),
    [
        ((9,), 0.002, False),
        ((9,), 0.0005, True),  # the smallest ratio is 1/1024
        ((160,), 0.012, False),
        ((160,), 0.008, True),
        ((4096,), 0.17, False),
        ((4096,), 0.14, True),
        ((160, 4096), 0.012, False),  # a tensor that nobody changes has no coordinates to differ in
    ],
)
def test_copies_have_to_be_nearer_where_there_are_few_coordinates(
    elements: tuple[int, ...], near: float, excluded: bool
) -> None:
    state = exclude_copies(WeightingState.of(facts_of(crowd(near), elements)), 160)
    assert (state.reasons[1] is Reason.COPY) is excluded
    assert state.reasons[0] is Reason.ACCEPTED


def test_the_dimensions_are_what_more_than_half_of_the_updates_change() -> None:
    sums = ((1, 0, 5), (1, 2, 0), (0, 0, 1), (4, 2, 0))
    square = tuple(tuple(int(i == j) for j in range(4)) for i in range(4))
    assert RoundFacts(square, (1,) * 4, sums, elements=(3, 50, 700)).dimensions == 3


@pytest.mark.parametrize(("dimensions", "excluded"), [(60, False), (40_000, True)])
def test_noise_is_excluded_only_in_enough_dimensions(dimensions: int, excluded: bool) -> None:
    rng = np.random.default_rng(0)
    vectors = np.rint(rng.normal(0, 40, (5, 4096)) + rng.normal(0, 24, 4096)).astype(np.int64)
    vectors[3] = np.rint(rng.normal(0, 40, 4096))
    state = exclude_uncorrelated(WeightingState.of(facts_of(vectors, (dimensions,))), 64)
    assert [reason is Reason.UNCORRELATED for reason in state.reasons] == [
        False,
        False,
        False,
        excluded,
        False,
    ]


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32), size=st.integers(2, 40), count=st.integers(3, 9))
def test_nobody_is_excluded_at_a_fixed_point(seed: int, size: int, count: int) -> None:
    """At a fixed point of the mean the updates add up to 0, so cosines are no evidence."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(0, 1, (count, size))
    vectors -= vectors.mean(axis=0)
    nowhere = np.zeros(size, dtype=np.int64)
    facts = facts_of(np.rint(vectors * 1e6).astype(np.int64), (size,), nowhere)
    nearest = np.sort(np.array(facts.cosines), axis=None)[-count - 1]
    assume(nearest < UNIT * 0.99)  # else one is nearly a copy
    assert all(result.weight > 0 for result in weigh(facts, ()))

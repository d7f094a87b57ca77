# SPDX-License-Identifier: Apache-2.0
"""The clamped sum against ten lines of plain integers, and what half of the updates can move."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from folkmoot.aggregation import clamped_sum
from folkmoot.aggregation.clamped_sum import rank_of, ranked_magnitudes, sum_clamped
from folkmoot.aggregation.form import mean_of_updates, sum_of
from folkmoot.aggregation.weighted_sum import aggregate_of, sum_lanes
from folkmoot.errors import InputError
from folkmoot.protocol import acceleration
from folkmoot.protocol.fixed_point import LEAF
from folkmoot.protocol.manifest import Manifest, Tensor
from folkmoot.protocol.mean import MAX_WEIGHT_SUM, largest_scale
from folkmoot.protocol.packing import WIDTHS, largest
from folkmoot.protocol.updates import MemoryUpdate
from tests.unit import worlds

MANIFEST = Manifest("s", (Tensor("a", (9000,)),))
UPDATES = [MemoryUpdate(worlds.update_bytes(MANIFEST, seed)) for seed in range(7)]
CODES = ["numpy", "numba"]


@contextmanager
def running(code: str) -> Iterator[None]:
    """One of the two ways to compute it."""
    if code == "numpy":
        with acceleration.without_kernels():
            yield
        return
    pytest.importorskip("numba")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(acceleration, "LOAD_AFTER", 0)
        patch.setattr(acceleration, "MINIMUM_WORK", 0)
        assert acceleration.kernels(1) is not None
        yield


def plain(rows: list[list[int]], weights: list[int]) -> list[int]:
    """Sums of clamped integers, by coordinate."""
    pairs = [(row, weight) for row, weight in zip(rows, weights, strict=True) if weight]
    sums = []
    for j in range(len(rows[0])):
        magnitudes = sorted(abs(row[j]) for row, _ in pairs)
        bound = max(1, 8 * magnitudes[(len(pairs) - 1) // 2])
        sums.append(sum(weight * max(-bound, min(bound, row[j])) for row, weight in pairs))
    return sums


def sent(row: list[int]) -> MemoryUpdate:
    return MemoryUpdate(bytes(q + 128 for q in row))


def computed(code: str, rows: list[list[int]], weights: list[int]) -> list[int]:
    updates = [sent(row) if weight else None for row, weight in zip(rows, weights, strict=True)]
    with running(code):
        return aggregate_of(sum_clamped(updates, weights, 0, 1), sum(weights)).tolist()


def row_of(seed: int, span: int) -> list[int]:
    """A row of small integers, a twentieth of them up to the largest."""
    rng = np.random.default_rng(seed)
    small, large = rng.integers(-span, span + 1, LEAF), rng.integers(-127, 128, LEAF)
    return np.where(rng.random(LEAF) < 0.05, large, small).tolist()


ROWS = st.one_of(
    st.builds(row_of, st.integers(0, 2**32 - 1), st.sampled_from([0, 1, 2, 7, 20, 127])),
    st.integers(-127, 127).map(lambda value: [value] * LEAF),
)


@settings(max_examples=80, deadline=None)
@given(st.lists(ROWS, min_size=1, max_size=10), st.data())
@pytest.mark.parametrize("code", CODES)
def test_it_is_the_sum_of_the_clamped_values(code: str, rows: list[list[int]], data: st.DataObject) -> None:
    size = len(rows)
    weights = data.draw(st.lists(st.integers(0, 1 << 16), min_size=size, max_size=size).filter(any))
    expected = plain(rows, weights)
    assert computed(code, rows, weights) == expected
    order = data.draw(st.permutations(range(size)))
    assert computed(code, [rows[i] for i in order], [weights[i] for i in order]) == expected


@pytest.mark.parametrize("code", CODES)
def test_every_magnitude_has_its_limit(code: str) -> None:
    """All magnitudes that can decide, with larger and smaller values of both signs around each."""
    near = [min(j, 127) for j in range(LEAF)]
    rows = [near, [-q for q in near], [127] * LEAF, [-q // 2 for q in near], [0] * LEAF]
    weights = [3, 1, 65_536, 7, 2]
    assert computed(code, rows, weights) == plain(rows, weights)


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("value", [-127, 127])
def test_the_largest_round_fits(code: str, value: int) -> None:
    """256 updates with the largest weights: lanes reach 255 * 2^24, and no magnitude is missed among so many."""
    rows = [[value] * LEAF for _ in range(256)]
    weights = [1 << 16] * 256
    assert computed(code, rows, weights) == [value << 24] * LEAF
    few = [[value] * LEAF if i < 128 else [0] * LEAF for i in range(256)]
    step = 1 if value > 0 else -1
    assert computed(code, few, weights) == [step * 128 << 16] * LEAF
    few[128] = [value] * LEAF
    assert computed(code, few, weights) == [value * 129 << 16] * LEAF
    assert computed(code, [[value] * LEAF], [MAX_WEIGHT_SUM]) == [value * MAX_WEIGHT_SUM] * LEAF


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(WIDTHS), st.integers(0, 2**32 - 1), st.integers(1, 12))
def test_the_mean_stays_in_a_byte_at_every_width_and_scale(width: int, seed: int, count: int) -> None:
    bound, rng = largest(width), np.random.default_rng(seed)
    scale = largest_scale(bound)
    rows = rng.integers(-bound, bound + 1, (count, LEAF)).tolist()
    rows[0] = [bound] * LEAF
    weights = rng.integers(1, 1 << 16, count).tolist()
    leaf = mean_of_updates("clamped_mean", [sent(row) for row in rows], weights, scale, 0, 1)
    mean = leaf.reshape(-1).astype(int) - 128
    assert np.abs(mean).max() <= scale * bound
    total = sum(weights)
    wanted = [(2 * scale * one + total) // (2 * total) for one in plain(rows, weights)]
    assert mean.tolist() == wanted


@pytest.mark.parametrize("code", CODES)
def test_a_range_is_the_slice_in_chunks_of_any_size(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = [1, 0, 9, 1, 0, 65_536, 1]
    with running(code):
        whole = sum_clamped(UPDATES, weights, 0, MANIFEST.leaves)
        assert (sum_clamped(UPDATES, weights, 5, 9) == whole[5:9]).all()
        monkeypatch.setattr(clamped_sum, "_CHUNK_BYTES", 7 * LEAF * 5)
        assert (sum_clamped(UPDATES, weights, 0, MANIFEST.leaves) == whole).all()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.builds(row_of, st.integers(0, 2**32 - 1), st.just(3)), min_size=2, max_size=12), st.data())
def test_half_moves_no_coordinate_further_than_the_others_allow(
    rows: list[list[int]], data: st.DataObject
) -> None:
    """The limit is at most eight times the largest magnitude of the other half, or a step."""
    count = len(rows)
    attackers = count // 2
    rows = [[127 if i % 2 else -127] * LEAF if i < attackers else row for i, row in enumerate(rows)]
    weights = data.draw(st.lists(st.integers(1, 1 << 16), min_size=count, max_size=count))
    own, honest = sum(weights[:attackers]), np.abs(rows[attackers:])
    moved = np.abs(computed("numpy", rows, weights))
    assert (
        moved <= own * np.maximum(1, 8 * honest.max(axis=0)) + np.array(weights[attackers:]) @ honest
    ).all()
    assert (moved[(honest == 0).all(axis=0)] <= own).all()


def test_without_large_values_it_is_the_weighted_sum() -> None:
    """So is it of one update, and at width 2, where a step is all that there is."""
    weights = [3, 1, 0, 1, 1, 1, 9]
    steps = [sent(np.random.default_rng(i).integers(-1, 2, LEAF).tolist()) for i in range(7)]
    assert (sum_clamped(steps, weights, 0, 1) == sum_lanes(steps, weights, 0, 1)).all()
    one = UPDATES[:1], weights[:1], 0, 9
    assert (sum_clamped(*one) == sum_lanes(*one)).all()


def test_magnitudes_are_ranked_by_heads_and_not_by_weight() -> None:
    rows = [[100] * LEAF, *[[1] * LEAF] * 3]
    assert computed("numpy", rows, [65_536, 1, 1, 1]) == [8 * 65_536 + 3] * LEAF
    values = np.array([[128, 1, 255], [130, 128, 127], [129, 128, 128]], dtype=np.uint8)
    assert [ranked_magnitudes(values, rank).tolist() for rank in range(3)] == [
        [0, 0, 0],
        [1, 0, 1],
        [2, 127, 127],
    ]
    assert [rank_of(count) for count in (1, 2, 3, 5, 6, 20, 256)] == [0, 0, 1, 2, 2, 9, 127]


def test_what_was_not_delivered_does_not_count() -> None:
    for updates, weights in (([None, UPDATES[0]], [1, 1]), (UPDATES[:1], [0]), (UPDATES[:2], [1, -1])):
        with pytest.raises(InputError) as caught:
            sum_clamped(updates, weights, 0, 1)
        assert caught.value.code == "invalid-weights"


def test_the_sum_follows_from_the_rule() -> None:
    assert sum_of("clamped_mean") is sum_clamped
    assert {sum_of(rule) for rule in ("mean", "multi_krum", "a rule of tomorrow")} == {sum_lanes}

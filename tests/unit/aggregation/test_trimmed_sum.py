# SPDX-License-Identifier: Apache-2.0
"""The trimmed sum against a plain sort, and the form of aggregate that a policy has."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from folkmoot.aggregation import trimmed_sum
from folkmoot.aggregation.form import Form, form_of
from folkmoot.aggregation.trimmed_sum import sum_trimmed, trimmed_at_each_end
from folkmoot.aggregation.weighted_sum import aggregate_of, sum_lanes
from folkmoot.errors import InputError
from folkmoot.protocol import acceleration
from folkmoot.protocol.fixed_point import LEAF
from folkmoot.protocol.manifest import Manifest, Tensor
from folkmoot.protocol.updates import MemoryUpdate
from tests.unit import worlds

MANIFEST = Manifest("s", (Tensor("a", (9000,)),))
CODES = ["numpy", "numba"]
UPDATES = [MemoryUpdate(worlds.update_bytes(MANIFEST, seed)) for seed in range(7)]


def plain(columns: list[list[int]], trim: int) -> list[int]:
    """Sort, cut, add."""
    ends = min(trim, (len(columns[0]) - 1) // 2)
    return [sum(sorted(column)[ends : len(column) - ends]) for column in columns]


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


def computed(code: str, updates: list[MemoryUpdate | None], weights: list[int], trim: int) -> list[int]:
    with running(code):
        return sum_trimmed(updates, weights, trim, 0, 1).reshape(-1).tolist()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.integers(0, 2**32 - 1).map(
                lambda seed: np.random.default_rng(seed).integers(1, 256, LEAF).tolist()
            ),
            st.integers(1, 255).map(lambda value: [value] * LEAF),
        ),
        min_size=1,
        max_size=9,
    ),
    st.integers(0, 12),
    st.data(),
)
@pytest.mark.parametrize("code", CODES)
def test_it_is_the_sum_of_the_middle_of_the_sorted_values(
    code: str, rows: list[list[int]], trim: int, data: st.DataObject
) -> None:
    weights = data.draw(st.lists(st.integers(0, 1), min_size=len(rows), max_size=len(rows)).filter(any))
    counted = [row for row, weight in zip(rows, weights, strict=True) if weight]
    expected = plain([list(column) for column in zip(*counted, strict=True)], trim)
    updates: list[MemoryUpdate | None] = [
        MemoryUpdate(bytes(row)) if weight else None for row, weight in zip(rows, weights, strict=True)
    ]
    assert computed(code, updates, weights, trim) == expected
    order = data.draw(st.permutations(range(len(rows))))
    assert computed(code, [updates[i] for i in order], [weights[i] for i in order], trim) == expected


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("trim", [0, 100, 127, 1000])
def test_the_largest_round_fits(code: str, trim: int) -> None:
    values = np.random.default_rng(trim).integers(1, 256, (256, LEAF), dtype=np.uint8)
    values[:, :128] = 255
    updates: list[MemoryUpdate | None] = [MemoryUpdate(row.tobytes()) for row in values]
    assert computed(code, updates, [1] * 256, trim) == plain(values.T.tolist(), trim)


@pytest.mark.parametrize("code", CODES)
def test_a_range_is_the_slice_in_chunks_of_any_size(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = [1, 0, 1, 1, 0, 1, 1]
    with running(code):
        whole = sum_trimmed(UPDATES, weights, 1, 0, MANIFEST.leaves)
        assert (sum_trimmed(UPDATES, weights, 1, 5, 9) == whole[5:9]).all()
        monkeypatch.setattr(trimmed_sum, "_CHUNK_BYTES", 7 * LEAF * 5)
        assert (sum_trimmed(UPDATES, weights, 1, 0, MANIFEST.leaves) == whole).all()


@given(st.integers(0, 2**32 - 1), st.integers(1, 1 << 16))
def test_something_is_always_left(trim: int, count: int) -> None:
    ends = trimmed_at_each_end(trim, count)
    assert count - 2 * ends >= 1
    assert ends == trim or count - 2 * ends <= 2


def test_without_trimming_it_is_the_sum() -> None:
    weights = [1, 1, 0, 1, 1, 1, 1]
    assert (sum_trimmed(UPDATES, weights, 0, 0, 9) == sum_lanes(UPDATES, weights, 0, 9)).all()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 3), st.lists(st.integers(1, 255), min_size=3, max_size=3))
def test_no_minority_moves_a_coordinate_beyond_the_others(trim: int, sent: list[int]) -> None:
    attackers = [MemoryUpdate(bytes([value]) * MANIFEST.size) for value in sent[:trim]]
    honest = np.stack([update.read(0, 4).reshape(-1) for update in UPDATES]).astype(np.int64) - 128
    weights = [1] * (len(UPDATES) + trim)
    form = Form(trim)
    mean = aggregate_of(form.lanes([*attackers, *UPDATES], weights, 0, 4), form.divisor(weights))
    assert (mean >= honest.min(axis=0) * form.divisor(weights)).all()
    assert (mean <= honest.max(axis=0) * form.divisor(weights)).all()


@pytest.mark.parametrize("weights", [[], [0, 0], [1, 2], [1, -1]])
def test_a_trimmed_sum_takes_no_other_weights(weights: list[int]) -> None:
    with pytest.raises(InputError) as caught:
        Form(1).divisor(weights)
    assert caught.value.code == "invalid-weights"
    with pytest.raises(InputError):
        Form(1).lanes(UPDATES[: len(weights)], weights, 0, 1)


def test_what_was_not_delivered_does_not_count() -> None:
    with pytest.raises(InputError) as caught:
        sum_trimmed([None, UPDATES[0]], [1, 1], 1, 0, 1)
    assert caught.value.code == "invalid-weights"


def test_the_form_follows_from_the_policy() -> None:
    assert form_of("mean", []) == form_of("guarded_mean", []) == form_of("multi_krum", [2, 0]) == Form()
    assert form_of("trimmed_mean", [2]) == form_of("guarded_trimmed_mean", [2]) == Form(2)
    assert Form().divisor([5, 0, 2]) == 7
    assert Form(2).divisor([1, 0, 1, 1, 1, 1, 1]) == 2
    assert Form(9).divisor([1, 0, 1, 1]) == 1
    assert (Form().lanes(UPDATES[:2], [3, 1], 0, 2) == sum_lanes(UPDATES[:2], [3, 1], 0, 2)).all()
    with pytest.raises(InputError) as caught:
        form_of("trimmed_mean", [])
    assert caught.value.code == "invalid-policy"

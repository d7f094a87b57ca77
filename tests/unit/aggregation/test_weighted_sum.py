# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from folkmoot.aggregation.weighted_sum import aggregate_of, check_weights, sum_lanes
from folkmoot.errors import InputError
from folkmoot.protocol import acceleration
from folkmoot.protocol.manifest import Manifest, Tensor
from folkmoot.protocol.mean import MAX_WEIGHT_SUM
from folkmoot.protocol.updates import MemoryUpdate
from tests.unit import worlds

MANIFEST = Manifest("s", (Tensor("a", (9000,)),))
UPDATES = [MemoryUpdate(worlds.update_bytes(MANIFEST, seed)) for seed in range(5)]


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(0, MAX_WEIGHT_SUM // 5), min_size=5, max_size=5).filter(any),
    st.permutations(range(5)),
)
def test_sum_is_exact_in_any_order(weights: list[int], order: list[int]) -> None:
    lanes = sum_lanes(UPDATES, weights, 0, MANIFEST.leaves)
    values = [update.read(0, MANIFEST.leaves).reshape(-1).astype(object) - 128 for update in UPDATES]
    exact = np.sum([weight * value for weight, value in zip(weights, values, strict=True)], axis=0)
    assert aggregate_of(lanes, sum(weights)).tolist() == exact.tolist()
    shuffled = sum_lanes([UPDATES[i] for i in order], [weights[i] for i in order], 0, MANIFEST.leaves)
    assert (shuffled == lanes).all()


def test_a_range_is_the_slice() -> None:
    weights = [1, 0, 7, 2, 1]
    whole = sum_lanes(UPDATES, weights, 0, MANIFEST.leaves)
    assert (sum_lanes(UPDATES, weights, 5, 9) == whole[5:9]).all()


@pytest.mark.parametrize(
    "weights", [[1, 0, 70_000, 3, MAX_WEIGHT_SUM - 70_004], [9, 1, 2, 3, 4], [0, 0, 0, 5, 0], [2, 1, 0, 5, 7]]
)
def test_kernels_sum_alike(monkeypatch: pytest.MonkeyPatch, weights: list[int]) -> None:
    pytest.importorskip("numba")
    with acceleration.without_kernels():
        slow = sum_lanes(UPDATES, weights, 0, MANIFEST.leaves)
    monkeypatch.setattr(acceleration, "LOAD_AFTER", 0)
    assert acceleration.kernels(MANIFEST.size) is not None
    assert (sum_lanes(UPDATES, weights, 0, MANIFEST.leaves) == slow).all()


def test_the_largest_sum_fits_its_lane() -> None:
    most = MemoryUpdate(np.full(MANIFEST.size, 255, dtype=np.uint8))
    lanes = sum_lanes([most], [MAX_WEIGHT_SUM], 0, 1)
    assert (lanes == 2**32 - 1).all()
    assert (aggregate_of(lanes, MAX_WEIGHT_SUM) == 127 * MAX_WEIGHT_SUM).all()


@pytest.mark.parametrize("weights", [[], [0, 0], [MAX_WEIGHT_SUM, 1], [5, -1]])
def test_impossible_weights_are_refused(weights: list[int]) -> None:
    with pytest.raises(InputError) as caught:
        check_weights(weights)
    assert caught.value.code == "invalid-weights"


def test_what_was_not_delivered_has_no_weight() -> None:
    assert sum_lanes([None, UPDATES[0]], [0, 1], 0, 1).shape == (1, 256)
    with pytest.raises(InputError):
        sum_lanes([None, UPDATES[0]], [1, 1], 0, 1)

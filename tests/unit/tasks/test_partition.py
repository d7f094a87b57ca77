# SPDX-License-Identifier: Apache-2.0
"""The Dirichlet split: a partition in the strict sense, whatever labels and numbers it gets."""

from __future__ import annotations

import numpy as np
import pytest
from folkmoot_lab.drills.data import split_rare
from hypothesis import given
from hypothesis import strategies as st

from folkmoot.errors import TaskError
from folkmoot.tasks.partition import MINIMUM_EXAMPLES, dirichlet, share_of


@given(
    labels=st.lists(st.integers(0, 4), min_size=80, max_size=300),
    partitions=st.integers(1, 10),
    seed=st.integers(0, 2**32),
    alpha=st.floats(0.05, 10),
)
def test_every_example_is_in_exactly_one_share(
    labels: list[int], partitions: int, seed: int, alpha: float
) -> None:
    shares = dirichlet(np.array(labels), partitions, seed, alpha=alpha)
    assert len(shares) == partitions
    assert sorted(np.concatenate(shares).tolist()) == list(range(len(labels)))
    assert min(map(len, shares)) >= MINIMUM_EXAMPLES


def test_a_split_depends_on_its_seed_only() -> None:
    labels = np.arange(500) % 10
    first = dirichlet(labels, 5, 7)
    again = dirichlet(labels, 5, 7)
    other = dirichlet(labels, 5, 8)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert any(not np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_shares_are_skewed_by_label() -> None:
    labels = np.arange(5000) % 10
    shares = dirichlet(labels, 5, 7, alpha=0.5)
    fractions = np.array([np.bincount(labels[share], minlength=10) / 500 for share in shares])
    assert fractions.max() > 0.5
    assert fractions.min() < 0.02


def test_a_rare_class_is_held_by_the_first_shares_alone() -> None:
    labels = np.arange(2000) % 10
    shares = split_rare(labels, 8, 7, 9, 2)
    assert [int((labels[share] == 9).sum()) for share in shares] == [100, 100, 0, 0, 0, 0, 0, 0]
    assert sorted(np.concatenate(shares).tolist()) == list(range(2000))
    assert all(np.array_equal(a, b) for a, b in zip(shares, split_rare(labels, 8, 7, 9, 2), strict=True))


@pytest.mark.parametrize(("label", "holders"), [(9, 0), (9, 9), (11, 1)])
def test_a_class_that_cant_be_held_so(label: int, holders: int) -> None:
    with pytest.raises(TaskError, match=f"the class {label} can't be held by {holders} of 8"):
        split_rare(np.arange(2000) % 10, 8, 7, label, holders)


def test_too_many_shares_for_the_data() -> None:
    with pytest.raises(TaskError, match="too few for 3 shares"):
        dirichlet(np.zeros(20), 3, 0)


@pytest.mark.parametrize("partition", [-1, 3])
def test_a_share_that_is_not_there(partition: int) -> None:
    with pytest.raises(TaskError, match=f"no partition {partition} of 3"):
        share_of(np.zeros(100), partition, 3, 0)

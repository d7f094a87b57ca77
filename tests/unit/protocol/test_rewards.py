# SPDX-License-Identifier: Apache-2.0
"""A round pays nobody more than an equal share, and nobody for another one's loss."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from folkmoot.protocol.mean import MAX_WEIGHT_SUM
from folkmoot.protocol.rewards import payments

weights_of_entries = st.lists(st.integers(0, MAX_WEIGHT_SUM), min_size=1, max_size=12).filter(any)
rewards = st.integers(0, (1 << 128) - 1)


def test_the_largest_weight_is_paid_in_full_and_the_rest_is_not_minted() -> None:
    assert payments(900, [5, 3, 1]) == [300, 180, 60]
    assert payments(900, [0, 7, 0]) == [0, 300, 0]


def test_an_entry_of_the_coordinator_is_not_paid() -> None:
    assert payments(900, [5, 0, 1], [True, False, True]) == [450, 0, 90]
    assert payments(900, [1], [False]) == [0]


@given(rewards, weights_of_entries)
def test_each_is_paid_by_its_weight_up_to_an_equal_share(reward: int, weights: list[int]) -> None:
    amounts = payments(reward, weights)
    share = reward // len(weights)
    assert sum(amounts) <= reward
    assert amounts[weights.index(max(weights))] == share
    for amount, weight in zip(amounts, weights, strict=True):
        assert amount <= share
        assert weight > 0 or amount == 0
    order = sorted(range(len(weights)), key=lambda i: weights[i])
    assert [amounts[i] for i in order] == sorted(amounts)


@given(rewards, weights_of_entries, st.data())
def test_nobody_is_paid_for_another_ones_loss(reward: int, weights: list[int], data: st.DataObject) -> None:
    loser = data.draw(st.integers(0, len(weights) - 1))
    rest = weights[:loser] + weights[loser + 1 :]
    lowered = [*weights]
    lowered[loser] = data.draw(st.integers(0 if any(rest) else 1, max(weights[loser], 1)))
    before, after = payments(reward, weights), payments(reward, lowered)
    if lowered[loser] <= weights[loser]:
        assert after[loser] <= before[loser]
    if max(rest, default=0) >= weights[loser]:
        assert [amount for i, amount in enumerate(after) if i != loser] == [
            amount for i, amount in enumerate(before) if i != loser
        ]

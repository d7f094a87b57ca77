# SPDX-License-Identifier: Apache-2.0
"""A round pays nobody more than an equal share, and nobody for another one's loss."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from folkmoot.protocol.mean import MAX_WEIGHT_SUM
from folkmoot.protocol.rewards import FULL_PAY, payments

weights_of_entries = st.lists(st.integers(0, MAX_WEIGHT_SUM), min_size=1, max_size=12).filter(any)
rewards = st.integers(0, (1 << 128) - 1)


def test_the_largest_weight_is_paid_in_full_and_the_rest_is_not_minted() -> None:
    assert payments(900, 3, [5, 3, 1], []) == [300, 180, 60]
    assert payments(900, 3, [0, 7, 0], []) == [0, 300, 0]


def test_an_entry_of_the_coordinator_is_not_paid() -> None:
    assert payments(900, 3, [5, 0, 1], [], [True, False, True]) == [300, 0, 60]
    assert payments(900, 1, [1], [], [False]) == [0]


def test_a_share_does_not_depend_on_how_many_others_are_recorded() -> None:
    assert payments(900, 9, [1, 1], []) == payments(900, 9, [1] * 9, [])[:2] == [100, 100]


@given(rewards, weights_of_entries, st.integers(0, 3))
def test_each_is_paid_by_its_weight_up_to_the_share_of_a_place(
    reward: int, weights: list[int], empty: int
) -> None:
    places = len(weights) + empty
    amounts = payments(reward, places, weights, [])
    share = reward // places
    assert sum(amounts) <= reward
    assert amounts[weights.index(max(weights))] == share
    for amount, weight in zip(amounts, weights, strict=True):
        assert amount <= share
        assert weight > 0 or amount == 0
    order = sorted(range(len(weights)), key=lambda i: weights[i])
    assert [amounts[i] for i in order] == sorted(amounts)


@given(rewards, weights_of_entries, st.data())
def test_nobody_is_paid_for_another_ones_loss(reward: int, weights: list[int], data: st.DataObject) -> None:
    """Neither if the other one gets less weight, nor if it is not recorded at all."""
    loser = data.draw(st.integers(0, len(weights) - 1))
    rest = weights[:loser] + weights[loser + 1 :]
    lowered = [*weights]
    lowered[loser] = data.draw(st.integers(0 if any(rest) else 1, max(weights[loser], 1)))
    before, after = payments(reward, 12, weights, []), payments(reward, 12, lowered, [])
    if lowered[loser] <= weights[loser]:
        assert after[loser] <= before[loser]
    if max(rest, default=0) >= weights[loser]:
        others = [amount for i, amount in enumerate(before) if i != loser]
        assert [amount for i, amount in enumerate(after) if i != loser] == others
        if any(rest):
            assert payments(reward, 12, rest, []) == others


@given(rewards, st.lists(st.integers(0, FULL_PAY), min_size=1, max_size=12), st.integers(0, 3))
def test_a_pay_is_a_share_of_a_full_place_whatever_the_weights(
    reward: int, pays: list[int], empty: int
) -> None:
    places = len(pays) + empty
    amounts = payments(reward, places, [1] * len(pays), pays)
    assert amounts == payments(reward, places, [MAX_WEIGHT_SUM, *[1] * (len(pays) - 1)], pays)
    assert amounts == [reward * pay // (places * FULL_PAY) for pay in pays]
    assert sum(amounts) <= reward
    assert max(amounts) <= reward // places
    assert payments(reward, places, [1] * len(pays), [FULL_PAY] * len(pays), [False] * len(pays)) == [
        0
    ] * len(pays)

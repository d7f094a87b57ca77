# SPDX-License-Identifier: Apache-2.0
"""The stage ``copies`` with updates that were made of what others sent before: who is excluded, and who is not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from folkmoot.aggregation.cosines import UNIT
from folkmoot.aggregation.references import Reference, ReferencedFacts
from folkmoot.aggregation.stages.copies import exclude_copies
from folkmoot.aggregation.stages.weighting_state import WeightingState
from folkmoot.protocol.arrays import F64
from folkmoot.protocol.verdict import Reason

SIZE = 4096
REPEAT = UNIT - 60
"""Repeat cosine of all updates, as at width 8."""

HONEST = 6

Sent = tuple[F64, int | None, int]
"""An update of an earlier round, the index of its contributor's update in this round, and the round's place."""


class Crowd:
    """Honest contributors whose updates have a cosine of 0.25, and 0.96 with their own of other rounds."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.own = self.fresh(1.0) + np.sqrt(3) * np.stack([self.fresh(1.0) for _ in range(HONEST)])

    def fresh(self, length: float) -> F64:
        """Return a direction of chance with about this length."""
        return np.asarray(self.rng.normal(0, length / np.sqrt(SIZE), SIZE))

    def noisy(self, vector: F64, share: float) -> F64:
        """Return the vector with noise of this share of its norm."""
        return np.asarray(vector + self.fresh(share * float(np.linalg.norm(vector))))

    def update(self, who: int) -> F64:
        """Return a round's update of a contributor."""
        return self.noisy(self.own[who], 0.2)


def judged(updates: Sequence[F64], earlier: Sequence[Sent]) -> WeightingState:
    """Return the state after the stage; updates are in the order of their commitments."""
    vectors = [
        [int(value) for value in np.rint(4000 * one)] for one in [*updates, *(one for one, _, _ in earlier)]
    ]
    rows = np.array(vectors, dtype=np.int64)
    products = rows @ rows[: len(updates)].T
    gram = tuple(tuple(int(value) for value in row) for row in products[: len(updates)])
    references = tuple(
        Reference(tuple(int(value) for value in row), int(one @ one), None, REPEAT, who, when)
        for row, one, (_, who, when) in zip(
            products[len(updates) :], rows[len(updates) :], earlier, strict=True
        )
    )
    squares = tuple(row[i] for i, row in enumerate(gram))
    facts = ReferencedFacts(
        gram,
        squares,
        ((1,),) * len(updates),
        earlier=references,
        repeats=(REPEAT,) * len(updates),
        elements=(SIZE,),
    )
    return exclude_copies(WeightingState.of(facts), 160)


def excluded(state: WeightingState) -> list[int]:
    """Return the indices of the updates that were excluded."""
    return [i for i, reason in enumerate(state.reasons) if reason is not Reason.ACCEPTED]


def history(crowd: Crowd, rounds: int = 3, first: int = 1) -> list[Sent]:
    """Return honest updates of earlier rounds; the honest have the indices from ``first`` on."""
    return [(crowd.update(who), first + who, when) for when in range(rounds) for who in range(HONEST)]


def honest_now(crowd: Crowd) -> list[F64]:
    """Return the honest updates of the round."""
    return [crowd.update(who) for who in range(HONEST)]


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**16), share=st.sampled_from([0.0, 0.05, 0.15, 0.25, 0.4]), early=st.booleans())
def test_who_alters_an_earlier_update_never_excludes_its_author(seed: int, share: float, early: bool) -> None:
    """Whether the alteration is small enough for a replay or not, and whoever commits first."""
    crowd = Crowd(seed)
    attacker = 0 if early else HONEST
    past = [(crowd.fresh(1.0), attacker, 0), *history(crowd, first=int(early))]
    altered = crowd.noisy(1.7 * past[-1][0], share)
    updates = [altered, *honest_now(crowd)] if early else [*honest_now(crowd), altered]
    state = judged(updates, past)
    assert set(excluded(state)) <= {attacker}
    if share < 0.25:
        assert excluded(state) == [attacker]
    if share == 0:
        assert "copyOf" not in state.numbers[attacker]


def test_a_derived_update_is_told_with_what_it_was_derived_from() -> None:
    crowd = Crowd(1)
    past = [*history(crowd), (crowd.fresh(1.0), 0, 0)]
    updates = [crowd.noisy(past[-2][0], 0.3), *honest_now(crowd)]
    state = judged(updates, past)
    numbers = state.numbers[0]
    assert excluded(state) == [0]
    assert "copyOf" not in numbers
    assert numbers["copyCosine"] <= numbers["copySource"] < UNIT
    assert numbers["copySource"] == pytest.approx(UNIT / np.sqrt(1.09), rel=0.01)


@pytest.mark.parametrize("share", [0.25, 0.3, 0.35])
def test_sybils_with_one_old_update_are_all_excluded(share: float) -> None:
    crowd = Crowd(2)
    past = history(crowd, first=3)
    old = past[-1][0]
    updates = [*(crowd.noisy(old, share) for _ in range(3)), *honest_now(crowd)[:-1]]
    newcomers = judged(updates, past)
    assert len(excluded(newcomers)) == 2
    state = judged(updates, [*past, *((crowd.fresh(1.0), who, 0) for who in range(3))])
    assert excluded(state) == [0, 1, 2]


@pytest.mark.parametrize("seed", range(5))
def test_of_sybils_with_one_training_one_is_left(seed: int) -> None:
    """What each sent before is less alike to another's update than that is to its own, so it explains nothing."""
    crowd = Crowd(seed)
    sybils = [*range(3), *range(1, HONEST)]
    past = []
    for when in range(3):
        trained = honest_now(crowd)
        past += [(crowd.noisy(trained[max(0, who - 2)], 0.2), who, when) for who in range(len(sybils))]
    trained = honest_now(crowd)
    state = judged([crowd.noisy(trained[max(0, who - 2)], 0.2) for who in range(len(sybils))], past)
    assert excluded(state) == [1, 2]


@pytest.mark.parametrize("seed", range(5))
def test_of_two_with_the_same_data_the_earlier_stays(seed: int) -> None:
    """The later one stays too if the other is as alike to what it sent before: nothing then says that it copied."""
    crowd = Crowd(seed)
    crowd.own[1] = crowd.own[0]
    updates = honest_now(crowd)
    assert excluded(judged(updates, [])) == [1]
    assert set(excluded(judged(updates, history(crowd, first=0)))) <= {1}


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**16), share=st.sampled_from([0.0, 0.25, 0.3, 0.35]), mean=st.booleans())
def test_what_others_made_of_updates_does_not_accuse_their_author(
    seed: int, share: float, mean: bool
) -> None:
    """Others send the victim's last update again, or the mean of its updates; one more commits that with noise."""
    crowd = Crowd(seed)
    past = history(crowd, rounds=8)
    sent = [one for one, who, _ in past if who == 1]
    for when in range(1, 8):
        again = np.mean(sent[:when], axis=0) if mean else sent[when - 1]
        past += [(crowd.noisy(again, 0.01), None, when) for _ in range(3)]
    again = np.mean(sent, axis=0) if mean else sent[-1]
    assert 1 not in excluded(judged([crowd.noisy(again, share), *honest_now(crowd)], past))


def test_who_was_away_is_not_accused_by_what_others_sent_meanwhile() -> None:
    crowd = Crowd(4)
    past = [one for one in history(crowd, rounds=4) if one[1] != 1]
    past.append((crowd.own[0], None, 3))
    assert excluded(judged([crowd.fresh(1.0), *honest_now(crowd)], past)) == []
    now = crowd.update(0)
    later = [*past, (now, 1, 4), (crowd.own[0], None, 4)]
    assert excluded(judged([crowd.fresh(1.0), *honest_now(crowd)], later)) == []

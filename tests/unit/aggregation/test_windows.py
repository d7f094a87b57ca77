# SPDX-License-Identifier: Apache-2.0
"""Window sums: exact, of the right updates, and what the rule that judges by them promises."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import isqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from folkmoot.aggregation import windows as module
from folkmoot.aggregation.cosines import UNIT
from folkmoot.aggregation.interface import RoundFacts
from folkmoot.aggregation.lineage import Lineage, Published, published_of
from folkmoot.aggregation.stages.likeness import (
    FLOOR,
    weigh_by_likeness,
    weigh_by_median_cosine,
    weigh_by_presence,
)
from folkmoot.aggregation.stages.weighting_state import WeightingState
from folkmoot.aggregation.trajectory import WINDOW
from folkmoot.aggregation.windows import Scaled, scaled, window_products
from folkmoot.errors import ArtifactError, InputError
from folkmoot.protocol.arrays import I64, U8
from folkmoot.protocol.commitment import Commitment
from folkmoot.protocol.fixed_point import LEAF
from folkmoot.protocol.manifest import Manifest, Tensor
from folkmoot.protocol.updates import MemoryUpdate, UpdateReader
from folkmoot.protocol.verdict import Reason
from tests.unit import worlds
from tests.unit.worlds import COORDINATOR, MANIFEST, NAMES, World

LAYERS = Manifest("layers", (Tensor("a", (700,)), Tensor("b", (3,)), Tensor("c", (256, 2))))


def integers_of(update: UpdateReader) -> list[int]:
    return [int(value) - 128 for value in update.read(0, update.size // LEAF).reshape(-1)]


@pytest.mark.parametrize("small", [False, True])
@settings(max_examples=10, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    lengths=st.lists(st.integers(0, WINDOW), min_size=1, max_size=4),
    exponents=st.tuples(*[st.integers(-40, 4)] * 3),
)
def test_products_are_those_of_the_formula(
    small: bool, seed: int, lengths: list[int], exponents: tuple[int, ...]
) -> None:
    """Against Python's integers, also leaf by leaf."""
    rng = np.random.default_rng(seed)
    parts = [
        [
            Scaled(MemoryUpdate(worlds.update_bytes(LAYERS, int(rng.integers(1 << 30)))), int(factor))
            for factor in rng.choice([UNIT, UNIT - 1, 40_000, 1, 0], length)
        ]
        for length in lengths
    ]
    vector = MemoryUpdate(worlds.update_bytes(LAYERS, seed))
    sums = [
        [
            sum((2 * part.factor * q + UNIT) // (2 * UNIT) for part, q in zip(window, column, strict=True))
            for column in zip(*(integers_of(part.update) for part in window), strict=True)
        ]
        or [0] * LAYERS.size
        for window in parts
    ]
    sums.append(integers_of(vector))
    scale = [4 ** (exponents[t] - min(exponents)) for t in LAYERS.tensor_of_leaf.tolist()]
    expected = tuple(
        tuple(sum(scale[c // LEAF] * x * y for c, (x, y) in enumerate(zip(a, b, strict=True))) for b in sums)
        for a in sums
    )
    with pytest.MonkeyPatch.context() as patched:
        if small:
            patched.setattr(module, "_CHUNK_BYTES", 1)
            patched.setattr(module, "_LEAST_LEAVES", 1)
        assert window_products(LAYERS, exponents, parts, [vector]) == expected


@settings(max_examples=50, deadline=None)
@given(squares=st.lists(st.integers(0, 1 << 45), min_size=1, max_size=9))
def test_no_update_counts_for_more_than_the_median_norm(squares: list[int]) -> None:
    update = MemoryUpdate(bytes([128]) * LEAF)
    found = scaled({str(i): Published(update, square) for i, square in enumerate(squares)})
    above = sorted(square for square in squares if square)
    assert set(found) == {str(i) for i, square in enumerate(squares) if square}
    for name, one in found.items():
        median = above[(len(above) - 1) // 2]
        assert one.factor <= UNIT
        assert one.factor**2 * squares[int(name)] <= median << 32
        assert (one.factor == UNIT) == (squares[int(name)] <= median) or one.factor == isqrt(
            (median << 32) // squares[int(name)]
        )


# Which updates are in a sum


def noisy(seed: int, sign: int = 1, noise: int = 60) -> bytes:
    """A common direction under three times as much noise."""
    common = np.frombuffer(worlds.update_bytes(MANIFEST, 1000, 20), dtype=np.uint8).astype(np.int64) - 128
    own = np.frombuffer(worlds.update_bytes(MANIFEST, seed, noise), dtype=np.uint8).astype(np.int64) - 128
    return (np.clip(sign * common + own, -127, 127) + 128).astype(np.uint8).tobytes()


def world() -> World:
    return World(worlds.state(MANIFEST, 1), policy=worlds.policy("clamped_mean"))


def play(where: World, signs: Sequence[int], names: Sequence[str] = NAMES) -> dict[str, int]:
    """Play a round in which each contributor moves along its sign; return the weights by name."""
    pairs = [
        where.commit(name, noisy(100 * where.round + i, sign))
        for i, (name, sign) in enumerate(zip(names, signs, strict=True))
    ]
    return dict(zip(names, where.play(pairs).weights, strict=True))


def test_who_works_against_the_others_is_found_by_the_window() -> None:
    where = world()
    weights = [play(where, [-1, -1, 1, 1, 1, 1, 1]) for _ in range(WINDOW)]
    last = weights[-1]
    honest = [last[name] for name in NAMES[2:]]
    assert min(honest) > 0
    assert max(last[name] for name in NAMES[:2]) < min(honest) / 2
    assert min(weights[0].values()) > 0  # one round says too little to leave anybody out


def test_a_new_account_counts_an_eighth_at_first() -> None:
    where = world()
    for _ in range(WINDOW):
        play(where, [1] * 6, NAMES[:6])
    found = where.outcome([where.commit(name, noisy(9000 + i)) for i, name in enumerate(NAMES)])
    numbers = [verdict.numbers for verdict in found.verdicts.verdicts]
    assert [one["windowRounds"] for one in numbers] == [WINDOW] * 6 + [1]
    assert {one["windowRoundsMost"] for one in numbers} == {WINDOW}
    assert found.weights[6] <= UNIT // WINDOW


def test_only_what_was_weighed_is_in_the_sums() -> None:
    """Copies, the coordinator's own entry and what was not delivered are in none; weight 0 changes nothing."""
    where = world()
    mine = [where.commit(name, noisy(i)) for i, name in enumerate(NAMES[:3])]
    copy = where.commit(NAMES[3], noisy(0))
    own = where.commit(COORDINATOR, noisy(4))
    lost = (where.commit(NAMES[4], noisy(5))[0], None)
    pairs = [*mine, copy, own, lost]
    coordinator = worlds.account(COORDINATOR).address
    published = published_of([one for one, _ in pairs], [two for _, two in pairs], coordinator)
    assert list(published) == [worlds.account(name).address for name in NAMES[:3]]
    assert [one.sum_squares for one in published.values()] == [entry.sum_squares for entry, _ in mine]


def test_seven_rounds_before_are_in_the_sums_and_no_more() -> None:
    where = world()
    for _ in range(WINDOW + 2):
        play(where, [1] * len(NAMES))
    pairs = [where.commit(name, noisy(9000 + i)) for i, name in enumerate(NAMES)]
    usual = where.outcome(pairs)
    assert {verdict.numbers["windowRounds"] for verdict in usual.verdicts.verdicts} == {WINDOW}
    oldest, *rest = where.lineage.rounds
    changed = Lineage((replace(oldest, published={}), *rest), where.lineage.before)
    assert where.outcome(pairs, lineage=changed).weights == usual.weights
    assert where.outcome(pairs, lineage=changed).anchor != usual.anchor, "pay looks back one round more"
    changed = Lineage((oldest, replace(rest[0], published={}), *rest[1:]), where.lineage.before)
    assert where.outcome(pairs, lineage=changed).weights != usual.weights


class Gone:
    """An update whose file was deleted."""

    size = MANIFEST.size
    width = 8

    def packed(self, first: int, last: int) -> U8:
        raise ArtifactError("The file is gone.")

    def read(self, first: int, last: int) -> U8:
        raise ArtifactError("The file is gone.")

    def pick(self, leaves: I64) -> U8:
        raise ArtifactError("The file is gone.")


def test_what_is_missing_is_an_error_and_never_another_result() -> None:
    where = world()
    play(where, [1] * len(NAMES))
    pairs = [where.commit(name, noisy(9000 + i)) for i, name in enumerate(NAMES)]
    (before,) = where.lineage.rounds
    bare = Lineage((replace(before, published=None),), where.lineage.before)
    with pytest.raises(InputError, match="lacks what was weighed") as caught:
        where.outcome(pairs, lineage=bare)
    assert caught.value.code == "mismatch"
    assert before.published is not None
    address = worlds.account(NAMES[2]).address
    lost = {**before.published, address: replace(before.published[address], update=Gone())}
    with pytest.raises(ArtifactError, match="is gone"):
        where.outcome(pairs, lineage=Lineage((replace(before, published=lost),), where.lineage.before))


def test_updates_that_cancel_out_are_weighed_all_the_same() -> None:
    """A sum of zeros has no cosine with anything."""
    where = world()
    sent = noisy(7, noise=40)  # shorter than the others, so that it is not scaled
    back = bytes(256 - q for q in sent)

    def everybody(first: bytes) -> list[tuple[Commitment, UpdateReader | None]]:
        others = [where.commit(name, noisy(100 * where.round + i)) for i, name in enumerate(NAMES[1:])]
        return [where.commit(NAMES[0], first), *others]

    where.play(everybody(sent))
    pairs = everybody(back)
    verdict = where.outcome(pairs).verdicts.verdicts[0]
    assert verdict.reason is Reason.ACCEPTED
    assert verdict.numbers["medianCosine"] == verdict.numbers["trajectoryCosine"] == 0


# The stages


def state_of(vectors: I64) -> WeightingState:
    gram = tuple(tuple(int(value) for value in row) for row in vectors @ vectors.T)
    ones = tuple((1,) for _ in gram)
    return WeightingState.of(RoundFacts(gram, (1,) * len(gram), ones, elements=(vectors.shape[1],)))


@pytest.mark.parametrize("harm", [1, 2, 4, 8])
def test_a_larger_common_part_brings_colluders_nothing(harm: int) -> None:
    """Six of twenty with one direction in common: times its length their weight stays below the honest."""
    rng = np.random.default_rng(harm)
    noise = rng.normal(0, 20, (20, 4096))
    good, bad = rng.normal(0, 4, (2, 4096))
    vectors = noise + good
    vectors[:6] = noise[:6] + harm * bad
    state = weigh_by_likeness(state_of(np.rint(vectors).astype(np.int64)))
    weights = np.array(state.multipliers) / UNIT
    assert harm * weights[:6].sum() < weights[6:].sum()


def test_the_median_cosine_is_the_majoritys() -> None:
    rng = np.random.default_rng(1)
    shared = rng.normal(0, 10, 4096)
    vectors = np.rint(rng.normal(0, 20, (11, 4096)) + shared).astype(np.int64)
    vectors[:4] *= -1  # four of eleven, who agree with each other
    state = weigh_by_median_cosine(state_of(vectors))
    assert state.multipliers[:4] == (FLOOR,) * 4
    assert min(state.multipliers[4:]) > UNIT // 2
    assert set(state.reasons) == {Reason.ACCEPTED}


@pytest.mark.parametrize(("count", "attackers"), [(3, 1), (5, 2), (6, 2), (7, 3), (9, 4)])
def test_any_minority_is_against_the_median_cosine(count: int, attackers: int) -> None:
    rng = np.random.default_rng(count)
    vectors = np.rint(rng.normal(0, 20, (count, 4096)) + rng.normal(0, 20, 4096)).astype(np.int64)
    vectors[:attackers] *= -1
    state = weigh_by_median_cosine(state_of(vectors))
    assert state.multipliers[:attackers] == (FLOOR,) * attackers
    assert min(state.multipliers[attackers:]) > UNIT // 2


def test_with_two_there_is_nothing_to_compare() -> None:
    state = state_of(np.array([[5, 1], [-5, 1]]))
    assert weigh_by_likeness(state) is weigh_by_median_cosine(state) is state


def test_presence_is_relative_to_the_longest_window() -> None:
    state = weigh_by_presence(state_of(np.array([[5, 1], [0, 0], [-5, 1], [2, 2]])), (3, 8, 1, 6))
    assert state.multipliers == (UNIT // 2, 0, UNIT // 6, UNIT)

# SPDX-License-Identifier: Apache-2.0
"""What holds of every rule, and what the recommended one promises: integer weights, no reward without work."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import pairwise
from math import floor
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from folkmoot.aggregation import registry as rules
from folkmoot.aggregation.cosines import UNIT, cosine
from folkmoot.aggregation.interface import RoundFacts, Weighted
from folkmoot.aggregation.references import Reference, ReferencedFacts, Windows, references
from folkmoot.aggregation.stages import clipping, weighting_state
from folkmoot.aggregation.trajectory import trajectory_update
from folkmoot.errors import InputError
from folkmoot.protocol.arrays import I64
from folkmoot.protocol.fixed_point import STATE_BOUND
from folkmoot.protocol.manifest import Manifest, Tensor
from folkmoot.protocol.mean import MAX_WEIGHT_SUM
from folkmoot.protocol.policy import CLAMPED_MEAN
from folkmoot.protocol.state import State
from folkmoot.protocol.updates import MemoryUpdate
from folkmoot.protocol.verdict import Reason

ALL = sorted(module.NAME for module in rules.SHIPPED)


def facts_of(
    vectors: I64,
    root: I64 | None = None,
    earlier: Sequence[I64] = (),
    scale: int = 1,
    trajectory: I64 | None = None,
) -> ReferencedFacts:
    values = [[int(value) * scale for value in row] for row in vectors]
    gram = (vectors @ vectors.T) * scale * scale

    def compare(other: I64) -> Reference:
        return Reference(tuple(int(value) * scale for value in vectors @ other), int(other @ other))

    products = tuple(tuple(int(value) for value in row) for row in gram)
    return ReferencedFacts(
        products,
        tuple(sum(value * value for value in row) for row in values),
        tuple((sum(map(abs, row)),) for row in values),
        root=None if root is None else compare(root),
        trajectory=None if trajectory is None else compare(trajectory),
        earlier=tuple(compare(other) for other in earlier),
        window=Windows(  # as in the first round of all: the sums are the updates
            products, None if trajectory is None else compare(trajectory), (1,) * len(vectors)
        ),
        elements=(vectors.shape[1],),
    )


def weigh(name: str, facts: RoundFacts, attackers: int = 1) -> list[Weighted]:
    parameters = [attackers, 0][: len(rules.PARAMETERS[name])]
    if name == CLAMPED_MEAN:
        parameters = [40 * attackers] if attackers > 1 else []
    return rules.rule(name)(facts, parameters)


def weights(name: str, facts: RoundFacts, attackers: int = 1) -> list[int]:
    return [result.weight for result in weigh(name, facts, attackers)]


def honest(seed: int, count: int = 10, size: int = 4096) -> I64:
    """Updates that share a direction, as training on related data gives: cosines of about 0.2."""
    rng = np.random.default_rng(seed)
    shared = rng.normal(0, 12, size)
    return np.clip(np.rint(shared + rng.normal(0, 24, (count, size))), -127, 127).astype(np.int64)


@st.composite
def any_updates(draw: st.DrawFn) -> I64:
    """Anything that clients can send: zeros, extremes, equal ones, opposite ones, noise."""
    count = draw(st.integers(1, 9))
    kinds = draw(
        st.lists(
            st.sampled_from(("zero", "full", "one", "wave", "noise", "same")), min_size=count, max_size=count
        )
    )
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    same = rng.integers(-127, 128, 16)
    rows: dict[str, Callable[[], NDArray[Any]]] = {
        "zero": lambda: np.zeros(16),
        "full": lambda: np.full(16, rng.choice([-127, 127])),
        "one": lambda: np.eye(16)[rng.integers(16)] * rng.choice([-127, -1, 1, 127]),
        "wave": lambda: np.resize([127, -127], 16),
        "noise": lambda: rng.integers(-127, 128, 16),
        "same": lambda: same,
    }
    return np.array([rows[kind]() for kind in kinds], dtype=np.int64)


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=60, deadline=None)
@given(vectors=any_updates(), attackers=st.integers(0, 12), rooted=st.booleans(), past=st.booleans())
def test_weights_are_always_in_range(
    name: str, vectors: I64, attackers: int, rooted: bool, past: bool
) -> None:
    facts = facts_of(
        vectors,
        vectors[-1] if rooted else None,
        [vectors[0]] if past else (),
        trajectory=vectors[0] if past else None,
    )
    results = weigh(name, facts, attackers)
    assert len(results) == len(vectors)
    assert all(result.weight >= 0 for result in results)
    assert 1 <= sum(result.weight for result in results) <= MAX_WEIGHT_SUM
    for result in results:
        assert (result.reason is Reason.ACCEPTED) == (result.weight > 0)
        assert all(type(number) is int for number in result.numbers.values())
    assert weigh(name, facts, attackers) == results


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**16), count=st.integers(3, 12), order=st.randoms(use_true_random=False))
def test_the_order_of_entries_changes_nothing_but_ties(
    name: str, seed: int, count: int, order: random.Random
) -> None:
    vectors = honest(seed, count, 128)
    root = honest(seed + 1, 1, 128)[0]
    places = list(range(count))
    order.shuffle(places)
    facts = facts_of(vectors, root, trajectory=root)
    cosines = weighting_state.WeightingState.of(facts).cosines
    pairs = [cosines[i][j] for i, j in itertools.combinations(range(count), 2)]
    assume(len(set(pairs)) == len(pairs))  # of equal ones the earlier entry goes first
    plain = weights(name, facts, count // 4)
    shuffled = facts_of(vectors[places], root, trajectory=root)
    assert weights(name, shuffled, count // 4) == [plain[place] for place in places]


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**16), scale=st.integers(2, 1000))
def test_a_common_factor_changes_nothing(name: str, seed: int, scale: int) -> None:
    vectors = honest(seed, 8, 128)
    root = honest(seed + 1, 1, 128)[0]
    scaled, plain = (
        facts_of(vectors, root, scale=scale, trajectory=root),
        facts_of(vectors, root, trajectory=root),
    )
    assert weights(name, scaled, 2) == weights(name, plain, 2)


@pytest.mark.parametrize("name", ALL)
def test_equal_updates_are_decided_by_their_order(name: str) -> None:
    vectors = np.repeat(honest(5, 1, 128), 5, axis=0)
    assert weigh(name, facts_of(vectors)) == weigh(name, facts_of(vectors.copy()))


@pytest.mark.parametrize("name", ALL)
def test_zeros_alone_are_averaged(name: str) -> None:
    given_weights = weights(name, facts_of(np.zeros((3, 16), dtype=np.int64)))
    assert sum(given_weights) >= 1


@pytest.mark.parametrize("name", ALL)
def test_a_wrong_number_of_parameters_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="takes") as caught:
        rules.rule(name)(facts_of(honest(1, 3, 64)), [1, 2, 3])
    assert caught.value.code == "invalid-policy"


# No reward without work: the recommended rule.

RECOMMENDED = CLAMPED_MEAN


def trajectory_of(seed: int) -> I64:
    """Where the model went: along what the honest updates of this seed share."""
    return honest(seed).sum(axis=0) // 10


def judged(seed: int, vectors: I64, earlier: Sequence[I64] = ()) -> list[Weighted]:
    return weigh(RECOMMENDED, facts_of(vectors, earlier=earlier, trajectory=trajectory_of(seed)))


def noisy(vector: I64, rng: np.random.Generator, share: float) -> I64:
    noise = rng.normal(0, 1, vector.shape)
    noise *= share * np.linalg.norm(vector) / np.linalg.norm(noise)
    return np.clip(np.rint(vector + noise), -127, 127).astype(np.int64)


FREELOADERS: dict[str, Callable[[I64, np.random.Generator], I64]] = {
    "zeros": lambda others, rng: np.zeros(others.shape[1], dtype=np.int64),
    "noise": lambda others, rng: np.rint(rng.normal(0, 24, others.shape[1])).astype(np.int64),
    "copy": lambda others, rng: others[2],
    "scaled-copy": lambda others, rng: others[2] // 2,
    "noisy-copy": lambda others, rng: noisy(others[2], rng, 0.4),
    "one-coordinate": lambda others, rng: 127 * np.eye(others.shape[1], dtype=np.int64)[7],
}


@pytest.mark.parametrize("kind", sorted(FREELOADERS))
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**16))
def test_a_freeloader_earns_nothing(kind: str, seed: int) -> None:
    others = honest(seed)
    freeloader = FREELOADERS[kind](others, np.random.default_rng(seed + 1))
    *rest, last = judged(seed, np.concatenate([others, freeloader[None]]))
    assert last.weight == 0
    assert last.reason is not Reason.ACCEPTED
    assert all(result.weight > 0 for result in rest)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**16), place=st.integers(0, 9))
def test_a_replay_of_an_earlier_round_earns_nothing(seed: int, place: int) -> None:
    now, before = honest(seed), honest(seed + 1)
    now[place] = before[3]
    results = judged(seed, now, list(before))
    assert results[place].weight == 0
    assert results[place].reason is Reason.COPY
    assert [i for i, result in enumerate(results) if result.weight == 0] == [place]


def test_of_two_an_update_like_ones_own_before_is_no_replay_beside_a_newcomers() -> None:
    """Met in quickstart-huggingface, two of three nodes a round: an honest node's updates had a cosine of 0.99."""
    rng = np.random.default_rng(5)
    first, second, newcomer = honest(3)[:3]
    again = noisy(first, rng, 0.15)
    assert cosine(int(again @ first), int(again @ again), int(first @ first)) > 0.98 * UNIT
    for now in (np.stack([newcomer, again]), again[None]):
        assert all(result.weight for result in judged(3, now, [first, second]))
    replayed = judged(3, np.stack([newcomer, first]), [first, second])
    assert [result.reason for result in replayed] == [Reason.ACCEPTED, Reason.COPY]
    assert replayed[1].numbers["copyRatio"] == 0


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**16), copies=st.integers(2, 4))
def test_sybils_with_one_update_earn_as_one(seed: int, copies: int) -> None:
    others = honest(seed)
    sybils = np.stack([noisy(others[0], np.random.default_rng([seed, i]), 0.2) for i in range(copies)])
    given_weights = [result.weight for result in judged(seed, np.concatenate([sybils, others[1:]]))]
    assert sum(weight > 0 for weight in given_weights[:copies]) == 1


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**16))
def test_a_longer_update_earns_no_more(seed: int) -> None:
    vectors = honest(seed) // 8
    shares = []
    for factor in (1, 2, 4, 8):
        boosted = vectors.copy()
        boosted[4] *= factor
        given_weights = [result.weight for result in judged(seed, boosted)]
        shares.append(given_weights[4] / sum(given_weights))
    assert all(later <= earlier * 1.001 for earlier, later in pairwise(shares))


def test_the_earliest_of_two_copies_is_the_one_that_counts() -> None:
    others = honest(9)
    results = judged(9, np.concatenate([others[4:5], others]))
    assert results[0].weight > 0
    assert results[5].reason is Reason.COPY
    assert results[5].numbers["copyOf"] == 0


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**16))
def test_a_third_that_flips_signs_has_a_fiftieth_of_the_weight(seed: int) -> None:
    vectors = honest(seed, 20)
    vectors[:6] *= -1
    results = judged(seed, vectors)
    given_weights = [result.weight for result in results]
    assert sum(given_weights[:6]) < sum(given_weights) / 50
    assert {result.reason for result in results if result.weight == 0} <= {Reason.AGAINST_TRAJECTORY}


def test_noise_disguised_sybils_against_the_trajectory_have_weight_0() -> None:
    vectors = honest(7, 20)
    harm = -vectors[6:].sum(axis=0) // 4
    for i in range(6):
        vectors[i] = noisy(harm, np.random.default_rng(i), 1.0)
    results = judged(7, vectors)
    assert sum(result.weight for result in results[:6]) == 0
    assert all(result.weight > 0 for result in results[6:])


def test_a_root_set_excludes_nobody_and_changes_weights_by_a_factor_of_four_at_most() -> None:
    vectors, trajectory = honest(3), trajectory_of(3)
    without = weights(RECOMMENDED, facts_of(vectors, trajectory=trajectory))
    for root in (vectors[0], vectors[0] - vectors[1], -trajectory, 127 * np.eye(4096, dtype=np.int64)[7]):
        with_root = weights(RECOMMENDED, facts_of(vectors, root, trajectory=trajectory))
        changes = [Fraction(now, before) for now, before in zip(with_root, without, strict=True)]
        assert max(changes) <= 4 * min(changes) * Fraction(1001, 1000)
        assert min(with_root) > 0
    pulled = weights(
        RECOMMENDED, facts_of(vectors, vectors[0] - vectors[1] + trajectory, trajectory=trajectory)
    )
    assert Fraction(pulled[1], without[1]) < Fraction(pulled[0], without[0]) / 2


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**16))
def test_honest_updates_of_a_class_that_the_root_set_lacks_still_count(seed: int) -> None:
    vectors, trajectory = honest(seed), trajectory_of(seed)
    lacking = np.rint(vectors[:7].mean(axis=0) - vectors[7:].mean(axis=0)).astype(np.int64)
    results = weigh(RECOMMENDED, facts_of(vectors, lacking, trajectory=trajectory))
    assert all(result.weight > 0 for result in results)
    assert all(result.numbers["rootCosine"] < 0 < result.numbers["rootMedian"] for result in results[7:])


def test_a_root_share_goes_to_who_is_alike_to_the_root_set() -> None:
    """An update that is against all others, and equals the root-set update, gains; but no more than the share."""
    vectors = honest(3)
    lonely = np.rint(vectors[0] - 2 * vectors[1:].mean(axis=0)).astype(np.int64)
    vectors = np.concatenate([lonely[None], vectors[1:]])
    without = weights(RECOMMENDED, facts_of(vectors, lonely))
    shared = rules.rule(RECOMMENDED)(facts_of(vectors, lonely), (512,))
    part = Fraction(shared[0].weight, sum(one.weight for one in shared))
    assert part > 3 * Fraction(without[0], sum(without))
    assert part < Fraction(3, 4)
    assert shared[0].numbers["rootShare"] > UNIT // 2
    for wrong in ((0,), (513,), (1, 1)):
        with pytest.raises(InputError) as caught:
            rules.rule(RECOMMENDED)(facts_of(vectors, lonely), wrong)
        assert caught.value.code == "invalid-policy"


# The parts


@pytest.mark.parametrize(
    ("product", "square", "other", "expected"),
    [(5, 5, 5, 65536), (-5, 5, 5, -65536), (0, 5, 5, 0), (3, 0, 5, 0), (1, 1, 4, 32768), (-1, 2, 1, -46340)],
)
def test_cosine(product: int, square: int, other: int, expected: int) -> None:
    assert cosine(product, square, other) == expected


def test_clip_factors_are_the_ratio_of_the_lower_median_norm() -> None:
    vectors = np.diag([1, 2, 4, 8]).astype(np.int64)
    clipped = clipping.clip(weighting_state.WeightingState.of(facts_of(vectors)))
    assert [result.weight for result in clipped.results()] == [65536, 65536, 32768, 16384]
    assert clipped.numbers[3] == {"clipFactor": 16384}


def test_references_are_exact_across_exponents() -> None:
    manifest = Manifest("t", (Tensor("a", (300,)), Tensor("b", (5,))))
    rng = np.random.default_rng(0)

    def update() -> MemoryUpdate:
        data = np.full(manifest.size, 128, dtype=np.uint8)
        data[:300], data[512:517] = rng.integers(1, 256, 300), rng.integers(1, 256, 5)
        return MemoryUpdate(data)

    ours, other = [update() for _ in range(3)], update()
    (found,) = references(manifest, (-10, -12), ours, [(other, (-9, -6))])

    def values(one: MemoryUpdate, up: tuple[int, int]) -> list[int]:
        """In units of the finer exponents, -10 and -12, and clamped there; then of the smaller one of these."""
        integers = [int(value) - 128 for value in one.read(0, manifest.leaves).reshape(-1)]
        tensor = [0 if place < 512 else 1 for place in range(manifest.size)]
        clamped = [min(max(x << up[t], -127), 127) for x, t in zip(integers, tensor, strict=True)]
        return [value << (2, 0)[t] for value, t in zip(clamped, tensor, strict=True)]

    there, here = values(other, (1, 6)), [values(one, (0, 0)) for one in ours]
    assert found.square == sum(value * value for value in there)
    assert found.own == tuple(sum(value * value for value in one) for one in here)
    assert found.products == tuple(sum(a * b for a, b in zip(one, there, strict=True)) for one in here)
    assert references(manifest, (-10, -12), ours, []) == ()
    with pytest.raises(InputError, match="exponent"):
        references(manifest, (-10,), ours, [(other, (-9, -6))])


@pytest.mark.parametrize("exponents", [(-12, -10), (-26, -25), (-30, -40), (4, 4)])
def test_a_path_is_the_difference_of_two_states_in_units_of_the_round(exponents: tuple[int, int]) -> None:
    manifest = Manifest("t", (Tensor("a", (300,)), Tensor("b", (5,))))
    rng = np.random.default_rng(0)
    states = []
    for _ in range(2):
        theta = np.zeros(manifest.size, dtype=np.int64)
        theta[:300] = rng.integers(-(2**20), 2**20, 300)
        theta[512:517] = [STATE_BOUND, -STATE_BOUND, 0, 1, -1]
        states.append(State(theta, np.zeros_like(theta)))
    states[1].theta[512:514] *= -1
    found = trajectory_update(manifest, exponents, 8, *states)
    for place in (*range(520), 700):
        exponent = exponents[0 if place < 512 else 1]
        moved = int(states[0].theta[place]) - int(states[1].theta[place])
        exact = Fraction(moved) / Fraction(2) ** (26 + exponent)
        assert int(found[place]) - 128 == max(-127, min(127, floor(exact + Fraction(1, 2))))
    with pytest.raises(InputError, match="exponent"):
        trajectory_update(manifest, (1,), 8, *states)

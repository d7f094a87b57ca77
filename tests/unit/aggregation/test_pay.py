# SPDX-License-Identifier: Apache-2.0
"""Pays: exact, bounded whatever the vectors are, and nothing for what everybody could make of public vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from folkmoot.aggregation import pay as module
from folkmoot.aggregation.cosines import UNIT, cosine_matrix
from folkmoot.aggregation.interface import Gram
from folkmoot.aggregation.lineage import Lineage, PastRound, Published
from folkmoot.aggregation.pay import NewPart, Paid, WeighedRound, new_parts, novelties, pays_of, products
from folkmoot.protocol.header import RoundHeader
from folkmoot.protocol.manifest import Manifest, Tensor
from folkmoot.protocol.rewards import FULL_PAY
from folkmoot.protocol.updates import MemoryUpdate
from tests.unit import worlds

LAYERS = Manifest("layers", (Tensor("a", (700,)), Tensor("b", (3,)), Tensor("c", (256, 2))))
DIMENSIONS = 2_000
PUBLIC = 30


def table_of(vectors: np.ndarray) -> Gram:
    rows = vectors.astype(object)
    return cosine_matrix((rows @ rows.T).tolist())


def in_plain_integers(table: Sequence[Sequence[int]], count: int) -> list[list[int]]:
    """Compute what is new once more, after docs/protocol.md alone."""
    size = len(table) - count
    lower: list[list[int]] = []
    for r in range(size):
        row: list[int] = []
        for c in range(r):
            left = UNIT * table[count + r][count + c] - sum(
                a * b for a, b in zip(row, lower[c], strict=False)
            )
            row.append(max(-2 * UNIT, min(2 * UNIT, left // lower[c][c])) if lower[c][c] else 0)
        pivot = UNIT * (table[count + r][count + r] + 64) - sum(a * a for a in row)
        lower.append([*row, isqrt(pivot) if pivot >= 1 << 20 else 0])
    known: list[list[int]] = []
    for i in range(count):
        row = []
        for c in range(size):
            left = UNIT * table[i][count + c] - sum(a * b for a, b in zip(row, lower[c], strict=False))
            row.append(max(-2 * UNIT, min(2 * UNIT, left // lower[c][c])) if lower[c][c] else 0)
        known.append(row)
    return [
        [
            max(
                -UNIT,
                min(UNIT, table[i][j] - sum(a * b for a, b in zip(known[i], known[j], strict=True)) // UNIT),
            )
            for j in range(count)
        ]
        for i in range(count)
    ]


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**20), count=st.integers(1, 6), size=st.integers(0, 20), kind=st.integers(0, 6))
def test_what_is_new_is_what_the_page_says_and_bounded(seed: int, count: int, size: int, kind: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.integers(-127, 128, (count + size, 40))
    if kind == 1:
        vectors[count:] = vectors[count : count + 1]
    elif kind == 2:
        vectors[count + 1 :: 2] = -vectors[count : count + 1]
    elif kind == 3:
        vectors[:] = vectors[0]
    elif kind == 4:
        vectors[count::2] = 0
    elif kind == 5:
        vectors[:count] = 0
    table = table_of(vectors)
    if kind == 6:  # numbers that no vectors have
        any_numbers = np.triu(rng.integers(-UNIT, UNIT + 1, (len(vectors),) * 2))
        table = tuple(tuple(row) for row in (any_numbers + np.triu(any_numbers, 1).T).tolist())
    found = new_parts(table, count)
    assert found == in_plain_integers(table, count)
    assert all(-UNIT <= part <= UNIT for row in found for part in row)
    if kind != 6:
        lengths = np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
        units = vectors / lengths
        ours, public = units[:count], units[count:]
        ridge = public @ public.T + np.eye(size) / 1024
        exact = ours @ ours.T - ours @ public.T @ np.linalg.solve(ridge, public @ ours.T)
        assert np.abs(np.array(found) / UNIT - exact).max() < 0.01


@dataclass(frozen=True)
class Crowd:
    """Contributors who learn the same, and what they sent before."""

    honest: np.ndarray
    public: np.ndarray
    rng: np.random.Generator

    @classmethod
    def of(cls, seed: int) -> Crowd:
        rng = np.random.default_rng(seed)
        known = rng.standard_normal((4, DIMENSIONS))
        learnt = rng.standard_normal(DIMENSIONS)  # of this round, in each honest update
        public = rng.standard_normal((PUBLIC, 4)) @ known + 2 * rng.standard_normal((PUBLIC, DIMENSIONS))
        honest = rng.standard_normal((14, 4)) @ known + learnt + 2 * rng.standard_normal((14, DIMENSIONS))
        return cls(honest, public, rng)

    def paid(self, riders: np.ndarray, weights: Sequence[int] | None = None) -> list[int]:
        updates = np.concatenate([self.honest, riders])
        table = table_of(np.rint(1000 * np.concatenate([updates, self.public])).astype(np.int64))
        found = novelties(table, len(updates), DIMENSIONS)
        return [paid.pay for paid in pays_of(found, weights or [UNIT] * len(updates))]


@pytest.mark.parametrize("seed", range(3))
def test_what_anybody_can_make_of_public_vectors_earns_next_to_nothing(seed: int) -> None:
    crowd = Crowd.of(seed)
    mixed = crowd.rng.dirichlet(np.ones(PUBLIC) / 10, 6) @ crowd.public
    disguised = mixed + crowd.rng.standard_normal(mixed.shape)
    noise = 5 * crowd.rng.standard_normal(mixed.shape)
    together = noise[:1] + crowd.rng.standard_normal(mixed.shape)
    for riders in (mixed, disguised, noise, together):
        pays = crowd.paid(riders)
        assert min(pays[:14]) > 0.8 * FULL_PAY
        assert max(pays[14:]) < 0.15 * FULL_PAY


def test_a_small_weight_has_a_small_pay() -> None:
    crowd = Crowd.of(1)
    weights = [UNIT] * 14
    weights[:3] = UNIT // 2, UNIT // 20, 0
    pays = crowd.paid(np.zeros((0, DIMENSIONS)), weights)
    assert pays[:3] == [FULL_PAY, 2 * (UNIT // 20), 0]


def parts(confirmed: Sequence[int], noise: int = 0, size: int = 7) -> list[NewPart]:
    return [NewPart(size, value, noise) for value in confirmed]


def test_the_pay_is_the_least_of_all() -> None:
    assert pays_of(parts([40, 10, 5, -3, 90]), [8, 8, 8, 8, 0]) == [
        Paid(FULL_PAY, UNIT),
        Paid(FULL_PAY, UNIT),
        Paid(FULL_PAY, UNIT),
        Paid(0, 0),
        Paid(0, 0),
    ]
    sizes = [NewPart(size, 9, 0) for size in (1, 4, 8, 100)]
    assert [paid.novelty for paid in pays_of(sizes, [1] * 4)] == [UNIT // 4, UNIT, UNIT, UNIT]
    assert [paid.pay for paid in pays_of(sizes, [1] * 4)] == [FULL_PAY // 2, FULL_PAY, FULL_PAY, FULL_PAY]
    assert pays_of([NewPart(0, 0, 0)] * 3, [3, 3, 2]) == [Paid(FULL_PAY, UNIT)] * 3  # nobody has anything new
    assert pays_of(parts([5]), [1]) == [Paid(FULL_PAY, UNIT)]


def test_half_of_the_noise_is_added_to_what_is_confirmed() -> None:
    assert [paid.novelty for paid in pays_of(parts([-5, 3, 3], 11), [1, 1, 1])] == [0, UNIT, UNIT]
    assert [paid.novelty for paid in pays_of(parts([-1, 3, 3], 11), [1, 1, 1])] == [UNIT // 2, UNIT, UNIT]


def test_where_noise_hides_what_is_confirmed_the_size_of_the_new_part_counts() -> None:
    crowd = Crowd.of(1)
    loud = crowd.honest + 60 * crowd.rng.standard_normal(crowd.honest.shape)
    quiet = crowd.rng.dirichlet(np.ones(PUBLIC) / 10, 6) @ crowd.public
    pays = Crowd(loud, crowd.public, crowd.rng).paid(quiet)
    assert sum(pays[:14]) > 0.8 * 14 * FULL_PAY
    assert max(pays[14:]) < 0.1 * FULL_PAY


@pytest.mark.parametrize("small", [False, True])
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**16), exponents=st.tuples(*[st.tuples(*[st.integers(-40, 4)] * 3)] * 3))
def test_products_are_those_of_the_formula(
    small: bool, seed: int, exponents: tuple[tuple[int, ...], ...]
) -> None:
    """Against Python's integers, with exponents of three rounds, also leaf by leaf."""

    def update(number: int) -> MemoryUpdate:
        return MemoryUpdate(worlds.update_bytes(LAYERS, seed + number))

    past = [
        PastRound(exponents[1], published={"x": Published(update(2), 1), "y": Published(update(3), 1)}),
        PastRound(exponents[2], published={"x": Published(update(4), 1)}),
    ]
    header = RoundHeader(3, LAYERS.hash, bytes(32), 1, 8, bytes(32), exponents[0])
    weighed = WeighedRound(
        LAYERS, header, [update(0), update(1)], ["a", "b"], Lineage(tuple(past)), update(5), None
    )
    order = [(0, 0), (1, 0), (5, 0), (2, 1), (3, 1), (4, 2)]
    least = [min(exponents[t][b] for t in range(3)) for b in range(3)]
    rows = [
        [
            (int(value) - 128) << min(8, exponents[t][b] - least[b])
            for leaf, b in zip(
                update(number).read(0, LAYERS.leaves), LAYERS.tensor_of_leaf.tolist(), strict=True
            )
            for value in leaf
        ]
        for number, t in order
    ]
    scale = [4 ** (least[b] - min(least)) for b in LAYERS.tensor_of_leaf.tolist() for _ in range(256)]
    expected = tuple(
        tuple(sum(s * x * y for s, x, y in zip(scale, a, b, strict=True)) for b in rows) for a in rows
    )
    with pytest.MonkeyPatch.context() as patched:
        if small:
            patched.setattr(module, "_CHUNK_BYTES", 1)
        assert products(weighed, np.arange(LAYERS.leaves)) == expected

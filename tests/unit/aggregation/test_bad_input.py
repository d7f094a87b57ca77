# SPDX-License-Identifier: Apache-2.0
"""Every rule survives whatever valid updates can hold, in whole rounds: sums, outer step, files and all."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from folkmoot.aggregation import registry as rules
from folkmoot.protocol.fixed_point import LEAF
from folkmoot.protocol.mean import MAX_WEIGHT_SUM
from folkmoot.protocol.updates import MemoryUpdate
from folkmoot.protocol.verdict import Verdicts
from folkmoot.round import RoundOutcome, compute_leaves
from tests.unit import worlds
from tests.unit.worlds import COORDINATOR, MANIFEST, NAMES, World

ALL = sorted(module.NAME for module in rules.SHIPPED)
MOST_PARAMETER = (1 << 32) - 1
"""Largest number that a policy can carry."""

KINDS: dict[str, Callable[[int], np.ndarray]] = {
    "zeros": lambda _: np.zeros(MANIFEST.size),
    "largest": lambda _: np.full(MANIFEST.size, 127),
    "smallest": lambda _: np.full(MANIFEST.size, -127),
    "opposite": lambda i: np.full(MANIFEST.size, 127 if i % 2 else -127),
    "one coordinate": lambda _: np.eye(1, MANIFEST.size)[0] * 127,
    "one coordinate each": lambda i: np.eye(1, MANIFEST.size, i)[0],
    "alternating": lambda _: np.resize([127, -127], MANIFEST.size),
    "identical": lambda _: worlds.integers(7, MANIFEST.size, 127),
    "noise": lambda i: worlds.integers(100 + i, MANIFEST.size, 127),
}
"""An update of each kind for the contributor with this number."""


def data(kind: str, number: int) -> bytes:
    """A valid update file."""
    values = KINDS[kind](number).reshape(-1, LEAF).copy()
    values[np.arange(LEAF)[None, :] >= MANIFEST.values_in_leaf[:, None]] = 0
    return (values + 128).astype(np.uint8).tobytes()


def world(rule: str, parameter: int = 1) -> World:
    parameters = [parameter, 0] if rule == "multi_krum" else []
    return World(worlds.state(MANIFEST, 1), policy=worlds.policy(rule, parameters, 700, 900))


def play(where: World, kinds: Sequence[str], root: str | None = None) -> RoundOutcome:
    """Run a round with an update of each kind, and the coordinator's own, and look at what comes of it."""
    before, header = where.state, where.header
    pairs = [
        where.commit(name, data(kind, i)) for i, (name, kind) in enumerate(zip(NAMES, kinds, strict=False))
    ]
    if root is not None:
        pairs.append(where.commit(COORDINATOR, data(root, 50)))
    outcome = where.play(pairs)
    weights = outcome.weights
    assert all(weight >= 0 for weight in weights)
    assert 1 <= sum(weights) <= MAX_WEIGHT_SUM
    if root is not None:
        assert weights[-1] == 0
    assert Verdicts.from_json(outcome.verdicts_file) == outcome.verdicts
    outcome.state.check(MANIFEST)
    assert all(-40 <= exponent <= 4 for exponent in outcome.next_exponents)
    updates: list[MemoryUpdate | None] = [
        update if weight else None for (_, update), weight in zip(pairs, weights, strict=True)
    ]
    for leaf in range(MANIFEST.leaves):  # each alone, from what counts only
        part = compute_leaves(MANIFEST, header, where.policy, before, updates, weights, leaf, leaf + 1)
        place = slice(LEAF * leaf, LEAF * (leaf + 1))
        assert (part.theta == outcome.state.theta[place]).all()
        assert (part.momentum == outcome.state.momentum[place]).all()
        assert part.mean.min() > 0, "within ±127"
    return outcome


@pytest.mark.parametrize("rule", ALL)
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_round_of_one_kind_has_an_outcome(rule: str, kind: str) -> None:
    for count in (1, 2, len(NAMES)):
        play(world(rule), [kind] * count)


@pytest.mark.parametrize("rule", ALL)
@settings(max_examples=8, deadline=None)
@given(
    st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=len(NAMES)),
    st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=len(NAMES)),
    st.sampled_from([None, *sorted(KINDS)]),
    st.sampled_from([0, 1, 3, 100, MOST_PARAMETER]),
)
def test_any_round_after_any_round_has_an_outcome(
    rule: str, first: list[str], second: list[str], root: str | None, parameter: int
) -> None:
    where = world(rule, parameter)
    play(where, first, root)
    play(where, second, root)

# SPDX-License-Identifier: Apache-2.0
"""Equal update roots share one share, under every rule."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from folkmoot.aggregation import registry
from folkmoot.aggregation.shares import copies_of
from folkmoot.protocol.commitment import Commitment
from folkmoot.protocol.rewards import payments
from folkmoot.protocol.updates import UpdateReader
from folkmoot.protocol.verdict import Reason
from folkmoot.round import RoundOutcome
from tests.unit import worlds
from tests.unit.worlds import MANIFEST, World

REWARD = 10**18
HONEST = ("alice", "bob", "carol", "dave", "erin")
COPIERS = ("frank", "grace", "heidi")
Pair = tuple[Commitment, UpdateReader | None]


def world(rule: str) -> World:
    parameters = (1, 0)[: len(registry.PARAMETERS[rule])]
    return World(worlds.state(MANIFEST, 1), policy=worlds.policy(rule, parameters, 700, 900))


def update_of(index: int) -> bytes:
    """An update with something in common with the others, and something of its own."""
    shared, own = (
        np.frombuffer(worlds.update_bytes(MANIFEST, seed, bound), dtype=np.uint8).astype(int) - 128
        for seed, bound in ((50, 40), (index, 25))
    )
    return (shared + own + 128).astype(np.uint8).tobytes()


def honest(where: World) -> list[Pair]:
    return [where.commit(name, update_of(i)) for i, name in enumerate(HONEST)]


def reasons(outcome: RoundOutcome) -> list[Reason]:
    return [verdict.reason for verdict in outcome.verdicts.verdicts]


@given(st.lists(st.sampled_from([None, b"a", b"b", b"c"])))
def test_the_first_of_equal_roots_is_no_copy_and_all_others_are(roots: list[bytes | None]) -> None:
    copies = copies_of(roots)
    for index, root in enumerate(roots):
        first = roots.index(root)
        assert copies.get(index) == (first if root is not None and first != index else None)


@pytest.mark.parametrize("rule", sorted(module.NAME for module in registry.SHIPPED))
def test_copies_change_nothing_but_their_own_verdicts(rule: str) -> None:
    where = world(rule)
    pairs = honest(where)
    alone = where.outcome(pairs)
    copies = [where.commit(name, update_of(1)) for name in COPIERS]
    # One copy is between the honest entries, the others are behind them.
    outcome = where.outcome([*pairs[:2], copies[0], *pairs[2:], *copies[1:]])
    assert outcome.weights == (*alone.weights[:2], 0, *alone.weights[2:], 0, 0)
    for place in (2, 6, 7):
        verdict = outcome.verdicts.verdicts[place]
        assert (verdict.reason, verdict.numbers["copyOfEntry"]) == (Reason.COPY, 1)
    assert outcome.mean_root == alone.mean_root
    assert outcome.state_root == alone.state_root
    assert outcome.anchor.gram_root == alone.anchor.gram_root
    assert outcome.next_exponents == alone.next_exponents


def paid(outcome: RoundOutcome) -> list[int]:
    """What each entry gets of a round with nine places."""
    return payments(REWARD, 9, outcome.weights, outcome.anchor.pays)


@pytest.mark.parametrize("rule", sorted(module.NAME for module in registry.SHIPPED))
@pytest.mark.parametrize("count", [2, 4])
def test_copies_earn_no_more_than_one_entry(rule: str, count: int) -> None:
    where = world(rule)
    pairs, own = honest(where)[:3], update_of(9)
    one = paid(where.outcome([*pairs, where.commit("frank", own)]))[3]
    copies = [where.commit(f"sybil {i}", own) for i in range(count)]
    several = paid(where.outcome([*pairs, *copies]))[3:]
    assert sum(several) <= one


@pytest.mark.parametrize("rule", ["mean", "multi_krum", "clamped_mean"])
def test_all_are_copies(rule: str) -> None:
    where = world(rule)
    outcome = where.outcome([where.commit(name, update_of(0)) for name in HONEST])
    assert [weight > 0 for weight in outcome.weights] == [True, False, False, False, False]


def test_who_copies_first_and_delivers_nothing_takes_nothing() -> None:
    """Roots are public before the bytes are: a copier commits earlier, and has no file."""
    where = world("mean")
    pairs = honest(where)
    stolen = [(where.commit(name, update_of(2))[0], None) for name in COPIERS]
    outcome = where.outcome([*stolen, *pairs])
    assert outcome.weights == (0, 0, 0, 1, 1, 1, 1, 1)
    assert set(reasons(outcome)[:3]) == {Reason.NOT_DELIVERED}


def test_the_coordinators_own_entry_takes_nothing_and_loses_nothing() -> None:
    where = world("mean")
    pairs = honest(where)
    outcome = where.outcome([where.commit(worlds.COORDINATOR, update_of(2)), *pairs])
    assert outcome.weights == (0, 1, 1, 1, 1, 1)
    assert reasons(outcome)[0] is Reason.ROOT
    outcome = where.outcome([*pairs, where.commit(worlds.COORDINATOR, update_of(2))])
    assert outcome.weights == (1, 1, 1, 1, 1, 0)
    assert reasons(outcome)[5] is Reason.ROOT

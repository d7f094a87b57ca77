# SPDX-License-Identifier: Apache-2.0
"""When update files and states may be deleted, at each border of the rules."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from folkmoot.aggregation.lineage import window
from folkmoot.aggregation.trajectory import WINDOW
from folkmoot.artifacts.retention import Retention

NOW = 1_000
DUE = Retention(number=17, over=True, free_at=NOW, above=21, retain_rounds=20)


def test_files_expire_at_the_last_condition() -> None:
    assert DUE.free(NOW)
    assert DUE.expired(NOW)


@pytest.mark.parametrize(
    "kept",
    [
        replace(DUE, over=False),
        replace(DUE, free_at=NOW + 1),
        replace(DUE, above=20),
        replace(DUE, retain_rounds=21),
        replace(DUE, retain_rounds=0),
    ],
)
def test_each_condition_alone_keeps_the_files(kept: Retention) -> None:
    assert not kept.expired(NOW)


def test_the_window_of_the_rules_is_kept_whatever_the_voters_set() -> None:
    short = replace(DUE, above=WINDOW - 1, retain_rounds=1)
    assert (short.free(NOW), short.expired(NOW)) == (False, False)
    long = replace(short, above=WINDOW)
    assert (long.free(NOW), long.expired(NOW)) == (True, True)


@pytest.mark.parametrize("retain_rounds", [0, 21, 2**32 - 1])
def test_a_wish_is_met_before_the_voters_time(retain_rounds: int) -> None:
    kept = replace(DUE, retain_rounds=retain_rounds)
    assert kept.free(NOW)
    assert not kept.expired(NOW)


def test_states_are_spare_once_no_trajectory_starts_at_them() -> None:
    assert replace(DUE, above=WINDOW + 1).spare()
    for kept in (replace(DUE, above=WINDOW), replace(DUE, over=False), replace(DUE, number=16)):
        assert not kept.spare()


def test_states_are_spare_whatever_the_voters_set_for_updates() -> None:
    assert replace(DUE, retain_rounds=0, free_at=2 * NOW).spare()
    assert not replace(DUE, number=0).spare(), "the genesis's stays"


@pytest.mark.parametrize("seed", range(20))
def test_no_round_that_can_be_opened_or_challenged_needs_a_spare_state(seed: int) -> None:
    """A watcher, a coordinator and a contributor need the state of the base, and that before the trajectory."""
    rng = np.random.default_rng(seed)
    bases: dict[int, int] = {}
    chain, void = [0], set()
    for number in range(1, 60):
        bases[number] = chain[-1]
        if rng.random() < 0.3:
            void.add(number)
        else:
            chain.append(number)
    pending = int(rng.integers(4))
    finals = chain[1 : len(chain) - pending]
    for number in (*chain[len(chain) - pending :], 60):
        base = bases.get(number, chain[-1])
        first = window(base, bases.__getitem__)[0]
        for needed in (base, bases[first]):
            above = sum(final > needed for final in finals)
            assert not replace(
                DUE, number=needed, above=above, over=needed in finals or needed in void
            ).spare()

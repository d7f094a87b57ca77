# SPDX-License-Identifier: Apache-2.0
"""Stages that weigh by how alike vectors are: ``weigh_by_likeness``, ``weigh_by_median_cosine``, ``weigh_by_presence``.

Made for window sums (``aggregation.windows``). Under the noise of differential privacy an honest update is nearly all
noise, so that an attacker who sends no noise has many times the effect of an honest contributor at the same norm.

``weigh_by_likeness``: what several contributors have in common adds up, noise does not. Who is more alike to others
than usual shares a weight with them: attackers with one direction in common lose weight as fast as they make it larger.
A contributor with a strong honest signal loses as well, so that all count about alike.

``weigh_by_median_cosine``: a vector against most others has a negative median cosine with them, whatever a minority
does. It takes the place of a core, which a few attackers can join by links to honest updates.

``weigh_by_presence``: a new account has no past to be judged by, and anybody with a stake can have one in each round.

Sources: sharing among similar updates is FoolsGold's idea (Fung, Yoon, Beschastnikh, RAID 2020, arXiv 1808.04866). The
forms are ours, chosen by the drills of docs/robustness.md. Assumes ``f < n / 2``. Can't stop attackers who are
honest for many rounds and attack in a few, and takes weight from groups of contributors with the same kind of data.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt

from folkmoot.aggregation.cosines import UNIT
from folkmoot.aggregation.stages.weighting_state import WeightingState, lower_median

FLOOR = UNIT // 8
"""Smallest factor of the stage ``weigh_by_median_cosine``, in 1/UNIT."""


def weigh_by_likeness(state: WeightingState) -> WeightingState:
    """Multiply multipliers by ``min(UNIT, isqrt(floor(2^32 m / R_i)))``, at least 1.

    ``R_i = sum_j max(0, C_ij)^2`` over the other included entries, and m is their lower median. Nothing changes if
    fewer than three are included or ``m = 0``.

    Returns:
        The state with the numbers ``likeness`` (``R_i``) and ``likenessMedian`` (1/UNIT^2 each) where the factor is
        below UNIT.
    """
    included = state.included
    if len(included) < 3:
        return state
    cosines = state.cosines
    sums = {i: sum(max(0, cosines[i][j]) ** 2 for j in included if j != i) for i in included}
    median = lower_median(list(sums.values()))
    if median == 0:
        return state
    factors = {
        i: UNIT if value <= median else max(1, isqrt((median << 32) // value)) for i, value in sums.items()
    }
    shared = {i: sums[i] for i, factor in factors.items() if factor < UNIT}
    return (
        _multiplied(state, factors)
        .with_numbers("likeness", shared)
        .with_numbers("likenessMedian", dict.fromkeys(shared, median))
    )


def weigh_by_median_cosine(state: WeightingState) -> WeightingState:
    """Multiply multipliers by a clamped linear function of the median cosine with the others, at least FLOOR.

    With ``z_i`` the upper median of ``C_ij`` over the other included entries (of three updates, one of them an
    attacker's, the lower one would always be the cosine with the attacker) and h the lower median of the ``z_i``, at
    least 0, the factor is ``floor(UNIT (z_i + h) / (2 h))``, at most UNIT. Nothing changes if fewer than three are
    included or ``h = 0``.

    Returns:
        The state with the numbers ``medianCosine`` (``z_i``) and ``medianCosineMedian`` (h; 1/UNIT each).
    """
    included = state.included
    if len(included) < 3:
        return state
    cosines = state.cosines
    others = len(included) - 1
    medians = {i: sorted(cosines[i][j] for j in included if j != i)[others // 2] for i in included}
    half = max(0, lower_median(list(medians.values())))
    state = state.with_numbers("medianCosine", medians).with_numbers(
        "medianCosineMedian", dict.fromkeys(medians, half)
    )
    if half == 0:
        return state
    return _multiplied(
        state,
        {i: max(FLOOR, min(UNIT, UNIT * (value + half) // (2 * half))) for i, value in medians.items()},
    )


def weigh_by_presence(state: WeightingState, rounds: Sequence[int]) -> WeightingState:
    """Multiply multipliers by ``floor(UNIT r_i / max r)`` over the included entries.

    Args:
        state: The state.
        rounds: ``r_i``, at least 1: the rounds in which each contributor published an update, the present one too.

    Returns:
        The state with the numbers ``windowRounds`` (``r_i``) and ``windowRoundsMost`` (``max r``).
    """
    included = state.included
    most = max((rounds[i] for i in included), default=1)
    return (
        _multiplied(state, {i: UNIT * rounds[i] // most for i in included})
        .with_numbers("windowRounds", {i: rounds[i] for i in included})
        .with_numbers("windowRoundsMost", dict.fromkeys(included, most))
    )


def _multiplied(state: WeightingState, factors: dict[int, int]) -> WeightingState:
    return state.with_multipliers(
        [multiplier * factors.get(i, 0) for i, multiplier in enumerate(state.multipliers)]
    )

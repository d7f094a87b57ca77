# SPDX-License-Identifier: Apache-2.0
"""Stages that use the root-set update: ``weigh_by_root``, ``weigh_by_root_bounded`` and ``veto_by_root``.

Source: FLTrust (Cao, Fang, Liu, Gong, NDSS 2021, arXiv 2012.13995): the coordinator trains one update on a
small root set, and an update is weighted by the positive part of its cosine with it. The root-set update is committed
to and published like any other, so the cosines can be recomputed. Assumes that the root set represents what the model
is for; then any number of attackers can be withstood. A root set that lacks classes takes the weight of those who hold
them, and a coordinator that chooses it badly steers the model. Late in training honest cosines are small and some
negative, so these weights exclude honest contributors. Two stages are bounded: ``veto_by_root`` excludes at most f
updates, and ``weigh_by_root_bounded`` (ours) takes at most three quarters of a multiplier, however bad the root set is.

Without a root-set update in the facts the stages change nothing.
"""

from __future__ import annotations

from folkmoot.aggregation.cosines import UNIT, cosine
from folkmoot.aggregation.references import Reference, ReferencedFacts
from folkmoot.aggregation.stages.weighting_state import WeightingState, lower_median
from folkmoot.protocol.verdict import Reason

RATIO_UNIT = 1024
"""Cosine thresholds of the veto are in 1/RATIO_UNIT."""

FLOOR = UNIT // 4
"""Smallest factor of the stage ``weigh_by_root_bounded``, in 1/UNIT."""


def root_of(state: WeightingState) -> Reference | None:
    """Return the round's root-set update if there is a usable one (not a zero vector)."""
    facts = state.facts
    if not isinstance(facts, ReferencedFacts) or facts.root is None or facts.root.square == 0:
        return None
    return facts.root


def root_cosines(state: WeightingState, root: Reference) -> dict[int, int]:
    """Return each included update's cosine with the root-set update, in 1/UNIT."""
    gram = state.facts.gram
    return {i: cosine(root.products[i], gram[i][i], root.square) for i in state.included}


def weigh_by_root(state: WeightingState) -> WeightingState:
    """Multiply multipliers by ``max(0, cosine)``; change nothing if no cosine is positive.

    Adds the number ``rootCosine``. An update whose multiplier falls to 0 has the reason ``against-root``.
    """
    root = root_of(state)
    if root is None:
        return state
    cosines = root_cosines(state, root)
    state = state.with_numbers("rootCosine", cosines)
    state = state.exclude({i: Reason.AGAINST_ROOT for i, value in cosines.items() if value <= 0})
    multipliers = [multiplier * max(0, cosines.get(i, 0)) for i, multiplier in enumerate(state.multipliers)]
    return state.with_multipliers(multipliers)


def weigh_by_root_bounded(state: WeightingState) -> WeightingState:
    """Multiply multipliers by a clamped linear function of the cosine with the root-set update, at least FLOOR.

    With ``z_i`` the cosines of the included updates and h their lower median, at least 0: nothing changes if h = 0.
    Else the factor is ``floor(UNIT (z_i + h) / (2 h))``, at least FLOOR and at most UNIT. So a root set that lacks
    classes takes at most three quarters of the multiplier of those who hold them, and excludes nobody.

    Returns:
        The state with the numbers ``rootCosine`` and ``rootMedian`` (1/UNIT).
    """
    root = root_of(state)
    if root is None or not state.included:
        return state
    cosines = root_cosines(state, root)
    median = max(0, lower_median(list(cosines.values())))
    state = state.with_numbers("rootCosine", cosines).with_numbers(
        "rootMedian", dict.fromkeys(cosines, median)
    )
    if median == 0:
        return state
    factors = {
        i: max(FLOOR, min(UNIT, UNIT * (value + median) // (2 * median))) for i, value in cosines.items()
    }
    return state.with_multipliers(
        [multiplier * factors.get(i, 0) for i, multiplier in enumerate(state.multipliers)]
    )


def veto_by_root(state: WeightingState, attackers: int, depth: int = 0) -> WeightingState:
    """Exclude the updates with a cosine below ``-depth``, smallest first (ties: the later entry), at most f.

    Args:
        state: The state.
        attackers: f.
        depth: In 1/RATIO_UNIT.

    Returns:
        The state with the number ``rootCosine``.
    """
    root = root_of(state)
    if root is None:
        return state
    cosines = root_cosines(state, root)
    against = sorted(
        (i for i, value in cosines.items() if RATIO_UNIT * value < -depth << 16),
        key=lambda i: (cosines[i], -i),
    )
    return state.with_numbers("rootCosine", cosines).exclude(
        dict.fromkeys(against[:attackers], Reason.AGAINST_ROOT)
    )

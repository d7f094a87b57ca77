# SPDX-License-Identifier: Apache-2.0
"""Stages ``weigh_by_root_bounded`` and ``share_by_root``: weigh by the cosine with the root-set update.

Source: FLTrust (Cao, Fang, Liu, Gong, NDSS 2021, arXiv 2012.13995): the coordinator trains one update on a
small root set, and an update is weighted by its cosine with it. The root-set update is committed to and published like
any other, so the cosines can be recomputed. The bound of the first stage is ours: a root set that lacks classes would
take the weight of those who hold them, and a coordinator that chooses it badly would steer the model. So the stage
takes at most three quarters of a multiplier, however bad the root set is. It can't stop attackers who keep a cosine
with the root-set update.

The second stage gives a part of all weight, as FLTrust does, to who is alike to the root-set update. Few contributors
who alone hold a class or a group are against most others, and lose their weight to the other stages, as attackers do.
A root set that has the class tells them apart. The price: attackers who know the root-set update get a part as well,
and whoever chooses the root set decides about that part. So only a policy can turn it on.

Without a root-set update in the facts both change nothing.
"""

from __future__ import annotations

from folkmoot.aggregation.cosines import UNIT, cosine
from folkmoot.aggregation.references import Reference, ReferencedFacts
from folkmoot.aggregation.stages.weighting_state import WeightingState, lower_median
from folkmoot.protocol.policy import ROOT_SHARE_UNIT

FLOOR = UNIT // 4
"""Smallest factor of the stage ``weigh_by_root_bounded``, in 1/UNIT."""


MOST_SHARE = ROOT_SHARE_UNIT // 2
"""The largest root share, in 1/ROOT_SHARE_UNIT."""


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


def share_by_root(state: WeightingState, share: int) -> WeightingState:
    """Give a part of the sum of the multipliers to the included updates by their cosine with the root-set update.

    With W the sum of the multipliers m_i, ``z_i`` the cosines, at least 0, and Z their sum, the new multiplier is
    ``(ROOT_SHARE_UNIT - share) m_i Z + share W z_i``. Nothing changes if Z = 0.

    Args:
        state: The state.
        share: From 1 to MOST_SHARE, in 1/ROOT_SHARE_UNIT.

    Returns:
        The state with the number ``rootShare``: the part of an update's multiplier that it has from the root set, in
        1/UNIT.
    """
    root = root_of(state)
    if root is None or not state.included:
        return state
    alike = {i: max(0, value) for i, value in root_cosines(state, root).items()}
    total, whole = sum(alike.values()), sum(state.multipliers)
    if total == 0:
        return state
    given = {i: share * whole * value for i, value in alike.items()}
    multipliers = [
        (ROOT_SHARE_UNIT - share) * multiplier * total + given.get(i, 0)
        for i, multiplier in enumerate(state.multipliers)
    ]
    return state.with_multipliers(multipliers).with_numbers(
        "rootShare", {i: UNIT * value // multipliers[i] for i, value in given.items()}
    )

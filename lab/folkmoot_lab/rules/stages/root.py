# SPDX-License-Identifier: Apache-2.0
"""Stages that trust the root-set update: ``weigh_by_root`` and ``veto_by_root``.

The source is that of `folkmoot.aggregation.stages.root`. Assumes that the root set represents what the model is for;
then any number of attackers can be withstood. Late in training honest cosines are small and some negative, so
``weigh_by_root`` excludes honest contributors. ``veto_by_root`` excludes at most f updates, however bad the root set.

Without a root-set update in the facts the stages change nothing.
"""

from __future__ import annotations

from folkmoot.aggregation.stages.root import root_cosines, root_of
from folkmoot.aggregation.stages.weighting_state import WeightingState
from folkmoot.protocol.verdict import Reason

RATIO_UNIT = 1024
"""Cosine thresholds of the veto are in 1/RATIO_UNIT."""


def weigh_by_root(state: WeightingState) -> WeightingState:
    """Multiply multipliers by ``max(0, cosine)``; change nothing if no cosine is positive.

    Adds the number ``rootCosine``. An update whose multiplier falls to 0 has the reason ``outlier``.
    """
    root = root_of(state)
    if root is None:
        return state
    cosines = root_cosines(state, root)
    state = state.with_numbers("rootCosine", cosines)
    state = state.exclude({i: Reason.OUTLIER for i, value in cosines.items() if value <= 0})
    multipliers = [multiplier * max(0, cosines.get(i, 0)) for i, multiplier in enumerate(state.multipliers)]
    return state.with_multipliers(multipliers)


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
        dict.fromkeys(against[:attackers], Reason.OUTLIER)
    )

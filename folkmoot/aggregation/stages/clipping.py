# SPDX-License-Identifier: Apache-2.0
"""Stage ``clip``: scale every update with a norm above the round's median norm down to it.

Source: norm bounding (Sun et al. 2019, arXiv 1911.07963) with the bound taken from the round, as in FLAME
(Nguyen et al., USENIX Security 2022, arXiv 2101.02281). Assumes that fewer than half of the contributors
boost their updates. It bounds the effect of one update and stops boosting. It can't stop an update of
ordinary norm in a harmful direction (sign flip, ALIE, IPM, an unboosted backdoor).
"""

from __future__ import annotations

from dataclasses import replace
from math import isqrt

from folkmoot.aggregation.cosines import UNIT
from folkmoot.aggregation.stages.weighting_state import WeightingState, lower_median


def clip(state: WeightingState) -> WeightingState:
    """Set the clip factor of each included update to ``min(1, sqrt(M / G_ii))`` in 1/UNIT, rounded down.

    M is the lower median of the included updates' ``G_ii`` (squared norms). Adds the number ``clipFactor`` to the
    updates whose factor is below UNIT.
    """
    gram = state.facts.gram
    included = state.included
    if not included:
        return state
    median = lower_median([gram[i][i] for i in included])
    factors = list(state.clip_factors)
    for i in included:
        factors[i] = min(UNIT, isqrt((median << 32) // gram[i][i]))
    clipped = {i: factors[i] for i in included if factors[i] < UNIT}
    return replace(state, clip_factors=tuple(factors)).with_numbers("clipFactor", clipped)

# SPDX-License-Identifier: Apache-2.0
"""Stage ``uncorrelated``: exclude noise.

Noise is about orthogonal to every update. An update that was trained on related data is not; its cosines may be
positive or negative. An update whose sum of squared cosines is much smaller than the median sum, and near that of
noise, is excluded. Noise in d dimensions has cosines of about ``1 / sqrt(d)``: in a model of some hundred coordinates
it can't be told from honest updates, and nobody is excluded. The stage can't stop noise that is added to somebody's
update or to a public aggregate.
"""

from __future__ import annotations

from folkmoot.aggregation.cosines import UNIT
from folkmoot.aggregation.stages.weighting_state import WeightingState, lower_median
from folkmoot.protocol.verdict import Reason

RATIO_UNIT = 1024
"""Ratios of this stage are in 1/RATIO_UNIT."""

NOISE = 16
"""How many times the sum that noise has on average still counts as noise. An honest update with unusual data can have a
small part of the median sum, and many times that of noise."""

COORDINATES_PER_RATIO_UNIT = 32
"""Coordinates for each 1/RATIO_UNIT of the threshold for noise: with 2,048 the rules' 64/1024 is used whole. With more
coordinates the cosines of noise are nearer to 0, so the test has more power. Measured over 1,500 rounds each, with
updates that share a fifth of their squares: in 2,048 coordinates noise passes in 1.2 % of the rounds of five updates
and 0.1 % of those of ten; in 4,096 in none."""


def exclude_uncorrelated(state: WeightingState, ratio: int) -> WeightingState:
    """Exclude each update with ``sum_j C_ij^2 < min(ratio * median of those sums, NOISE * (a - 1) / d)``.

    The sum is over the other included updates, in units of UNIT^2.

    Args:
        state: The state.
        ratio: In 1/RATIO_UNIT. Of a included updates in d coordinates at most ``(a - 1)^2`` or ``floor(d /
            COORDINATES_PER_RATIO_UNIT)`` is used, whichever is larger: a sum of few squares is small by chance.

    Returns:
        The state with the reason ``uncorrelated`` and the numbers ``squaredCosineSum`` (1/UNIT^2) and
        ``squaredCosineRatio`` (the ratio that was used, in 1/RATIO_UNIT) of the excluded updates. Nothing changes if
        noise itself would pass: its sum is about ``(a - 1) / d`` in d coordinates (``RoundFacts.dimensions``).
    """
    included = state.included
    if len(included) < 3:
        return state
    cosines = state.cosines
    sums = {i: sum(cosines[i][j] ** 2 for j in included if j != i) for i in included}
    others = len(included) - 1
    ratio = min(ratio, max(others * others, state.facts.dimensions // COORDINATES_PER_RATIO_UNIT))
    threshold = ratio * lower_median(list(sums.values()))
    noise = others * UNIT * UNIT  # average sum of noise, times d
    if threshold * state.facts.dimensions < RATIO_UNIT * noise:
        return state
    uncorrelated = {
        i: value
        for i, value in sums.items()
        if RATIO_UNIT * value < threshold and value * state.facts.dimensions < NOISE * noise
    }
    return (
        state.exclude(dict.fromkeys(uncorrelated, Reason.UNCORRELATED))
        .with_numbers("squaredCosineSum", uncorrelated)
        .with_numbers("squaredCosineRatio", dict.fromkeys(uncorrelated, ratio))
    )

# SPDX-License-Identifier: Apache-2.0
"""Stage ``weigh_by_core``: weigh updates by their cosine with the sum of a majority that is alike.

``weigh_by_core``: the **core** is the first single-linkage cluster with a majority (``majority``). It is a reference
without a root set. FLAME drops all other updates, up to half of the honest ones in every round. Here an update outside
of the core is weighted by its **core similarity**, its cosine with the sum of the core: the multiplier is 0 if that is
as far below 0 as the core's own median is above it. An update from rare data is about orthogonal to the core and keeps
about half. In a small round the core says little (of five updates three are the core, often by chance): where another
stage weighs after this one, multipliers have a floor of ``floor_shares`` equal shares, which is much with five updates
and little with twenty. The combination is ours; no source proves it. Assumes ``f < n / 2``, and that honest updates are
linked by cosines higher than those between an honest update and an attacker's. It can't stop attackers who stay about
orthogonal to the honest sum, or among the honest updates (backdoors, small ALIE): docs/robustness.md has the figures.
"""

from __future__ import annotations

from folkmoot.aggregation.cosines import UNIT, cosine
from folkmoot.aggregation.stages.clipping import clip
from folkmoot.aggregation.stages.weighting_state import WeightingState, lower_median
from folkmoot.protocol.verdict import Reason
from folkmoot_lab.rules.stages.majority import keep_majority

RATIO_UNIT = 1024
"""Ratios of these stages are in 1/RATIO_UNIT."""


def weigh_by_core(state: WeightingState, ratio: int, floor_shares: int = 0) -> WeightingState:
    """Set the multipliers of updates outside of the majority's core by their core similarity.

    The core K is what ``keep_majority`` keeps; ``c_i`` are the factors that ``clip`` gives to K alone.
    ``P_i = sum_(j in K, j != i) c_j G_ij`` and ``S_i = sum_(a, b in K, a, b != i) c_a c_b G_ab``; the core
    similarity of i is ``s_i = cosine(P_i, G_ii, S_i)``, and m the lower median of those of the core's members, at
    least 0.
    The multiplier is UNIT for a member of the core, and for all if ``h = floor(ratio m / RATIO_UNIT)`` is 0. Else it
    is ``floor(UNIT * (s_i + h) / (2 h))`` outside of the core, at least 0 and at most UNIT: 0 up to ``-h``, a half for
    an update that is orthogonal to the core, UNIT from ``h`` on; but at least the floor
    ``min(UNIT, floor(floor_shares UNIT / a))`` with a = the number of included updates.

    Args:
        state: The state; clip factors are not changed.
        ratio: In 1/RATIO_UNIT.
        floor_shares: The floor of the multipliers in equal shares, UNIT / a each; 0 lets multipliers fall to 0.

    Returns:
        The state with the multipliers in 1/UNIT, the reason ``outlier`` for a multiplier of 0, and the numbers
        ``coreSimilarity`` and ``coreSimilarityMedian`` (1/UNIT) of all updates outside of the core, with
        ``multiplierFloor`` (1/UNIT) if it is above 0.
    """
    included = state.included
    kept = keep_majority(state)
    core = kept.included
    members = set(core)
    if len(core) < 2 or len(core) == len(included):
        return state
    gram = state.facts.gram
    factors = clip(kept).clip_factors
    products = {i: sum(factors[j] * gram[i][j] for j in core) for i in included}
    core_square = sum(factors[i] * products[i] for i in core)
    similarity = {}
    for i in included:
        own = factors[i] if i in members else 0
        product = products[i] - own * gram[i][i]
        square = core_square - 2 * own * products[i] + own * own * gram[i][i]
        similarity[i] = cosine(product, gram[i][i], square)
    median = max(0, lower_median([similarity[i] for i in core]))
    half = ratio * median // RATIO_UNIT
    outside = [i for i in included if i not in members]
    multipliers = dict.fromkeys(included, UNIT)
    floor = min(UNIT, floor_shares * UNIT // len(included))
    if half > 0:
        for i in outside:
            multipliers[i] = max(floor, min(UNIT, UNIT * (similarity[i] + half) // (2 * half)))
    return (
        state.exclude({i: Reason.OUTLIER for i, value in multipliers.items() if value == 0})
        .with_multipliers([multipliers.get(i, 0) for i in range(state.facts.count)])
        .with_numbers("coreSimilarity", {i: similarity[i] for i in outside})
        .with_numbers("coreSimilarityMedian", dict.fromkeys(outside, median))
        .with_numbers("multiplierFloor", dict.fromkeys(outside if floor else (), floor))
    )

# SPDX-License-Identifier: Apache-2.0
"""Stage ``mix``: replace each update by the mean of its nearest neighbours.

Source: nearest-neighbour mixing (Allouah et al., AISTATS 2023, arXiv 2302.01772), of optimal order for
heterogeneous data. The mean of the mixed updates is a weighted mean of the updates, so mixing only sets multipliers:
the number of neighbourhoods that an update is in. With ``m``, only the mixed updates with the m smallest Multi-Krum
scores are averaged. Assumes at most ``f < n / 2`` attackers. It can't stop f colluders that are nearer to each other
than honest updates are (their neighbourhoods then have no honest update in them), and it gives little weight to
updates that are far from the others: recall of a class that few hold falls to 0.
"""

from __future__ import annotations

from collections.abc import Sequence

from folkmoot.aggregation.interface import Gram
from folkmoot.aggregation.stages.weighting_state import WeightingState


def neighbourhoods(state: WeightingState, attackers: int) -> list[list[int]]:
    """Return for each included update the indices of the ``a - f'`` nearest of the a included ones, itself among them.

    Distances are Euclidean distances of the clipped updates. Of equal ones the earlier entry is nearer, and an update
    is the nearest to itself. ``f' = min(f, floor((a - 1) / 2))``.
    """
    included = state.included
    size = len(included) - min(attackers, max(0, (len(included) - 1) // 2))
    gram = state.clipped_gram
    nearest = []
    for i in included:
        distance = {j: gram[i][i] + gram[j][j] - 2 * gram[i][j] for j in included}
        ranked = sorted(included, key=lambda j: (j != i, distance[j], j))
        nearest.append(ranked[:size])
    return nearest


def mixed_gram(gram: Gram, groups: Sequence[Sequence[int]]) -> Gram:
    """Return the inner products of sums of updates: ``sum_(a in group i) sum_(b in group j) G_ab``."""
    rows = [[sum(gram[a][b] for a in group) for b in range(len(gram))] for group in groups]
    return tuple(tuple(sum(row[b] for b in group) for group in groups) for row in rows)


def mix(state: WeightingState, attackers: int, selected: int = 0) -> WeightingState:
    """Set each multiplier to the number of neighbourhoods that have the update in them.

    Args:
        state: The state; of its multipliers only matters which are 0.
        attackers: f.
        selected: How many mixed updates are averaged, those with the smallest Multi-Krum scores; 0 averages all.

    Returns:
        The state with the multipliers.
    """
    groups = neighbourhoods(state, attackers)
    if 0 < selected < len(groups):
        gram = mixed_gram(state.clipped_gram, groups)
        count = len(groups)
        closest = max(1, count - min(attackers, max(0, (count - 3) // 2)) - 2)
        scores = [
            sum(sorted(gram[i][i] + gram[j][j] - 2 * gram[i][j] for j in range(count) if j != i)[:closest])
            for i in range(count)
        ]
        kept = sorted(range(count), key=lambda i: (scores[i], i))[:selected]
        groups = [groups[i] for i in kept]
    multipliers = [0] * state.facts.count
    for group in groups:
        for i in group:
            multipliers[i] += 1
    return state.with_multipliers(multipliers)

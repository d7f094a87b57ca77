# SPDX-License-Identifier: Apache-2.0
"""Stage ``keep_majority``: keep the first single-linkage cluster that has a majority.

Source: the clustering step of FLAME (Nguyen et al., USENIX Security 2022, arXiv 2101.02281), which runs
HDBSCAN on cosine distances with a smallest cluster of ``n / 2 + 1``. With that size HDBSCAN is single linkage
up to the first majority, and that is what is done here, in integers. FLAME's noise is left out, since all
participants would have to draw the same noise. Assumes ``f < n / 2`` and that honest updates are linked by cosines
higher than those between an honest update and an attacker's. It always excludes up to half of the updates, honest or
not: the price is fairness. It can't stop attackers whose updates lie among the honest ones (backdoors, ALIE with a
small z).
"""

from __future__ import annotations

from folkmoot.aggregation.stages.weighting_state import WeightingState
from folkmoot.protocol.verdict import Reason


def keep_majority(state: WeightingState) -> WeightingState:
    """Join pairs in descending order of cosine until a cluster has a majority; exclude the others as ``outlier``.

    Of equal cosines the earlier pair is joined first. A majority is ``floor(a / 2) + 1`` of the a included updates.
    """
    included = state.included
    wanted = len(included) // 2 + 1
    cluster = {i: {i} for i in included}
    cosines = state.cosines
    # A stable sort keeps this order of pairs with equal cosines.
    pairs = [(i, j) for n, i in enumerate(included) for j in included[n + 1 :]]
    for i, j in sorted(pairs, key=lambda pair: -cosines[pair[0]][pair[1]]):
        joined, other = sorted((cluster[i], cluster[j]), key=len, reverse=True)
        if joined is other:
            continue
        joined |= other
        for member in other:
            cluster[member] = joined
        if len(joined) >= wanted:
            return state.exclude({k: Reason.OUTLIER for k in included if k not in joined})
    return state

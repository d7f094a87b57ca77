# SPDX-License-Identifier: Apache-2.0
"""Stage ``keep_majority``: keep the first cluster that more than half join.

Source: the clustering step of FLAME (Nguyen et al., USENIX Security 2022, arXiv 2101.02281), which runs
HDBSCAN on cosine distances with a smallest cluster of ``n / 2 + 1``. With that size HDBSCAN is single linkage
up to the first majority, and that is what is done here, in integers; FLAME's noise is left out, since it would
have to be drawn by everybody alike. Assumes ``f < n / 2`` and that honest updates are chained by cosines
higher than those that reach an attacker. It always leaves out up to half of the updates, honest or not: the
price is fairness. It can't stop attackers who stay inside the honest cloud (backdoors, ALIE with a small z).
"""

from __future__ import annotations

from folkmoot.aggregation.stages.ballot import Ballot
from folkmoot.protocol.verdict import Reason


def keep_majority(ballot: Ballot) -> Ballot:
    """Join pairs by falling cosine (of equal ones the earlier pair) until a cluster has a majority; keep it.

    The majority is ``floor(a / 2) + 1`` of the a standing updates.
    """
    standing = ballot.standing
    wanted = len(standing) // 2 + 1
    cluster = {i: {i} for i in standing}
    cosines = ballot.cosines
    pairs = [
        (i, j) for n, i in enumerate(standing) for j in standing[n + 1 :]
    ]  # the sort keeps equal ones so
    for i, j in sorted(pairs, key=lambda pair: -cosines[pair[0]][pair[1]]):
        joined, other = sorted((cluster[i], cluster[j]), key=len, reverse=True)
        if joined is other:
            continue
        joined |= other
        for member in other:
            cluster[member] = joined
        if len(joined) >= wanted:
            return ballot.without({k: Reason.OUTLIER for k in standing if k not in joined})
    return ballot

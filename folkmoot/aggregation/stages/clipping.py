# SPDX-License-Identifier: Apache-2.0
"""Stage ``clip``: shorten every update to the round's median length.

Source: norm bounding (Sun et al. 2019, arXiv 1911.07963) with the bound taken from the round, as in FLAME
(Nguyen et al., USENIX Security 2022, arXiv 2101.02281). Assumes that fewer than half of the contributors
boost their updates. It caps how much one update can do and stops boosting; it can't stop an update of
ordinary length in a bad direction (sign flip, ALIE, IPM, an unboosted backdoor).
"""

from __future__ import annotations

from dataclasses import replace
from math import isqrt

from folkmoot.aggregation.cosines import UNIT
from folkmoot.aggregation.stages.ballot import Ballot, lower_median


def clip(ballot: Ballot) -> Ballot:
    """Set the factor of each standing update to ``min(1, sqrt(M / G_ii))`` in 1/UNIT, rounded down.

    M is the lower median of the standing updates' ``G_ii``. Adds the number ``clip`` to what is shortened.
    """
    gram = ballot.facts.gram
    standing = ballot.standing
    if not standing:
        return ballot
    usual = lower_median([gram[i][i] for i in standing])
    factors = list(ballot.factors)
    for i in standing:
        factors[i] = min(UNIT, isqrt((usual << 32) // gram[i][i]))
    shortened = {i: factors[i] for i in standing if factors[i] < UNIT}
    return replace(ballot, factors=tuple(factors)).noted("clip", shortened)

# SPDX-License-Identifier: Apache-2.0
"""``fltrust``: every update at the same norm, weighted by the positive part of its cosine with the root-set update.

Source: Cao, Fang, Liu, Gong (NDSS 2021, arXiv 2012.13995). Assumes a representative root set, and then any f.
It can't stop attackers who know the root-set update and keep a cosine with it, and it scales up updates
with a small norm (at most 16 times), noise too. Without a root-set update it is ``guarded_mean``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import isqrt

from folkmoot.aggregation.interface import RoundFacts, Weighted, expect_parameters
from folkmoot.aggregation.references import ReferenceKind
from folkmoot.aggregation.stages.root import root_of
from folkmoot.aggregation.stages.weighting_state import WeightingState, lower_median
from folkmoot_lab.rules import guarded_mean
from folkmoot_lab.rules.stages.root import weigh_by_root

NAME = "fltrust"
PARAMETERS: tuple[str, ...] = ()
USES: frozenset[ReferenceKind] = frozenset({ReferenceKind.ROOT, ReferenceKind.EARLIER})


_MAX_FACTOR = 1 << 20  # 16 UNIT


def weigh(facts: RoundFacts, parameters: Sequence[int], /) -> list[Weighted]:
    """Weigh by ``max(0, cosine)`` times ``sqrt(M / G_ii)``, with M the lower median of ``G_ii``.

    The second factor is ``min(2^20, floor(sqrt(floor(2^32 M / G_ii))))``. Arguments, results and errors as
    ``interface.Rule``.
    """
    expect_parameters(NAME, parameters, PARAMETERS)
    state = WeightingState.of(facts)
    included = state.included
    if root_of(state) is None or not included:
        return guarded_mean.weigh(facts, ())
    median = lower_median([facts.gram[i][i] for i in included])
    factors = [0] * facts.count
    for i in included:
        factors[i] = min(_MAX_FACTOR, isqrt((median << 32) // facts.gram[i][i]))
    return replace(weigh_by_root(state), clip_factors=tuple(factors)).results()

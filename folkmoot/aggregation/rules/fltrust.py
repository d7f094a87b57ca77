# SPDX-License-Identifier: Apache-2.0
"""``fltrust``: every update at the same length, weighted by the positive part of its cosine with the root.

Source: Cao, Fang, Liu, Gong (NDSS 2021, arXiv 2012.13995). Assumes a representative root set, and then any f.
It can't stop attackers who know the root-set update and keep a cosine with it, and it lengthens short updates
(at most 16 times), noise too. Without a root-set update it is ``guarded_mean``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import isqrt

from folkmoot.aggregation.interface import RoundFacts, Weighted, expect_parameters
from folkmoot.aggregation.references import ReferenceKind
from folkmoot.aggregation.rules import guarded_mean
from folkmoot.aggregation.stages.ballot import Ballot, lower_median
from folkmoot.aggregation.stages.root import root_of, weigh_by_root

NAME = "fltrust"
PARAMETERS: tuple[str, ...] = ()
USES: frozenset[ReferenceKind] = frozenset({ReferenceKind.ROOT, ReferenceKind.EARLIER})


_LONGEST = 1 << 20  # 16 times


def weigh(facts: RoundFacts, parameters: Sequence[int], /) -> list[Weighted]:
    """Weigh by ``max(0, cosine)`` times ``sqrt(M / G_ii)``, with M the lower median of ``G_ii``.

    The second factor is ``min(2^20, floor(sqrt(floor(2^32 M / G_ii))))``. Arguments, results and errors as
    ``interface.Rule``.
    """
    expect_parameters(NAME, parameters, PARAMETERS)
    ballot = Ballot.of(facts)
    standing = ballot.standing
    if root_of(ballot) is None or not standing:
        return guarded_mean.weigh(facts, ())
    usual = lower_median([facts.gram[i][i] for i in standing])
    factors = [0] * facts.count
    for i in standing:
        factors[i] = min(_LONGEST, isqrt((usual << 32) // facts.gram[i][i]))
    return replace(weigh_by_root(ballot), factors=tuple(factors)).results()

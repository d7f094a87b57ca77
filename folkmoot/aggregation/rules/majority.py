# SPDX-License-Identifier: Apache-2.0
"""``majority``: the mean of the first cluster that more than half join, shortened to its median length.

Stages: ``keep_majority``, ``clip``: their modules have the sources and the limits.
"""

from __future__ import annotations

from collections.abc import Sequence

from folkmoot.aggregation.interface import RoundFacts, Weighted, expect_parameters
from folkmoot.aggregation.references import ReferenceKind
from folkmoot.aggregation.stages.ballot import Ballot
from folkmoot.aggregation.stages.clipping import clip
from folkmoot.aggregation.stages.majority import keep_majority

NAME = "majority"
PARAMETERS: tuple[str, ...] = ()
USES: frozenset[ReferenceKind] = frozenset()


def weigh(facts: RoundFacts, parameters: Sequence[int], /) -> list[Weighted]:
    """Keep the majority, shortened to its median length. Arguments, results and errors as ``interface.Rule``."""
    expect_parameters(NAME, parameters, PARAMETERS)
    return clip(keep_majority(Ballot.of(facts))).results()

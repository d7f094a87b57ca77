# SPDX-License-Identifier: Apache-2.0
"""``majority``: the mean of the first single-linkage cluster with a majority, clipped to its median norm.

Stages: ``keep_majority``, ``clip``: their modules have the sources and the limits.
"""

from __future__ import annotations

from collections.abc import Sequence

from folkmoot.aggregation.interface import RoundFacts, Weighted, expect_parameters
from folkmoot.aggregation.references import ReferenceKind
from folkmoot.aggregation.stages.clipping import clip
from folkmoot.aggregation.stages.weighting_state import WeightingState
from folkmoot_lab.rules.stages.majority import keep_majority

NAME = "majority"
PARAMETERS: tuple[str, ...] = ()
USES: frozenset[ReferenceKind] = frozenset()


def weigh(facts: RoundFacts, parameters: Sequence[int], /) -> list[Weighted]:
    """Weigh by the stages. Arguments, results and errors as ``interface.Rule``."""
    expect_parameters(NAME, parameters, PARAMETERS)
    return clip(keep_majority(WeightingState.of(facts))).results()

# SPDX-License-Identifier: Apache-2.0
"""``clipped_mean``: the mean of the updates, clipped to the round's median norm.

One stage, ``clip``: its module has the source and the limits.
"""

from __future__ import annotations

from collections.abc import Sequence

from folkmoot.aggregation.interface import RoundFacts, Weighted, expect_parameters
from folkmoot.aggregation.references import ReferenceKind
from folkmoot.aggregation.stages.clipping import clip
from folkmoot.aggregation.stages.weighting_state import WeightingState

NAME = "clipped_mean"
PARAMETERS: tuple[str, ...] = ()
USES: frozenset[ReferenceKind] = frozenset()


def weigh(facts: RoundFacts, parameters: Sequence[int], /) -> list[Weighted]:
    """Weigh by the clip factors alone. Arguments, results and errors as ``interface.Rule``."""
    expect_parameters(NAME, parameters, PARAMETERS)
    return clip(WeightingState.of(facts)).results()

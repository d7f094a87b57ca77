# SPDX-License-Identifier: Apache-2.0
"""``guarded_mean``: the mean without copies and noise, weighted by core similarity and clipped to the median norm.

Stages: ``copies``, ``uncorrelated``, ``weigh_by_core``, ``clip``. It needs neither f nor a root set. Sources and
limits are those of its stages. The combination is ours. It was chosen by the simulations of docs/robustness.md, with
the attacks that are reported there, so that its results there are no independent evidence. Assumes ``f < n / 2``.
"""

from __future__ import annotations

from collections.abc import Sequence

from folkmoot.aggregation.interface import RoundFacts, Weighted, expect_parameters
from folkmoot.aggregation.references import ReferenceKind
from folkmoot.aggregation.rules.clamped_mean import COPY_RATIO, UNCORRELATED_RATIO
from folkmoot.aggregation.stages.clipping import clip
from folkmoot.aggregation.stages.copies import exclude_copies
from folkmoot.aggregation.stages.uncorrelated import exclude_uncorrelated
from folkmoot.aggregation.stages.weighting_state import WeightingState
from folkmoot_lab.rules.stages.core_similarity import weigh_by_core

NAME = "guarded_mean"
PARAMETERS: tuple[str, ...] = ()
USES: frozenset[ReferenceKind] = frozenset({ReferenceKind.EARLIER})

CORE_RATIO = 1024
"""Ratio of the stage ``weigh_by_core``, in 1/1024: all of the median core similarity of the core's members."""


def admit(facts: RoundFacts) -> WeightingState:
    """Return the state without zero updates, copies, replays and noise: the first stages of the ``guarded`` rules."""
    return exclude_uncorrelated(exclude_copies(WeightingState.of(facts), COPY_RATIO), UNCORRELATED_RATIO)


def weigh(facts: RoundFacts, parameters: Sequence[int], /) -> list[Weighted]:
    """Weigh by the stages. Arguments, results and errors as ``interface.Rule``."""
    expect_parameters(NAME, parameters, PARAMETERS)
    return clip(weigh_by_core(admit(facts), CORE_RATIO)).results()

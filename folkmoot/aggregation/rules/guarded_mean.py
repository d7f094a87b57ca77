# SPDX-License-Identifier: Apache-2.0
"""``guarded_mean``: the mean of what is no copy, no noise, not too long and not against the majority.

Stages: ``copies``, ``unrelated``, ``weigh_by_core``, ``clip``. It needs neither f nor a root set. Sources and
limits are those of its stages; the combination is ours and was chosen on the drills of docs/robustness.md,
with the attacks it is reported on: take its lead as a lead, not as proof. Assumes ``f < n / 2``.
"""

from __future__ import annotations

from collections.abc import Sequence

from folkmoot.aggregation.interface import RoundFacts, Weighted, expect_parameters
from folkmoot.aggregation.references import ReferenceKind
from folkmoot.aggregation.stages.ballot import Ballot
from folkmoot.aggregation.stages.clipping import clip
from folkmoot.aggregation.stages.copies import leave_out_copies
from folkmoot.aggregation.stages.core_similarity import leave_out_unrelated, weigh_by_core

NAME = "guarded_mean"
PARAMETERS: tuple[str, ...] = ()
USES: frozenset[ReferenceKind] = frozenset({ReferenceKind.EARLIER})

COPIES = 160
"""Ratio of the stage ``copies``: less than a sixth of the usual distance."""

UNRELATED = 64
"""Share of the stage ``unrelated``: a sixteenth of the usual sum of squared cosines."""

CORE = 1024
"""Share of the stage ``weigh_by_core``: all of what the core's members agree."""


def admit(facts: RoundFacts) -> Ballot:
    """Begin a ballot without zeros, copies, replays and noise: the first stages of every pipeline."""
    return leave_out_unrelated(leave_out_copies(Ballot.of(facts), COPIES), UNRELATED)


def weigh(facts: RoundFacts, parameters: Sequence[int], /) -> list[Weighted]:
    """Weigh by the stages. Arguments, results and errors as ``interface.Rule``."""
    expect_parameters(NAME, parameters, PARAMETERS)
    return clip(weigh_by_core(admit(facts), CORE)).results()

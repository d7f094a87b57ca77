# SPDX-License-Identifier: Apache-2.0
"""``guided_mean``: ``guarded_mean``, with weights also from the cosine with the model's trajectory.

Stages: ``copies``, ``uncorrelated``, ``weigh_by_core``, ``weigh_by_trajectory``, ``clip``. It needs neither f nor a
root set. With a trajectory the core excludes nobody: its multipliers have a floor of two equal shares. An update is
excluded only if its cosine with the trajectory is negative by more than the scatter of the cosines. Sources and limits
are those of its stages. The combination is ours. It was chosen by the simulations of docs/robustness.md, with the
attacks that are reported there, so that its results there are no independent evidence. Assumes ``f < n / 2``, and that
most of the aggregate was honest in the last rounds. Without a trajectory (in the first round) it is ``guarded_mean``.
If the median cosine with the trajectory is not above 0, as near convergence, only copies, replays and noise are
excluded.
"""

from __future__ import annotations

from collections.abc import Sequence

from folkmoot.aggregation.interface import RoundFacts, Weighted, expect_parameters
from folkmoot.aggregation.references import ReferencedFacts, ReferenceKind
from folkmoot.aggregation.stages.clipping import clip
from folkmoot.aggregation.stages.trajectory import weigh_by_trajectory
from folkmoot.aggregation.stages.weighting_state import WeightingState
from folkmoot_lab.rules.guarded_mean import CORE_RATIO, admit
from folkmoot_lab.rules.stages.core_similarity import weigh_by_core

NAME = "guided_mean"
PARAMETERS: tuple[str, ...] = ()
USES: frozenset[ReferenceKind] = frozenset({ReferenceKind.EARLIER, ReferenceKind.TRAJECTORY})

FLOOR_SHARES = 2
"""Floor of the multipliers of the stage ``weigh_by_core`` in equal shares, from the second round on. Of a few updates
the core is a majority by chance, and at convergence updates outside of it have a negative core similarity, since all
updates add up to about 0."""


def weigh_by_references(facts: RoundFacts) -> WeightingState:
    """Return the state after core and trajectory set the multipliers."""
    trajectory = facts.trajectory if isinstance(facts, ReferencedFacts) else None
    return weigh_by_trajectory(weigh_by_core(admit(facts), CORE_RATIO, FLOOR_SHARES if trajectory else 0))


def weigh(facts: RoundFacts, parameters: Sequence[int], /) -> list[Weighted]:
    """Weigh by the stages. Arguments, results and errors as ``interface.Rule``."""
    expect_parameters(NAME, parameters, PARAMETERS)
    return clip(weigh_by_references(facts)).results()

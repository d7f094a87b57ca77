# SPDX-License-Identifier: Apache-2.0
"""``guided_mean``: ``guarded_mean``, and what it lets through is weighted by the model's own path.

Stages: ``copies``, ``unrelated``, ``weigh_by_core``, ``weigh_by_path``, ``clip``. It needs neither f nor a root
set. Where there is a path, the core alone leaves nobody out: each keeps two equal shares of a vote, and only who points
back where the model came from, by more than cosines scatter, loses all. Sources and limits are those of its stages; the
combination is ours and was chosen on the drills of docs/robustness.md, with the attacks that it is reported on: take
its lead as a lead, not as proof. Assumes ``f < n / 2``, and that the last rounds went mostly right. Without a path (the
first round) it is ``guarded_mean``. With a path that the median of the updates does not go along with, as near
convergence, only copies, replays and noise are left out.
"""

from __future__ import annotations

from collections.abc import Sequence

from folkmoot.aggregation.interface import RoundFacts, Weighted, expect_parameters
from folkmoot.aggregation.references import ReferencedFacts, ReferenceKind
from folkmoot.aggregation.rules.guarded_mean import CORE, admit
from folkmoot.aggregation.stages.ballot import Ballot
from folkmoot.aggregation.stages.clipping import clip
from folkmoot.aggregation.stages.core_similarity import weigh_by_core
from folkmoot.aggregation.stages.trajectory import weigh_by_path

NAME = "guided_mean"
PARAMETERS: tuple[str, ...] = ()
USES: frozenset[ReferenceKind] = frozenset({ReferenceKind.EARLIER, ReferenceKind.PATH})

SPARED = 2
"""Equal shares of a vote that the stage ``weigh_by_core`` leaves to everybody from the second round on: of a few
updates the core is a majority by chance, and at convergence what is outside of it points away from it, since all
updates add up to nothing."""


def guide(facts: RoundFacts) -> Ballot:
    """Let the majority's core and the path move the votes of what is admitted."""
    path = facts.path if isinstance(facts, ReferencedFacts) else None
    return weigh_by_path(weigh_by_core(admit(facts), CORE, SPARED if path else 0))


def weigh(facts: RoundFacts, parameters: Sequence[int], /) -> list[Weighted]:
    """Weigh by the stages. Arguments, results and errors as ``interface.Rule``."""
    expect_parameters(NAME, parameters, PARAMETERS)
    return clip(guide(facts)).results()

# SPDX-License-Identifier: Apache-2.0
"""``root_cosine`` (P8): without copies and noise, clipped to the median norm, weighted by the root cosine.

Stages: ``copies``, ``uncorrelated``, ``clip``, ``weigh_by_root``. Assumes a representative root set. It excludes
honest contributors whose cosine is not positive (late in training that is common) and fails with a root set that
lacks classes. It can't stop attackers who know the root-set update: they get most of the weight by a high cosine with
it, and do harm orthogonally to it. Without a root-set update it is ``guarded_mean``.
"""

from __future__ import annotations

from collections.abc import Sequence

from folkmoot.aggregation.interface import RoundFacts, Weighted, expect_parameters
from folkmoot.aggregation.references import ReferenceKind
from folkmoot.aggregation.stages.clipping import clip
from folkmoot.aggregation.stages.root import root_of
from folkmoot_lab.rules import guarded_mean
from folkmoot_lab.rules.stages.root import weigh_by_root

NAME = "root_cosine"
PARAMETERS: tuple[str, ...] = ()
USES: frozenset[ReferenceKind] = frozenset({ReferenceKind.ROOT, ReferenceKind.EARLIER})


def weigh(facts: RoundFacts, parameters: Sequence[int], /) -> list[Weighted]:
    """Weigh by the stages. Arguments, results and errors as ``interface.Rule``."""
    expect_parameters(NAME, parameters, PARAMETERS)
    state = clip(guarded_mean.admit(facts))
    if root_of(state) is None:
        return guarded_mean.weigh(facts, ())
    return weigh_by_root(state).results()

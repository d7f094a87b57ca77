# SPDX-License-Identifier: Apache-2.0
"""``root_guard``: ``guarded_mean``, and what it lets through is weighted by its cosine with the root-set update.

Stages: ``copies``, ``unrelated``, ``weigh_by_core``, ``weigh_by_root``, ``clip``. An attacker must please both
the root set and the majority: who knows the root-set update can't leave the honest cloud with it. Assumes
``f < n / 2`` and a representative root set. It starves honest contributors whose cosine is not positive, which
late in training is common, and a root set that lacks classes costs accuracy. Without a root-set update it is
``guarded_mean``.
"""

from __future__ import annotations

from collections.abc import Sequence

from folkmoot.aggregation.interface import RoundFacts, Weighted, expect_parameters
from folkmoot.aggregation.references import ReferenceKind
from folkmoot.aggregation.rules.guarded_mean import CORE, admit
from folkmoot.aggregation.stages.clipping import clip
from folkmoot.aggregation.stages.core_similarity import weigh_by_core
from folkmoot.aggregation.stages.root import weigh_by_root

NAME = "root_guard"
PARAMETERS: tuple[str, ...] = ()
USES: frozenset[ReferenceKind] = frozenset({ReferenceKind.ROOT, ReferenceKind.EARLIER})


def weigh(facts: RoundFacts, parameters: Sequence[int], /) -> list[Weighted]:
    """Weigh by the stages. Arguments, results and errors as ``interface.Rule``."""
    expect_parameters(NAME, parameters, PARAMETERS)
    return clip(weigh_by_root(weigh_by_core(admit(facts), CORE))).results()

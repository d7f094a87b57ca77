# SPDX-License-Identifier: Apache-2.0
"""``root_guard``: ``guarded_mean``, with weights also from the cosine with the root-set update.

Stages: ``copies``, ``uncorrelated``, ``weigh_by_core``, ``weigh_by_root``, ``clip``. An attacker needs a positive
cosine with both the root-set update and the core, so that knowing the root-set update is not enough. Assumes
``f < n / 2`` and a representative root set. It excludes honest contributors whose cosine is not positive, which
late in training is common, and a root set that lacks classes costs accuracy. Without a root-set update it is
``guarded_mean``.
"""

from __future__ import annotations

from collections.abc import Sequence

from folkmoot.aggregation.interface import RoundFacts, Weighted, expect_parameters
from folkmoot.aggregation.references import ReferenceKind
from folkmoot.aggregation.stages.clipping import clip
from folkmoot_lab.rules.guarded_mean import CORE_RATIO, admit
from folkmoot_lab.rules.stages.core_similarity import weigh_by_core
from folkmoot_lab.rules.stages.root import weigh_by_root

NAME = "root_guard"
PARAMETERS: tuple[str, ...] = ()
USES: frozenset[ReferenceKind] = frozenset({ReferenceKind.ROOT, ReferenceKind.EARLIER})


def weigh(facts: RoundFacts, parameters: Sequence[int], /) -> list[Weighted]:
    """Weigh by the stages. Arguments, results and errors as ``interface.Rule``."""
    expect_parameters(NAME, parameters, PARAMETERS)
    return clip(weigh_by_root(weigh_by_core(admit(facts), CORE_RATIO))).results()

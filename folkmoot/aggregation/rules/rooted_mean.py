# SPDX-License-Identifier: Apache-2.0
"""``rooted_mean``: ``guided_mean``, and a root set moves the votes by a factor of four at most.

Stages: ``copies``, ``unrelated``, ``weigh_by_core``, ``weigh_by_path``, ``lean_on_root``, ``clip``. One rule for
every federation: without a root-set update it is ``guided_mean``; a good root set makes attackers count less; a bad
one can't leave anybody out, nor count one update four times as much as the rules without it would. Assumes what
``guided_mean`` does, and of the root set nothing. It can't stop attackers who please core, path and root set at once.
The bound is ours, chosen on the drills of docs/robustness.md.
"""

from __future__ import annotations

from collections.abc import Sequence

from folkmoot.aggregation.interface import RoundFacts, Weighted, expect_parameters
from folkmoot.aggregation.references import ReferenceKind
from folkmoot.aggregation.rules.guided_mean import guide
from folkmoot.aggregation.stages.clipping import clip
from folkmoot.aggregation.stages.root import lean_on_root

NAME = "rooted_mean"
PARAMETERS: tuple[str, ...] = ()
USES: frozenset[ReferenceKind] = frozenset({ReferenceKind.EARLIER, ReferenceKind.PATH, ReferenceKind.ROOT})


def weigh(facts: RoundFacts, parameters: Sequence[int], /) -> list[Weighted]:
    """Weigh by the stages. Arguments, results and errors as ``interface.Rule``."""
    expect_parameters(NAME, parameters, PARAMETERS)
    return clip(lean_on_root(guide(facts))).results()

# SPDX-License-Identifier: Apache-2.0
"""``rooted_mean``: ``guided_mean``, with weights also from the root cosine, by a factor of four at most.

Stages: ``copies``, ``uncorrelated``, ``weigh_by_core``, ``weigh_by_trajectory``, ``weigh_by_root_bounded``, ``clip``.
Without a root-set update it is ``guided_mean``. A good root set lowers the weight of attackers. A bad one excludes
nobody and changes relative weights by a factor of at most four. Assumes what ``guided_mean`` does, and nothing of the
root set. It can't stop attackers with a high cosine with core, trajectory and root-set update at once. The bound is
ours, chosen by the simulations of docs/robustness.md.
"""

from __future__ import annotations

from collections.abc import Sequence

from folkmoot.aggregation.interface import RoundFacts, Weighted, expect_parameters
from folkmoot.aggregation.references import ReferenceKind
from folkmoot.aggregation.stages.clipping import clip
from folkmoot.aggregation.stages.root import weigh_by_root_bounded
from folkmoot_lab.rules.guided_mean import weigh_by_references

NAME = "rooted_mean"
PARAMETERS: tuple[str, ...] = ()
USES: frozenset[ReferenceKind] = frozenset(
    {ReferenceKind.EARLIER, ReferenceKind.TRAJECTORY, ReferenceKind.ROOT}
)


def weigh(facts: RoundFacts, parameters: Sequence[int], /) -> list[Weighted]:
    """Weigh by the stages. Arguments, results and errors as ``interface.Rule``."""
    expect_parameters(NAME, parameters, PARAMETERS)
    return clip(weigh_by_root_bounded(weigh_by_references(facts))).results()

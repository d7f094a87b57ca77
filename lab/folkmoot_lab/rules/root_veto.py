# SPDX-License-Identifier: Apache-2.0
"""``root_veto`` (P9): the root set excludes up to f updates, then nearest-neighbour mixing.

Stages: ``copies``, ``uncorrelated``, ``clip``, ``veto_by_root``, ``mix``, each mixed update weighted by its
cosine with the root-set update. Assumes at most f attackers. A root set that lacks classes excludes at most f updates
and distorts the weights of the others. It gives little weight to rare data, as all mixing does. Without a root-set
update it is ``guarded_nnm``.
"""

from __future__ import annotations

from collections.abc import Sequence

from folkmoot.aggregation.cosines import cosine
from folkmoot.aggregation.interface import RoundFacts, Weighted, expect_minority, expect_parameters
from folkmoot.aggregation.references import ReferenceKind
from folkmoot.aggregation.stages.clipping import clip
from folkmoot.aggregation.stages.root import root_of
from folkmoot_lab.rules import guarded_nnm
from folkmoot_lab.rules.guarded_mean import admit
from folkmoot_lab.rules.stages.mixing import mixed_gram, neighbourhoods
from folkmoot_lab.rules.stages.root import veto_by_root

NAME = "root_veto"
PARAMETERS: tuple[str, ...] = ("f",)
USES: frozenset[ReferenceKind] = frozenset({ReferenceKind.ROOT, ReferenceKind.EARLIER})


def check(parameters: Sequence[int], fewest: int, _: int, /) -> None:
    """Refuse f = 0 and f that is no minority. Arguments and errors as ``rules.Check``."""
    expect_minority(NAME, parameters[0], fewest)


def weigh(facts: RoundFacts, parameters: Sequence[int], /) -> list[Weighted]:
    """Weigh by the stages. Arguments, results and errors as ``interface.Rule``.

    The mixed update i is the sum of the clipped updates of its neighbourhood. It adds ``max(0, cosine)`` of that sum
    and the root-set update to the multipliers of its members, or 1 where no cosine is positive.
    """
    expect_parameters(NAME, parameters, PARAMETERS)
    state = clip(admit(facts))
    root = root_of(state)
    if root is None:
        return guarded_nnm.weigh(facts, parameters)
    state = veto_by_root(state, parameters[0])
    excluded = facts.count - len(state.included)
    groups = neighbourhoods(state, max(0, parameters[0] - excluded))
    squares = mixed_gram(state.clipped_gram, groups)
    mixed_weights = [
        max(
            0,
            cosine(sum(state.clip_factors[j] * root.products[j] for j in group), squares[i][i], root.square),
        )
        for i, group in enumerate(groups)
    ]
    multipliers = [0] * facts.count
    for group, weight in zip(groups, mixed_weights if any(mixed_weights) else [1] * len(groups), strict=True):
        for j in group:
            multipliers[j] += weight
    return state.with_multipliers(multipliers).results()

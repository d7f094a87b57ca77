# SPDX-License-Identifier: Apache-2.0
"""``root_veto`` (P9): the root set may veto f updates, nearest-neighbour mixing does the rest.

Stages: ``copies``, ``unrelated``, ``clip``, ``veto_by_root``, ``mix``, each mixed update weighted by its cosine
with the root-set update. Assumes at most f attackers; a root set that lacks classes can cost at most f updates
and the root weights. It mutes contributors with rare data as all mixing does. Without a root-set update it is
``guarded_nnm``.
"""

from __future__ import annotations

from collections.abc import Sequence

from folkmoot.aggregation.cosines import cosine
from folkmoot.aggregation.interface import RoundFacts, Weighted, expect_minority, expect_parameters
from folkmoot.aggregation.references import ReferenceKind
from folkmoot.aggregation.rules import guarded_nnm
from folkmoot.aggregation.rules.guarded_mean import admit
from folkmoot.aggregation.stages.clipping import clip
from folkmoot.aggregation.stages.mixing import mixed_gram, neighbourhoods
from folkmoot.aggregation.stages.root import root_of, veto_by_root

NAME = "root_veto"
PARAMETERS: tuple[str, ...] = ("f",)
USES: frozenset[ReferenceKind] = frozenset({ReferenceKind.ROOT, ReferenceKind.EARLIER})


def check(parameters: Sequence[int], fewest: int, _: int, /) -> None:
    """Refuse f that is unknown or no minority. Arguments and errors as ``rules.Check``."""
    expect_minority(NAME, parameters[0], fewest)


def weigh(facts: RoundFacts, parameters: Sequence[int], /) -> list[Weighted]:
    """Weigh by the stages. Arguments, results and errors as ``interface.Rule``.

    The mixed update i is the sum of the shortened updates of its neighbourhood; it votes for them with
    ``max(0, cosine)`` of that sum and the root-set update, with 1 each where no cosine is positive.
    """
    expect_parameters(NAME, parameters, PARAMETERS)
    ballot = clip(admit(facts))
    root = root_of(ballot)
    if root is None:
        return guarded_nnm.weigh(facts, parameters)
    ballot = veto_by_root(ballot, parameters[0])
    gone = facts.count - len(ballot.standing)
    groups = neighbourhoods(ballot, max(0, parameters[0] - gone))
    squares = mixed_gram(ballot.shortened, groups)
    trust = [
        max(0, cosine(sum(ballot.factors[j] * root.products[j] for j in group), squares[i][i], root.square))
        for i, group in enumerate(groups)
    ]
    votes = [0] * facts.count
    for group, weight in zip(groups, trust if any(trust) else [1] * len(groups), strict=True):
        for j in group:
            votes[j] += weight
    return ballot.counted(votes).results()

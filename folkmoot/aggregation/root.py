# SPDX-License-Identifier: Apache-2.0
"""Stages that use the root-set update: ``weigh_by_root`` and ``veto_by_root``.

Source: FLTrust (Cao, Fang, Liu, Gong, NDSS 2021, arXiv 2012.13995): the coordinator trains one update on a
small root set, and an update counts by the positive part of its cosine with it. The root set is committed to
and its update is an artifact, so the cosines are facts. Assumes that the root set represents what the model is
for; then any number of attackers can be withstood. A root set that lacks classes mutes those who hold them,
and a coordinator that chooses it badly steers the model. Late in training honest cosines are small and some
negative, so root weights starve honest contributors. ``veto_by_root`` is the bounded form: at most f lose.

Without a root-set update in the facts both stages change nothing.
"""

from __future__ import annotations

from folkmoot.aggregation.ballot import Ballot, cosine
from folkmoot.aggregation.reference import Reference, ReferencedFacts
from folkmoot.verdict import Reason

SHARE = 1024
"""Cosine thresholds of the veto are in 1/SHARE."""


def root_of(ballot: Ballot) -> Reference | None:
    """The root-set update of the round, if there is a usable one (it is not zero)."""
    facts = ballot.facts
    if not isinstance(facts, ReferencedFacts) or facts.root is None or facts.root.square == 0:
        return None
    return facts.root


def root_cosines(ballot: Ballot, root: Reference) -> dict[int, int]:
    """Cosine of each standing update with the root-set update, in 1/UNIT."""
    gram = ballot.facts.gram
    return {i: cosine(root.products[i], gram[i][i], root.square) for i in ballot.standing}


def weigh_by_root(ballot: Ballot) -> Ballot:
    """Multiply votes by ``max(0, cosine)``; without any positive one nothing changes.

    Adds the number ``rootCosine``. An update that loses its vote has the reason ``against-root``.
    """
    root = root_of(ballot)
    if root is None:
        return ballot
    cosines = root_cosines(ballot, root)
    ballot = ballot.noted("rootCosine", cosines)
    ballot = ballot.without({i: Reason.AGAINST_ROOT for i, value in cosines.items() if value <= 0})
    votes = [vote * max(0, cosines.get(i, 0)) for i, vote in enumerate(ballot.votes)]
    return ballot.counted(votes)


def veto_by_root(ballot: Ballot, attackers: int, depth: int = 0) -> Ballot:
    """Leave out the updates with a cosine below ``-depth``, worst first (ties: the later entry), at most f.

    Args:
        ballot: The ballot.
        attackers: f.
        depth: In 1/SHARE.

    Returns:
        The ballot with the number ``rootCosine``.
    """
    root = root_of(ballot)
    if root is None:
        return ballot
    cosines = root_cosines(ballot, root)
    against = sorted(
        (i for i, value in cosines.items() if SHARE * value < -depth << 16), key=lambda i: (cosines[i], -i)
    )
    return ballot.noted("rootCosine", cosines).without(
        dict.fromkeys(against[:attackers], Reason.AGAINST_ROOT)
    )

# SPDX-License-Identifier: Apache-2.0
"""Stages that use the root-set update: ``weigh_by_root``, ``lean_on_root`` and ``veto_by_root``.

Source: FLTrust (Cao, Fang, Liu, Gong, NDSS 2021, arXiv 2012.13995): the coordinator trains one update on a
small root set, and an update counts by the positive part of its cosine with it. The root set is committed to
and its update is an artifact, so the cosines are facts. Assumes that the root set represents what the model is
for; then any number of attackers can be withstood. A root set that lacks classes mutes those who hold them,
and a coordinator that chooses it badly steers the model. Late in training honest cosines are small and some
negative, so root weights starve honest contributors. Two forms are bounded: with ``veto_by_root`` at most f lose
their vote, with ``lean_on_root`` (ours) nobody loses more than three quarters of it, however bad the root set is.

Without a root-set update in the facts the stages change nothing.
"""

from __future__ import annotations

from folkmoot.aggregation.cosines import UNIT, cosine
from folkmoot.aggregation.references import Reference, ReferencedFacts
from folkmoot.aggregation.stages.ballot import Ballot, lower_median
from folkmoot.protocol.verdict import Reason

SHARE = 1024
"""Cosine thresholds of the veto are in 1/SHARE."""

LEAST = UNIT // 4
"""What the root-set update leaves of every vote in the stage ``lean_on_root``."""


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


def lean_on_root(ballot: Ballot) -> Ballot:
    """Multiply votes by a ramp of the cosine with the root-set update that never falls below LEAST.

    With ``z_i`` the cosines of the standing updates and h their lower median, at least 0: nothing changes if h = 0.
    Else the factor is ``floor(UNIT (z_i + h) / (2 h))``, at least LEAST and at most UNIT. A root set that lacks
    classes so costs those who hold them three quarters of a vote at most, and leaves nobody out.

    Returns:
        The ballot with the numbers ``rootCosine`` and ``rootMedian`` (1/UNIT).
    """
    root = root_of(ballot)
    if root is None or not ballot.standing:
        return ballot
    cosines = root_cosines(ballot, root)
    half = max(0, lower_median(list(cosines.values())))
    ballot = ballot.noted("rootCosine", cosines).noted("rootMedian", dict.fromkeys(cosines, half))
    if half == 0:
        return ballot
    factors = {i: max(LEAST, min(UNIT, UNIT * (value + half) // (2 * half))) for i, value in cosines.items()}
    return ballot.counted([vote * factors.get(i, 0) for i, vote in enumerate(ballot.votes)])


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

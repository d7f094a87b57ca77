# SPDX-License-Identifier: Apache-2.0
"""Stage ``copies``: of updates that are nearly the same, the earliest committed counts; a replay does not.

Two updates are nearly the same if they are much closer than strangers are *in this round*: with the lower
median cosine ``m`` of all pairs, ``1 - C_ij <= (1 - m) * ratio``. So the threshold moves with the federation
(large batches make honest updates alike, late rounds make them orthogonal) and no constant cosine accuses
anybody. Commitments are closed before any update is shown, so the earlier of two is not the copier. A replay is
nearly an update that was public before: of the last rounds of the lineage (``reference``), the coordinators' own
entries among them.

Source: FoolsGold's idea that Sybils are too alike (Fung, Yoon, Beschastnikh, RAID 2020, arXiv 1808.04866),
with the threshold from the round. Assumes that fewer than half of the contributors collude, so that the
median is a pair with a stranger in it. It can't stop a copy with so much noise that it is no more alike than
honest updates are (about 0.6 of its own length at the ratio that is used, 0.1 in a model of fifty coordinates). A
larger ratio accused honest contributors who hold the same few classes.
"""

from __future__ import annotations

from folkmoot.aggregation.cosines import UNIT, cosine
from folkmoot.aggregation.references import ReferencedFacts
from folkmoot.aggregation.stages.ballot import Ballot, lower_median
from folkmoot.protocol.verdict import Reason

SHARE = 1024
"""Ratios of this stage are in 1/SHARE."""

COORDINATES = 16
"""A ratio of 1/SHARE for so many coordinates that updates change, up to the ratio that is asked for: where there are
few directions, strangers are near each other by chance. Measured (docs/robustness.md), not derived."""

LEAST = 1
"""The smallest ratio."""

REPLAY = 4
"""An update is compared with earlier rounds by a ratio this many times smaller: one's own updates resemble each
other from round to round, and that is no replay. With fewer than three updates nothing but the same direction is a
replay: of two, the usual one is the other, and if that contributor was not in the earlier rounds, it is far from all
of them."""


def leave_out_copies(ballot: Ballot, ratio: int) -> Ballot:
    """Leave out each update that is nearly an earlier one, of this round or of those before.

    Args:
        ballot: The ballot.
        ratio: In 1/SHARE. A small model has a smaller one (COORDINATES); 0 leaves out only what points in exactly the
            same direction.

    Returns:
        The ballot with the numbers ``copyCosine`` (1/UNIT), ``copyRatio`` (the ratio that was used, in 1/SHARE) and,
        in this round, ``copyOf`` (place among the delivered updates).
    """
    ratio = max(LEAST, min(ratio, ballot.facts.dimensions // COORDINATES))
    ratios: dict[int, int] = {}
    standing = ballot.standing
    left_out: dict[int, Reason] = {}
    originals: dict[int, int] = {}
    cosines: dict[int, int] = {}
    if len(standing) > 1:
        among = ballot.cosines
        pairs = [among[i][j] for n, i in enumerate(standing) for j in standing[:n]]
        # Among three, one pair of colluders is a third: the middle pair has a stranger in it.
        limit = _limit(lower_median(pairs), ratio) if len(standing) > 2 else UNIT
        for n, i in enumerate(standing):
            for j in standing[:n]:
                if j not in left_out and among[i][j] >= limit:
                    left_out[i], originals[i], cosines[i] = Reason.COPY, j, among[i][j]
                    ratios[i] = ratio if len(standing) > 2 else 0
                    break
    finer = ratio // REPLAY if len(standing) > 2 else 0
    for i, closest in _replays(ballot, finer).items():
        left_out[i], cosines[i], ratios[i] = Reason.COPY, closest, finer
    return (
        ballot.without(left_out)
        .noted("copyOf", originals)
        .noted("copyCosine", cosines)
        .noted("copyRatio", ratios)
    )


def _limit(usual: int, ratio: int) -> int:
    """The cosine from which on two updates are nearly the same."""
    return UNIT - ratio * (UNIT - max(usual, 0)) // SHARE


def _replays(ballot: Ballot, ratio: int) -> dict[int, int]:
    """Standing updates that are nearly one of an earlier round, with the cosine."""
    facts = ballot.facts
    if not isinstance(facts, ReferencedFacts) or not facts.earlier or not ballot.standing:
        return {}
    closest = {
        i: max(
            cosine(other.products[i], facts.gram[i][i] if other.own is None else other.own[i], other.square)
            for other in facts.earlier
        )
        for i in ballot.standing
    }
    limit = _limit(lower_median(list(closest.values())), ratio)
    return {i: value for i, value in closest.items() if value >= limit}

# SPDX-License-Identifier: Apache-2.0
"""Stages that ask how an update stands to the others: ``leave_out_unrelated`` and ``weigh_by_core``.

``leave_out_unrelated``: noise is orthogonal to everything; what was trained on related data is not, in one
direction or the other. An update whose squared cosines add up to much less than those of the others is left
out. Noise in d dimensions has cosines of about ``1 / sqrt(d)``: in a model of some hundred coordinates it looks like
anybody else, and nobody is left out. It can't stop noise that is added to somebody's update or to a public aggregate.

``weigh_by_core``: the first cluster that more than half of the updates join (``majority``) is a
reference that no root set is needed for. FLAME drops everybody else, up to half of the honest contributors in
every round. Here everybody else is compared with the core's sum and counts by how far it goes along with it:
nothing if it points away by a good part of what the core's own members agree. Who trains on rare data is
about orthogonal to the core and keeps about half. A majority of few says little (of five updates three are the
core, and often they are there by chance): where another stage judges after it, everybody keeps ``spared`` equal
shares of a vote, which is much among five and little among twenty. The combination is ours; no source proves it.
Assumes ``f < n / 2``, and honest updates that are chained by higher cosines than those that reach an attacker. It
can't stop attackers who stay about orthogonal to the honest sum, or inside the honest cloud (backdoors, small
ALIE): docs/robustness.md has the figures.
"""

from __future__ import annotations

from folkmoot.aggregation.cosines import UNIT, cosine
from folkmoot.aggregation.stages.ballot import Ballot, lower_median
from folkmoot.aggregation.stages.clipping import clip
from folkmoot.aggregation.stages.majority import keep_majority
from folkmoot.protocol.verdict import Reason

SHARE = 1024
"""Thresholds of these stages are in 1/SHARE."""

COORDINATES_A_SHARE = 32
"""Coordinates for each 1/SHARE of the threshold for noise: with 2,048 the rules' 64/1024 is used whole. The more
coordinates there are, the nearer to 0 are the cosines of noise, so the surer is the judgement. Measured over 1,500
rounds each, with updates that share a fifth of their squares: in 2,048 coordinates noise passes in 1.2 % of the rounds
of five updates and 0.1 % of those of ten; in 4,096 in none."""


def leave_out_unrelated(ballot: Ballot, share: int) -> Ballot:
    """Leave out each update with ``sum_j C_ij^2 < share * median of those sums`` over the other standing ones.

    Args:
        ballot: The ballot.
        share: In 1/SHARE. Of a standing updates in d coordinates at most ``(a - 1)^2`` or ``floor(d /
            COORDINATES_A_SHARE)`` is used, whichever is larger: a sum of few squares is small by chance.

    Returns:
        The ballot with the numbers ``relatedness`` (the sum in 1/UNIT^2) and ``relatedShare`` (the share that was used,
        in 1/SHARE) of those that it leaves out. Nothing changes if noise itself would pass: it has a sum of about
        ``(a - 1) / d`` in d coordinates (``RoundFacts.dimensions``).
    """
    standing = ballot.standing
    if len(standing) < 3:
        return ballot
    cosines = ballot.cosines
    sums = {i: sum(cosines[i][j] ** 2 for j in standing if j != i) for i in standing}
    others = len(standing) - 1
    share = min(share, max(others * others, ballot.facts.dimensions // COORDINATES_A_SHARE))
    limit = share * lower_median(list(sums.values()))
    if limit * ballot.facts.dimensions < SHARE * others * UNIT * UNIT:
        return ballot
    strangers = {i: value for i, value in sums.items() if SHARE * value < limit}
    return (
        ballot.without(dict.fromkeys(strangers, Reason.UNRELATED))
        .noted("relatedness", strangers)
        .noted("relatedShare", dict.fromkeys(strangers, share))
    )


def weigh_by_core(ballot: Ballot, share: int, spared: int = 0) -> Ballot:
    """Count those outside of the majority's core by how far they go along with it.

    The core K is what ``keep_majority`` keeps; ``c_i`` are the factors that ``clip`` gives to K alone.
    ``P_i = sum_(j in K, j != i) c_j G_ij`` and ``S_i = sum_(a, b in K, a, b != i) c_a c_b G_ab``; the core
    similarity of i is ``s_i = cosine(P_i, G_ii, S_i)``, and m the lower median of those of the core's members, at
    least 0.
    A member of the core counts UNIT; so does everybody if ``h = floor(share m / SHARE)`` is 0. Else one outside
    counts ``floor(UNIT * (s_i + h) / (2 h))``, at least 0 and at most UNIT: nothing from ``-h`` down,
    half if it is orthogonal to the core, all from ``h`` up; but at least ``min(UNIT, floor(spared UNIT / a))``
    with a = the number of standing updates.

    Args:
        ballot: The ballot; factors are not changed.
        share: In 1/SHARE.
        spared: How many equal shares of a vote nobody can lose here; 0 lets votes fall to 0.

    Returns:
        The ballot with the votes in 1/UNIT, the reason ``against-others`` for a vote of 0, and the numbers
        ``company`` and ``companyMedian`` (1/UNIT) of everybody outside of the core, with ``companyLeast`` (1/UNIT)
        where votes have a least value.
    """
    standing = ballot.standing
    kept = keep_majority(ballot)
    core = kept.standing
    members = set(core)
    if len(core) < 2 or len(core) == len(standing):
        return ballot
    gram = ballot.facts.gram
    factors = clip(kept).factors
    pull = {i: sum(factors[j] * gram[i][j] for j in core) for i in standing}
    whole = sum(factors[i] * pull[i] for i in core)
    company = {}
    for i in standing:
        own = factors[i] if i in members else 0
        product = pull[i] - own * gram[i][i]
        square = whole - 2 * own * pull[i] + own * own * gram[i][i]
        company[i] = cosine(product, gram[i][i], square)
    usual = max(0, lower_median([company[i] for i in core]))
    half = share * usual // SHARE
    outside = [i for i in standing if i not in members]
    votes = dict.fromkeys(standing, UNIT)
    least = min(UNIT, spared * UNIT // len(standing))
    if half > 0:
        for i in outside:
            votes[i] = max(least, min(UNIT, UNIT * (company[i] + half) // (2 * half)))
    return (
        ballot.without({i: Reason.AGAINST_OTHERS for i, vote in votes.items() if vote == 0})
        .counted([votes.get(i, 0) for i in range(ballot.facts.count)])
        .noted("company", {i: company[i] for i in outside})
        .noted("companyMedian", dict.fromkeys(outside, usual))
        .noted("companyLeast", dict.fromkeys(outside if least else (), least))
    )

# SPDX-License-Identifier: Apache-2.0
"""Stage ``weigh_by_path``: count an update by how far it goes on where the model has been going.

The **path** is what the model moved by in the last rounds (``trajectory``). Poisoners must push against it, round after
round; honest contributors, whatever their data, go along with it or about orthogonal to it. It averages hundreds of
updates, so its direction is far less noisy than any cosine within a round, and it needs no root set. Near convergence
the model goes nowhere, and cosines with the path are noise: then nobody is left out, and an update that points back
keeps an eighth of its vote.

Source: rules without memory fall to attacks that are small in every round, and history helps (Karimireddy, He,
Jaggi, ICML 2021, arXiv 2012.10333, by the momentum of contributors). Taking the model's own path as a reference
is ours; no source proves it. Assumes that the rounds in the window went mostly right: whoever steered the
model before steers the reference. So it follows a rule that stands alone, and it moves votes, not the majority's
core. It can't stop attackers who keep a cosine with the path, which is public, and harm with the rest.
"""

from __future__ import annotations

from collections.abc import Sequence

from folkmoot.aggregation.cosines import UNIT, cosine
from folkmoot.aggregation.references import ReferencedFacts
from folkmoot.aggregation.stages.ballot import Ballot, lower_median
from folkmoot.protocol.verdict import Reason

LEAST = UNIT // 8
"""What the path leaves of a vote unless an update points back by more than cosines scatter."""

SPREADS = 4
"""So many median deviations, and for few updates up to twice as many (``_scatter``), are no chance any more. A median
deviation of few values is a poor measure, as Student's t says of the standard deviation."""


def path_cosines(ballot: Ballot) -> dict[int, int]:
    """Cosine of each standing update with the path, in 1/UNIT; none without a path."""
    facts = ballot.facts
    if not isinstance(facts, ReferencedFacts) or facts.path is None:
        return {}
    path = facts.path
    return {i: cosine(path.products[i], facts.gram[i][i], path.square) for i in ballot.standing}


def usual_on_path(ballot: Ballot) -> int:
    """Lower median of the cosines with the path, in 1/UNIT, at least 0. With 0 the path can't judge anybody."""
    cosines = path_cosines(ballot)
    return max(0, lower_median(list(cosines.values()))) if cosines else 0


def weigh_by_path(ballot: Ballot) -> Ballot:
    """Multiply votes by a ramp of the cosine with the path.

    With ``z_i`` the cosines of the a standing updates and h their lower median, at least 0: nothing changes if
    ``h = 0`` or there is no path. Else the factor is ``floor(UNIT (z_i + h) / (2 h))``, at least 0 and at most
    UNIT: nothing from ``-h`` down, half if it is orthogonal to the path, all from ``h`` up. But an update keeps LEAST
    unless ``z_i <= -max(h, floor(SPREADS d (a + 3) / (a - 1)))``, d the lower median of ``|z_i - h|``: near convergence
    cosines scatter around 0, and one a little below it says nothing.

    Returns:
        The ballot with the numbers ``pathCosine``, ``pathMedian`` and ``pathLimit`` (what a cosine has to be the
        negative of to lose all; 1/UNIT each), and the reason ``against-path`` for a factor of 0.
    """
    cosines = path_cosines(ballot)
    if not cosines:
        return ballot
    half = usual_on_path(ballot)
    ballot = ballot.noted("pathCosine", cosines).noted("pathMedian", dict.fromkeys(cosines, half))
    if half == 0:
        return ballot
    limit = max(half, _scatter(list(cosines.values()), half))
    factors = {
        i: max(LEAST if value > -limit else 0, min(UNIT, UNIT * (value + half) // (2 * half)))
        for i, value in cosines.items()
    }
    return (
        ballot.without({i: Reason.AGAINST_PATH for i, factor in factors.items() if factor == 0})
        .counted([vote * factors.get(i, 0) for i, vote in enumerate(ballot.votes)])
        .noted("pathLimit", dict.fromkeys(cosines, limit))
    )


def _scatter(values: Sequence[int], middle: int) -> int:
    """How far below 0 chance takes a value: SPREADS lower median deviations, more where there are few values."""
    count = len(values)
    if count < 2:
        return 0
    return SPREADS * lower_median([abs(value - middle) for value in values]) * (count + 3) // (count - 1)

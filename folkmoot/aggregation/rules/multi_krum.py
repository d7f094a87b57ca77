# SPDX-License-Identifier: Apache-2.0
"""``multi_krum``: keep the updates with the smallest distances to their nearest neighbours.

Source: Blanchard, El Mhamdi, Guerraoui, Stainer, "Machine Learning with Adversaries: Byzantine Tolerant
Gradient Descent" (NeurIPS 2017, arXiv 1703.02757). Distances are exact integers, so ties are the same
everywhere. Assumes at most f attackers among ``n >= 2 f + 3`` delivered updates, and honest updates that
are near each other. It can't stop attackers that stay within the spread of the honest ones ("A Little Is
Enough", Baruch et al. 2019, arXiv 1902.06635), nor f + 1 that send near-duplicates; and it always
excludes ``n - m`` updates, honest or not: contributors with rare data most often. An outlier is therefore no fault
and is never slashed.
"""

from __future__ import annotations

from collections.abc import Sequence

from folkmoot.aggregation.interface import (
    RoundFacts,
    Weighted,
    expect_minority,
    expect_parameters,
    expect_selectable,
)
from folkmoot.aggregation.references import ReferenceKind
from folkmoot.protocol.verdict import Reason

NAME = "multi_krum"
PARAMETERS: tuple[str, ...] = ("f", "m")
USES: frozenset[ReferenceKind] = frozenset()


def check(parameters: Sequence[int], fewest: int, most: int, /) -> None:
    """Refuse f = 0, f that is no minority, and m that no round can have.

    Krum's own assumption is n >= 2f + 3; f is lowered for a smaller round, so that is no reason to refuse. Arguments
    and errors as ``rules.Check``.
    """
    expect_minority(NAME, parameters[0], fewest)
    expect_selectable(NAME, parameters[1], most)


def weigh(facts: RoundFacts, parameters: Sequence[int], /) -> list[Weighted]:
    """Give the m updates with the smallest scores the weight 1, the others 0.

    The score of an update is the sum of its ``max(1, n - f - 2)`` smallest squared distances to others. With
    fewer than ``2 f + 3`` updates f is lowered to ``max(0, floor((n - 3) / 2))``. At most ``n - f`` are
    selected, and ``m = 0`` selects that many. With one or two updates all are selected. Of equal scores the
    earlier entry wins.

    Args:
        facts: Of n >= 1 delivered updates.
        parameters: ``f`` (attackers to withstand) and ``m`` (updates to select).

    Returns:
        One result an update with the numbers ``krumScore`` and ``krumThreshold`` (the largest selected score).

    Raises:
        InputError: ``invalid-policy``: there are not two parameters.
    """
    expect_parameters(NAME, parameters, PARAMETERS)
    count = facts.count
    attackers, wanted = parameters
    if count < 2 * attackers + 3:
        attackers = max(0, (count - 3) // 2)
    selected = count - attackers if wanted == 0 or count <= 2 else min(wanted, count - attackers)
    neighbours = max(1, count - attackers - 2)
    scores = [
        sum(sorted(distance for j, distance in enumerate(row) if j != i)[:neighbours])
        for i, row in enumerate(facts.distances())
    ]
    chosen = set(sorted(range(count), key=lambda i: (scores[i], i))[:selected])
    threshold = max(scores[i] for i in chosen)
    return [
        Weighted(
            1 if i in chosen else 0,
            Reason.ACCEPTED if i in chosen else Reason.OUTLIER,
            {"krumScore": score, "krumThreshold": threshold},
        )
        for i, score in enumerate(scores)
    ]

# SPDX-License-Identifier: Apache-2.0
"""Stage ``mix``: replace each update by the mean of its nearest neighbours.

Source: nearest-neighbour mixing (Allouah et al., AISTATS 2023, arXiv 2302.01772), of optimal order for
heterogeneous data. A mean of updates is a vote of each mixed update for those in it, so mixing is weights
like everything else; ``m`` of the mixed updates can be selected by Multi-Krum's score before they vote.
Assumes at most ``f < n / 2`` attackers. It can't stop f colluders that are nearer to each other than honest
updates are (they then keep their own neighbourhood), and it mutes whoever is far from the others: recall of a
class that few hold falls to nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from folkmoot.aggregation.interface import Gram
from folkmoot.aggregation.stages.ballot import Ballot


def neighbourhoods(ballot: Ballot, attackers: int) -> list[list[int]]:
    """For each standing update the ``a - f'`` standing ones nearest to it, itself among them.

    Distances are those of the shortened updates; of equal ones the earlier entry is nearer, and an update is
    the nearest to itself. ``f' = min(f, floor((a - 1) / 2))``.
    """
    standing = ballot.standing
    size = len(standing) - min(attackers, max(0, (len(standing) - 1) // 2))
    gram = ballot.shortened
    nearest = []
    for i in standing:
        distance = {j: gram[i][i] + gram[j][j] - 2 * gram[i][j] for j in standing}
        ranked = sorted(standing, key=lambda j: (j != i, distance[j], j))
        nearest.append(ranked[:size])
    return nearest


def mixed_gram(gram: Gram, groups: Sequence[Sequence[int]]) -> Gram:
    """Products of sums of updates: ``sum_(a in group i) sum_(b in group j) G_ab``."""
    rows = [[sum(gram[a][b] for a in group) for b in range(len(gram))] for group in groups]
    return tuple(tuple(sum(row[b] for b in group) for group in groups) for row in rows)


def mix(ballot: Ballot, attackers: int, selected: int = 0) -> Ballot:
    """Let each mixed update vote for those in it.

    Args:
        ballot: The ballot; its votes so far only say who stands.
        attackers: f.
        selected: How many mixed updates vote, those with the smallest Multi-Krum score; 0 lets all vote.

    Returns:
        The ballot with the votes.
    """
    groups = neighbourhoods(ballot, attackers)
    if 0 < selected < len(groups):
        gram = mixed_gram(ballot.shortened, groups)
        count = len(groups)
        closest = max(1, count - min(attackers, max(0, (count - 3) // 2)) - 2)
        scores = [
            sum(sorted(gram[i][i] + gram[j][j] - 2 * gram[i][j] for j in range(count) if j != i)[:closest])
            for i in range(count)
        ]
        kept = sorted(range(count), key=lambda i: (scores[i], i))[:selected]
        groups = [groups[i] for i in kept]
    votes = [0] * ballot.facts.count
    for group in groups:
        for i in group:
            votes[i] += 1
    return ballot.counted(votes)

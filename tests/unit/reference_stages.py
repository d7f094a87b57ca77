# SPDX-License-Identifier: Apache-2.0
"""``guided_mean`` once more, written from docs/protocol.md section 8 alone, for the test vectors.

Without replays: the vectors have no earlier rounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from math import isqrt

U = 1 << 16


def cosine(p: int, s: int, t: int) -> int:
    """Section 8.1."""
    if s == 0 or t == 0:
        return 0
    size = min(U, isqrt(2**32 * p * p // (s * t)))
    return size if p >= 0 else -size


def median(values: Sequence[int]) -> int:
    """The lower median."""
    return sorted(values)[(len(values) - 1) // 2]


def guided_mean(
    gram: list[list[int]],
    elements: Sequence[int],
    absolute: Sequence[Sequence[int]],
    trajectory: tuple[Sequence[int], int] | None,
) -> tuple[list[int], list[str]]:
    """Weights and reasons of the entries."""
    count = len(gram)
    reasons = ["zero-update" if gram[i][i] == 0 else "accepted" for i in range(count)]
    d = sum(size for b, size in enumerate(elements) if 2 * sum(row[b] > 0 for row in absolute) > count)
    c = [[cosine(gram[i][j], gram[i][i], gram[j][j]) for j in range(count)] for i in range(count)]

    def exclude(excluded: list[int], reason: str) -> None:
        if set(excluded) != set(included()):
            for i in excluded:
                reasons[i] = reason

    def included() -> list[int]:
        return [i for i in range(count) if reasons[i] == "accepted"]

    # copies(160)
    now = included()
    if len(now) > 1:
        r = max(1, min(160, d // 16))
        m = median([c[i][j] for i, j in combinations(now, 2)])
        t = U - r * (U - max(m, 0)) // 1024 if len(now) > 2 else U
        excluded: list[int] = []
        for i in now:
            if any(j < i and j not in excluded and c[i][j] >= t for j in now):
                excluded.append(i)
        exclude(excluded, "copy")
    # uncorrelated(64)
    now = included()
    a = len(now)
    if a >= 3:
        sums = {i: sum(c[i][j] ** 2 for j in now if j != i) for i in now}
        m, s = median(list(sums.values())), min(64, max((a - 1) ** 2, d // 32))
        if s * m * d >= 1024 * (a - 1) * U * U:
            exclude([i for i in now if 1024 * sums[i] < s * m], "uncorrelated")
    # weigh_by_core(1024, g)
    now = included()
    a = len(now)
    multipliers, g = dict.fromkeys(now, U), 0 if trajectory is None else 2
    core = _majority(now, c)
    if 2 <= len(core) < a:
        usual = median([gram[i][i] for i in core])
        f = {i: min(U, isqrt(2**32 * usual // gram[i][i])) for i in core}
        y = {}
        for i in now:
            others = [j for j in core if j != i]
            square = sum(f[j] * f[k] * gram[j][k] for j in others for k in others)
            y[i] = cosine(sum(f[j] * gram[i][j] for j in others), gram[i][i], square)
        h = max(0, median([y[i] for i in core]))
        if h:
            for i in set(now) - set(core):
                multipliers[i] = max(min(U, g * U // a), min(U, U * (y[i] + h) // (2 * h)))
        exclude([i for i in now if multipliers[i] == 0], "against-core")
        now = included()
        a = len(now)
    # weigh_by_trajectory
    if trajectory is not None and trajectory[1] > 0:
        z = {i: cosine(trajectory[0][i], gram[i][i], trajectory[1]) for i in now}
        h = max(0, median(list(z.values())))
        if h:
            limit = h
            if a > 1:
                limit = max(h, 4 * median([abs(one - h) for one in z.values()]) * (a + 3) // (a - 1))
            exclude([i for i in now if z[i] <= -limit], "against-trajectory")
            for i in included():
                multipliers[i] *= max(2**13, min(U, U * (z[i] + h) // (2 * h)))
    # clip, End
    now = included()
    m = median([gram[i][i] for i in now])
    x = [0] * count
    for i in now:
        x[i] = multipliers[i] * min(U, isqrt(2**32 * m // gram[i][i]))
    weights = [value * min(U, 16843009 // count) // max(x) for value in x]
    return weights, [
        "outlier" if reasons[i] == "accepted" and not weights[i] else reasons[i] for i in range(count)
    ]


def _majority(now: list[int], c: list[list[int]]) -> list[int]:
    """``keep_majority``."""
    clusters = [{i} for i in now]
    for i, j in sorted(combinations(now, 2), key=lambda pair: (-c[pair[0]][pair[1]], pair)):
        mine = next(one for one in clusters if i in one)
        theirs = next(one for one in clusters if j in one)
        if mine is theirs:
            continue
        clusters.remove(theirs)
        mine |= theirs
        if len(mine) >= len(now) // 2 + 1:
            return sorted(mine)
    return now

# SPDX-License-Identifier: Apache-2.0
"""``clamped_mean`` once more, written from docs/protocol.md section 8 alone, for the test vectors.

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


Products = tuple[Sequence[int], int]
"""The products of a reference with each vector, and its square."""


def clamped_mean(
    gram: list[list[int]],
    windows: tuple[list[list[int]], list[int]],
    elements: Sequence[int],
    absolute: Sequence[Sequence[int]],
    trajectory: Products | None,
    root: Products | None,
    share: int = 0,
) -> tuple[list[int], list[str]]:
    """Weights and reasons of the entries. ``windows`` has H and the number of updates in each sum.

    ``share`` is the parameter s; 0 where the policy has none.
    """
    count = len(gram)
    reasons = ["zero-update" if gram[i][i] == 0 else "accepted" for i in range(count)]
    d = sum(size for b, size in enumerate(elements) if 2 * sum(row[b] > 0 for row in absolute) > count)
    c = cosines(gram)

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
            like_noise = 16 * (a - 1) * U * U
            exclude([i for i in now if 1024 * sums[i] < s * m and sums[i] * d < like_noise], "uncorrelated")
    now = included()
    v = dict.fromkeys(now, 1)
    h, rounds = windows
    k = cosines(h)
    if len(now) >= 3:
        # weigh_by_likeness
        alike = {i: sum(max(0, k[i][j]) ** 2 for j in now if j != i) for i in now}
        m = median(list(alike.values()))
        if m:
            for i in now:
                v[i] *= U if alike[i] <= m else max(1, min(U, isqrt(2**32 * m // alike[i])))
        # weigh_by_median_cosine
        ramp(v, {i: sorted(k[i][j] for j in now if j != i)[(len(now) - 1) // 2] for i in now}, 2**13)
    # weigh_by_trajectory
    if trajectory is not None:
        z = {i: cosine(trajectory[0][i], h[i][i], trajectory[1]) for i in now}
        y = max(0, median(list(z.values())))
        if y:
            limit = y
            if len(now) > 1:
                spread = median([abs(one - y) for one in z.values()])
                limit = max(y, 4 * spread * (len(now) + 3) // (len(now) - 1))
            exclude([i for i in now if z[i] <= -limit], "against-trajectory")
            ramp(v, z, 2**13)
    now = included()
    # weigh_by_root_bounded
    if root is not None and root[1] > 0:
        ramp(v, {i: cosine(root[0][i], gram[i][i], root[1]) for i in now}, 2**14)
    # share_by_root
    if share and root is not None and root[1] > 0:
        z = {i: max(0, cosine(root[0][i], gram[i][i], root[1])) for i in now}
        if any(z.values()):
            whole = sum(v[i] for i in now)
            for i in now:
                v[i] = (1024 - share) * v[i] * sum(z.values()) + share * whole * z[i]
    # weigh_by_presence, clip, End
    most = max(rounds[i] for i in now)
    m = median([gram[i][i] for i in now])
    x = [0] * count
    for i in now:
        x[i] = v[i] * (U * rounds[i] // most) * min(U, isqrt(2**32 * m // gram[i][i]))
    weights = [value * min(U, 16843009 // count) // max(x) for value in x]
    return weights, [
        "outlier" if reasons[i] == "accepted" and not weights[i] else reasons[i] for i in range(count)
    ]


def cosines(gram: list[list[int]]) -> list[list[int]]:
    """C of a Gram matrix."""
    places = range(len(gram))
    return [[cosine(gram[i][j], gram[i][i], gram[j][j]) for j in places] for i in places]


def ramp(v: dict[int, int], z: dict[int, int], floor: int) -> None:
    """Scale by a clamped linear function of z, with a floor."""
    h = max(0, median(list(z.values())))
    if h:
        for i, one in z.items():
            v[i] *= max(floor, min(U, U * (one + h) // (2 * h)))

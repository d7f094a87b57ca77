# SPDX-License-Identifier: Apache-2.0
"""Cases of section 8.7 of docs/protocol.md: what is new in an update, and what it is paid."""

from __future__ import annotations

from collections.abc import Sequence

from folkmoot.aggregation.cosines import UNIT
from tools.cases.group import Group
from tools.cases.values import manifest_of
from tools.vectors.values import stream_integers, update_file


def pays_cases() -> list[Group]:
    """Section 8.7."""
    return [_products(), _pays()]


def _products() -> Group:
    group = Group(
        "publicProducts",
        "8.7",
        "vectors: update files, the round's updates and the public vectors alike; exponents: of each vector, one a "
        "tensor. products is P, all with all.",
    )
    elements = [300, 5, 256]
    manifest = manifest_of([str(size) for size in elements])
    vectors = [bytes(update_file(f"public {label}", manifest, 60)) for label in "abcd"]
    exponents = {
        "the same exponents": [(-12, -12, -12)] * 4,
        "tensors of different sizes": [(-10, 2, -14)] * 4,
        "each vector in its own exponents": [(-12, -10, -9), (-11, -12, -9), (-12, -12, -8), (-14, -3, -9)],
        "a shift of more than 8 bits": [(-20, -12, -12), (-11, -12, -12), (-12, -21, -12), (-12, -12, -12)],
    }
    for comment, one in exponents.items():
        group.valid(comment, {"elements": elements, "exponents": one, "vectors": vectors})
    group.valid("a zero vector", {"elements": elements, "exponents": [(-12, -9, -9)] * 2, "vectors": [
        bytes([128]) * manifest.size, vectors[0],
    ]})  # fmt: skip
    return group


def _pays() -> Group:
    group = Group(
        "pays",
        "8.7",
        "table: cosines of the updates (the first k, one a weight) and of the public vectors behind them. newParts is "
        "R, confirmed is E, noise is B, shares is N.",
    )

    def add(
        comment: str, table: Sequence[Sequence[int]], weights: Sequence[int], dimensions: int = 1 << 20
    ) -> None:
        group.valid(comment, {"table": table, "weights": weights, "dimensions": dimensions}, ["Pay"])

    def symmetric(label: str, size: int, most: int) -> list[list[int]]:
        drawn = iter(stream_integers(f"pays {label}", size * size, most))
        rows = [[next(drawn) for _ in range(size)] for _ in range(size)]
        return [[UNIT if i == j else rows[min(i, j)][max(i, j)] for j in range(size)] for i in range(size)]

    near = symmetric("near", 9, 9_000)
    add("no public vector", [row[:5] for row in near[:5]], [3, 3, 3, 3, 3])
    add("four public vectors", near, [65536, 40000, 30000, 65536, 20000])
    add("weights of half, less and none", near, [65536, 32768, 8000, 65536, 0])
    add("one update", near, [1])
    add("two updates: none is left out", near, [5, 5])
    add("three updates: one is left out", near, [5, 5, 5])
    add("noise explains about as much as the median", near, [1] * 5, 1000)
    add("noise explains a third of the median", near, [1] * 5, 3000)
    add("few dimensions: noise explains everything", near, [1] * 5, 1)
    add("no dimension", near, [1] * 5, 0)
    equal = [[UNIT] * 6 for _ in range(6)]
    add("all vectors are the same: nothing is new", equal, [1, 1, 1])
    opposite = [[UNIT if (i + j) % 2 == 0 else -UNIT for j in range(6)] for i in range(6)]
    add("public vectors that are each other's opposite", opposite, [1, 1])
    zero = [[0] * 6 for _ in range(6)]
    add("zero vectors", zero, [1, 1, 1])
    copied = [list(row) for row in near]
    for place in range(9):
        copied[0][place] = copied[place][0] = near[6][place]
    copied[0][0] = copied[0][6] = copied[6][0] = UNIT
    add("an update that is a public vector", copied, [7, 7, 7, 7, 7])
    for number in range(3):
        wild = symmetric(f"wild {number}", 12, UNIT)
        add("cosines that no vectors have: entries are clamped, pivots left out", wild, [9, 8, 7, 6])
    impossible = [[UNIT if i == j else 0 for j in range(6)] for i in range(6)]
    for i, j in ((2, 3), (3, 4), (0, 4), (1, 3)):
        impossible[i][j] = impossible[j][i] = UNIT
    impossible[0][3] = impossible[3][0] = 4
    add("entries are clamped: one vector is like two that are not alike", impossible, [1, 1])
    two_groups = [
        [UNIT if i == j or min(i, j) >= 4 else 1 if max(i, j) < 4 else 0 for j in range(8)] for i in range(8)
    ]
    add("two groups, one of equal updates", two_groups, [1] * 8, 1 << 40)
    add("the last public vector brings nothing new", [
        *([*row, row[8]] for row in near), [*near[8], UNIT],
    ], [1] * 5)  # fmt: skip
    return group

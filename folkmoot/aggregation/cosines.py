# SPDX-License-Identifier: Apache-2.0
"""Cosine similarity in integers, the same on every machine (docs/protocol.md section 8)."""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt

UNIT = 1 << 16
"""The unit of cosines, clip factors, multipliers and weights: they are in 1/UNIT."""


def cosine(product: int, square: int, other_square: int) -> int:
    """Return the cosine similarity of two vectors in 1/UNIT, rounded towards 0; 0 if one of them is 0.

    Args:
        product: Inner product of both.
        square: Inner product of the first with itself.
        other_square: Inner product of the second with itself.

    Returns:
        ``sgn(p) * floor(sqrt(floor(2^32 p^2 / (s t))))``, from -UNIT to UNIT.
    """
    if square <= 0 or other_square <= 0:
        return 0
    size = min(isqrt((product * product << 32) // (square * other_square)), UNIT)
    return size if product >= 0 else -size


def cosine_matrix(products: Sequence[Sequence[int]]) -> tuple[tuple[int, ...], ...]:
    """Return the cosines of all pairs, in 1/UNIT, from k rows of k exact inner products; each pair is computed once."""
    squares = [row[i] for i, row in enumerate(products)]
    lower = [
        [cosine(product, squares[i], square) for product, square in zip(row, squares[: i + 1], strict=False)]
        for i, row in enumerate(products)
    ]
    return tuple((*row, *(below[i] for below in lower[i + 1 :])) for i, row in enumerate(lower))

# SPDX-License-Identifier: Apache-2.0
"""Cosines in integers: no float, no machine can change one (docs/protocol.md section 8)."""

from __future__ import annotations

from math import isqrt

UNIT = 1 << 16
"""What stands for 1 in cosines, clip factors and weights."""


def cosine(product: int, square: int, other_square: int) -> int:
    """Cosine of two vectors in units of 1/UNIT, rounded towards 0; 0 if one of them is 0.

    Args:
        product: Inner product.
        square: The first one's product with itself.
        other_square: The second one's.

    Returns:
        ``sgn(p) * floor(sqrt(floor(2^32 p^2 / (s t))))``, from -UNIT to UNIT.
    """
    if square <= 0 or other_square <= 0:
        return 0
    size = min(isqrt((product * product << 32) // (square * other_square)), UNIT)
    return size if product >= 0 else -size

# SPDX-License-Identifier: Apache-2.0
"""The numbers of the global state: int64 with 26 fractional bits (docs/protocol.md section 1).

This module knows no tensors: it uses plain vectors.
"""

from __future__ import annotations

import numpy as np

from folkmoot.errors import InputError
from folkmoot.protocol.arrays import F32, F64, I64

FRACTION_BITS = 26
"""The integer ``x`` stands for ``x * 2^-FRACTION_BITS``."""

ONE = 1 << FRACTION_BITS
"""The integer that stands for 1.0."""

STATE_BOUND = (1 << 48) - 1
"""Largest absolute value of a state integer; 4194304.0 as a weight. Below 2^53: exact in float64."""

LEAF = 256
"""Coordinates of one leaf."""

_CHUNK = 1 << 16  # coordinates per numpy step, so that no float64 of all values is in memory


def to_float32(values: I64) -> F32:
    """Round state values to float32, once, to the nearest, ties to even.

    Args:
        values: int64 of any shape, within ±STATE_BOUND.

    Returns:
        float32 of the same shape.
    """
    rounded: F32 = np.empty(values.shape, dtype=np.float32)
    source, target = values.reshape(-1), rounded.reshape(-1)
    for at in range(0, source.size, _CHUNK):
        target[at : at + _CHUNK] = source[at : at + _CHUNK] * 2.0**-FRACTION_BITS
    return rounded


def from_float(values: F32 | F64) -> I64:
    """Bring float weights into the state: ``floor(w * 2^26 + 1/2)`` in float64, clamped. For the genesis.

    Args:
        values: float32 or float64 of any shape, finite.

    Returns:
        int64 of the same shape, within ±STATE_BOUND.

    Raises:
        InputError: A value is NaN or infinite.
    """
    if not np.isfinite(values).all():
        raise InputError(
            "A weight is NaN or infinite.", remedy="Start from finite weights.", code="not-finite"
        )
    limit = float(STATE_BOUND)
    scaled = np.clip(values.astype(np.float64), -limit, limit) * float(
        ONE
    )  # the clip keeps the product finite
    return np.clip(np.floor(scaled + 0.5), -limit, limit).astype(np.int64)

# SPDX-License-Identifier: Apache-2.0
"""The mean that a round publishes: its aggregate, divided and rounded to small integers (docs/protocol.md section 9).

The outer step needs nothing else of the updates. Coordinates are independent, so any range of leaves can be recomputed
alone. This module does not know how an aggregate is made.
"""

from __future__ import annotations

import numpy as np

from folkmoot.errors import EncodingError, InputError
from folkmoot.protocol.arrays import I64, U8
from folkmoot.protocol.codec import QMAX, ZERO, check_padding
from folkmoot.protocol.fixed_point import LEAF
from folkmoot.protocol.manifest import Manifest

MAX_WEIGHT_SUM = 16_843_009
"""Largest sum of weights: ``255 * MAX_WEIGHT_SUM = 2^32 - 1``, so the lanes of a sum can't overflow."""


def largest_scale(bound: int = QMAX) -> int:
    """Return the largest mean scale of a policy whose updates are within ±bound: the mean is within ±127."""
    return QMAX // bound


def check_scale(scale: int) -> int:
    """Return a mean scale.

    Raises:
        InputError: It is not between 1 and 127.
    """
    if not 1 <= scale <= QMAX:
        raise InputError(f"The mean scale is {scale}, not 1 to {QMAX}.")
    return scale


def mean_of(aggregate: I64, weight_sum: int, scale: int) -> I64:
    """Divide an aggregate: ``B = floor((2 S A + W) / (2 W))``, which is ``S A / W`` with halves rounded up.

    The quotient is taken in binary64, which gives the exact result: dividend and divisor are below 2^40, and a quotient
    below 2^8 that is no integer is at least 1 / 2^26 away from one, more than a rounding of 2^-53 can move it.

    Args:
        aggregate: int64[m], ``A``, within ±127 W / S.
        weight_sum: ``W``, 1 to MAX_WEIGHT_SUM.
        scale: ``S``, the policy's mean scale.

    Returns:
        int64[m], within ±127.

    Raises:
        InputError: W or S is out of range.
    """
    if not 1 <= weight_sum <= MAX_WEIGHT_SUM:
        raise InputError(f"The sum of weights is {weight_sum}, not 1 to {MAX_WEIGHT_SUM}.")
    quotient = aggregate.astype(np.float64)
    quotient *= 2 * check_scale(scale)
    quotient += weight_sum
    quotient /= 2 * weight_sum
    return np.floor(quotient, out=quotient).astype(np.int64)


def mean_leaves(mean: I64) -> U8:
    """Bytes of the mean's leaves: int64[256 n] to uint8[n, 256], ``B + 128``."""
    return (mean + ZERO).astype(np.uint8).reshape(-1, LEAF)


def mean_values(leaves: U8) -> I64:
    """Read the bytes of the mean's leaves, uint8[n, 256], back into int64[256 n]."""
    return leaves.reshape(-1).astype(np.int64) - ZERO


def check_mean(leaves: U8, manifest: Manifest, first: int, bound: int) -> None:
    """Check that leaves can be a mean: within ±bound, and 0x80 in the padding.

    Args:
        leaves: uint8[k, 256], the leaves from ``first`` on.
        manifest: The model's layout.
        first: Index of the first leaf.
        bound: ``S Q``.

    Raises:
        EncodingError: They can't.
    """
    wrong = ((leaves < ZERO - bound) | (leaves > ZERO + bound)).any(axis=1)
    if wrong.any():
        raise EncodingError(
            f"Leaf {first + int(np.argmax(wrong))} of the mean has an integer beyond ±{bound}."
        )
    check_padding(leaves, manifest, first)

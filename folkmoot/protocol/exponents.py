# SPDX-License-Identifier: Apache-2.0
"""Compute the exponents of the next round, in integers (docs/protocol.md section 10).

Each entry with a weight above 0 has one vote per tensor, and the lower median of the votes moves the tensor's exponent:
a minority can't move it beyond the honest votes. A vote depends on where an update's energy is. The
ratio ``S / A`` of the sum of squares to the sum of absolute values is the amplitude of a coordinate weighted by its
share of A: rows of zeros (an embedding's, of tokens that nobody used) do not count. The exponents of a federation with
privacy settings never change (``Manifest.private``), and nobody votes.

This module knows nothing of rules, files or chains.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from folkmoot.protocol.header import MAX_EXPONENT, MIN_EXPONENT

TARGET = 16
"""``S / A`` that the votes aim at, up to a factor of the square root of 2. 127 is eight times that."""

MAX_RISE = 4
"""Most that an exponent rises in one round."""

MAX_FALL = 4
"""Most that it falls."""

REST = -12
"""Down to this the exponent falls by 1 in a round in which nobody changed the tensor. If the exponent was too high, so
that small changes were rounded to 0, they show again; if the tensor was frozen, the step at which it goes on suits what
training usually changes."""

CUT = 64
"""Smallest bound to which an update is cut under the default cap on its sum of squares (64^2 a coordinate)."""


class TensorSums(NamedTuple):
    """What a vote needs of one tensor of one update."""

    absolute: int
    """``A``: sum of ``|q|``."""
    squares: int
    """``S``: sum of ``q^2``."""
    largest: int
    """``M``: largest ``|q|``."""


def vote(sums: TensorSums) -> int:
    """By how much one entry wants a tensor's exponent to change.

    Args:
        sums: Of the entry's integers in the tensor.

    Returns:
        A change from -MAX_FALL to MAX_RISE.
    """
    absolute, squares, largest = sums
    if absolute == 0:
        return 0  # frozen, or not used by this contributor: it can't know
    if largest >= CUT and 8 * squares >= 7 * largest * absolute:
        return MAX_RISE  # nearly all energy is at the cut, so how large the changes were is not known
    reached, wanted = 2 * squares**2 << 2 * MAX_FALL, (TARGET * absolute) ** 2
    for change in range(MAX_RISE - 1, -MAX_FALL, -1):
        if reached >= wanted << 2 * (change + MAX_FALL):
            return change
    return -MAX_FALL


def next_exponent(exponent: int, sums: Sequence[TensorSums]) -> int:
    """Exponent of one tensor in the next round.

    Args:
        exponent: The tensor's exponent in this round.
        sums: Of each entry with a weight above 0; at least one.
    """
    if not any(one.absolute for one in sums):
        return exponent - 1 if exponent > REST else exponent
    moved = exponent + sorted(map(vote, sums))[(len(sums) - 1) // 2]
    return min(max(moved, MIN_EXPONENT), MAX_EXPONENT)


def next_exponents(exponents: Sequence[int], sums: Sequence[Sequence[TensorSums]]) -> tuple[int, ...]:
    """Exponents of the next round.

    Args:
        exponents: One a tensor, of this round.
        sums: For each entry with a weight above 0 those of each tensor; at least one entry.
    """
    return tuple(
        next_exponent(exponent, [entry[tensor] for entry in sums])
        for tensor, exponent in enumerate(exponents)
    )

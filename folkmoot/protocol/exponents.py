# SPDX-License-Identifier: Apache-2.0
"""Compute the exponents of the next round, in integers (docs/protocol.md section 10).

Each entry with a weight above 0 has one vote per tensor, and the lower median of the votes moves the tensor's exponent:
a minority can't move it beyond the honest votes. A vote depends on where an update's energy is. The ratio ``S / A`` of
the sum of squares to the sum of absolute values is the amplitude of a coordinate weighted by its share of A: rows of
zeros (an embedding's, of tokens that nobody used) do not count. At width 2 each integer is 0 or ±1 and the ratio is
always 1. There the vote depends on the density ``A / N``: the share of coordinates other than 0, in the blocks of 8
that have any. The exponents of a federation with privacy settings (``Manifest.private``) never change: nobody votes.

This module knows nothing of rules, files or chains.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from folkmoot.protocol.header import MAX_EXPONENT, MIN_EXPONENT

TARGETS = {8: 16, 4: 3}
"""``S / A`` that the votes aim at by width, up to a factor of the square root of 2. At width 8, 127 is eight times
that."""

DENSITY = (1, 4)
"""The same of ``A / N`` at width 2: a quarter."""

MAX_RISE = 4
"""Most that an exponent rises in one round."""

MAX_FALL = 4
"""Most that it falls."""

REST = -12
"""Down to this the exponent falls by 1 in a round in which nobody changed the tensor. If the exponent was too high, so
that small changes were rounded to 0, they show again; if the tensor was frozen, the step at which it goes on suits what
training usually changes."""

CUTS = {8: 64, 4: 4}
"""Smallest bound to which an update is cut under the default cap on its sum of squares, by width: the cap is the square
of this a coordinate (``folkmoot.protocol.policy``)."""


class TensorSums(NamedTuple):
    """What a vote needs of one tensor of one update."""

    absolute: int
    """``A``: sum of ``|q|``."""
    squares: int
    """``S``: sum of ``q^2``."""
    largest: int
    """``M``: largest ``|q|``."""
    elements: int
    """``N``: number of elements, without padding, in the blocks of 8 that have an integer other than 0."""


def vote(sums: TensorSums, width: int) -> int:
    """By how much one entry wants a tensor's exponent to change.

    Args:
        sums: Of the entry's integers in the tensor.
        width: Bits of an encoded coordinate.

    Returns:
        A change from -MAX_FALL to MAX_RISE.
    """
    absolute, squares, largest, elements = sums
    if absolute == 0:
        return 0  # frozen, or not used by this contributor: it can't know
    if width == 2:
        saturated = 8 * absolute >= 7 * elements
        reached, wanted = 2 * (DENSITY[1] * absolute) ** 2, (DENSITY[0] * elements) ** 2
    else:
        saturated = largest >= CUTS[width] and 8 * squares >= 7 * largest * absolute
        reached, wanted = 2 * squares**2, (TARGETS[width] * absolute) ** 2
    if saturated:
        return MAX_RISE  # nearly all energy is at the cut, so how large the changes were is not known
    reached <<= 2 * MAX_FALL
    for change in range(MAX_RISE - 1, -MAX_FALL, -1):
        if reached >= wanted << 2 * (change + MAX_FALL):
            return change
    return -MAX_FALL


def next_exponent(exponent: int, sums: Sequence[TensorSums], width: int) -> int:
    """Exponent of one tensor in the next round.

    Args:
        exponent: The tensor's exponent in this round.
        sums: Of each entry with a weight above 0; at least one.
        width: Bits of an encoded coordinate in this round.
    """
    if not any(sum_.absolute for sum_ in sums):
        return exponent - 1 if exponent > REST else exponent
    moved = exponent + sorted(vote(sum_, width) for sum_ in sums)[(len(sums) - 1) // 2]
    return min(max(moved, MIN_EXPONENT), MAX_EXPONENT)


def next_exponents(
    exponents: Sequence[int], sums: Sequence[Sequence[TensorSums]], width: int
) -> tuple[int, ...]:
    """Exponents of the next round.

    Args:
        exponents: One a tensor, of this round.
        sums: For each entry with a weight above 0 those of each tensor; at least one entry.
        width: Bits of an encoded coordinate in this round.
    """
    return tuple(
        next_exponent(exponent, [entry[tensor] for entry in sums], width)
        for tensor, exponent in enumerate(exponents)
    )

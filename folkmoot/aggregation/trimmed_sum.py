# SPDX-License-Identifier: Apache-2.0
"""The second form of aggregate: the coordinate-wise trimmed sum (docs/protocol.md sections 3 and 9).

Source: Yin, Chen, Kannan, Bartlett, ICML 2018, arXiv 1803.01498. Per coordinate the t smallest and the t
largest of the k included values are left out, the others are added. Coordinates are independent and the order
of the updates does not matter, so any range of leaves can be recomputed alone. This module does not know how
updates are included or excluded.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from folkmoot.errors import InputError
from folkmoot.protocol import acceleration
from folkmoot.protocol.arrays import U8, U32
from folkmoot.protocol.fixed_point import LEAF
from folkmoot.protocol.updates import UpdateReader

_CHUNK_BYTES = 1 << 20  # bytes of all included updates that are in memory at a time
_BITS = 8


def trimmed_at_each_end(trim: int, included: int) -> int:
    """Return ``t' = min(t, floor((k - 1) / 2))``: how many of k >= 1 values are trimmed at each end; one is left."""
    return min(trim, (included - 1) // 2)


def check_binary_weights(weights: Sequence[int]) -> int:
    """Return k, the number of included updates: those with the weight 1.

    Raises:
        InputError: ``invalid-weights``: a weight is neither 0 nor 1, or all are 0.
    """
    if any(weight not in (0, 1) for weight in weights) or not any(weights):
        raise InputError(
            "In a trimmed sum each weight is 0 or 1: a weight is neither, or all are 0.",
            code="invalid-weights",
        )
    return sum(weights)


def sum_trimmed(
    updates: Sequence[UpdateReader | None], weights: Sequence[int], trim: int, first: int, last: int
) -> U32:
    """Sum the middle values of each coordinate of the leaves ``first`` to ``last`` (exclusive).

    ``U_j`` = sum of the ``k - 2 t'`` middle values of ``q_ij + 128``. ``U_j <= 255 * 2^16``, so uint32 holds it.

    Args:
        updates: The updates; None is allowed where the weight is 0.
        weights: One an update, as ``check_binary_weights`` wants them.
        trim: t.
        first: First leaf.
        last: One after the last leaf.

    Returns:
        uint32[last - first, 256].

    Raises:
        InputError: A weight is neither 0 nor 1, all are 0, or one is 1 where there is no update.
        ArtifactError: An update can't be read.
    """
    count = check_binary_weights(weights)
    included = [
        update for update, weight in zip(updates, weights, strict=True) if weight and update is not None
    ]
    if len(included) != count:
        raise InputError("An update that was not delivered has a weight above 0.", code="invalid-weights")
    ends = trimmed_at_each_end(trim, count)
    total = np.zeros((last - first, LEAF), dtype=np.uint32)
    chunk = max(1, _CHUNK_BYTES // (LEAF * count))
    for start in range(first, last, chunk):
        end = min(start + chunk, last)
        values = np.stack([update.read(start, end).reshape(-1) for update in included])
        part = total[start - first : end - first].reshape(-1)
        kernels = acceleration.kernels(values.size)
        if kernels is not None:
            kernels.add_trimmed(values, ends, part)
        else:
            _add_trimmed(values, ends, part)
    return total


def _add_trimmed(values: U8, ends: int, total: U32) -> None:
    """Add the middle values of the columns of uint8[k, m] to uint32[m].

    Every value is clamped to the range from the lowest to the highest middle value. Each trimmed value is then an end
    of that range, and these are subtracted from the sum.
    """
    low = _ranked(values, ends)
    high = _ranked(values, len(values) - 1 - ends)
    for row in values:
        total += np.clip(row, low, high)
    total -= np.uint32(ends) * (low.astype(np.uint32) + high)


def _ranked(values: U8, rank: int) -> U8:
    """Return uint8[m], the value with this rank (from 0) in each column: at most ``rank`` values are below it.

    It is found bit by bit.
    """
    ranked = np.zeros(values.shape[1], dtype=np.uint8)
    for bit in reversed(range(_BITS)):
        tried = ranked | np.uint8(1 << bit)
        below = np.zeros(ranked.shape, dtype=np.uint32)
        for row in values:
            below += row < tried
        ranked = np.where(below <= rank, tried, ranked)
    return ranked

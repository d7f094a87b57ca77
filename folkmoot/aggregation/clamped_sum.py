# SPDX-License-Identifier: Apache-2.0
"""The form of aggregate of ``clamped_mean``: a weighted sum of clamped values (docs/protocol/arithmetic.md section 9).

In each coordinate no update counts for more than eight times the median magnitude of the included updates, or one step.
A backdoor lives on coordinates that hardly any honest update moves, where a few large values are the whole sum: rules
that see inner products do not see it. Magnitudes are ranked by heads and not by weight. Coordinates are independent and
the order of the updates does not matter, so any range of leaves can be recomputed alone. This module does not know how
weights are computed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from folkmoot.aggregation.weighted_sum import check_weights
from folkmoot.errors import InputError
from folkmoot.protocol import acceleration
from folkmoot.protocol.arrays import U8, U32
from folkmoot.protocol.fixed_point import LEAF
from folkmoot.protocol.packing import ZERO, largest
from folkmoot.protocol.updates import UpdateReader

FACTOR = 8
"""How many times the ranked magnitude a value may be. Chosen by drills: 8 costs no accuracy that can be measured, 3
costs almost a point."""

_CHUNK_BYTES = 1 << 20  # bytes of all included updates that are in memory at a time
_LARGEST = largest(8)
_BITS = 7  # of a magnitude


def rank_of(included: int) -> int:
    """Return the rank, from 0 for the smallest, of the magnitude that decides among k: the lower median."""
    return (included - 1) // 2


def sum_clamped(updates: Sequence[UpdateReader | None], weights: Sequence[int], first: int, last: int) -> U32:
    """Sum the leaves ``first`` to ``last`` (exclusive): ``U_j = sum_i w_i (clamp(q_ij, -b_j, b_j) + 128)``.

    ``b_j = max(1, 8 m_j)``, with ``m_j`` the lower median of ``|q_ij|`` over the updates with a weight above 0.
    ``U_j <= 255 W <= 2^32 - 1``, so uint32 holds it.

    Args:
        updates: The updates; None is allowed where the weight is 0.
        weights: One an update, as ``check_weights`` wants them.
        first: First leaf.
        last: One after the last leaf.

    Returns:
        uint32[last - first, 256].

    Raises:
        InputError: ``invalid-weights``: ``check_weights`` refuses them, or one is above 0 where there is no update.
        ArtifactError: An update can't be read.
    """
    check_weights(weights)
    included = [(update, weight) for update, weight in zip(updates, weights, strict=True) if weight]
    rank, factors = rank_of(len(included)), np.array([weight for _, weight in included], dtype=np.uint32)
    total = np.zeros((last - first, LEAF), dtype=np.uint32)
    chunk = max(1, _CHUNK_BYTES // (LEAF * len(included)))
    for start in range(first, last, chunk):
        end = min(start + chunk, last)
        values = np.empty((len(included), LEAF * (end - start)), dtype=np.uint8)
        for row, (update, _) in zip(values, included, strict=True):
            if update is None:
                raise InputError(
                    "An update that was not delivered has a weight above 0.", code="invalid-weights"
                )
            row[:] = update.read(start, end).reshape(-1)
        part = total[start - first : end - first].reshape(-1)
        kernels = acceleration.kernels(values.size)
        if kernels is not None:
            kernels.add_clamped(values, factors, rank, part)
        else:
            _add_clamped(values, factors, rank, part)
    return total


def ranked_magnitudes(values: U8, rank: int) -> U8:
    """Return uint8[m], the magnitude ``|q|`` with this rank in each column of uint8[k, m], found bit by bit."""
    magnitudes = np.maximum(values, ZERO) - np.minimum(values, ZERO)
    ranked = np.zeros(values.shape[1], dtype=np.uint8)
    for bit in reversed(range(_BITS)):
        tried = ranked | np.uint8(1 << bit)
        below = np.zeros(ranked.shape, dtype=np.uint16)
        for row in magnitudes:
            below += row < tried
        ranked = np.where(below <= rank, tried, ranked)
    return ranked


def _add_clamped(values: U8, weights: U32, rank: int, total: U32) -> None:
    """Add ``weight * byte`` of each row of uint8[k, m] to uint32[m], clamped."""
    bound = np.clip(ranked_magnitudes(values, rank).astype(np.int16) * FACTOR, 1, _LARGEST).astype(np.uint8)
    low, high = np.uint8(ZERO) - bound, np.uint8(ZERO) + bound
    for row, weight in zip(values, weights, strict=True):
        total += np.clip(row, low, high).astype(np.uint32) * weight

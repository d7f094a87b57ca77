# SPDX-License-Identifier: Apache-2.0
"""The aggregate: the exact weighted sum of a round's updates (docs/protocol.md sections 3 and 9).

Integer sums do not depend on the order of the summands, and coordinates are independent, so any range of leaves can
be recomputed alone. This module does not know how weights are computed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from folkmoot.errors import InputError
from folkmoot.protocol import acceleration
from folkmoot.protocol.arrays import I64, U32
from folkmoot.protocol.fixed_point import LEAF
from folkmoot.protocol.mean import MAX_WEIGHT_SUM
from folkmoot.protocol.updates import UpdateReader

_TOGETHER = 4  # updates that the compiled loop adds at a time


def check_weights(weights: Sequence[int]) -> int:
    """Return ``W``, the sum of weights.

    Raises:
        InputError: A weight is negative, or the sum is not between 1 and MAX_WEIGHT_SUM.
    """
    total = sum(weights)
    if any(weight < 0 for weight in weights) or not 1 <= total <= MAX_WEIGHT_SUM:
        raise InputError(
            f"The weights add up to {total}, not to 1 to {MAX_WEIGHT_SUM}, or one is negative.",
            code="invalid-weights",
        )
    return total


def sum_lanes(updates: Sequence[UpdateReader | None], weights: Sequence[int], first: int, last: int) -> U32:
    """Sum the leaves ``first`` to ``last`` (exclusive): ``U_j = sum_i w_i (q_ij + 128)``.

    ``U_j <= 255 W <= 2^32 - 1``, so uint32 holds it.

    Args:
        updates: The updates; None is allowed where the weight is 0.
        weights: One an update, as ``check_weights`` wants them.
        first: First leaf.
        last: One after the last leaf.

    Returns:
        uint32[last - first, 256].

    Raises:
        InputError: A weight is above 0 where there is no update.
        ArtifactError: An update can't be read.
    """
    weighted = []
    for update, weight in zip(updates, weights, strict=True):
        if weight == 0:
            continue
        if update is None:
            raise InputError("An update that was not delivered has a weight above 0.", code="invalid-weights")
        weighted.append((update, weight))
    total = np.zeros(LEAF * (last - first), dtype=np.uint32)
    kernels = acceleration.kernels(total.size)
    scratch = np.empty_like(total)
    for start in range(0, len(weighted), _TOGETHER):
        group = weighted[start : start + _TOGETHER]
        rows = [update.read(first, last).reshape(-1) for update, _ in group]
        factors = np.zeros(_TOGETHER, dtype=np.uint32)
        factors[: len(group)] = [weight for _, weight in group]
        if kernels is not None:
            rows += rows[:1] * (_TOGETHER - len(rows))  # with the factor 0
            kernels.add_weighted(*rows, factors, total)
            continue
        for row, factor in zip(rows, factors, strict=False):
            np.multiply(row, factor, out=scratch, dtype=np.uint32)
            total += scratch
    return total.reshape(-1, LEAF)


def aggregate_of(lanes: U32, weight_sum: int) -> I64:
    """``A_j = U_j - 128 W``: uint32[n, 256] to int64[256 n]."""
    return lanes.reshape(-1).astype(np.int64) - 128 * weight_sum

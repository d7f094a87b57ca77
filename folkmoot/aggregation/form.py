# SPDX-License-Identifier: Apache-2.0
"""The form of aggregate of a rule: a function of its weights and the updates (docs/protocol/arithmetic.md section 9).

``clamped_mean`` has the clamped sum, all others the weighted sum. The form follows from the rule's name alone, the
aggregate from the form, the weights and the updates, the mean from the aggregate and the mean scale. So any leaf can be
recomputed alone, as a fraud proof has to. This module does not know how a rule weighs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from folkmoot.aggregation.clamped_sum import sum_clamped
from folkmoot.aggregation.weighted_sum import aggregate_of, check_weights, sum_lanes
from folkmoot.protocol.arrays import U8, U32
from folkmoot.protocol.mean import mean_leaves, mean_of
from folkmoot.protocol.policy import CLAMPED_MEAN
from folkmoot.protocol.updates import UpdateReader

Sum = Callable[[Sequence[UpdateReader | None], Sequence[int], int, int], U32]
"""Sums leaves; arguments, result and errors as ``sum_lanes``."""


def sum_of(rule: str) -> Sum:
    """Return the sum of a rule, by its name."""
    return sum_clamped if rule == CLAMPED_MEAN else sum_lanes


def mean_of_updates(
    rule: str,
    updates: Sequence[UpdateReader | None],
    weights: Sequence[int],
    scale: int,
    first: int,
    last: int,
) -> U8:
    """Compute the leaves ``first`` to ``last`` (exclusive) of the mean.

    Args:
        rule: Name of the policy's rule.
        updates: The updates; None is allowed where the weight is 0.
        weights: One an update.
        scale: ``S``, the policy's mean scale.
        first: First leaf.
        last: One after the last leaf.

    Returns:
        uint8[last - first, 256], ``B + 128``.

    Raises:
        InputError: ``invalid-weights``: no rule gives these, or one is above 0 where there is no update.
        ArtifactError: An update can't be read.
    """
    total = check_weights(weights)
    aggregate = aggregate_of(sum_of(rule)(updates, weights, first, last), total)
    return mean_leaves(mean_of(aggregate, total, scale))

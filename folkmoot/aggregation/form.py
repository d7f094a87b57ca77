# SPDX-License-Identifier: Apache-2.0
"""The form of aggregate of a rule: a function of its weights and the updates (docs/protocol.md section 9).

The trimmed rules have the trimmed sum, all others the weighted sum. The form follows from the policy alone, the
aggregate from the form, the weights and the updates, the mean from the aggregate and the mean scale. So any leaf can be
recomputed alone, as a fraud proof has to. This module knows the names of the trimmed rules, not how they weigh.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from folkmoot.aggregation.interface import expect_parameters
from folkmoot.aggregation.rules import guarded_trimmed_mean, trimmed_mean
from folkmoot.aggregation.trimmed_sum import check_binary_weights, sum_trimmed, trimmed_at_each_end
from folkmoot.aggregation.weighted_sum import aggregate_of, check_weights, sum_lanes
from folkmoot.protocol.arrays import U8, U32
from folkmoot.protocol.mean import mean_leaves, mean_of
from folkmoot.protocol.updates import UpdateReader

_TRIMMED = {module.NAME: module.PARAMETERS for module in (trimmed_mean, guarded_trimmed_mean)}


@dataclass(frozen=True)
class Form:
    """A form of aggregate."""

    trim: int | None = None
    """t of the trimmed sum; None for the weighted sum."""

    def divisor(self, weights: Sequence[int]) -> int:
        """``W'``, what the aggregate is divided by: the sum of weights, or the number of values that are left.

        Raises:
            InputError: ``invalid-weights``: no rule of this form gives these.
        """
        if self.trim is None:
            return check_weights(weights)
        count = check_binary_weights(weights)
        return count - 2 * trimmed_at_each_end(self.trim, count)

    def lanes(
        self, updates: Sequence[UpdateReader | None], weights: Sequence[int], first: int, last: int
    ) -> U32:
        """``U`` for the leaves ``first`` to ``last``; arguments, result and errors as ``sum_lanes``."""
        if self.trim is None:
            return sum_lanes(updates, weights, first, last)
        return sum_trimmed(updates, weights, self.trim, first, last)

    def mean(
        self,
        updates: Sequence[UpdateReader | None],
        weights: Sequence[int],
        scale: int,
        first: int,
        last: int,
    ) -> U8:
        """Compute the leaves ``first`` to ``last`` (exclusive) of the mean.

        Args:
            updates: As in ``lanes``, like the errors.
            weights: As in ``lanes``.
            scale: ``S``, the policy's mean scale.
            first: First leaf.
            last: One after the last leaf.

        Returns:
            uint8[last - first, 256], ``B + 128``.
        """
        total = self.divisor(weights)
        aggregate = aggregate_of(self.lanes(updates, weights, first, last), total)
        return mean_leaves(mean_of(aggregate, total, scale))


def form_of(rule: str, parameters: Sequence[int]) -> Form:
    """Return the form of aggregate of a policy's rule.

    Raises:
        InputError: ``invalid-policy``: a trimmed rule has not its parameters.
    """
    names = _TRIMMED.get(rule)
    if names is None:
        return Form()
    expect_parameters(rule, parameters, names)
    return Form(parameters[names.index("t")])

# SPDX-License-Identifier: Apache-2.0
"""``geometric_median``: the point with the smallest sum of distances to the updates, by eight Weiszfeld steps.

Source: RFA (Pillutla, Kakade, Harchaoui 2019, arXiv 1912.13445). Every iterate is a weighted mean of the
updates, so the iteration runs on the weights and the Gram matrix alone. The number of steps is fixed and all
roots and divisions are integer: the result is exactly defined, and an approximation of the median. Assumes
``f < n / 2``. It can't stop colluders whose updates lie between the honest ones and their target
(ALIE), and sign flips cost it accuracy on data that is split unevenly.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt

from folkmoot.aggregation.interface import Gram, RoundFacts, Weighted, expect_parameters
from folkmoot.aggregation.references import ReferenceKind
from folkmoot.aggregation.stages.weighting_state import WeightingState, lower_median

NAME = "geometric_median"
PARAMETERS: tuple[str, ...] = ()
USES: frozenset[ReferenceKind] = frozenset()

STEPS = 8
"""Weiszfeld steps."""

_DISTANCE_DIVISOR = 16  # a distance is taken as at least a 16th of the median one, which bounds the weights


def distances_to_mean(gram: Gram, weights: Sequence[int]) -> list[int]:
    """Return ``floor(s |x_i - mean|)`` with ``s = sum w`` and ``mean = sum_j w_j x_j / s``, for each update.

    Args:
        gram: Products of the updates.
        weights: One an update, at least 0, not all 0.
    """
    total = sum(weights)
    products = [sum(weight * product for weight, product in zip(weights, row, strict=True)) for row in gram]
    square = sum(weight * product for weight, product in zip(weights, products, strict=True))
    return [
        isqrt(max(0, total * total * row[i] - 2 * total * products[i] + square)) for i, row in enumerate(gram)
    ]


def weiszfeld(gram: Gram, steps: int = STEPS) -> list[int]:
    """Return the weights of the updates after Weiszfeld's iteration from the mean with equal weights.

    In each step ``r_i`` is the distance as ``distances_to_mean`` gives it, R their lower median, and
    ``w_i = floor(2^16 R / max(r_i, ceil(R / 16), 1))``, at least 1. With ``R = 0`` the iteration ends.

    Args:
        gram: Products of k updates.
        steps: How many.

    Returns:
        k integers from 1 to 2^20.
    """
    weights = [1] * len(gram)
    if not weights:
        return weights
    for _ in range(steps):
        distances = distances_to_mean(gram, weights)
        median = lower_median(distances)
        if median == 0:
            break
        smallest = -(-median // _DISTANCE_DIVISOR)
        weights = [max(1, (median << 16) // max(distance, smallest)) for distance in distances]
    return weights


def by_geometric_median(state: WeightingState) -> WeightingState:
    """Set the multipliers of the included (clipped) updates to their weights in the geometric median."""
    included = state.included
    gram = state.clipped_gram
    weights = iter(weiszfeld(tuple(tuple(gram[i][j] for j in included) for i in included)))
    return state.with_multipliers(
        [next(weights) if multiplier > 0 else 0 for multiplier in state.multipliers]
    )


def weigh(facts: RoundFacts, parameters: Sequence[int], /) -> list[Weighted]:
    """Weigh as in the geometric median of all updates. Arguments, results and errors as ``interface.Rule``."""
    expect_parameters(NAME, parameters, PARAMETERS)
    return by_geometric_median(WeightingState.of(facts)).results()

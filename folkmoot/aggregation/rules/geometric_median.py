# SPDX-License-Identifier: Apache-2.0
"""``geometric_median``: the point with the smallest sum of distances to the updates, by a few Weiszfeld steps.

Source: RFA (Pillutla, Kakade, Harchaoui 2019, arXiv 1912.13445). Every iterate is a weighted mean of the
updates, so the iteration runs on the weights and the Gram matrix alone. The number of steps is fixed and all
roots and divisions are integer: it is a defined function near the median, not the median itself. Assumes
``f < n / 2``. It can't stop colluders who send what lies between the honest updates and where they want to go
(ALIE), and sign flips cost it accuracy on data that is split unevenly.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt

from folkmoot.aggregation.interface import Gram, RoundFacts, Weighted, expect_parameters
from folkmoot.aggregation.references import ReferenceKind
from folkmoot.aggregation.stages.ballot import Ballot, lower_median

NAME = "geometric_median"
PARAMETERS: tuple[str, ...] = ()
USES: frozenset[ReferenceKind] = frozenset()

STEPS = 8
"""Weiszfeld steps."""

_NEAREST = 16  # a distance counts as at least a 16th of the median one: no weight runs away


def distances_to_mean(gram: Gram, weights: Sequence[int]) -> list[int]:
    """``floor(s |x_i - mean|)`` with ``s = sum w`` and ``mean = sum_j w_j x_j / s``, for each update.

    Args:
        gram: Products of the updates.
        weights: One an update, at least 0, not all 0.
    """
    total = sum(weights)
    pulls = [sum(weight * product for weight, product in zip(weights, row, strict=True)) for row in gram]
    square = sum(weight * pull for weight, pull in zip(weights, pulls, strict=True))
    return [
        isqrt(max(0, total * total * row[i] - 2 * total * pulls[i] + square)) for i, row in enumerate(gram)
    ]


def weiszfeld(gram: Gram, steps: int = STEPS) -> list[int]:
    """Weights of the updates in the mean that Weiszfeld's iteration reaches from the plain mean.

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
        lengths = distances_to_mean(gram, weights)
        usual = lower_median(lengths)
        if usual == 0:
            break
        floor = -(-usual // _NEAREST)
        weights = [max(1, (usual << 16) // max(length, floor)) for length in lengths]
    return weights


def by_geometric_median(ballot: Ballot) -> Ballot:
    """Count the standing (shortened) updates by their weights in the geometric median."""
    standing = ballot.standing
    gram = ballot.shortened
    weights = iter(weiszfeld(tuple(tuple(gram[i][j] for j in standing) for i in standing)))
    return ballot.counted([next(weights) if vote > 0 else 0 for vote in ballot.votes])


def weigh(facts: RoundFacts, parameters: Sequence[int], /) -> list[Weighted]:
    """Weigh as in the geometric median of all updates. Arguments, results and errors as ``interface.Rule``."""
    expect_parameters(NAME, parameters, PARAMETERS)
    return by_geometric_median(Ballot.of(facts)).results()

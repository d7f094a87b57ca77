# SPDX-License-Identifier: Apache-2.0
"""``centered_clipping``: iterate a centre by the mean of the differences to the updates, clipped to the median norm.

Source: Karimireddy, He, Jaggi (ICML 2021, arXiv 2012.10333), with the radius taken from the round (the median
distance), since no constant fits every federation, and without the momentum of contributors. Each iterate is
a linear combination of the updates, so the iteration runs on its integer coefficients. The first centre is 0. Assumes
about a tenth of attackers in theory. It can't stop attacks aimed at its centre (Oezfatura et al. 2022, arXiv
2208.09894), nor a third of sign flippers on data that is split unevenly.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt

from folkmoot.aggregation.cosines import UNIT
from folkmoot.aggregation.interface import Gram, RoundFacts, Weighted, expect_parameters
from folkmoot.aggregation.references import ReferenceKind
from folkmoot.aggregation.stages.weighting_state import WeightingState, lower_median

NAME = "centered_clipping"
PARAMETERS: tuple[str, ...] = ()
USES: frozenset[ReferenceKind] = frozenset()

STEPS = 3
"""Iterations from the centre 0."""


def coefficients(gram: Gram, steps: int = STEPS) -> list[int]:
    """Return the coefficients of the updates after some steps, in 1/UNIT: each at least 0, the sum at most UNIT.

    With the coefficients ``a`` (all 0 at first) and ``D_i = 2^32 G_ii - 2^17 (G a)_i + a G a``, the squared
    distance of update i from the centre times 2^32: ``r_i = floor(sqrt(D_i))``, R their lower median,
    ``l_i = min(UNIT, floor(UNIT R / max(r_i, 1)))``, and with L the sum of the ``l_i`` and k their number
    ``a_i' = floor((a_i (k UNIT - L) + l_i UNIT) / (k UNIT))``.
    """
    count = len(gram)
    values = [0] * count
    if count == 0:
        return values
    for _ in range(steps):
        products = [sum(value * product for value, product in zip(values, row, strict=True)) for row in gram]
        square = sum(value * product for value, product in zip(values, products, strict=True))
        distances = [
            isqrt(max(0, UNIT * UNIT * row[i] - 2 * UNIT * products[i] + square))
            for i, row in enumerate(gram)
        ]
        radius = lower_median(distances)
        factors = [min(UNIT, UNIT * radius // max(distance, 1)) for distance in distances]
        total = sum(factors)
        values = [
            (value * (count * UNIT - total) + factor * UNIT) // (count * UNIT)
            for value, factor in zip(values, factors, strict=True)
        ]
    return values


def weigh(facts: RoundFacts, parameters: Sequence[int], /) -> list[Weighted]:
    """Weigh by the coefficients of the last centre. Arguments, results and errors as ``interface.Rule``."""
    expect_parameters(NAME, parameters, PARAMETERS)
    state = WeightingState.of(facts)
    included = state.included
    gram = facts.gram
    values = iter(coefficients(tuple(tuple(gram[i][j] for j in included) for i in included)))
    return state.with_multipliers(
        [next(values) if multiplier > 0 else 0 for multiplier in state.multipliers]
    ).results()

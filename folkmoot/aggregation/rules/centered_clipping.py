# SPDX-License-Identifier: Apache-2.0
"""``centered_clipping``: move from 0 towards the updates, each pull shortened to the median one.

Source: Karimireddy, He, Jaggi (ICML 2021, arXiv 2012.10333), with the radius taken from the round (the median
distance), since no constant fits every federation, and without the momentum of contributors. Each iterate is
a combination of the updates, so the iteration runs on its integer coefficients. Assumes about a tenth of
attackers in theory. It can't stop attacks aimed at its centre (Oezfatura et al. 2022, arXiv 2208.09894), nor a
third of sign flippers on data that is split unevenly.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt

from folkmoot.aggregation.cosines import UNIT
from folkmoot.aggregation.interface import Gram, RoundFacts, Weighted, expect_parameters
from folkmoot.aggregation.references import ReferenceKind
from folkmoot.aggregation.stages.ballot import Ballot, lower_median

NAME = "centered_clipping"
PARAMETERS: tuple[str, ...] = ()
USES: frozenset[ReferenceKind] = frozenset()

STEPS = 3
"""Steps from 0."""


def coefficients(gram: Gram, steps: int = STEPS) -> list[int]:
    """Coefficients of the updates after some steps, in 1/UNIT; at least 0, their sum at most UNIT.

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
        pulls = [sum(value * product for value, product in zip(values, row, strict=True)) for row in gram]
        square = sum(value * pull for value, pull in zip(values, pulls, strict=True))
        lengths = [
            isqrt(max(0, UNIT * UNIT * row[i] - 2 * UNIT * pulls[i] + square)) for i, row in enumerate(gram)
        ]
        usual = lower_median(lengths)
        shares = [min(UNIT, UNIT * usual // max(length, 1)) for length in lengths]
        whole = sum(shares)
        values = [
            (value * (count * UNIT - whole) + share * UNIT) // (count * UNIT)
            for value, share in zip(values, shares, strict=True)
        ]
    return values


def weigh(facts: RoundFacts, parameters: Sequence[int], /) -> list[Weighted]:
    """Weigh by the coefficients of the last centre. Arguments, results and errors as ``interface.Rule``."""
    expect_parameters(NAME, parameters, PARAMETERS)
    ballot = Ballot.of(facts)
    standing = ballot.standing
    gram = facts.gram
    values = iter(coefficients(tuple(tuple(gram[i][j] for j in standing) for i in standing)))
    return ballot.counted([next(values) if vote > 0 else 0 for vote in ballot.votes]).results()

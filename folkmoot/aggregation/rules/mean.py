# SPDX-License-Identifier: Apache-2.0
"""``mean``: every delivered update has the same weight, of equal ones the first (``aggregation.shares``).

Source: FedAvg with equal weights (McMahan et al. 2017, arXiv 1602.05629); the number of examples that a
contributor reports never sets a weight, because it can't be verified.
Assumes no attacker at all (f = 0). It can't stop a single contributor that sends a wrong update; only the
format does: one update moves a coordinate by at most ``127 * 2^e / n``, and the policy's cap bounds its norm.
"""

from __future__ import annotations

from collections.abc import Sequence

from folkmoot.aggregation.interface import RoundFacts, Weighted, expect_parameters
from folkmoot.aggregation.references import ReferenceKind
from folkmoot.protocol.verdict import Reason

NAME = "mean"
PARAMETERS: tuple[str, ...] = ()
USES: frozenset[ReferenceKind] = frozenset()


def weigh(facts: RoundFacts, parameters: Sequence[int], /) -> list[Weighted]:
    """Give each delivered update the weight 1. Arguments, results and errors as ``interface.Rule``."""
    expect_parameters(NAME, parameters, PARAMETERS)
    return [Weighted(1, Reason.ACCEPTED) for _ in range(facts.count)]

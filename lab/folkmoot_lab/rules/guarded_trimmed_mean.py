# SPDX-License-Identifier: Apache-2.0
"""``guarded_trimmed_mean``: ``trimmed_mean`` without copies and noise.

Stages: ``copies``, ``uncorrelated``; then the aggregate of ``trimmed_mean``. Sources and limits are those of its parts.
Copies and noise earn nothing, and copies can't be a majority of a coordinate's values. t is the policy's, whatever was
excluded, because the aggregate is to follow from policy and weights alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from folkmoot.aggregation.interface import RoundFacts, Weighted, expect_minority, expect_parameters
from folkmoot.aggregation.references import ReferenceKind
from folkmoot_lab.rules.guarded_mean import admit
from folkmoot_lab.rules.trimmed_mean import binary_weights

NAME = "guarded_trimmed_mean"
PARAMETERS: tuple[str, ...] = ("t",)
USES: frozenset[ReferenceKind] = frozenset({ReferenceKind.EARLIER})


def check(parameters: Sequence[int], fewest: int, _: int, /) -> None:
    """Refuse t = 0 and t that trims half of the values or more. Arguments and errors as ``rules.Check``."""
    expect_minority(NAME, parameters[0], fewest, "t")


def weigh(facts: RoundFacts, parameters: Sequence[int], /) -> list[Weighted]:
    """Give each included update the weight 1. Arguments, results and errors as ``interface.Rule``."""
    expect_parameters(NAME, parameters, PARAMETERS)
    return binary_weights(admit(facts))

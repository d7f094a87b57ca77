# SPDX-License-Identifier: Apache-2.0
"""``guarded_trimmed_mean``: ``trimmed_mean`` among the updates that are no copy and no noise.

Stages: ``copies``, ``unrelated``; then the trimmed sum. Sources and limits are those of its parts; copies and
noise earn nothing, and copies can't crowd out the honest values of a coordinate. t stays what the policy says:
it is not lowered by what was left out, because the aggregate has to follow from policy and weights alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from folkmoot.aggregation.interface import RoundFacts, Weighted, expect_minority, expect_parameters
from folkmoot.aggregation.references import ReferenceKind
from folkmoot.aggregation.rules.guarded_mean import admit
from folkmoot.aggregation.rules.trimmed_mean import counted

NAME = "guarded_trimmed_mean"
PARAMETERS: tuple[str, ...] = ("t",)
USES: frozenset[ReferenceKind] = frozenset({ReferenceKind.EARLIER})


def check(parameters: Sequence[int], fewest: int, _: int, /) -> None:
    """Refuse t that trims nothing or too much. Arguments and errors as ``rules.Check``."""
    expect_minority(NAME, parameters[0], fewest, "t")


def weigh(facts: RoundFacts, parameters: Sequence[int], /) -> list[Weighted]:
    """Let what is admitted count once. Arguments, results and errors as ``interface.Rule``."""
    expect_parameters(NAME, parameters, PARAMETERS)
    return counted(admit(facts))

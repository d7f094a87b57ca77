# SPDX-License-Identifier: Apache-2.0
"""``nnm``: the mean after nearest-neighbour mixing.

One stage, ``mix``: its module has the source and the limits.
"""

from __future__ import annotations

from collections.abc import Sequence

from folkmoot.aggregation.interface import (
    RoundFacts,
    Weighted,
    expect_minority,
    expect_parameters,
    expect_selectable,
)
from folkmoot.aggregation.references import ReferenceKind
from folkmoot.aggregation.stages.weighting_state import WeightingState
from folkmoot_lab.rules.stages.mixing import mix

NAME = "nnm"
PARAMETERS: tuple[str, ...] = ("f", "m")
USES: frozenset[ReferenceKind] = frozenset()


def check(parameters: Sequence[int], fewest: int, most: int, /) -> None:
    """Refuse f = 0, f that is no minority, and m that no round can have.

    Arguments and errors as ``rules.Check``.
    """
    expect_minority(NAME, parameters[0], fewest)
    expect_selectable(NAME, parameters[1], most)


def weigh(facts: RoundFacts, parameters: Sequence[int], /) -> list[Weighted]:
    """Weigh by the stage. Arguments, results and errors as ``interface.Rule``."""
    expect_parameters(NAME, parameters, PARAMETERS)
    attackers, selected = parameters
    return mix(WeightingState.of(facts), attackers, selected).results()

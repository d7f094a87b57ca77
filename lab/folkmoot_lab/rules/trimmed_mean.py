# SPDX-License-Identifier: Apache-2.0
"""``trimmed_mean``: per coordinate the mean without the t smallest and the t largest values.

Source: Yin, Chen, Kannan, Bartlett, ICML 2018, arXiv 1803.01498. Assumes ``f <= t < n / 2`` attackers and
honest updates that spread alike in every coordinate. No attacker can move a coordinate beyond the honest
values, however large its own values are. It can't stop attackers who stay within the honest spread and all move a
coordinate in the same direction (ALIE, min-max). It removes what only a minority's data changes, and it detects nobody:
every update has weight 1, so an attacker is paid like anybody else.

Only zero updates are excluded. Weights are 0 or 1; the trimming is the rule's own aggregate (`aggregate`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from folkmoot.aggregation.interface import RoundFacts, Weighted, expect_minority, expect_parameters
from folkmoot.aggregation.references import ReferenceKind
from folkmoot.aggregation.stages.weighting_state import WeightingState
from folkmoot.protocol.arrays import I64, U8
from folkmoot.protocol.packing import ZERO
from folkmoot.protocol.verdict import Reason

NAME = "trimmed_mean"
PARAMETERS: tuple[str, ...] = ("t",)
USES: frozenset[ReferenceKind] = frozenset()


def check(parameters: Sequence[int], fewest: int, _: int, /) -> None:
    """Refuse t = 0 and t that trims half of the values or more. Arguments and errors as ``rules.Check``."""
    expect_minority(NAME, parameters[0], fewest, "t")


def aggregate(rows: U8, parameters: Sequence[int]) -> tuple[I64, int]:
    """Add up the middle values of each column of uint8[k, m], ``q + 128`` of the included updates.

    ``min(t, (k - 1) // 2)`` values are left out at each end, so that one or two are left.

    Returns:
        int64[m], the sums of ``q``, and the number of values in each.
    """
    ends = min(parameters[0], (len(rows) - 1) // 2)
    middle = np.sort(rows, axis=0)[ends : len(rows) - ends]
    return middle.sum(axis=0, dtype=np.int64) - ZERO * len(middle), len(middle)


def binary_weights(state: WeightingState) -> list[Weighted]:
    """Return the weights of a rule that trims: 1 for each included update, for all if none is included."""
    if not state.included:
        return [Weighted(1, Reason.ACCEPTED, numbers) for numbers in state.numbers]
    return [
        Weighted(min(multiplier, 1), reason, numbers)
        for multiplier, reason, numbers in zip(state.multipliers, state.reasons, state.numbers, strict=True)
    ]


def weigh(facts: RoundFacts, parameters: Sequence[int], /) -> list[Weighted]:
    """Give each update that is not zero the weight 1. Arguments, results and errors as ``interface.Rule``."""
    expect_parameters(NAME, parameters, PARAMETERS)
    return binary_weights(WeightingState.of(facts))

# SPDX-License-Identifier: Apache-2.0
"""The state that the stages of a rule pass on, and the exact arithmetic that they share.

A rule is a composition of stages. A stage is a function from `WeightingState` to `WeightingState`: it excludes updates,
clips them, or changes their multipliers. Everything is Python integers, so that floats, the order of summation and the
machine can't change a verdict (docs/protocol.md section 8). This module knows no stage.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from folkmoot.aggregation.cosines import UNIT
from folkmoot.aggregation.interface import Gram, RoundFacts, Weighted
from folkmoot.protocol.mean import MAX_WEIGHT_SUM
from folkmoot.protocol.verdict import Reason


def lower_median(values: Sequence[int]) -> int:
    """Return the element at ``floor((k - 1) / 2)`` of k >= 1 sorted values."""
    return sorted(values)[(len(values) - 1) // 2]


@dataclass(frozen=True)
class WeightingState:
    """What the stages so far decided about the k delivered updates, in entry order."""

    facts: RoundFacts
    """The facts of the round."""
    multipliers: tuple[int, ...]
    """Relative weight of each (clipped) update, at least 0; 0 for an excluded one."""
    clip_factors: tuple[int, ...]
    """Factor that scales each update, in 1/UNIT: 0 to UNIT, in ``fltrust`` 0 to 16 UNIT."""
    reasons: tuple[Reason, ...]
    """``accepted``, or why an update was excluded."""
    numbers: tuple[dict[str, int], ...]
    """The integers behind it, by name."""

    @classmethod
    def of(cls, facts: RoundFacts) -> WeightingState:
        """Return the first state: the multiplier is 1, or 0 with the reason ``zero-update`` for a zero vector."""
        zero = [facts.gram[i][i] == 0 for i in range(facts.count)]
        return cls(
            facts,
            tuple(0 if is_zero else 1 for is_zero in zero),
            (UNIT,) * facts.count,
            tuple(Reason.ZERO_UPDATE if is_zero else Reason.ACCEPTED for is_zero in zero),
            tuple({} for _ in zero),
        )

    @property
    def included(self) -> list[int]:
        """Indices of the updates that are not excluded (multiplier above 0), ascending."""
        return [i for i, multiplier in enumerate(self.multipliers) if multiplier > 0]

    @property
    def cosines(self) -> Gram:
        """``C_ij``: cosine similarities of all pairs, in 1/UNIT."""
        return self.facts.cosines

    @cached_property
    def clipped_gram(self) -> Gram:
        """``c_i c_j G_ij``: inner products of the clipped updates, in the Gram matrix's units times 2^-32."""
        return tuple(
            tuple(self.clip_factors[i] * self.clip_factors[j] * product for j, product in enumerate(row))
            for i, row in enumerate(self.facts.gram)
        )

    def exclude(self, excluded: dict[int, Reason]) -> WeightingState:
        """Set the multipliers of these updates to 0, with their reasons; change nothing if no update would be left."""
        if not set(self.included) - set(excluded):
            return self
        return replace(
            self,
            multipliers=tuple(
                0 if i in excluded else multiplier for i, multiplier in enumerate(self.multipliers)
            ),
            reasons=tuple(excluded.get(i, reason) for i, reason in enumerate(self.reasons)),
        )

    def with_multipliers(self, multipliers: Sequence[int]) -> WeightingState:
        """Replace all multipliers; change nothing if all are 0. An update that falls to 0 here is an ``outlier``."""
        if not any(multipliers):
            return self
        dropped = [
            before > 0 and after == 0 for before, after in zip(self.multipliers, multipliers, strict=True)
        ]
        return replace(
            self,
            multipliers=tuple(multipliers),
            reasons=tuple(
                Reason.OUTLIER if out else reason for out, reason in zip(dropped, self.reasons, strict=True)
            ),
        )

    def with_numbers(self, name: str, values: dict[int, int]) -> WeightingState:
        """Add a number to the verdicts of some updates."""
        return replace(
            self,
            numbers=tuple(
                {**numbers, name: values[i]} if i in values else numbers
                for i, numbers in enumerate(self.numbers)
            ),
        )

    def results(self) -> list[Weighted]:
        """Return one weight an update, the largest ``min(UNIT, floor(MAX_WEIGHT_SUM / k))``.

        ``w_i = floor(x_i U / max x)`` with ``x_i`` = multiplier times clip factor and U that largest weight. So W is
        at least 1 and at most MAX_WEIGHT_SUM. If all ``x_i`` are 0 (all updates are zero vectors), each weight is 1.
        """
        values = [
            multiplier * factor
            for multiplier, factor in zip(self.multipliers, self.clip_factors, strict=True)
        ]
        largest = max(values)
        if largest == 0:
            return [Weighted(1, Reason.ACCEPTED, numbers) for numbers in self.numbers]
        unit = min(UNIT, MAX_WEIGHT_SUM // len(values))
        results = []
        for value, reason, numbers in zip(values, self.reasons, self.numbers, strict=True):
            weight = value * unit // largest
            if weight == 0 and reason is Reason.ACCEPTED:
                reason = Reason.OUTLIER
            results.append(Weighted(weight, reason, numbers))
        return results

# SPDX-License-Identifier: Apache-2.0
"""The state that the stages of a rule hand on, and the exact arithmetic that they share.

A pipeline is a composition of stages, each a function from ballot to ballot: it leaves updates out, shortens
them, or changes how much they count. Everything is Python integers: no float, no order of summation, no
machine can change a verdict (docs/protocol.md section 8). This module knows no stage.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from folkmoot.aggregation.cosines import UNIT
from folkmoot.aggregation.interface import Gram, RoundFacts, Weighted
from folkmoot.protocol.outer_step import MAX_WEIGHT_SUM
from folkmoot.protocol.verdict import Reason


def lower_median(values: Sequence[int]) -> int:
    """The element at ``floor((k - 1) / 2)`` of k >= 1 sorted values."""
    return sorted(values)[(len(values) - 1) // 2]


@dataclass(frozen=True)
class Ballot:
    """What the stages so far made of the k delivered updates, in entry order."""

    facts: RoundFacts
    """The facts of the round."""
    votes: tuple[int, ...]
    """How much each (shortened) update counts, relative to the others; 0 for one that is left out."""
    factors: tuple[int, ...]
    """By what each update is shortened, in 1/UNIT, 0 to UNIT."""
    reasons: tuple[Reason, ...]
    """``accepted``, or why an update was left out."""
    numbers: tuple[dict[str, int], ...]
    """The integers behind it, by name."""

    @classmethod
    def of(cls, facts: RoundFacts) -> Ballot:
        """Begin: every update that is not zero counts 1. An update of zeros asks for nothing and gets nothing."""
        empty = [facts.gram[i][i] == 0 for i in range(facts.count)]
        return cls(
            facts,
            tuple(0 if nothing else 1 for nothing in empty),
            (UNIT,) * facts.count,
            tuple(Reason.EMPTY if nothing else Reason.ACCEPTED for nothing in empty),
            tuple({} for _ in empty),
        )

    @property
    def standing(self) -> list[int]:
        """Indices of the updates that were not left out, ascending."""
        return [i for i, vote in enumerate(self.votes) if vote > 0]

    @property
    def cosines(self) -> Gram:
        """``C_ij``: cosines of all pairs, in 1/UNIT."""
        return self.facts.cosines

    @cached_property
    def shortened(self) -> Gram:
        """``c_i c_j G_ij``: products of the shortened updates, in the Gram matrix's units times 2^-32."""
        return tuple(
            tuple(self.factors[i] * self.factors[j] * product for j, product in enumerate(row))
            for i, row in enumerate(self.facts.gram)
        )

    def without(self, left_out: dict[int, Reason]) -> Ballot:
        """Leave updates out, unless nothing would be left: then nothing changes."""
        if not set(self.standing) - set(left_out):
            return self
        return replace(
            self,
            votes=tuple(0 if i in left_out else vote for i, vote in enumerate(self.votes)),
            reasons=tuple(left_out.get(i, reason) for i, reason in enumerate(self.reasons)),
        )

    def counted(self, votes: Sequence[int]) -> Ballot:
        """Count the updates anew. What stood and counts 0 now is an outlier; all zeros change nothing."""
        if not any(votes):
            return self
        gone = [before > 0 and now == 0 for before, now in zip(self.votes, votes, strict=True)]
        return replace(
            self,
            votes=tuple(votes),
            reasons=tuple(
                Reason.OUTLIER if out else reason for out, reason in zip(gone, self.reasons, strict=True)
            ),
        )

    def noted(self, name: str, values: dict[int, int]) -> Ballot:
        """Add a number to the verdicts of some updates."""
        return replace(
            self,
            numbers=tuple(
                {**numbers, name: values[i]} if i in values else numbers
                for i, numbers in enumerate(self.numbers)
            ),
        )

    def results(self) -> list[Weighted]:
        """End: one weight an update, the largest ``min(UNIT, floor(MAX_WEIGHT_SUM / k))``.

        ``w_i = floor(v_i U / max v)`` with ``v_i`` = votes times factor. So W is at least 1 and at most
        MAX_WEIGHT_SUM. If nothing counts (all updates are zero), each weighs 1.
        """
        values = [vote * factor for vote, factor in zip(self.votes, self.factors, strict=True)]
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

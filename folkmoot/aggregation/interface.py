# SPDX-License-Identifier: Apache-2.0
"""The interface of a rule: its input `RoundFacts` and its output `Weighted`.

This module knows no rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

from folkmoot.aggregation.cosines import cosine_matrix
from folkmoot.errors import InputError
from folkmoot.protocol.verdict import Reason

Gram = tuple[tuple[int, ...], ...]
"""k rows of k exact inner products."""


@dataclass(frozen=True)
class RoundFacts:
    """Exact facts about the k delivered updates of a round, in entry order."""

    gram: Gram
    """``G_ij``: inner products in units of ``4^e_min``, where e_min is the round's smallest exponent."""
    sum_squares: tuple[int, ...]
    """Sum of ``q^2`` of each update, in units of the encoded integers."""
    sum_absolute: tuple[tuple[int, ...], ...]
    """For each update the sum of ``|q|`` of each tensor."""
    elements: tuple[int, ...] = field(kw_only=True)
    """Coordinates of each tensor, from the manifest."""
    noisy: bool = field(default=False, kw_only=True)
    """Whether updates carry the noise of differential privacy, as the manifest declares it."""

    @property
    def count(self) -> int:
        """Number of delivered updates, k."""
        return len(self.gram)

    @cached_property
    def dimensions(self) -> int:
        """Number of coordinates of the tensors that more than half of the updates change: the dimension of cosines."""
        count = self.count
        moved = [sum(row[b] > 0 for row in self.sum_absolute) for b in range(len(self.elements))]
        return sum(size for size, movers in zip(self.elements, moved, strict=True) if 2 * movers > count)

    @cached_property
    def cosines(self) -> Gram:
        """``C_ij``: cosines of all pairs, in 1/UNIT."""
        return cosine_matrix(self.gram)

    def distances(self) -> Gram:
        """``D_ij = G_ii + G_jj - 2 G_ij``: squared distances in the Gram matrix's units."""
        norms = [row[i] for i, row in enumerate(self.gram)]
        return tuple(
            tuple(norms[i] + norms[j] - 2 * product for j, product in enumerate(row))
            for i, row in enumerate(self.gram)
        )


@dataclass(frozen=True)
class Weighted:
    """What a rule decides about one update."""

    weight: int
    """Its weight in the aggregate, at least 0."""
    reason: Reason
    """``accepted`` with a weight above 0."""
    numbers: dict[str, int] = field(default_factory=dict)
    """The integers behind it, by name."""


class Rule(Protocol):
    """A function from the facts of a round to one weight an update."""

    def __call__(self, facts: RoundFacts, parameters: Sequence[int], /) -> list[Weighted]:
        """Weigh the delivered updates.

        Args:
            facts: Of at least one delivered update.
            parameters: The policy's, by position.

        Returns:
            One result an update, in the facts' order; the sum of weights is at least 1.

        Raises:
            InputError: ``invalid-policy``: the number or a value of the parameters is not the rule's.
        """


def impossible(rule: str, why: str, remedy: str) -> InputError:
    """Return the error (``impossible-policy``) for a rule that a policy does not grant what it assumes."""
    return InputError(f"The rule {rule} can't work like this: {why}", remedy=remedy, code="impossible-policy")


def expect_minority(rule: str, attackers: int, fewest: int, name: str = "f") -> None:
    """Raise InputError (``impossible-policy``) unless f attackers are stated, and are fewer than the others.

    ``name`` is what the rule calls the parameter.
    """
    if attackers == 0:
        raise impossible(
            rule,
            f"it is told to withstand {name} = 0 attackers, so it withstands none.",
            f"State how many attackers it shall withstand, as its parameter {name}; other rules need no number.",
        )
    if 2 * attackers >= fewest:
        raise impossible(
            rule,
            f"{name} = {attackers} attackers are no minority of a round with {fewest} contributors.",
            f"Set the policy's minContributors to at least {2 * attackers + 1}, or lower {name}.",
        )


def expect_selectable(rule: str, selected: int, most: int) -> None:
    """Raise InputError (``impossible-policy``) if more shall be selected than a round can have."""
    if selected > most:
        raise impossible(
            rule,
            f"m = {selected} updates shall be selected, and a round has at most {most}.",
            "Lower m (0 selects as many as the rule can), or raise the policy's maxContributors.",
        )


def expect_parameters(rule: str, parameters: Sequence[int], names: Sequence[str], optional: int = 0) -> None:
    """Raise InputError (``invalid-policy``) unless there is one parameter a name, or some optional ones less."""
    if not len(names) - optional <= len(parameters) <= len(names):
        wanted = f"the parameters {', '.join(names)}" if names else "no parameters"
        raise InputError(
            f"The rule {rule!r} takes {wanted}, but the policy has {list(parameters)}.", code="invalid-policy"
        )

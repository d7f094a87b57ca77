# SPDX-License-Identifier: Apache-2.0
"""A coordinator that lies in one round, of a local Anvil only: `python -m folkmoot_lab.lies KIND@ROUND serve ...`.

It is the product's coordinator, with subclasses of the classes that would have to be changed for the lie.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from folkmoot.errors import InputError


class Kind(StrEnum):
    """Kinds of lies."""

    MEAN = "mean"
    """One coordinate of the mean is off by one. The state is computed from it."""
    WEIGHTS = "weights"
    """One update is left out, or counts twice if no Gram matrix is anchored. The outcome is computed from that."""
    PAY = "pay"
    """One contributor gets half of its pay. The model is the true one."""
    OUTER_STEP = "outer-step"
    """One coordinate of theta is shifted."""
    NORM = "norm"
    """An update with a false sum of squares is accepted."""
    CENSOR = "censor"
    """The update of the round's first contributor is refused, and anchored as not delivered."""
    WITHHOLD = "withhold"
    """The updates of the round are not published, and demands are not answered."""
    LEFT_OUT = "left-out"
    """Only the commitments of friends are recorded. All updates are accepted."""


FALSE_OUTCOME = frozenset({Kind.MEAN, Kind.WEIGHTS, Kind.PAY, Kind.OUTER_STEP, Kind.NORM})
"""Kinds that change what is anchored. With the others, the outcome is true for the counted updates."""


@dataclass(frozen=True)
class Lie:
    """A kind of lie, and the round in which it is told."""

    kind: Kind
    round: int
    friends: tuple[str, ...] = ()
    """Accounts whose commitments are recorded, of the kind `LEFT_OUT`."""

    @classmethod
    def parse(cls, text: str) -> Lie:
        """Parse ``KIND@ROUND``, or ``left-out@ROUND:ADDRESS,...`` with the friends.

        Raises:
            InputError: The text is not of that form (`unknown-cheat`).
        """
        kind, _, rest = text.partition("@")
        number, _, friends = rest.partition(":")
        if kind not in set(Kind) or not number.isdigit() or int(number) < 1:
            raise InputError(
                f"There is no cheat {text!r}.",
                remedy=f"Write KIND@ROUND, with one of {', '.join(Kind)}, e.g. mean@3.",
                code="unknown-cheat",
            )
        return cls(Kind(kind), int(number), tuple(filter(None, friends.split(","))))

    def told(self, kind: Kind, number: int | None) -> bool:
        """Return whether a round has this lie, of this kind."""
        return self.kind is kind and self.round == number

# SPDX-License-Identifier: Apache-2.0
"""The lineage of a round: the rounds that its base was computed from, as far back as rules use (docs/protocol.md 8.3).

The lineage of a round is its base, the base's base and so on to the genesis; other rounds were voided. This module
knows no chain and no folder: its callers find the files.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from folkmoot.aggregation.trajectory import WINDOW
from folkmoot.protocol.state import State
from folkmoot.protocol.updates import UpdateReader


@dataclass(frozen=True, eq=False)
class PastRound:
    """A round of the lineage."""

    exponents: tuple[int, ...]
    """The exponents of its header, one a tensor."""
    updates: tuple[UpdateReader, ...] = ()
    """The updates that were delivered in it, in entry order; may be left out where the rule does not use them."""


@dataclass(frozen=True, eq=False)
class Lineage:
    """The inputs of a round's references. An empty one is that of a round on the genesis."""

    rounds: tuple[PastRound, ...] = ()
    """The last WINDOW rounds of the lineage, the oldest first."""
    before: State | None = None
    """The state that the oldest of them trained from; may be left out where the rule does not use the trajectory."""


GENESIS = Lineage()
"""The lineage of a round on the genesis."""


def window(base: int, base_of: Callable[[int], int]) -> list[int]:
    """Find the rounds that the lineage of a round has.

    Args:
        base: Number of the round's base; 0 is the genesis.
        base_of: From the number of a round to that of its base.

    Returns:
        Numbers of at most WINDOW rounds, the oldest first.
    """
    rounds: list[int] = []
    while base and len(rounds) < WINDOW:
        rounds.insert(0, base)
        base = base_of(base)
    return rounds

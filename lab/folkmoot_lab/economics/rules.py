# SPDX-License-Identifier: Apache-2.0
"""The rules of the contracts that decide what an attack costs, of the present contracts and of their first version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from fractions import Fraction

from folkmoot.protocol import policy


class Places(StrEnum):
    """How a round chooses who takes part."""

    QUOTA = "quota"
    """By enrolled stake: an account with the quota of stake has a place, one with less has a lot."""
    FIRST_COME = "first-come"
    """Whoever commits first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What the contracts fix for every policy. The defaults are the present contracts."""

    challenger_divisor: int = policy.CHALLENGER_DIVISOR
    """Of slashed stake the challenger gets one part in so many; the rest is burnt."""
    bond_for_each_round: bool = True
    """Whether each pending round locks a bond of its own. If not, one bond answers for all of them."""
    bond_factor: int = policy.BOND_FACTOR
    """Least bond of a policy, as a multiple of its reward."""
    reward_factor: int = 4
    """Largest reward of a later policy, as a multiple of the first policy's."""
    bond_divisor: int = 2
    """Least bond of a later policy, as a divisor of the first policy's."""
    window_divisor: int = 2
    """Shortest challenge window of a later policy, as a divisor of the first policy's."""
    max_pending: int = 256
    """Largest number of anchored rounds that wait to become final."""
    places: Places = Places.QUOTA
    """How a round chooses who takes part."""
    quota_percent: int = 75
    """Share of the places for contributors that the quota hands out on average, in percent."""
    lot_can_be_drawn_again: bool = False
    """Whether the coordinator can open a round again until it likes who has a place. The lots follow from the block of
    the last anchor, which nobody knows while that block is made."""
    equal_roots_weigh_once: bool = True
    """Whether of entries with the same update root only the first may have a weight."""
    has_pays: bool = True
    """Whether an anchor has pays beside the weights, where the policy's rule has them."""
    demands_are_shared: bool = True
    """Whether one open demand for a leaf serves all. If not, an attacker can take all the places for demands."""
    demand_places: int = 16
    """Open demands of strangers in a round, if demands are not shared."""
    dispute_share: int = 4
    """The deposit of a dispute is 1/`dispute_share` of the bond."""
    undecided_share: int = 1
    """An undecided dispute costs a deposit's 1/`undecided_share`; 0 if it costs nothing."""
    bonds_vote: bool = False
    """Whether stake votes that is locked as a bond."""
    vote_pays_challenger: bool = False
    """Whether a challenger is paid from a bond that a vote takes."""
    vote_can_take_stake: bool = False
    """Whether a vote can appoint who slashes, and so take every stake."""

    @property
    def challenger_part(self) -> Fraction:
        """Part of slashed stake that the challenger gets."""
        return Fraction(1, self.challenger_divisor)

    def quota(self, places: int, total: int) -> Fraction:
        """Return the stake that is worth one place; 0 if there is a place for everybody.

        Args:
            places: For contributors: all places but the coordinator's.
            total: Enrolled stake in units of the least stake of a contributor.
        """
        return Fraction(100 * total, self.quota_percent * places) if total > places else Fraction(0)


PRESENT = Rules()
"""The present contracts."""

FIRST_COME = replace(PRESENT, places=Places.FIRST_COME)
"""The present contracts with places for whoever commits first."""

VERSION_1 = Rules(
    bonds_vote=True,
    challenger_divisor=2,
    bond_for_each_round=False,
    bond_factor=1,
    places=Places.FIRST_COME,
    equal_roots_weigh_once=False,
    has_pays=False,
    demands_are_shared=False,
    undecided_share=0,
    vote_pays_challenger=True,
    vote_can_take_stake=True,
)
"""The contracts that were audited in November 2026, whose attacks the strategies must find."""

RULES: Mapping[str, Rules] = {"present": PRESENT, "first-come": FIRST_COME, "version-1": VERSION_1}
"""The rules by the name that `folkmoot economics --rules` takes."""

DROPS_NEAR_COPIES = frozenset({"clamped_mean"})
"""Aggregation rules with the stage ``copies``: an update that is almost another one has weight 0."""

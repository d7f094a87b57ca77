# SPDX-License-Identifier: Apache-2.0
"""When a round's update files and its state file may be deleted (docs/protocol.md sections 12.1 to 12.3).

Coordinators, mirrors and audits use this one function of integers that are on the chain, so they agree on each file.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from folkmoot.aggregation.trajectory import WINDOW

KEPT_EVERY = 8
"""The state files of rounds whose number is a multiple of this stay."""


class Reason(StrEnum):
    """Why a file was deleted."""

    RETENTION = "retention"
    """The time that the voters set is over."""
    WISH = "wish"
    """Its contributor wanted it, and nothing on the chain can need it any more."""
    SPARE = "spare"
    """It is a state file that is rebuilt where it is needed."""


@dataclass(frozen=True, slots=True)
class Retention:
    """What the deletion of a round's files depends on."""

    number: int
    """Number of the round."""

    over: bool
    """Whether the round is final or void. A void round was cancelled or slashed."""
    free_at: int
    """Unix time from which no fault of a contributor can be proven: `openedAt` + the vault's unbonding period."""
    above: int
    """Number of final rounds with a greater number."""
    retain_rounds: int
    """`retainRounds` of the policy that the round pinned; 0 keeps the files for ever."""

    def free(self, now: int) -> bool:
        """Whether nothing on the chain can need the files any more.

        Args:
            now: Unix time of a block.
        """
        return self.over and now >= self.free_at and self.above >= WINDOW

    def expired(self, now: int) -> bool:
        """Whether all of the round's update files may be deleted.

        Args:
            now: Unix time of a block.
        """
        return self.free(now) and 0 < self.retain_rounds < self.above

    def spare(self) -> bool:
        """Whether the round's state file may be deleted.

        More final rounds than a window has are above it, so no round that can be challenged or opened trains from it,
        and no trajectory starts there.
        """
        return self.over and self.above > WINDOW and self.number % KEPT_EVERY != 0

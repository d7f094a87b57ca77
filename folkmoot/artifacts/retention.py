# SPDX-License-Identifier: Apache-2.0
"""When a round's update files may be deleted (docs/protocol.md section 12.1).

Coordinators, mirrors and audits use this one function of integers that are on the chain, so they agree on each file.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from folkmoot.aggregation.trajectory import WINDOW


class Reason(StrEnum):
    """Why an update file was deleted."""

    RETENTION = "retention"
    """The time that the voters set is over."""
    WISH = "wish"
    """Its contributor wanted it, and nothing on the chain can need it any more."""


@dataclass(frozen=True, slots=True)
class Retention:
    """What the deletion of a round's update files depends on."""

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

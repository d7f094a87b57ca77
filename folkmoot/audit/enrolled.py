# SPDX-License-Identifier: Apache-2.0
"""Replay from the ledger's events which accounts are enrolled. An early end of a commit window waits for them.

The ledger keeps bitmaps by member number (contracts/src/libraries/Enrolment.sol). This module applies the same rules to
sets of accounts. It does not use rounds or stakes: the caller passes the needed values.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum

from folkmoot.audit.failure import Subject, require, require_that
from folkmoot.ledger.events import Enrolled, Left

MAX_MISSED = 3
"""Number of rounds missed in a row after which anybody may remove an enrolled account."""


class LeaveReason(IntEnum):
    """Why an account is no longer enrolled, as `IRoundLedger.LeaveReason`."""

    OWN = 0
    STAKE_TOO_LOW = 1
    ABSENT = 2


@dataclass(frozen=True)
class Missable:
    """The properties of a round that decide who missed it."""

    number: int
    """Number of the round."""
    counts: bool
    """Whether it was anchored, is not void, and had a place left."""
    contributors: frozenset[str] | set[str]
    """Accounts with a commitment in it."""


@dataclass
class Roll:
    """The list of enrolled accounts."""

    since: dict[str, int] = field(default_factory=dict)
    """First round that counts an enrolled account."""
    counted: set[str] = field(default_factory=set)
    """Accounts that count in the newest round: enrolled since before it was opened."""

    def opened(self) -> None:
        """Open a round: the accounts that are enrolled now count in it."""
        self.counted = set(self.since)

    def enrol(self, subject: Subject, event: Enrolled, next_round: int) -> None:
        """Apply an enrolment.

        Raises:
            AuditFailure: The account is already enrolled, or the round is not the next one.
        """
        require_that(
            event.account not in self.since, subject, "the account", "one that is not enrolled", "enrolled"
        )
        require(subject, "the first round that counts it", next_round, event.from_)
        self.since[event.account] = event.from_

    def leave(self, subject: Subject, event: Left) -> LeaveReason:
        """Remove an account from the list; return the reason, which the caller checks.

        Raises:
            AuditFailure: The account is not enrolled, or the reason is unknown.
        """
        require_that(
            event.account in self.since, subject, "the account", "one that is enrolled", "not enrolled"
        )
        require_that(event.reason in list(LeaveReason), subject, "the reason", "0 to 2", event.reason)
        del self.since[event.account]
        self.counted.discard(event.account)
        return LeaveReason(event.reason)

    def missed(self, account: str, rounds: Iterable[Missable]) -> int:
        """Return how many rounds an enrolled account has missed in a row, at most `MAX_MISSED`.

        Args:
            account: The account.
            rounds: Rounds, newest first.
        """
        missed = 0
        for round_ in rounds:
            if round_.number < self.since[account] or account in round_.contributors or missed == MAX_MISSED:
                break
            missed += round_.counts
        return missed

# SPDX-License-Identifier: Apache-2.0
"""Replay from the ledger's events which accounts are enrolled. An early end of a commit window waits for them.

The ledger keeps bitmaps by member number (contracts/src/libraries/Enrolment.sol). This module applies the same rules to
a set of accounts. It does not use rounds or stakes: the caller passes the needed values. How much stake an account has
enrolled, and since when, is in `stakes`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from folkmoot.audit.failure import Subject, require_that
from folkmoot.ledger.admission import LeaveReason
from folkmoot.ledger.events import Left

MAX_MISSED = 3
"""Number of rounds missed in a row after which anybody may remove an enrolled account."""


@dataclass(frozen=True)
class Missable:
    """The properties of a round that decide who missed it."""

    number: int
    """Number of the round."""
    opened_at: int
    """Unix time of its opening."""
    counts: bool
    """Whether it was anchored, is not void, and had a place left for the account: in a crowd, it was drawn."""
    contributors: frozenset[str] | set[str]
    """Accounts with a commitment in it."""


@dataclass
class Roll:
    """The list of enrolled accounts."""

    members: set[str] = field(default_factory=set)
    """Accounts that are enrolled."""

    def leave(self, subject: Subject, event: Left) -> LeaveReason:
        """Remove an account from the list; return the reason, which the caller checks.

        Raises:
            AuditFailure: The account is not enrolled, or the reason is unknown.
        """
        require_that(
            event.account in self.members, subject, "the account", "one that is enrolled", "not enrolled"
        )
        require_that(event.reason in list(LeaveReason), subject, "the reason", "0 to 3", event.reason)
        self.members.remove(event.account)
        return LeaveReason(event.reason)

    def counted(self, since: Callable[[str], int], opened_at: int) -> set[str]:
        """Return the accounts that count in a round: enrolled with as much as now since before it was opened.

        Args:
            since: Returns from when an account has had as much enrolled as now, or more, as Unix time.
            opened_at: Unix time of the round's opening.
        """
        return {account for account in self.members if since(account) < opened_at}


def missed_in_a_row(account: str, since: int, rounds: Iterable[Missable]) -> int:
    """Return how many rounds an enrolled account has missed in a row, at most `MAX_MISSED`.

    Args:
        account: The account.
        since: Unix time from which it has had as much enrolled as now, or more.
        rounds: Rounds, newest first.
    """
    missed = 0
    for round_ in rounds:
        if missed == MAX_MISSED or round_.opened_at <= since or account in round_.contributors:
            break
        missed += round_.counts
    return missed

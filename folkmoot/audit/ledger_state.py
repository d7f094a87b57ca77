# SPDX-License-Identifier: Apache-2.0
"""The ledger's state as its events make it, with what the rules of the contracts need besides.

Each lock and unlock of a bond in the vault is matched with the act of the ledger that causes it. A round locks its bond
when it opens, and unlocks it when it becomes final, is cancelled or slashed, or, if it is void, is released. The
vault's event comes after the ledger's in the same transaction. If one act causes another, as a slashing the
cancellation of the open round, the inner act's bond is unlocked first.

The ledger keeps bitmaps of enrolled accounts by member number (contracts/src/libraries/Enrolment.sol); here the same
rules apply to a set. How much stake an account has enrolled, and since when, is in `stakes`. Which files may be missing
at the audited block follows from the rounds (docs/protocol sections 12.1 to 12.3).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice

from folkmoot.audit.failure import Subject, mismatch, require, require_that
from folkmoot.ledger.admission import LeaveReason
from folkmoot.ledger.events import (
    BondLocked,
    BondUnlocked,
    Event,
    Left,
    RoundCancelled,
    RoundFinalized,
    RoundOpened,
    RoundSlashed,
)
from folkmoot.ledger.replay import FederationState, Round
from folkmoot.rpc.client import Basis, Phase, RoundView

CHECK = "rounds"
"""Name of the check in a failure."""

_NO_ROOT = bytes(32)


_BONDS = "bonds"

Act = RoundOpened | RoundFinalized | RoundCancelled | RoundSlashed
"""What locks or unlocks a bond."""


@dataclass(frozen=True)
class _Due:
    """An event of the vault that must follow."""

    act: Act
    kind: type[BondLocked | BondUnlocked]
    account: str
    amount: int


@dataclass
class BondBook:
    """Events of the vault that the ledger's acts of one transaction still need."""

    due: list[_Due] = field(default_factory=list)
    """The innermost act last."""

    def begin(self, event: Event) -> None:
        """Take note of the next event of the history."""
        if self.due and self.due[-1].act.transaction != event.transaction:
            self.end()

    def end(self) -> None:
        """End a transaction."""
        for due in reversed(self.due):
            subject = Subject(check=_BONDS, round=due.act.round, event=due.act)
            raise mismatch(
                subject, "the vault's event of the bond", f"{due.kind.__name__} of {due.amount}", None
            )

    def lock(self, act: Act, account: str, amount: int) -> None:
        """Expect that the vault locks an amount (1e-18 tokens) of an account."""
        self.due.append(_Due(act, BondLocked, account, amount))

    def unlock(self, act: Act, account: str, amount: int) -> None:
        """Expect that the vault unlocks an amount (1e-18 tokens) of an account."""
        self.due.append(_Due(act, BondUnlocked, account, amount))

    def match(self, event: BondLocked | BondUnlocked) -> None:
        """Match an event of the vault."""
        if not self.due:
            raise mismatch(
                Subject(check=_BONDS, event=event),
                "the reason of the bond",
                "a round that opens or ends",
                None,
            )
        due = self.due.pop()
        subject = Subject(check=_BONDS, round=due.act.round, event=event)
        require(subject, "the vault's event of the bond", due.kind.__name__, event.name)
        require(subject, "the account of the bond", due.account, event.account)
        require(subject, "the amount of the bond", due.amount, event.amount)


MAX_MISSED = 3
"""Number of rounds missed in a row after which anybody may remove an enrolled account."""


MAX_LOOKED = 256
"""Number of rounds, from the newest, among which missed ones are counted."""


@dataclass(frozen=True)
class Missable:
    """The properties of a round that decide who missed it."""

    number: int
    opened_at: int
    """Unix time of its opening."""
    counts: bool
    """Whether it was anchored, is not void, and had a place left for the account: in a crowd, it was drawn."""
    contributors: Set[str]
    """Accounts with a commitment in it."""


@dataclass
class Roll:
    """The list of enrolled accounts."""

    members: set[str] = field(default_factory=set)
    """Accounts that are enrolled."""

    def leave(self, subject: Subject, event: Left) -> LeaveReason:
        """Remove an account from the list; return the reason, which the caller checks."""
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
        since: Unix time from which it has had as much enrolled as now, or more.
        rounds: Rounds, newest first.
    """
    missed = 0
    for round_ in islice(rounds, MAX_LOOKED):
        if missed == MAX_MISSED or round_.opened_at <= since or account in round_.contributors:
            break
        missed += round_.counts
    return missed


@dataclass
class Ledger(FederationState):
    """State of the ledger after its events, with what its rules need besides."""

    genesis_root: bytes = _NO_ROOT
    """State root of round 0."""
    created_at: int = 0
    """Unix time of the deployment."""
    roll: Roll = field(default_factory=Roll)
    """List of enrolled accounts."""
    finals: int = 1
    """Number of final rounds, the genesis included."""
    positions: dict[int, int] = field(default_factory=lambda: {0: 0})
    """Place of each anchored round among those that stood then, the genesis at 0."""
    bonds: BondBook = field(default_factory=BondBook)
    """Bonds that the rounds have locked."""
    basis: Basis | None = None
    """What the next draw of places rests on; None if the block of the vault's creation is not known."""
    basis_hash: bytes = bytes(32)
    """Hash of the block of the basis."""
    drawn_on: Basis | None = None
    """Basis of the last draw that had lots: the vault keeps its seed."""
    quota: int = 0
    """Enrolled stake that has a place for certain in the newest round; 0 if no places are drawn."""
    spent: dict[str, int] = field(default_factory=dict)
    """What each contributor has spent of its privacy budget, in units of 2^-32 of rho."""
    falling: RoundSlashed | None = None
    """Slashing whose open round has not been cancelled yet."""
    judgments: dict[int, Event] = field(default_factory=dict)
    """Event of the judge at each slashing, by round."""

    @property
    def pending(self) -> int:
        """Number of anchored rounds that stand and are not final."""
        return self.length - self.finals

    @property
    def length(self) -> int:
        """Number of rounds that stand, the genesis included: the position of the next anchored round."""
        return self.positions[self.head] + 1

    def state_root(self, number: int) -> bytes:
        """Return the state root of an anchored round, or of the genesis."""
        if number == 0:
            return self.genesis_root
        anchor = self.rounds[number].anchor
        return anchor.state_root if anchor else _NO_ROOT


def view_of(ledger: Ledger, replayed: Round) -> RoundView:
    """Return what the ledger must have stored of a round; it does not know the hash of the entries."""
    anchor = replayed.anchor
    return RoundView(
        policy=replayed.policy_id,
        phase=replayed.phase,
        entries=len(replayed.commits),
        opened_at=replayed.opened_at,
        commit_deadline=replayed.commit_deadline,
        anchor_deadline=replayed.anchor_deadline,
        challenge_deadline=replayed.challenge_deadline,
        coordinator=replayed.opened.coordinator,
        base=replayed.base,
        position=ledger.positions.get(replayed.number, 0),
        header_hash=replayed.opened.header_hash,
        entries_hash=_NO_ROOT,
        state_root=anchor.state_root if anchor else _NO_ROOT,
        anchor_hash=anchor.hash if anchor else _NO_ROOT,
    )


def genesis_view(ledger: Ledger) -> RoundView:
    """Return what the ledger must have stored of the genesis."""
    return RoundView(
        policy=0,
        phase=Phase.FINAL,
        entries=0,
        opened_at=ledger.created_at,
        commit_deadline=0,
        anchor_deadline=0,
        challenge_deadline=0,
        coordinator="0x" + "0" * 40,
        base=0,
        position=0,
        header_hash=_NO_ROOT,
        entries_hash=_NO_ROOT,
        state_root=ledger.genesis_root,
        anchor_hash=_NO_ROOT,
    )


class Expired(StrEnum):
    """Why a round was not recomputed."""

    RETENTION = "retention"
    """Update files were deleted after the time that the voters set."""
    WISH = "wish"
    """Update files were deleted because their contributors wanted it."""
    WINDOW = "window"
    """Its rule compares its updates with those of earlier rounds, of which files were deleted."""

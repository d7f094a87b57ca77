# SPDX-License-Identifier: Apache-2.0
"""Match each lock and unlock of a bond in the vault with the act of the ledger that causes it.

A round locks its bond when it opens, and unlocks it when it becomes final, is cancelled or slashed, or, if it is
void, is released. The vault's event comes after the ledger's in the same transaction. If one act causes another, as a
slashing the cancellation of the open round, the inner act's bond is unlocked first.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from folkmoot.audit.failure import Subject, mismatch, require
from folkmoot.ledger.events import (
    BondLocked,
    BondUnlocked,
    RoundCancelled,
    RoundFinalized,
    RoundOpened,
    RoundSlashed,
)
from folkmoot.ledger.events import Event as AnyEvent

_CHECK = "bonds"

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

    def begin(self, event: AnyEvent) -> None:
        """Take note of the next event of the history.

        Raises:
            AuditFailure: It is of another transaction, and a lock or unlock of the last one is missing.
        """
        if self.due and self.due[-1].act.transaction != event.transaction:
            self.end()

    def end(self) -> None:
        """End a transaction.

        Raises:
            AuditFailure: A lock or unlock is missing.
        """
        for due in reversed(self.due):
            subject = Subject(check=_CHECK, round=due.act.round, event=due.act)
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
        """Match an event of the vault.

        Raises:
            AuditFailure: No act of the ledger causes it, or another account or amount is due.
        """
        if not self.due:
            raise mismatch(
                Subject(check=_CHECK, event=event),
                "the reason of the bond",
                "a round that opens or ends",
                None,
            )
        due = self.due.pop()
        subject = Subject(check=_CHECK, round=due.act.round, event=event)
        require(subject, "the vault's event of the bond", due.kind.__name__, event.name)
        require(subject, "the account of the bond", due.account, event.account)
        require(subject, "the amount of the bond", due.amount, event.amount)

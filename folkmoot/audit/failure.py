# SPDX-License-Identifier: Apache-2.0
"""How the audit says that two things differ which must be the same.

Every check calls `require` or raises `mismatch`, so that each failure names the round, the contributor, the file and
the event that it is about, and what was expected and found.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from folkmoot.errors import AuditFailure
from folkmoot.ledger.events import Event

REMEDY = (
    "Somebody altered the record, or reported it wrongly: repeat the audit with another --rpc and another --artifacts "
    "to find out who."
)


SHORT_DIGITS = 8
"""Digits of a proposal's number that are shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What a check is about; it is named in the failure."""

    check: str
    """Step of the audit, e.g. `entries`."""
    round: int | None = None
    """Number of the round."""
    contributor: str | None = None
    """Account of the contributor."""
    voter: str | None = None
    """Account of the voter."""
    artifact: str | None = None
    """sha256 of the file."""
    proposal: int | None = None
    """Id of the proposal."""
    event: Event | None = None
    """Event on the chain."""

    def __str__(self) -> str:
        parts = [
            f"round {self.round}" if self.round is not None else "",
            f"contributor {self.contributor}" if self.contributor else "",
            f"voter {self.voter}" if self.voter else "",
            f"proposal {short_id(self.proposal)}" if self.proposal is not None else "",
            f"file {self.artifact}" if self.artifact else "",
            f"event {self.event.name} in transaction 0x{self.event.transaction.hex()}" if self.event else "",
        ]
        return ", ".join(part for part in parts if part)

    def details(self) -> dict[str, Any]:
        """Return what is set, as JSON values."""
        found: dict[str, Any] = {"check": self.check}
        for name in ("round", "contributor", "voter", "artifact"):
            if getattr(self, name) is not None:
                found[name] = getattr(self, name)
        if self.proposal is not None:
            found["proposal"] = str(self.proposal)
        if self.event is not None:
            found["event"] = self.event.name
            found["transaction"] = "0x" + self.event.transaction.hex()
            found["block"] = self.event.block
        return found


def mismatch(subject: Subject, what: str, expected: Any, found: Any, *, remedy: str = REMEDY) -> AuditFailure:
    """Return the failure that says that something is not what it must be.

    Args:
        subject: What it is about.
        what: The thing that differs, as the subject of a sentence, e.g. `the weight`.
        expected: What it must be; bytes are shown in 0x-hex.
        found: What it is.
        remedy: What to do next.
    """
    about = str(subject)
    sentence = f"{about}: {what}" if about else what
    return AuditFailure(
        f"{sentence[0].upper()}{sentence[1:]} is not what it must be. Expected: {shown(expected)}. "
        f"Found: {shown(found).rstrip('.')}.",
        remedy=remedy,
        details={**subject.details(), "what": what, "expected": shown(expected), "found": shown(found)},
    )


def require(subject: Subject, what: str, expected: Any, found: Any) -> None:
    """Compare.

    Raises:
        AuditFailure: the two differ.
    """
    if expected != found:
        raise mismatch(subject, what, expected, found)


def require_that(holds: bool, subject: Subject, what: str, expected: Any, found: Any) -> None:
    """Raise unless a condition holds, where it is not plain equality.

    Raises:
        AuditFailure: it does not hold.
    """
    if not holds:
        raise mismatch(subject, what, expected, found)


def shown(value: Any) -> str:
    """Return a value as people read it."""
    if isinstance(value, bytes):
        return "0x" + value.hex()
    if isinstance(value, list | tuple | set | frozenset):
        items = sorted(map(shown, value)) if isinstance(value, set | frozenset) else list(map(shown, value))
        return "[" + ", ".join(items) + "]"
    if value is None:
        return "nothing"
    return str(value)


def short_id(proposal: int) -> str:
    """Return the first digits of a proposal's number, as `folkmoot proposals` shows them: the whole has up to 78."""
    return str(proposal)[:SHORT_DIGITS]

# SPDX-License-Identifier: Apache-2.0
"""Build the failures of an audit: two values differ that must be equal.

Every check calls `require` or raises `mismatch`. Each failure then has the round, the contributor, the file and the
event, and the expected and the actual value.
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
"""Number of shown digits of a proposal's id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Subject of a check, which is named in the failure."""

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
        """Return the fields that are set, as JSON values."""
        details: dict[str, Any] = {"check": self.check}
        for name in ("round", "contributor", "voter", "artifact"):
            if getattr(self, name) is not None:
                details[name] = getattr(self, name)
        if self.proposal is not None:
            details["proposal"] = str(self.proposal)
        if self.event is not None:
            details["event"] = self.event.name
            details["transaction"] = "0x" + self.event.transaction.hex()
            details["block"] = self.event.block
        return details


def mismatch(
    subject: Subject, what: str, expected: Any, actual: Any, *, remedy: str = REMEDY
) -> AuditFailure:
    """Return the failure for a value that differs from the expected one.

    Args:
        subject: Subject of the check.
        what: Name of the value, as the subject of a sentence, e.g. `the weight`.
        expected: Expected value; bytes are shown in 0x-hex.
        actual: Actual value.
        remedy: What to do next.
    """
    about = str(subject)
    sentence = f"{about}: {what}" if about else what
    return AuditFailure(
        f"{sentence[0].upper()}{sentence[1:]} is not what it must be. Expected: {shown(expected)}. "
        f"Found: {shown(actual).rstrip('.')}.",
        remedy=remedy,
        details={**subject.details(), "what": what, "expected": shown(expected), "found": shown(actual)},
    )


def require(subject: Subject, what: str, expected: Any, actual: Any) -> None:
    """Check that two values are equal."""
    if expected != actual:
        raise mismatch(subject, what, expected, actual)


def require_that(holds: bool, subject: Subject, what: str, expected: Any, actual: Any) -> None:
    """Check a condition other than equality."""
    if not holds:
        raise mismatch(subject, what, expected, actual)


def shown(value: Any) -> str:
    """Return a value as text."""
    if isinstance(value, bytes):
        return "0x" + value.hex()
    if isinstance(value, list | tuple | set | frozenset):
        items = sorted(map(shown, value)) if isinstance(value, set | frozenset) else list(map(shown, value))
        return "[" + ", ".join(items) + "]"
    if value is None:
        return "nothing"
    return str(value)


def short_id(proposal: int) -> str:
    """Return the first digits of a proposal's id, as in `folkmoot proposals`. The full id has up to 78 digits."""
    return str(proposal)[:SHORT_DIGITS]

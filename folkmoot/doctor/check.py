# SPDX-License-Identifier: Apache-2.0
"""Checks, and a function that runs a list of them.

A failed check does not stop the others, except those that need it: each check names the checks that it needs, and is
skipped if one of them failed. This module does not depend on the subject of the checks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from folkmoot.errors import FolkmootError


class State(StrEnum):
    """Result of a check."""

    OK = "ok"
    """No problem."""
    WARNING = "warning"
    """It works, but needs attention."""
    FAILED = "failed"
    """It does not work, or will soon stop working."""
    SKIPPED = "skipped"
    """The check was skipped because a check that it needs failed."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Finding of a check."""

    state: State
    """Result of the check."""
    text: str
    """Observation, in one sentence."""
    remedy: str = ""
    """What to do about a problem; empty if there is none."""


def ok(text: str) -> Finding:
    """Return a finding without a problem."""
    return Finding(State.OK, text)


def warning(text: str, remedy: str) -> Finding:
    """Return a finding that needs attention."""
    return Finding(State.WARNING, text, remedy)


def failed(text: str, remedy: str) -> Finding:
    """Return a finding of a failure."""
    return Finding(State.FAILED, text, remedy)


@dataclass(frozen=True, slots=True)
class Check:
    """A check."""

    name: str
    """Short name, unique in a list."""
    run: Callable[[], Finding]
    """Function that runs the check. A FolkmootError that it raises is a failed check with its message and remedy."""
    needs: tuple[str, ...] = ()
    """Names of earlier checks that must not have failed."""


@dataclass(frozen=True, slots=True)
class Line:
    """A check that was run or skipped, and its finding."""

    name: str
    """The check's name."""
    finding: Finding
    """Finding of the check."""

    def to_json(self) -> dict[str, Any]:
        """Return the line as one JSON object."""
        finding = self.finding
        return {
            "check": self.name,
            "state": str(finding.state),
            "text": finding.text,
            "remedy": finding.remedy,
        }


def examine(checks: Iterable[Check]) -> list[Line]:
    """Run all checks in order; yield a line for each.

    Args:
        checks: The checks. Each comes after the checks that it needs. Needed checks that are not in the list count as
            passed.
    """
    lines: list[Line] = []
    broken: set[str] = set()
    for check in checks:
        missing = [name for name in check.needs if name in broken]
        if missing:
            finding = Finding(State.SKIPPED, f"Skipped, because it needs the check {missing[0]!r}.")
        else:
            finding = _run(check)
        if finding.state in (State.FAILED, State.SKIPPED):
            broken.add(check.name)
        lines.append(Line(check.name, finding))
    return lines


def _run(check: Check) -> Finding:
    try:
        return check.run()
    except FolkmootError as error:
        return failed(error.message, error.remedy)
    except OSError as error:
        where = f" {error.filename}" if error.filename else ""
        return failed(
            f"The system refused{where}: {error.strerror or error}.", "Look after that file or address."
        )

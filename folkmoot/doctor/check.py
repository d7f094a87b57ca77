# SPDX-License-Identifier: Apache-2.0
"""What a check is, and how a list of them is run.

One that fails must not keep the others from being made, apart from those that would only fail for the same reason:
a check names the others that it needs, and is left out if one of them failed. Knows nothing of what is checked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from folkmoot.errors import FolkmootError


class State(StrEnum):
    """What came of a check."""

    OK = "ok"
    """All is well."""
    WARNING = "warning"
    """It works, and should be looked after."""
    FAILED = "failed"
    """It does not work, or soon will not."""
    SKIPPED = "skipped"
    """It was not made: a check that it needs failed."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found."""

    state: State
    """What came of it."""
    text: str
    """What was seen, in a sentence."""
    remedy: str = ""
    """What to do, if something is wrong."""


def ok(text: str) -> Finding:
    """All is well."""
    return Finding(State.OK, text)


def warning(text: str, remedy: str) -> Finding:
    """It works, and should be looked after."""
    return Finding(State.WARNING, text, remedy)


def failed(text: str, remedy: str) -> Finding:
    """It does not work."""
    return Finding(State.FAILED, text, remedy)


@dataclass(frozen=True, slots=True)
class Check:
    """One thing to look at."""

    name: str
    """A few words, unique in a list."""
    run: Callable[[], Finding]
    """Looks. A FolkmootError that it raises is a failure, with its message and remedy."""
    needs: tuple[str, ...] = ()
    """Names of earlier checks of the list without which this one says nothing."""


@dataclass(frozen=True, slots=True)
class Line:
    """A check that was made or left out, and what it found."""

    name: str
    """The check's name."""
    finding: Finding
    """What it found."""

    def to_json(self) -> dict[str, Any]:
        """Return it as one JSON object."""
        found = self.finding
        return {"check": self.name, "state": str(found.state), "text": found.text, "remedy": found.remedy}


def examine(checks: Iterable[Check]) -> list[Line]:
    """Make all checks in their order.

    Args:
        checks: The list. What a check needs stands before it; what is not in the list is taken to be well.
    """
    lines: list[Line] = []
    broken: set[str] = set()
    for check in checks:
        missing = [name for name in check.needs if name in broken]
        if missing:
            finding = Finding(State.SKIPPED, f"Not looked at: it needs the check {missing[0]!r}.")
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

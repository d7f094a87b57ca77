# SPDX-License-Identifier: Apache-2.0
"""The background steps that fail: which, since when, and what to do about it. For health, the doctor and the log."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, replace

from folkmoot.errors import FolkmootError
from folkmoot.runtime.logs import fields

logger = logging.getLogger(__name__)

LASTING = 2
"""Failures in a row after which a step counts as failing. A defect counts at once: it does not pass by itself."""


@dataclass(frozen=True)
class Failure:
    """A step that failed when it was last tried."""

    step: str
    """Name of the step."""
    error: str
    """What failed, a sentence."""
    remedy: str
    """What to do about it."""
    since: float
    """Unix time of the first failure in a row."""
    times: int
    """Failures in a row."""
    defect: str = ""
    """Type and text of an error that the coordinator does not expect; empty for others. For the log only: the text may
    have the key of an endpoint in it, and everybody reads health."""

    def __str__(self) -> str:
        """All of it, for people."""
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(self.since))
        return f"The step `{self.step}` fails since {since} UTC. {self.error} {self.remedy}".strip()


class Failing:
    """Takes note of what becomes of each background step. All threads may call it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failures: dict[str, Failure] = {}

    def failed(self, step: str, error: Exception) -> None:
        """Take note that a step failed, and log it if it fails otherwise than the last time."""
        made = _failure(step, error)
        with self._lock:
            before = self._failures.get(step)
            if before is not None:
                made = replace(made, since=before.since, times=before.times + 1)
            self._failures[step] = made
        if before is not None and replace(made, since=0, times=0) == replace(before, since=0, times=0):
            return
        if isinstance(error, FolkmootError):
            about = fields("look-failed", step=step, code=error.code)
            logger.warning("%s", error, extra=about)
        else:
            logger.error(
                "a defect stopped the step `%s`", step, exc_info=error, extra=fields("defect", step=step)
            )

    def passed(self, step: str) -> None:
        """Take note that a step went well."""
        with self._lock:
            self._failures.pop(step, None)

    @property
    def lasting(self) -> list[Failure]:
        """The steps that count as failing, the one that has failed for the longest time first."""
        with self._lock:
            failures = [
                failure for failure in self._failures.values() if failure.defect or failure.times >= LASTING
            ]
        return sorted(failures, key=lambda one: one.since)


def _failure(step: str, error: Exception) -> Failure:
    if isinstance(error, FolkmootError):
        return Failure(step, error.message, error.remedy, time.time(), 1)
    return Failure(
        step,
        f"A defect stopped it: {type(error).__name__}.",
        "The step is tried again. What it was writing to the database when it failed was undone. If it fails again, "
        "start the coordinator again; then update Folkmoot, or report the defect with the traceback of the log.",
        time.time(),
        1,
        repr(error),
    )

# SPDX-License-Identifier: Apache-2.0
"""What failed and is tried again: with growing pauses, and no longer than it could have an effect.

Each thing that a watcher tries has a name; who tries it says what failed, and when no more can come of it. That end is
said once, with how often it was tried and why it failed the last time, and counted. Knows no chain and no file; what is
under way is forgotten with the process, which then tries anew.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from folkmoot.fraud.watcher.journal import Log
from folkmoot.fraud.watcher.metrics import Metrics
from folkmoot.runtime.backoff import Backoff

FIRST_PAUSE, LONGEST_PAUSE = 5.0, 600.0
"""Seconds between two tries: they double from the one to the other."""


@dataclass(frozen=True)
class Task:
    """Something that is tried."""

    kind: str
    """What it is, one of `KINDS`."""
    round: int
    """The round that it is about."""
    which: str = ""
    """Which of several about the round."""


KINDS = {
    "check": "was not checked",
    "challenge": "is wrong and was not challenged",
    "dispute": "is wrong, and no dispute about it was opened",
    "demand": "has files that nobody shows, and that were not demanded",
    "blame": "has an invalid update, whose contributor keeps its stake",
    "replay": "has an update that was sent before, whose contributor keeps its stake",
    "deposit": "has a deposit of ours that was not given back",
}
"""What can be tried, and what is to be said of the round if nothing comes of it."""


@dataclass
class _Tries:
    began: float
    at: float = 0.0
    backoff: Backoff = field(default_factory=lambda: Backoff(FIRST_PAUSE, LONGEST_PAUSE))
    count: int = 0
    why: str = ""


@dataclass
class Retries:
    """When what failed is tried again."""

    clock: Callable[[], float]
    """Seconds, for pauses."""
    log: Log
    """Where an end is said."""
    metrics: Metrics
    """Where it is counted."""
    _tries: dict[Task, _Tries] = field(default_factory=dict)

    def is_due(self, task: Task) -> bool:
        """Whether it is time to try something."""
        return task not in self._tries or self.clock() >= self._tries[task].at

    def failed(self, task: Task, why: str, left: float | None = None) -> None:
        """Wait twice as long as the last time, and never more than a quarter of the time that is left.

        Args:
            task: What was tried.
            why: What failed, a sentence.
            left: Seconds in which it can still have an effect; None, or none left, where nobody knows the end.
        """
        now = self.clock()
        one = self._tries.setdefault(task, _Tries(began=now))
        one.count, one.why = one.count + 1, why
        pause = one.backoff.next()
        one.at = now + (min(pause, max(1.0, left / 4)) if left is not None and left > 0 else pause)

    def tried_for(self, task: Task) -> float:
        """Return for how many seconds something has failed; 0 if it has not."""
        return self.clock() - self._tries[task].began if task in self._tries else 0.0

    def done(self, task: Task) -> None:
        """Forget what needs no further try."""
        self._tries.pop(task, None)

    def give_up(self, task: Task, because: str) -> None:
        """Say that nothing more is tried, and count it.

        Args:
            task: What was tried, or would have been.
            because: Why no more can come of it, the end of a sentence.
        """
        one = self._tries.pop(task, None)
        tried = "It was not tried."
        if one is not None:
            times = "once" if one.count == 1 else f"{one.count} times"
            tried = f"It failed {times} in {self.clock() - one.began:,.0f} s, the last time so: {one.why}"
        text = f"Round {task.round} {KINDS[task.kind]}: given up, as {because}. {tried}"
        self.metrics.given_up.labels(task.kind).inc()
        self.log(
            "given-up", text, round=task.round, what=task.kind, tries=one.count if one is not None else 0
        )

    @property
    def tasks(self) -> list[Task]:
        """What has failed and was not given up."""
        return list(self._tries)

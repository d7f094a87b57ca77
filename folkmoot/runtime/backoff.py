# SPDX-License-Identifier: Apache-2.0
"""Try again after growing pauses. Travels in the Flower App Bundle.

A *pause* is the time between two tries, a *timeout* the time after which to give up; both in seconds.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from math import inf
from typing import TypeVar

from folkmoot.errors import FolkmootError

_T = TypeVar("_T")


class Backoff:
    """Pauses that grow.

    Args:
        first: The first pause.
        most: The longest pause.
        factor: What each further pause is multiplied by.
        jitter: Share by which a pause is made longer or shorter at random, so that many callers spread.
    """

    def __init__(self, first: float, most: float = inf, *, factor: float = 2.0, jitter: float = 0.0) -> None:
        self._first = self._next = first
        self._most, self._factor, self._jitter = most, factor, jitter

    def next(self) -> float:
        """Return the pause before the next try."""
        pause, self._next = self._next, min(self._factor * self._next, self._most)
        return pause * random.uniform(1 - self._jitter, 1 + self._jitter)  # noqa: S311  no secret

    def reset(self) -> None:
        """Begin with the first pause again."""
        self._next = self._first


def retry(
    call: Callable[[], _T],
    backoff: Backoff,
    timeout: float,
    passing: Callable[[FolkmootError], bool],
    say: Callable[[FolkmootError, float], None] = lambda error, pause: None,
) -> _T:
    """Call until it succeeds, and return its result.

    Args:
        call: What is tried.
        backoff: The pauses.
        timeout: When to give up.
        passing: Whether an error may pass by itself.
        say: Is given each error and the pause before the next try.

    Raises:
        FolkmootError: The last error: it does not pass, or the next try would come after the timeout.
    """
    end = time.monotonic() + timeout
    while True:
        try:
            return call()
        except FolkmootError as error:
            pause = backoff.next()
            if not passing(error) or time.monotonic() + pause > end:
                raise
            say(error, pause)
        time.sleep(pause)

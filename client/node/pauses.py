# SPDX-License-Identifier: Apache-2.0
"""Set how long a node waits between two polls for work: short during a run, longer when the node is idle.

A SuperNode polls its SuperLink for messages, and its executor polls the SuperNode for tasks. Frequent polls use
processor time all day; rare polls delay every round. So the pauses adapt: the longer a node has had no message, the
longer it waits, until it polls as rarely as plain Flower. The SuperNode wakes its executor when a message arrives. The
classes here are the `sleep` of the loops that poll (`folkmoot.runtime.flower_internals`).
"""

from __future__ import annotations

import contextlib
import os
import select
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

BUSY_SECONDS = 120.0
"""Seconds after a message during which a node polls often: longer than the pause between two rounds of a local run."""

SHARE = 0.1
"""Part of the time since the last message that a busy node waits between two polls: so much later a round begins."""

SHORTEST_PAUSE = 0.1
"""Minimum number of seconds between two polls of a node for messages."""

IDLE_PAUSE = 3.0
"""Seconds between two polls of an idle node for messages, as in plain Flower."""

REPLY_PAUSE = 0.1
"""Seconds between two polls of a node for its app's reply."""

AWAKE_SECONDS = 5.0
"""Seconds after a wake-up during which an executor without a task polls often for it."""

ASLEEP_PAUSE = 2.0
"""Seconds between two polls of an executor without a wake-up."""

_LONG = 1.0
"""Flower sleeps longer than this many seconds only if a node is idle."""


class NodePause:
    """The `sleep` of a SuperNode's loop.

    Args:
        longest: Maximum number of seconds between two polls for messages during a run.
        sleep: Function that waits for a number of seconds.
        now: Monotonic clock.
    """

    def __init__(
        self,
        longest: float,
        *,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._longest = longest
        self._sleep = sleep
        self._now = now
        self._last = now()  # The node was just started: training will begin soon.

    def __call__(self, seconds: float) -> None:
        """Wait for at most `seconds`. An idle node waits longer than a busy one."""
        if seconds <= _LONG:  # It waits for its app's reply.
            self._sleep(min(seconds, REPLY_PAUSE))
            self._last = self._now()
            return
        since = self._now() - self._last
        if since < BUSY_SECONDS:
            pause = min(max(SHARE * since, SHORTEST_PAUSE), self._longest)
        else:
            pause = max(self._longest, IDLE_PAUSE)
        self._sleep(min(seconds, pause))


class Waker:
    """Writes to the pipe on which an executor waits. Never blocks and never fails.

    Args:
        descriptor: Writing end of the pipe; its owner closes it.
    """

    def __init__(self, descriptor: int) -> None:
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor

    def __call__(self) -> None:
        """Wake the executor."""
        with contextlib.suppress(
            OSError
        ):  # The pipe is full, so the executor is awake; or the executor has ended.
            os.write(self._descriptor, b"\n")


class ExecutorPause:
    """The `sleep` of an executor's loop: short from a wake-up until the task is started, else until the next wake-up.

    Args:
        descriptor: Reading end of the SuperNode's pipe.
        now: Monotonic clock.
    """

    def __init__(self, descriptor: int, *, now: Callable[[], float] = time.monotonic) -> None:
        self._descriptor: int | None = descriptor
        self._now = now
        self._awake_until = now() + AWAKE_SECONDS

    def rest(self) -> None:
        """Wait for a wake-up from now on: the task is started, and a node has one at a time."""
        self._awake_until = self._now()

    def __call__(self, seconds: float) -> None:
        """Wait for `seconds` if the executor is awake; otherwise wait for a wake-up, for at most ASLEEP_PAUSE."""
        if self._descriptor is None:
            time.sleep(seconds)
            return
        if self._now() < self._awake_until:
            time.sleep(seconds)
            longest = 0.0
        else:
            longest = ASLEEP_PAUSE
        ready, _, _ = select.select([self._descriptor], [], [], longest)
        if ready:
            if not os.read(self._descriptor, 4096):
                self._descriptor = None  # The SuperNode has ended. Flower will end this process soon.
                return
            self._awake_until = self._now() + AWAKE_SECONDS

# SPDX-License-Identifier: Apache-2.0
"""Set how long a node waits between two polls for work: short during a run, longer when the node is idle.

A SuperNode asks its SuperLink for messages, and its executor asks the SuperNode for tasks. Asked often, both cost
processor time all day long; asked seldom, every round waits. So the pauses follow what happens: a node that had a
message lately looks often, an idle one as seldom as plain Flower, and the SuperNode wakes its executor when a
message is there. This module knows no Flower; it replaces the clock of a module that polls by `time.sleep`.
"""

from __future__ import annotations

import contextlib
import os
import select
import time
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

BUSY_SECONDS = 120.0
"""Time after a message for which a node looks often: longer than the pause between two rounds of a local run."""

IDLE_PAUSE = 3.0
"""Seconds between two looks of an idle node for messages, as in plain Flower."""

REPLY_PAUSE = 0.1
"""Seconds between two looks of a node whether its app has replied."""

AWAKE_SECONDS = 5.0
"""Time after a wake-up for which an executor looks often for the task."""

ASLEEP_PAUSE = 2.0
"""Seconds between two looks of an executor that nobody wakes."""

_LONG = 1.0
"""Flower sleeps longer than this only where a node has nothing to do."""


def replace_clock(module: ModuleType, sleep: Callable[[float], None]) -> bool:
    """Give a module a `time` whose `sleep` is this function; other modules are not touched.

    Returns:
        Whether the module has such a clock. With a Flower that looks different inside, its pauses stay as they are.
    """
    if getattr(module, "time", None) is not time:
        return False
    clock = SimpleNamespace(**{name: getattr(time, name) for name in dir(time) if not name.startswith("_")})
    clock.sleep = sleep
    module.time = clock  # type: ignore[attr-defined]
    return True


class NodePause:
    """The `sleep` of a SuperNode's loop.

    Args:
        short: Seconds between two looks for messages while a run is going on.
        wake: Called when the node has a message to handle. A call too many does no harm.
        sleep: Waits.
        now: Monotonic clock.
    """

    def __init__(
        self,
        short: float,
        wake: Callable[[], None],
        *,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._short = short
        self._wake = wake
        self._sleep = sleep
        self._now = now
        self._busy_until = now() + BUSY_SECONDS  # it has just been started: somebody is about to train
        self._last_wait = 0.0

    def __call__(self, seconds: float) -> None:
        """Wait `seconds` at most; an idle node waits longer than a busy one."""
        if seconds > _LONG:
            busy = self._now() < self._busy_until
            self._sleep(min(seconds, self._short if busy else max(self._short, IDLE_PAUSE)))
            return
        # A wait for a reply follows the one before at once. Anything else in between was a new message.
        if self._now() - self._last_wait > 1.5 * REPLY_PAUSE:
            self._wake()
        self._sleep(min(seconds, REPLY_PAUSE))
        self._last_wait = self._now()
        self._busy_until = self._last_wait + BUSY_SECONDS


class Waker:
    """Writes to a pipe that an executor waits at; never blocks and never fails.

    Args:
        descriptor: Writing end of the pipe; its owner closes it.
    """

    def __init__(self, descriptor: int) -> None:
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor

    def __call__(self) -> None:
        """Wake the executor."""
        with contextlib.suppress(OSError):  # it is full, so the executor is awake; or the executor has ended
            os.write(self._descriptor, b"\n")


class ExecutorPause:
    """The `sleep` of an executor's loop: short after a wake-up, else until the next one.

    Args:
        descriptor: Reading end of the SuperNode's pipe.
        now: Monotonic clock.
    """

    def __init__(self, descriptor: int, *, now: Callable[[], float] = time.monotonic) -> None:
        self._descriptor: int | None = descriptor
        self._now = now
        self._awake_until = now() + AWAKE_SECONDS

    def __call__(self, seconds: float) -> None:
        """Wait `seconds` if the executor is awake, else for a wake-up, ASLEEP_PAUSE at most."""
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
                self._descriptor = None  # the SuperNode has ended; Flower ends this process soon
                return
            self._awake_until = self._now() + AWAKE_SECONDS

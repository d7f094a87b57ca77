# SPDX-License-Identifier: Apache-2.0
"""Show the transfers of the coordinator: bytes for the metrics, and a line of the log now and then for a long one."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from folkmoot.runtime.logs import fields
from server.telemetry.metrics import Metrics

logger = logging.getLogger(__name__)

INTERVAL = 10.0
"""Seconds between two lines about a transfer. One that takes less has none."""


class Progress:
    """One transfer.

    Args:
        metrics: Where the bytes are counted.
        direction: in or out.
        what: What is transferred, for people.
        size: Bytes of the whole file.
        start: Bytes of the file that were transferred before.
        clock: Another clock (seconds), for tests.
    """

    def __init__(
        self,
        metrics: Metrics,
        direction: str,
        what: str,
        size: int,
        start: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._count = metrics.carried.labels(direction).inc
        self._direction, self._what, self._size, self._clock = direction, what, size, clock
        self._began = self._logged = clock()
        self._line, self._done = 0, start

    def moved(self, line: int, done: int) -> None:
        """Take note of bytes that were just carried over the line, and of how many of the file that makes."""
        self._count(line)
        self._line += line
        self._done = done
        if self._clock() >= self._logged + INTERVAL:
            self._logged = self._clock()
            self._tell("transfer")

    def ended(self) -> None:
        """Take note that the transfer is complete."""
        if self._logged > self._began:
            self._tell("transferred")

    def _tell(self, event: str) -> None:
        seconds = self._clock() - self._began
        rate = self._line / seconds
        logger.info(
            "%s, %s: %.1f of %.1f MB after %.0f s, %.3f MB/s",
            self._what,
            self._direction,
            self._done / 1e6,
            self._size / 1e6,
            seconds,
            rate / 1e6,
            extra=fields(
                event,
                direction=self._direction,
                done=self._done,
                size=self._size,
                seconds=round(seconds, 1),
                rate=round(rate),
            ),
        )

# SPDX-License-Identifier: Apache-2.0
"""Runs a piece of work some times and keeps the best time: the other times say more of the machine's neighbours."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    """One piece of work."""

    group: str
    """What it belongs to."""
    name: str
    """What it does."""
    size: int
    """Bytes that go in (for a sum over k updates, of all k)."""
    work: Callable[[], object]
    """Does it once."""


@dataclass(frozen=True)
class Measured:
    """What a case took."""

    group: str
    name: str
    megabytes: float
    """Bytes that go in, in 10^6."""
    seconds: float
    """Best of all runs."""
    processor_seconds: float
    """Best of all runs, the time only that the processor spent on it, in all threads."""

    @property
    def rate(self) -> float:
        """Megabytes (10^6 bytes) a second."""
        return self.megabytes / self.seconds

    @property
    def processor_rate(self) -> float:
        """Megabytes (10^6 bytes) a second that the processor spent."""
        return self.megabytes / self.processor_seconds


def measure(case: Case, repeat: int) -> Measured:
    """Run a case once to warm up, then ``repeat`` times."""
    case.work()
    best = processor_best = float("inf")
    for _ in range(repeat):
        start, processor_start = time.perf_counter(), time.process_time()
        case.work()
        processor_best = min(processor_best, time.process_time() - processor_start)
        best = min(best, time.perf_counter() - start)
    return Measured(case.group, case.name, case.size / 1e6, best, processor_best)

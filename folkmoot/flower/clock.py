# SPDX-License-Identifier: Apache-2.0
"""How long a node may train in a round: until the end of the commit window, less the time to hand an update in.

Times are those of the chain, which the node reads from its own endpoint. The machine's clock is only used to measure
durations: how long handing in takes, and which share of the time a node trains. This module is part of the app bundle.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from pathlib import Path

from folkmoot.runtime.files import write_whole

SENDING_SECONDS = 30
"""Seconds before the end of a window in which a coordinator sends the commitments that it has, by default."""
SENDING_SHARE = 1 / 3
"""Largest share of a window that this takes."""
FIRST_SHARE = 1 / 8
"""Share of the window that is left for handing in while the node has not measured how long that takes."""
TIMES_LONGER = 1.5
"""Handing in may last this multiple of the last time."""
LONGEST_SHARE = 1 / 2
"""Largest share of a window that is left for it, so that a failure of the coordinator does not end the next training at
once."""

_FILE = "times"
_LARGEST_FILE = 256
_LINE = re.compile(
    r"Round (\d{1,18}): trained (\d{1,9}\.\d) s(?: of (\d{1,9}\.\d) s)?, (\d{1,9}\.\d) s of them on a processor$"
)

_left: ContextVar[Callable[[], float]] = ContextVar("left", default=lambda: math.inf)


def time_left() -> float:
    """Return the seconds that are left for the training of the round; infinity if nobody has set an end."""
    return _left.get()()


@contextlib.contextmanager
def ends(left: Callable[[], float]) -> Iterator[None]:
    """Let `time_left` return what a function returns while the block runs."""
    token = _left.set(left)
    try:
        yield
    finally:
        _left.reset(token)


def margin(window: float, seconds: float | None) -> float:
    """Return the seconds before the end of a commit window at which training must end.

    Args:
        window: Length of the window in seconds.
        seconds: How long encoding, signing and delivering took the last time; None if that is unknown.
    """
    handing_in = FIRST_SHARE * window if seconds is None else TIMES_LONGER * seconds
    return min(SENDING_SECONDS, SENDING_SHARE * window) + min(handing_in, LONGEST_SHARE * window)


@dataclass(frozen=True)
class Span:
    """When the app trained."""

    began: float
    """Monotonic time."""
    ended: float
    """Monotonic time."""
    processor: float
    """Seconds of the processor that the app's process used. The rest of the time it waited, mostly for a core."""


@dataclass(frozen=True)
class Times:
    """What a node keeps of its last training. The training code may write anything there."""

    ended: float | None = None
    """Monotonic time at its end; None if there was none."""
    handing_in: float | None = None
    """Seconds from its end until the coordinator accepted the update; None if that was never measured."""


def read(folder: Path) -> Times:
    """Return what `write` wrote last.

    Args:
        folder: The folder with the memories of the bundle.
    """
    path = folder / _FILE
    try:
        if not path.is_file() or path.stat().st_size > _LARGEST_FILE:
            return Times()
        times = json.loads(path.read_bytes())
        return Times(**{name: _seconds(times.get(name)) for name in asdict(Times())})
    except (OSError, ValueError, AttributeError):
        return Times()


def _seconds(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value < math.inf else None


def write(folder: Path, times: Times) -> None:
    """Keep times until the next training.

    Raises:
        OSError: The folder can't be written.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_whole(folder / _FILE, json.dumps(asdict(times)).encode())


@dataclass(frozen=True)
class TrainingTime:
    """How long a node trained for the update of a round, as its log says."""

    round: int
    seconds: float
    """Seconds of training, with the time in which the app waited for a core."""
    since: float | None
    """Seconds from the end of the training before to the end of this one; None if there was none before."""
    processor: float
    """Seconds of the processor."""

    @classmethod
    def of(cls, number: int, span: Span, before: float | None) -> TrainingTime:
        """Return it for a round's update.

        Args:
            number: The round.
            span: When the app trained.
            before: Monotonic time at the end of the training before; None if there was none since the machine started.
        """
        since = None if before is None or before > span.began else span.ended - before
        return cls(number, span.ended - span.began, since, span.processor)

    @classmethod
    def in_line(cls, line: str) -> TrainingTime | None:
        """Return what a line of a node's log says; None if it says something else."""
        match = _LINE.search(line.rstrip())
        if match is None:
            return None
        number, seconds, since, processor = match.groups()
        return cls(int(number), float(seconds), None if since is None else float(since), float(processor))

    def __str__(self) -> str:
        """Return the log line."""
        since = "" if self.since is None else f" of {self.since:.1f} s"
        return f"Round {self.round}: trained {self.seconds:.1f} s{since}, {self.processor:.1f} s of them on a processor"

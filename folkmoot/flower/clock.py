# SPDX-License-Identifier: Apache-2.0
"""How long a node may train in a round: until the end of the commit window, less the time to hand an update in.

Times are those of the chain, which the node reads from its own endpoint. The machine's clock is only used to measure
durations. This module is part of the app bundle.
"""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
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

_FILE = "seconds"
_LARGEST_FILE = 64

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
    return min(SENDING_SECONDS, SENDING_SHARE * window) + handing_in


def measured(folder: Path) -> float | None:
    """Return the seconds that `measure` wrote last; None if it wrote none. The training code may write anything."""
    path = folder / _FILE
    try:
        if not path.is_file() or path.stat().st_size > _LARGEST_FILE:
            return None
        seconds = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    known = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    return float(seconds) if known and 0 <= seconds < math.inf else None


def measure(folder: Path, began: float) -> None:
    """Write how long it took to hand an update in.

    Args:
        folder: The folder with the memories of the bundle.
        began: The monotonic time at the end of the training.

    Raises:
        OSError: The folder can't be written.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_whole(folder / _FILE, json.dumps(round(time.monotonic() - began, 3)).encode())

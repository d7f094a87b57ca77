# SPDX-License-Identifier: Apache-2.0
"""Where a test can kill this process: before and after each step that leaves something behind.

A process that was started with FOLKMOOT_FAULT="NAME@FILE" or "NAME:PASS@FILE" ends itself with SIGKILL when it
reaches the point NAME (for the PASS-th time, the first by default). It makes FILE before it dies and spares itself
if FILE is there: so a supervisor can start it again with the same environment, and processes that Flower starts one
after the other die once in all. Without that variable a point costs one comparison.

Knows nothing of what the steps do. `make chaos` reaches every point; docs/reliability.md says what it found.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import NamedTuple

VARIABLE = "FOLKMOOT_FAULT"

POINTS: dict[str, str] = {}
"""Every point: its name, PROCESS.STEP, and what is left behind when a process dies there. A test compares the names
with the calls in the code."""


class _Wanted(NamedTuple):
    name: str
    times: int
    file: Path


def _parse(text: str | None) -> _Wanted | None:
    if not text:
        return None
    point, _, file = text.partition("@")
    name, _, times = point.partition(":")
    if not file or (times and not times.isdecimal()):
        raise ValueError(f"{VARIABLE} must be NAME@FILE or NAME:PASS@FILE, and is {text!r}")
    return _Wanted(name, int(times or "1"), Path(file))


_wanted = _parse(os.environ.get(VARIABLE))
_passes = 0


def fault_point(name: str) -> None:
    """Die here if this process was told to; see the module.

    Args:
        name: A key of `POINTS`.
    """
    if _wanted is not None and _wanted.name == name:
        _die(_wanted)


def _die(wanted: _Wanted) -> None:
    global _passes
    _passes += 1
    if _passes < wanted.times:
        return
    try:
        with wanted.file.open("x") as file:
            file.write(f"{wanted.name} {os.getpid()}\n")
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)

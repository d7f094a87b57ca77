# SPDX-License-Identifier: Apache-2.0
"""Where a test can kill this process: before and after each step that leaves something behind.

A process that was started with FOLKMOOT_FAULT="NAME@FILE" or "NAME:PASS@FILE" ends itself with SIGKILL when it
reaches the point NAME (for the PASS-th time, the first by default). It makes FILE before it dies and spares itself
if FILE is there: so a supervisor can start it again with the same environment, and processes that Flower starts one
after the other die once in all. Several faults, separated by commas, are so many deaths, each at its own point.
Without that variable a point costs one comparison.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import NamedTuple

VARIABLE = "FOLKMOOT_FAULT"


class _Wanted(NamedTuple):
    times: int
    file: Path


def _parse(text: str | None) -> dict[str, _Wanted]:
    wanted = {}
    for fault in text.split(",") if text else ():
        point, _, file = fault.partition("@")
        name, _, times = point.partition(":")
        if not file or (times and not times.isdecimal()):
            raise ValueError(f"{VARIABLE} must be NAME@FILE or NAME:PASS@FILE, and is {fault!r}")
        wanted[name] = _Wanted(int(times or "1"), Path(file))
    return wanted


_wanted = _parse(os.environ.get(VARIABLE))
_passes = dict.fromkeys(_wanted, 0)


def fault_point(name: str) -> None:
    """Die here if this process was told to; see the module.

    Args:
        name: PROCESS.STEP, and for a step that is not atomic also ``.before`` or ``.after``.
    """
    if _wanted and name in _wanted:
        _die(name, _wanted[name])


def _die(name: str, wanted: _Wanted) -> None:
    _passes[name] += 1
    if _passes[name] < wanted.times:
        return
    try:
        with wanted.file.open("x") as file:
            file.write(f"{name} {os.getpid()}\n")
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)

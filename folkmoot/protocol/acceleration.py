# SPDX-License-Identifier: Apache-2.0
"""Choice between compiled loops (numba) and numpy for a piece of work. Both give the same bytes.

Loading numba costs about a second, and compiling its loops for the first time some more, so a process that
handles small models never loads it: the compiled loops come in once the slow ones have had a fair amount of
work. numba is the optional extra ``folkmoot[fast]``; without it everything works, only slower.

This module does not know what the loops compute.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

LOAD_AFTER = 64 << 20
"""Bytes of work in one process after which the compiled loops are loaded."""

MINIMUM_WORK = 4 << 10
"""Bytes of work below which a call of a compiled loop is not worth its overhead."""


class _Choice:
    """State of the choice in this process: it changes the speed of results, never the results."""

    def __init__(self) -> None:
        self.work_done = 0
        self.allowed = sys.byteorder == "little"
        self.module: ModuleType | None = None


_choice = _Choice()


def kernels(work: int) -> ModuleType | None:
    """Return the module of compiled loops if they should do this piece of work, else None.

    Args:
        work: Size of the piece in bytes.
    """
    if not _choice.allowed or work < MINIMUM_WORK:
        return None
    if _choice.module is None:
        _choice.work_done += work
        if _choice.work_done < LOAD_AFTER:
            return None
        load()
    return _choice.module


def load() -> bool:
    """Load the compiled loops now; return whether they are there (numba is installed)."""
    if _choice.allowed and _choice.module is None:
        try:
            _choice.module = importlib.import_module("folkmoot.protocol.kernels")
        except ImportError:
            _choice.allowed = False
    return _choice.module is not None


@contextmanager
def without_kernels() -> Iterator[None]:
    """Run the body with the numpy code only, as if numba were not installed."""
    allowed, _choice.allowed = _choice.allowed, False
    try:
        yield
    finally:
        _choice.allowed = allowed

# SPDX-License-Identifier: Apache-2.0
"""The time limit of an app's steps. Commands with this option import nothing else of `folkmoot.apps`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

LIMIT = 1800.0
"""Default time limit of a step in seconds."""

LIMIT_OPTION = "--app-wait"
"""Command-line option that sets the limit."""


@dataclass(frozen=True)
class StepLimit:
    """Time limit of an app's step, and the display of its progress."""

    seconds: float = LIMIT
    """Seconds after which the app is ended."""
    show: Callable[[str, Path], AbstractContextManager[object]] = lambda doing, log: nullcontext()
    """Returns a context manager that shows a step's description and the path of its log while the step runs."""

# SPDX-License-Identifier: Apache-2.0
"""When the training of a round begins and ends, as the training settings of a manifest say.

``"start": "eager"`` lets a contributor train on while its round is committed and anchored (docs/protocol.md section
9.1). ``"clock": true`` lets training last until the time is over, instead of a fixed number of steps. A task counts its
steps with `steps`, which follows both. This module does not use Flower, files, rounds or the chain.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from folkmoot.errors import InputError
from folkmoot.protocol.manifest import PRIVACY

START, CLOCK = "start", "clock"
"""Names of the training settings."""

BASE, EAGER = "base", "eager"
"""Values of the first one: train from the round's base, which is the default, or from the eager start."""

TIME_LEFT = "time_left"
"""Name of the setting that a task gets in a training by the clock: a function that returns the seconds left."""


def check(training: Mapping[str, Any]) -> None:
    """Check both settings.

    Raises:
        InputError: ``invalid-pace``: one has an impossible value, or the settings declare privacy.
    """
    start, clock = training.get(START, BASE), training.get(CLOCK, False)
    if start not in (BASE, EAGER) or not isinstance(clock, bool):
        raise InputError(
            f"The training settings have {START} {start!r} and {CLOCK} {clock!r}.",
            remedy=f"{START} is {BASE!r} or {EAGER!r}, {CLOCK} is true or false.",
            code="invalid-pace",
        )
    if PRIVACY in training and (clock or start == EAGER):
        raise InputError(
            "A task with privacy has a fixed number of noised steps, each from the round's base.",
            remedy=f"Leave out {START} and {CLOCK}, or privacy.",
            code="invalid-pace",
        )


def is_eager(training: Mapping[str, Any]) -> bool:
    """Return whether contributors train on while a round is committed and anchored. Never with privacy."""
    return training.get(START) == EAGER and PRIVACY not in training


def by_clock(training: Mapping[str, Any]) -> bool:
    """Return whether training lasts until the time is over. Never with privacy."""
    return training.get(CLOCK) is True and PRIVACY not in training


def steps(settings: Mapping[str, Any]) -> Iterator[int]:
    """Yield the number of each step of a round's training, from 0.

    In a training by the clock, steps go on while there is time for one that lasts as long as the longest so far; there
    is always one. Otherwise there are ``local_steps``. The number of steps is reported as ``steps``.

    Args:
        settings: What a task's ``train`` gets.
    """
    left: Callable[[], float] | None = settings.get(TIME_LEFT)
    report = settings.get("report", {})
    step, longest = 0, 0.0
    while step < int(settings["local_steps"]) if left is None else step == 0 or left() > longest:
        began = time.monotonic()
        yield step
        longest = max(longest, time.monotonic() - began)
        step += 1
        report["steps"] = step

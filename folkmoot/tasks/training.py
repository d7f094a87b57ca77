# SPDX-License-Identifier: Apache-2.0
"""Train a task for one round: its seed, its time, its memory, and the checks of a private training.

This module does not use Flower, rounds or the chain.
"""

from __future__ import annotations

import inspect
import secrets
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from folkmoot.privacy.mechanism import checked
from folkmoot.privacy.settings import PrivacySettings
from folkmoot.tasks import Task, pace
from folkmoot.tasks.memory import Memory

if TYPE_CHECKING:
    import torch


def train_once(
    task: Task,
    model: torch.nn.Module,
    data: Any,
    training: Mapping[str, Any],
    memory: Memory,
    number: int,
    time_left: Callable[[], float] | None = None,
    report: dict[str, float] | None = None,
) -> int:
    """Train a model in place with the manifest's settings.

    The settings get a ``seed`` from the operating system, also in place of one that the manifest has. What training
    draws, such as the order of the examples, must stay secret: from the header's seed anybody could recompute it. They
    also get ``round`` and ``report``, and ``time_left`` if they name a training by the clock.

    A private training starts with an empty memory, and what it leaves there is dropped. The noise accounting holds for
    functions of noised sums; what a task keeps may be a function of the records themselves.

    Args:
        task: The task.
        model: The model at the start of the round.
        data: What the task's ``load`` returned.
        training: The manifest's training settings.
        memory: What the training of an earlier round kept. Training changes it.
        number: Number of the round.
        time_left: Returns the seconds that are left. Without it, a training by the clock has ``local_steps`` too.
        report: Gets the numbers that the training reports. A private training reports none.

    Returns:
        The number of examples to report: the task's own, or B0 if the settings declare privacy.

    Raises:
        InputError: The settings are invalid, or a private training did not release what its mechanism did.
    """
    pace.check(training)
    settings = {**training, "seed": secrets.randbits(63), "round": number, "report": {}}
    private = PrivacySettings.of(training)
    if private is None:
        if pace.by_clock(training) and time_left is not None:
            settings[pace.TIME_LEFT] = time_left
        settings["report"] = {} if report is None else report
        return call_train(task, model, data, settings, memory)
    with checked(model, private):
        call_train(task, model, data, settings, {})
    return private.divisor


def call_train(
    task: Task, model: torch.nn.Module, data: Any, settings: dict[str, Any], memory: Memory
) -> int:
    """Call a task's ``train``, with the memory if it has a parameter of this name."""
    takes_memory = "memory" in inspect.signature(task.train).parameters
    return task.train(model, data, settings, **({"memory": memory} if takes_memory else {}))

# SPDX-License-Identifier: Apache-2.0
"""What privacy costs in accuracy: train a task on one's own data with the noise of several budgets.

Nothing leaves the machine. The results are computed from the data without noise, so whoever publishes them, or a choice
that rests on them, publishes something about the data. This module does not use Flower, rounds or the chain.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from folkmoot.errors import InputError, TaskError
from folkmoot.privacy import PrivacySettings, noise_for
from folkmoot.tasks import Data, Task, supervised
from folkmoot.tasks.training import train_once

EPSILONS = (1.0, 3.0, 8.0, None)
"""Budgets that are tried; None is no noise."""

WARNING = (
    "These numbers come from your data without noise: if you publish them, or a choice that you made by them, "
    "that is a release of its own, which no budget counts."
)

_LEAST_RECORDS = 10
_HELD_OUT = 5
"""One record of so many is held out to measure the accuracy."""


@dataclass(frozen=True)
class Measured:
    """The accuracy of one budget."""

    epsilon: float | None
    """The budget; None without noise."""
    noise1024: int | None
    """Noise of a contributor that keeps the budget; None without noise."""
    accuracy: float
    """On held-out records, from 0 to 1; the mean of all repetitions."""
    worst: float
    """The smallest of the repetitions."""

    def to_json(self) -> dict[str, Any]:
        """Return JSON types."""
        return {
            "epsilon": self.epsilon,
            "noise1024": self.noise1024,
            "accuracy": round(self.accuracy, 4),
            "worst": round(self.worst, 4),
        }


def settings_of(task: Task) -> PrivacySettings:
    """Return the privacy settings of a task.

    Raises:
        InputError: The task declares none (``no-privacy``), or they are invalid.
    """
    settings = PrivacySettings.of(task.training)
    if settings is None:
        raise InputError(
            f"The task {task.name!r} declares no privacy in its training settings.",
            remedy="Try a shipped task whose name ends in -private, or declare privacy (docs/privacy.md).",
            code="no-privacy",
        )
    return settings


def measure(
    task: Task, partition: int, partitions: int, *, rounds: int, contributors: int, repeat: int
) -> Iterator[Measured]:
    """Yield the accuracy of each of EPSILONS.

    Each repetition holds out other records and trains on the rest, for all rounds. The noise of several contributors,
    whose updates are averaged, is simulated by dividing its standard deviation by the square root of their number, as
    if all had data like these.

    Args:
        task: A classification task that declares privacy, whose ``load`` returns ``Data``.
        partition: Share of the data, counted from 0.
        partitions: Number of shares.
        rounds: Rounds that the budget is for.
        contributors: Number of contributors in the federation.

    Raises:
        InputError: The task declares no privacy, or a budget can't be kept.
        TaskError: The data are of another kind, or too few.
    """
    settings = settings_of(task)
    data = task.load(partition, partitions, int(task.training.get("split_seed", 0)))
    if not isinstance(data, Data) or data.labels.is_floating_point():
        raise TaskError(
            f"The data of the task {task.name!r} are not inputs with one class each.",
            remedy="Let load return folkmoot.tasks.Data with whole numbers as labels.",
        )
    if len(data) < _LEAST_RECORDS:
        raise TaskError(
            f"{len(data)} records are too few to hold some out.",
            remedy=f"Use at least {_LEAST_RECORDS}, or a smaller number of partitions.",
        )
    orders = [secrets.SystemRandom().sample(range(len(data)), len(data)) for _ in range(repeat)]
    for epsilon in EPSILONS:
        noise = None if epsilon is None else noise_for(epsilon, settings.delta, rounds, settings.steps)
        averaged = 1 if noise is None else max(1, round(noise / contributors**0.5))
        tried = {**task.training, "privacy": replace(settings, noise1024=averaged).to_json()}
        accuracies = [_accuracy(task, data, order, tried, rounds) for order in orders]
        yield Measured(epsilon, noise, sum(accuracies) / repeat, min(accuracies))


def _accuracy(task: Task, data: Data, order: list[int], training: dict[str, Any], rounds: int) -> float:
    """Train on all records but the first of an order, and return the accuracy on these."""
    held = len(order) // _HELD_OUT
    test, rest = order[:held], order[held:]
    model = task.model()
    for number in range(1, rounds + 1):
        train_once(task, model, Data(data.inputs[rest], data.labels[rest]), training, {}, number)
    return supervised.evaluate(model, Data(data.inputs[test], data.labels[test]))["accuracy"]

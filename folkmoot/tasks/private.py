# SPDX-License-Identifier: Apache-2.0
"""The training settings of tasks that train with differential privacy, the shipped ones and those of one's own."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

from folkmoot.errors import InputError, TaskError
from folkmoot.privacy import PrivacySettings, noise_for
from folkmoot.privacy.accountant import CONTENT
from folkmoot.protocol.manifest import PRIVACY
from folkmoot.tasks import Task

EPSILON, ROUNDS, DELTA = 3.0, 20, 1e-5
"""What the shipped noise is for: an epsilon of 3 at this delta, for a contributor that takes part in 20 rounds."""

CLIP = 0.4
"""Norm to which a record's gradient is clipped, where nobody says otherwise."""

_GRID = 8  # With 4,000 weights, a record's values have about 4,000 steps of the grid.


def training(*, divisor: int, clip: float, rate: float, steps: int = 1) -> dict[str, Any]:
    """Return training settings for EPSILON and ROUNDS.

    Args:
        divisor: ``B0``, about the number of records of a contributor.
        clip: Norm to which a record's gradient is clipped.
        rate: Learning rate.
        steps: Steps of a round.
    """
    settings = _settings(divisor, clip, steps)
    return {"learning_rate": rate, "split_seed": 7, PRIVACY: settings.to_json()}


def declaring(task: Task, epsilon: float, rounds: int, records: int | None, *, content: bool = False) -> Task:
    """Return a task whose training settings declare privacy, with the noise for an epsilon.

    Settings that the task declares itself stay, apart from the noise and ``B0``. For a task that declares none, a round
    has one step, a record's gradient is clipped to the norm CLIP, and delta is DELTA.

    Args:
        task: The task. Its ``train`` must call the mechanism, as ``supervised.train`` does.
        epsilon: Of a contributor that takes part in all rounds.
        rounds: Rounds that the budget is for.
        records: ``B0``, about the number of records of a contributor; None if the task declares it.
        content: Whether epsilon is for what a record says (replacement), and not only for whether it is there.

    Raises:
        InputError: There is no ``B0``, a value is out of its range, or the noise would be too large.
        TaskError: The task's training settings can't be changed.
    """
    own = PrivacySettings.of(task.training)
    if own is None and records is None:
        raise InputError(
            f"The task {task.name!r} declares no privacy, and so no number of records.",
            remedy="Add --records with about the number of records of one contributor. It is public.",
            code="no-records",
        )
    settings = own or _settings(1, CLIP, 1)
    noise = noise_for(epsilon, settings.delta, rounds, settings.steps, CONTENT if content else 1)
    settings = replace(settings, noise1024=noise, divisor=records or settings.divisor)
    other = copy.copy(task)
    try:
        object.__setattr__(other, "training", {**task.training, PRIVACY: settings.to_json()})
    except AttributeError as error:
        raise TaskError(
            f"The training settings of the task {task.name!r} can't be changed: {error}.",
            remedy="Make `training` an attribute, or declare privacy in it (docs/privacy.md).",
        ) from error
    return other


def _settings(divisor: int, clip: float, steps: int) -> PrivacySettings:
    noise = noise_for(EPSILON, DELTA, ROUNDS, steps)
    return PrivacySettings(noise1024=noise, steps=steps, divisor=divisor, clip=clip, grid=_GRID, delta=DELTA)

# SPDX-License-Identifier: Apache-2.0
"""The training settings of tasks that train with differential privacy, the shipped ones and those of one's own."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from folkmoot.errors import InputError, TaskError
from folkmoot.privacy import PrivacySettings, noise_for
from folkmoot.privacy.accountant import CONTENT
from folkmoot.privacy.settings import most_delta
from folkmoot.protocol.manifest import PRIVACY
from folkmoot.tasks import Data, Task

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

    Settings that the task declares itself stay, apart from the noise, ``B0``, and a delta that is too large for it. For
    a task that declares none, a round has one step, a record's gradient is clipped to the norm CLIP, and delta is
    DELTA, or the largest one for ``B0``.

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
    divisor = records or settings.divisor
    delta = min(settings.delta, most_delta(divisor))
    noise = noise_for(epsilon, delta, rounds, settings.steps, CONTENT if content else 1)
    settings = replace(settings, noise1024=noise, divisor=divisor, delta=delta)
    other = copy.copy(task)
    try:
        object.__setattr__(other, "training", {**task.training, PRIVACY: settings.to_json()})
    except AttributeError as error:
        raise TaskError(
            f"The training settings of the task {task.name!r} can't be changed: {error}.",
            remedy="Make `training` an attribute, or declare privacy in it (docs/privacy.md).",
        ) from error
    return other


def warnings_of(data: Any, training: Mapping[str, Any]) -> list[str]:
    """Return what a contributor has to know of its records before it trains with privacy; nothing without it.

    The sentences say something about the records: show them on this machine only.

    Args:
        data: What ``load`` returned; only `Data` is looked at.
        training: Training settings.
    """
    settings = PrivacySettings.of(training)
    if settings is None or not isinstance(data, Data) or not len(data):
        return []
    rows = [
        one.detach().cpu().flatten(1).numpy() for one in (data.inputs, data.labels.reshape(len(data), -1))
    ]
    times = Counter(zip(*([row.tobytes() for row in part] for part in rows), strict=True))
    warned = []
    if copies := len(data) - len(times):
        most = max(times.values())
        warned.append(
            f"{copies} of {len(data)} records are copies of others, the most frequent one is there {most} times. If "
            f"they are of one person, {most} records cost it more than {most} times the epsilon: over {ROUNDS} rounds "
            f"{settings.epsilon(ROUNDS, most):.2f} instead of {settings.epsilon(ROUNDS):.2f}. Make one record of "
            "them."
        )
    if settings.delta > most_delta(len(data)):
        warned.append(
            f"The federation's delta is {settings.delta:g}, and with {len(data)} records it should be at most "
            f"{most_delta(len(data)):g}: a tenth of one divided by the records. Ask for a smaller delta."
        )
    return warned


def _settings(divisor: int, clip: float, steps: int) -> PrivacySettings:
    noise = noise_for(EPSILON, DELTA, ROUNDS, steps)
    return PrivacySettings(noise1024=noise, steps=steps, divisor=divisor, clip=clip, grid=_GRID, delta=DELTA)

# SPDX-License-Identifier: Apache-2.0
"""Train a task for one round: a secret seed for what it draws, and the checks of a private training.

This module does not use Flower, rounds or the chain.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from folkmoot.privacy.mechanism import checked
from folkmoot.privacy.settings import PrivacySettings
from folkmoot.tasks import Task

if TYPE_CHECKING:
    import torch


def train_once(task: Task, model: torch.nn.Module, data: Any, training: Mapping[str, Any]) -> int:
    """Train a model in place with the manifest's settings.

    The settings get a ``seed`` from the operating system, also in place of one that the manifest has. What training
    draws, such as the order of the examples, must stay secret: from the header's seed anybody could recompute it.

    Args:
        task: The task.
        model: The model at the start of the round.
        data: What the task's ``load`` returned.
        training: The manifest's training settings.

    Returns:
        The number of examples to report: the task's own, or B0 if the settings declare privacy.

    Raises:
        InputError: The privacy settings are invalid, or a private training did not release what its mechanism did.
    """
    settings = {**training, "seed": secrets.randbits(63)}
    private = PrivacySettings.of(training)
    if private is None:
        return task.train(model, data, settings)
    with checked(model):
        task.train(model, data, settings)
    return private.divisor

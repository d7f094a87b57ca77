# SPDX-License-Identifier: Apache-2.0
"""The language models whose bytes are carried: that of the task `text`, and a larger one."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from client.tasks.genesis import start_of
from folkmoot.artifacts.federation import Start
from folkmoot.errors import LocalError
from folkmoot.protocol.manifest import Manifest
from folkmoot.tasks.text.gpt import Gpt, Sizes
from folkmoot.tasks.text.task import TextTask

SIZES = {
    "tiny": Sizes(vocabulary=256, context=64, width=64, layers=2, heads=2),
    "1M": Sizes(context=64),
    "10M": Sizes(context=64, width=320, layers=8, heads=8),
}
"""By name: for tests, that of the task, and one of ten million weights."""

LOCAL_STEPS = 20
"""Steps of a round."""
BATCH = 24
"""Pieces of text a step: 1,536 tokens."""


def manifest_of(name: str) -> Manifest:
    """Return the layout of a model."""
    arrays = {key: np.asarray(value) for key, value in Gpt(SIZES[name]).state_dict().items()}
    return Manifest.from_arrays(name, arrays)


def task_of(size: str) -> TextTask:
    """Return the task `text` with a model of a size that has the vocabulary of the task."""

    class Sized(TextTask):
        name = size
        training: ClassVar[dict[str, Any]] = {
            **TextTask.training,
            **vars(SIZES[size]),
            "local_steps": LOCAL_STEPS,
            "batch_size": BATCH,
        }

    return Sized()


def begun(size: str, width: int) -> Start:
    """Return the genesis of a federation with a model; one training decides the first exponents.

    Raises:
        LocalError: ``not-calibrated``: that training failed.
    """
    made = start_of(task_of(size), width=width)
    if made.guessed:
        raise LocalError(
            f"The training for the first exponents failed: {made.guessed}.",
            remedy="Run `python -m benchmarks.text --rounds 1`, which trains the same model.",
            code="not-calibrated",
        )
    return made

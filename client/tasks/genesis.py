# SPDX-License-Identifier: Apache-2.0
"""Genesis of a federation with a task: manifest, first state and genesis file, in a folder that is a mirror.

Uses tasks and files, but not the chain.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from client.tasks.trial import model_of
from folkmoot.artifacts.federation import Start, write
from folkmoot.errors import InputError, TaskError
from folkmoot.privacy import PrivacySettings
from folkmoot.privacy.layers import check_layers
from folkmoot.privacy.settings import check_private_width
from folkmoot.protocol import feedback
from folkmoot.protocol.genesis import (
    Genesis,
    calibrated_exponent,
    first_exponent,
    noise_exponent,
    width_settings,
)
from folkmoot.protocol.manifest import Manifest
from folkmoot.protocol.state import State
from folkmoot.runtime.memory import INITIAL, INITIAL_FROZEN, require_memory
from folkmoot.tasks import Task, pace, pretrained, root, supervised
from folkmoot.tasks.training import call_train

if TYPE_CHECKING:
    import torch

_CALIBRATION_SHARES = (
    5  # A shipped task is trained on one of this many shares, like the data of one contributor.
)


def start_of(
    task: Task,
    root_digest: str = "",
    width: int = 8,
    weights: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Start:
    """Return the genesis of a federation with a task.

    The first exponents come from one training on this machine's data. Without data, they are estimated. If the task
    declares privacy, they come from its settings: exponents are public, and no data may show in them.

    Args:
        root_digest: SHA-256 of the coordinator's root data, to be committed in the genesis; empty for none.
        width: Bits of an encoded coordinate under the first policy.
        weights: Tensors by name in the place of the task's initial ones (``folkmoot.tasks.pretrained``).
        settings: Training settings in the place of the task's own, or beside them.

    Raises:
        TaskError: The training settings lack ``local_steps`` or ``learning_rate``, privacy is declared and a
            layer mixes records, or the weights do not fit the task's model.
        InputError: The settings for privacy, start, clock or feedback are invalid, or private updates can't have the
            width.
    """
    training = {**task.training, **(settings or {})}
    pace.check(training)
    feedback.check(training)
    model = task.model()
    if weights is not None:
        pretrained.load(task, model, weights)
    values = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    private = PrivacySettings.of(task.training)
    committed = {root.SETTING: root_digest} if root_digest else {}
    carry = pretrained.frozen(model, private=private is not None)
    manifest = Manifest.from_arrays(
        task.name, values, {**training, **committed, **width_settings(width)}, carry=carry
    )
    state = State.genesis(manifest, values)
    if private is not None:
        check_layers(model)
        check_private_width(width)
        noise = noise_exponent(supervised.rate_of(task.training) * private.deviation_of_training)
        return _start(manifest, state, values, (noise,) * len(manifest.tensors))
    try:
        exponent = first_exponent(
            float(task.training["learning_rate"]), int(task.training["local_steps"]), width
        )
    except (KeyError, TypeError, ValueError, InputError) as error:
        raise TaskError(
            f"The task {task.name!r} does not say how it trains: {error}.",
            remedy="Its training settings need local_steps and learning_rate, both positive.",
        ) from error
    exponents = (exponent,) * len(manifest.tensors)
    problem = ""
    try:
        exponents = _calibrated(task, model, manifest, exponents, width)
    except (
        Exception
    ) as error:  # The task's own code may fail in any way, for example because data are missing.
        problem = f"{type(error).__name__}: {error}"
    return _start(manifest, state, values, exponents, problem)


def check_memory(task: Task) -> None:
    """Check that this machine has the memory to make the genesis of a federation with a task.

    Raises:
        LocalError: It has not (`memory-short`).
    """
    model = model_of(task)
    names = set(pretrained.frozen(model))
    needed = sum(
        INITIAL_FROZEN * value.numel() * value.element_size() if name in names else INITIAL * value.numel()
        for name, value in model.state_dict().items()
    )
    require_memory(
        needed,
        f"The genesis of the task {task.name!r}",
        "Nothing was tried. Make it on a machine with more memory, or end other programs.",
    )


def _start(
    manifest: Manifest,
    state: State,
    values: Mapping[str, NDArray[Any]],
    exponents: tuple[int, ...],
    problem: str = "",
) -> Start:
    genesis = Genesis.of(manifest, state, exponents)
    root = state.root(manifest.hash)
    return Start(manifest, state, genesis, root, problem, lambda entry: values[entry.name])


def _calibrated(
    task: Task, model: torch.nn.Module, manifest: Manifest, guesses: tuple[int, ...], width: int
) -> tuple[int, ...]:
    """Train the model once, and return each tensor's exponent from its change."""
    own = model.state_dict()
    before = {tensor.name: own[tensor.name].detach().clone().numpy() for tensor in manifest.tensors}
    data = task.load(0, _CALIBRATION_SHARES, int(manifest.training.get("split_seed", 0)))
    # Of this training, only a small integer for each tensor is published, so its seed need not be secret. With a public
    # one, a task's genesis is the same wherever it is made.
    call_train(task, model, data, {**manifest.training, "seed": 0, "round": 1}, {})
    after = {name: tensor.detach().numpy() for name, tensor in model.state_dict().items()}
    return tuple(
        calibrated_exponent(
            np.asarray(before[tensor.name] - after[tensor.name], dtype=np.float32), guess, width
        )
        for tensor, guess in zip(manifest.tensors, guesses, strict=True)
    )


def write_genesis(
    task: Task,
    folder: Path,
    root_digest: str = "",
    width: int = 8,
    weights: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Start:
    """Write the genesis of a federation in the layout of docs/protocol.md section 12, and as ``genesis.json``.

    Arguments are as in ``start_of``.

    Raises:
        TaskError: See ``start_of``.
    """
    start = start_of(task, root_digest, width, weights, settings)
    write(start, folder)
    return start

# SPDX-License-Identifier: Apache-2.0
"""The training loop and the measurements of the shipped tasks.

This module uses tensors and settings, but not Flower, rounds or the chain. Torch runs on one thread: several nodes
often share one machine, and small models do not train faster with more threads.
"""

from __future__ import annotations

import math
import secrets
from typing import TYPE_CHECKING, Any

from folkmoot.errors import TaskError
from folkmoot.privacy import mechanism
from folkmoot.privacy.settings import PrivacySettings
from folkmoot.tasks import Data, HeldOutPredictions, pace

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np
    import torch
    from numpy.typing import NDArray

    from folkmoot.tasks.memory import Memory

    LossFunction = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

_MOMENTUM = "momentum/"


def seeded(build: Callable[[], torch.nn.Module], seed: int) -> torch.nn.Module:
    """Return a model whose initial weights depend only on the seed. The caller's random state does not change."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def train(
    model: torch.nn.Module,
    data: Data,
    settings: dict[str, Any],
    memory: Memory | None = None,
    loss_of: LossFunction | None = None,
) -> int:
    """Run ``local_steps`` steps of SGD on random batches, or the private steps that the settings declare.

    Args:
        model: Model, trained in place.
        data: The contributor's examples.
        settings: ``local_steps``, ``batch_size``, ``learning_rate``; optional ``momentum``, ``weight_decay``,
            ``seed``, by default a secret one; ``keep_momentum``, whether the momentum goes on from round to round,
            which helps where a round has few steps; ``time_left``, in the place of ``local_steps``
            (`folkmoot.tasks.pace`). With ``privacy``, only ``learning_rate`` (docs/privacy.md).
        memory: What the last training left; with None, or without ``keep_momentum``, the momentum starts at zero.
        loss_of: Function from the model's outputs and the labels to the mean loss; by default the cross-entropy.

    Returns:
        The number of examples of the data (not of the steps), as a contributor reports it.

    Raises:
        TaskError: If a setting is missing or impossible.
    """
    import torch

    torch.set_num_threads(1)
    private = PrivacySettings.of(settings)
    if private is not None:
        mechanism.train(model, data.inputs, data.labels, private, rate=rate_of(settings), loss_of=loss_of)
        return len(data)
    try:
        steps = int(settings["local_steps"])
        size = int(settings["batch_size"])
        momentum = float(settings.get("momentum", 0.9))
        decay = float(settings.get("weight_decay", 0.0))
        seed = int(settings.get("seed", secrets.randbits(63)))
    except (KeyError, TypeError, ValueError) as error:
        raise TaskError(
            f"The training settings {settings!r} lack or spoil {error}.",
            remedy="The manifest needs local_steps, batch_size and learning_rate.",
        ) from error
    rate = rate_of(settings)
    if steps < 1 or size < 1:
        raise TaskError(f"The training settings {settings!r} are impossible.", remedy="Use positive numbers.")
    loss_of = loss_of or torch.nn.functional.cross_entropy
    generator = torch.Generator().manual_seed(seed)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    kept = memory if memory is not None and settings.get("keep_momentum") else {}
    velocities = [_velocity(kept, number, parameter) for number, parameter in enumerate(parameters)]
    model.train()
    order = torch.randperm(len(data), generator=generator)
    at = 0
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for _ in pace.steps(settings):
            if at + size > len(order) and at > 0:
                order = torch.randperm(len(data), generator=generator)
                at = 0
            batch = order[at : at + size]
            at += size
            loss = loss_of(model(data.inputs[batch]), data.labels[batch])
            gradients = torch.autograd.grad(loss, parameters)
            # Equal to torch.optim.SGD, whose first use imports the whole compiler, which takes a second per message.
            with torch.no_grad():
                for parameter, velocity, gradient in zip(parameters, velocities, gradients, strict=True):
                    velocity.mul_(momentum).add_(gradient).add_(parameter, alpha=decay)
                    parameter.sub_(velocity, alpha=rate)
    kept.update({f"{_MOMENTUM}{number}": velocity for number, velocity in enumerate(velocities)})
    return len(data)


def _velocity(kept: Memory, number: int, parameter: torch.Tensor) -> torch.Tensor:
    """Return the momentum of a parameter: the kept one, or zero if there is none that fits."""
    import torch

    velocity = torch.as_tensor(kept.get(f"{_MOMENTUM}{number}", 0.0))
    fits = velocity.shape == parameter.shape and velocity.dtype == parameter.dtype
    return velocity.clone() if fits else torch.zeros_like(parameter)


def rate_of(settings: Mapping[str, Any]) -> float:
    """Return the learning rate.

    Raises:
        TaskError: It is missing or not positive.
    """
    rate: Any = settings.get("learning_rate")
    if type(rate) not in (int, float) or not 0 < rate < math.inf:
        raise TaskError(
            f"The training setting learning_rate is {rate!r}.",
            remedy="Use a positive number in the manifest.",
        )
    return float(rate)


def evaluate(model: torch.nn.Module, data: Data) -> dict[str, float]:
    """Return the mean cross-entropy and the accuracy on a test set."""
    import torch

    torch.set_num_threads(1)
    model.eval()
    with torch.no_grad():
        logits = model(data.inputs)
        loss = torch.nn.functional.cross_entropy(logits, data.labels).item()
        accuracy = (logits.argmax(dim=1) == data.labels).double().mean().item()
    return {"loss": float(loss), "accuracy": float(accuracy)}


def examine(
    model: torch.nn.Module,
    data: Data,
    groups: NDArray[Any] | None = None,
    image: tuple[int, int] | None = None,
) -> HeldOutPredictions:
    """Return a model's predictions for a test set.

    Args:
        model: Model; it is set to evaluation mode.
        data: The test set.
        groups: One group per example; with None, the classes are the groups.
        image: Rows and columns of an example, if it is an image of one channel.
    """
    import torch

    torch.set_num_threads(1)
    model.eval()

    def predict(inputs: NDArray[np.float32]) -> NDArray[np.int64]:
        with torch.no_grad():
            shaped = torch.from_numpy(inputs).reshape(-1, *data.inputs.shape[1:])
            classes: NDArray[np.int64] = model(shaped).argmax(dim=1).numpy()
            return classes

    inputs = data.inputs.numpy()
    if image is None:
        return HeldOutPredictions(data.labels.numpy(), predict(inputs), groups)
    images = inputs.reshape(len(inputs), *image)
    return HeldOutPredictions(data.labels.numpy(), predict(images), groups, images, predict)


def squared_error(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the mean squared error of outputs [n, 1] against targets [n]."""
    import torch

    return torch.nn.functional.mse_loss(outputs[:, 0], targets)


def predicted(model: torch.nn.Module, data: Data) -> NDArray[np.float64]:
    """Return the numbers that a model with one output predicts for a test set: float64[n]."""
    import torch

    torch.set_num_threads(1)
    model.eval()
    with torch.no_grad():
        numbers: NDArray[np.float64] = model(data.inputs)[:, 0].double().numpy()
        return numbers

# SPDX-License-Identifier: Apache-2.0
"""A task as the attacks need it: train from given weights, and the gradient of each record.

Attacks look at single records, so the task's data must be a `folkmoot.tasks.Data`. The attacker takes the cross-entropy
as the loss of whole-number labels and the squared error as that of other labels.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.func import functional_call, grad, vmap

from folkmoot.errors import InputError
from folkmoot.privacy.mechanism import checked
from folkmoot.privacy.settings import PrivacySettings
from folkmoot.protocol.arrays import F32, I64
from folkmoot.protocol.manifest import Manifest
from folkmoot.tasks import Data, Task
from folkmoot.tasks.supervised import squared_error
from folkmoot.tasks.training import call_train

_CHUNK_VALUES = 1 << 24
"""Most gradient values in memory at a time."""


class Learner:
    """A task with training settings.

    Args:
        task: The task.
        training: Settings; by default the task's own.
    """

    def __init__(self, task: Task, training: Mapping[str, Any] | None = None) -> None:
        self.task = task
        self.training = dict(task.training if training is None else training)
        self.model = task.model()
        self.values = {name: tensor.numpy().copy() for name, tensor in self.model.state_dict().items()}
        self.manifest = Manifest.from_arrays(task.name, self.values, self.training)
        self._trained = [tensor.name for tensor in self.manifest.tensors]

    def start(self) -> F32:
        """Return the task's initial weights, float32[size of the manifest]."""
        return self.manifest.flatten(self.values)

    def train(self, base: F32, data: Data, seed: int, training: Mapping[str, Any] | None = None) -> F32:
        """Return the weights after one round of training, float32 like ``base``.

        Args:
            base: The weights at the start.
            data: The records.
            seed: Decides what the task draws, such as the order of the records.
            training: Other settings than the learner's.

        Raises:
            TaskError: The settings declare privacy, and the task does not train with it (``not-private``).
        """
        self.load(base)
        self.model.train()  # As a new model is; the attacks switch it to evaluation.
        settings = {**(self.training if training is None else training), "seed": seed}
        private = PrivacySettings.of(settings)
        with nullcontext() if private is None else checked(self.model, private):
            call_train(self.task, self.model, data, settings, {})
        return self.manifest.flatten(
            {name: tensor.numpy() for name, tensor in self.model.state_dict().items()}
        )

    def gradients(self, base: F32, data: Data) -> F32:
        """Return the gradient of each record's loss at some weights, float32[n, size of the manifest]."""
        weights = self.load(base)
        self.model.eval()
        differentiated = partial(record_loss, self.model)
        each = vmap(grad(differentiated), in_dims=(None, 0, 0))
        rows = np.zeros((len(data), self.manifest.size), dtype=np.float32)
        step = max(1, _CHUNK_VALUES // self.manifest.size)
        for first in range(0, len(data), step):
            part = slice(first, first + step)
            found = each(weights, data.inputs[part], data.labels[part])
            for tensor, columns in zip(self.manifest.tensors, self.manifest.places, strict=True):
                rows[part, columns] = found[tensor.name].reshape(-1, tensor.elements).numpy()
        return rows

    def load(self, base: F32) -> dict[str, torch.Tensor]:
        """Load weights, float32[size], into ``model``; return copies of those that are trained."""
        arrays = self.manifest.unflatten(base, dtypes=True, files=lambda entry: self.values[entry.name])
        tensors = {name: torch.from_numpy(np.asarray(array)) for name, array in arrays.items()}
        self.model.load_state_dict(tensors)
        return {name: tensors[name].clone() for name in self._trained}


def loss_of(outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the mean loss that the attacker assumes."""
    if labels.is_floating_point():
        return squared_error(outputs, labels)
    return torch.nn.functional.cross_entropy(outputs, labels)


def record_loss(
    model: torch.nn.Module, weights: Mapping[str, torch.Tensor], record: torch.Tensor, label: torch.Tensor
) -> torch.Tensor:
    """Return the loss of one record at some weights."""
    return loss_of(functional_call(model, dict(weights), (record[None],)), label[None])


def records_of(task: Task, data: Any) -> Data:
    """Return a task's data if the attacks can look at its records.

    Raises:
        InputError: They can't (``no-records``).
    """
    if isinstance(data, Data) and len(data) > 0:
        return data
    raise InputError(
        f"The attacks can't look at the records of the task {task.name!r}: load returned an object of the type "
        f"{type(data).__name__}, or no records.",
        remedy="Let load return folkmoot.tasks.Data, with a row of `inputs` and a label for each record.",
        code="no-records",
    )


def pick(data: Data, places: I64) -> Data:
    """Return the records at some places."""
    chosen = torch.from_numpy(np.ascontiguousarray(places))
    return Data(data.inputs[chosen], data.labels[chosen])


def joined(*parts: Data) -> Data:
    """Return the records of all parts."""
    return Data(torch.cat([part.inputs for part in parts]), torch.cat([part.labels for part in parts]))


def canaries(data: Data, learner: Learner, rng: np.random.Generator) -> Data:
    """Return records with wrong labels: another class each, or a number mirrored at the middle of all numbers."""
    if data.labels.is_floating_point():
        return Data(data.inputs, data.labels.min() + data.labels.max() - data.labels)
    learner.model.eval()
    with torch.no_grad():
        classes = learner.model(data.inputs[:1]).shape[-1]
    if classes < 2:
        raise InputError(
            "The labels are classes, and the model has one output: wrong labels can't be made.",
            remedy="Give the model an output for each class.",
            code="no-records",
        )
    shift = torch.from_numpy(rng.integers(1, classes, len(data)))
    return Data(data.inputs, (data.labels + shift) % classes)

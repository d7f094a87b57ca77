# SPDX-License-Identifier: Apache-2.0
"""Tasks of which the answer of an attack is known."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np
import torch
from folkmoot_lab.leaks.learner import Learner

from folkmoot.tasks import Data, supervised
from folkmoot.tasks.memory import Memory


class Blobs:
    """Two classes of points in ten dimensions, around opposite centres."""

    name = "blobs"

    def __init__(self, **training: Any) -> None:
        self.training: dict[str, Any] = {
            "local_steps": 20,
            "batch_size": 16,
            "learning_rate": 0.1,
            **training,
        }

    def model(self) -> torch.nn.Module:
        return supervised.seeded(
            lambda: torch.nn.Sequential(torch.nn.Linear(10, 16), torch.nn.ReLU(), torch.nn.Linear(16, 2)), 1
        )

    def load(self, partition: int, partitions: int, seed: int) -> Data:
        return points(40, partition)

    def train(self, model: torch.nn.Module, data: Data, settings: dict[str, Any], memory: Memory) -> int:
        return supervised.train(model, data, settings)

    def evaluate(self, model: torch.nn.Module) -> dict[str, float]:
        return supervised.evaluate(model, points(100, 99))


class Plain(Blobs):
    """Trains without privacy, whatever the settings declare."""

    def train(self, model: torch.nn.Module, data: Data, settings: dict[str, Any], memory: Memory) -> int:
        return super().train(model, data, {key: settings[key] for key in ("seed", *self.training)}, memory)


class Noisy(Blobs):
    """Adds normal noise to the sum of gradients of norm 1: a Gaussian mechanism of which the limit is known."""

    def __init__(self, **training: Any) -> None:
        super().__init__(**training)
        self.learner = Learner(Blobs())

    def train(self, model: torch.nn.Module, data: Data, settings: dict[str, Any], memory: Memory) -> int:
        learner = self.learner
        base = learner.manifest.flatten({name: value.numpy() for name, value in model.state_dict().items()})
        rows = learner.gradients(base, data).astype(np.float64)
        rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
        noise = np.random.default_rng(settings["seed"]).normal(0, settings["noise"], base.shape)
        end = base - 0.05 * (rows.sum(axis=0) + np.where(base != 0, noise, 0))
        trained = learner.manifest.unflatten(end.astype(np.float32))
        model.load_state_dict({name: torch.from_numpy(value) for name, value in trained.items()})
        return len(data)


class Pictures(Blobs):
    """Images of 8x8 pixels before a convolution, so that no dense layer sees the records."""

    name = "pictures"

    def model(self) -> torch.nn.Module:
        return supervised.seeded(
            lambda: torch.nn.Sequential(
                torch.nn.Conv2d(1, 8, 3, stride=2, padding=1),
                torch.nn.Sigmoid(),
                torch.nn.Flatten(),
                torch.nn.Linear(128, 4),
            ),
            1,
        )

    def load(self, partition: int, partitions: int, seed: int) -> Data:
        rng = np.random.default_rng(partition)
        rows, columns = np.mgrid[0:8, 0:8] / 7
        waves = [np.sin(4 * rng.random() * rows + 4 * rng.random() * columns + i) for i in range(20)]
        images = torch.from_numpy(np.stack(waves).astype(np.float32))[:, None]
        return Data(images, torch.from_numpy(rng.integers(0, 4, 20)))


def points(count: int, seed: int) -> Data:
    """Records of `Blobs`."""
    rng = np.random.default_rng([seed, 5])
    labels = rng.integers(0, 2, count)
    inputs = rng.normal(0, 1, (count, 10)) + (2 * labels - 1)[:, None] * 0.8
    return Data(torch.from_numpy(inputs.astype(np.float32)), torch.from_numpy(labels))


class Tiny(Blobs):
    """A task for the manifest of `tests.integration.audit_world`, with four records for each of ten classes."""

    name = "tiny"

    def __init__(self) -> None:
        super().__init__()
        self.training = {}

    def model(self) -> torch.nn.Module:
        def build() -> torch.nn.Module:
            body, head = torch.nn.Linear(40, 40, bias=False), torch.nn.Linear(40, 10)
            return torch.nn.Sequential(OrderedDict(body=body, relu=torch.nn.ReLU(), head=head))

        return supervised.seeded(build, 1)

    def load(self, partition: int, partitions: int, seed: int) -> Data:
        inputs = np.random.default_rng([partition, 8]).normal(0, 1, (40, 40)).astype(np.float32)
        return Data(torch.from_numpy(inputs), torch.arange(40) % 10)

    def root(self, kind: str) -> Data:
        """Records that nobody trains on."""
        return self.load(99, 100, 0)

    def train(self, model: torch.nn.Module, data: Data, settings: dict[str, Any], memory: Memory) -> int:
        own = {"local_steps": 10, "batch_size": 20, "learning_rate": 0.1, "seed": settings["seed"]}
        return supervised.train(model, data, own)

    def evaluate(self, model: torch.nn.Module) -> dict[str, float]:
        return supervised.evaluate(model, self.root("good"))

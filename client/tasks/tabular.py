# SPDX-License-Identifier: Apache-2.0
"""The tasks on scikit-learn's small built-in tables: one class, configured per data set.

It knows nothing of Flower, rounds or the chain.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from client.tasks import Data, Held, supervised
from client.tasks.partition import root_set, set_aside, share_of
from folkmoot.errors import TaskError

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

_SPLIT_SEED = 2025


@dataclass(frozen=True)
class TabularTask:
    """A classification task on a table that scikit-learn ships.

    Attributes:
        name: Name of the task.
        loader: Function of ``sklearn.datasets`` that reads the table.
        hidden: Width of the one hidden layer.
        scale: Every column is divided by this; 0 means that each is standardised by its own mean and
            deviation.
        training: Settings that all contributors share.
        image: Rows and columns, if an example is an image.
        quarters: A column and its name: its quarters are the groups of a report. Else the classes are.
    """

    name: str
    loader: str
    hidden: int
    scale: float
    training: dict[str, Any] = field(hash=False)
    image: tuple[int, int] | None = None
    quarters: tuple[int, str] | None = None

    def model(self) -> torch.nn.Module:
        """Build a network with one hidden layer."""
        from torch import nn

        inputs, labels = self._read()
        classes = int(labels.max()) + 1
        return supervised.seeded(
            lambda: nn.Sequential(
                nn.Linear(inputs.shape[1], self.hidden), nn.ReLU(), nn.Linear(self.hidden, classes)
            ),
            seed=1,
        )

    def load(self, partition: int, partitions: int, seed: int) -> Data:
        """Return one contributor's share of the four fifths that are for training, less the root set."""
        _, labels = self._read()
        _, indices = set_aside(labels, self._split()[1])
        return self._tensors(indices[share_of(labels[indices], partition, partitions, seed)])

    def root(self, kind: str) -> Data:
        """Return the examples that the coordinator may hold: 10 of each class, or of the first half of them."""
        _, labels = self._read()
        return self._tensors(root_set(labels, self._split()[1], kind))

    def train(self, model: torch.nn.Module, data: Data, settings: dict[str, Any]) -> int:
        """Train in place with SGD."""
        return supervised.train(model, data, settings)

    def evaluate(self, model: torch.nn.Module) -> dict[str, float]:
        """Loss and accuracy on the common fifth."""
        test, _ = self._split()
        return supervised.evaluate(model, self._tensors(test))

    def examine(self, model: torch.nn.Module) -> Held:
        """Predictions for the common fifth, with their groups."""
        test, _ = self._split()
        return supervised.examine(model, self._tensors(test), self._groups(test), self.image)

    def _groups(self, indices: NDArray[np.int64]) -> NDArray[Any] | None:
        if self.quarters is None:
            return None
        column, name = self.quarters
        values = self._read()[0][:, column]
        places = np.searchsorted(np.quantile(values, (0.25, 0.5, 0.75)), values[indices])
        return np.array([f"{name}, quarter {place + 1}" for place in places.tolist()])

    def _split(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the indices of the test set and of the training set."""
        _, labels = self._read()
        order = np.random.default_rng(_SPLIT_SEED).permutation(len(labels))
        return order[: len(order) // 5], order[len(order) // 5 :]

    def _tensors(self, indices: NDArray[np.int64]) -> Data:
        import torch

        inputs, labels = self._read()
        return Data(torch.from_numpy(inputs[indices]), torch.from_numpy(labels[indices]))

    def _read(self) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        try:
            from sklearn import datasets
        except ImportError as error:
            raise TaskError(
                f"The task {self.name} needs the package scikit-learn, which brings the data.",
                remedy="Install folkmoot[tasks].",
            ) from error
        inputs, labels = getattr(datasets, self.loader)(return_X_y=True)
        # Column statistics of a public table; with private tables they would have to be agreed on.
        scaled = (
            inputs / self.scale
            if self.scale
            else (inputs - inputs.mean(axis=0)) / (inputs.std(axis=0) + 1e-9)
        )
        return scaled.astype(np.float32), np.asarray(labels, dtype=np.int64)

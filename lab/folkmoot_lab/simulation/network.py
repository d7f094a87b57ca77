# SPDX-License-Identifier: Apache-2.0
"""A small network that all contributors of a drill train at once, in numpy.

One hidden layer, ReLU, softmax, plain SGD; all contributors' weights in one array each, so that a drill of 20
contributors and 25 rounds takes seconds on one core. Floats live only here, as in any contributor's training.
This module knows no rounds, attacks or encodings.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from folkmoot.protocol.arrays import F32, I64

NAMES = ("hidden.weight", "hidden.bias", "output.weight", "output.bias")
"""The tensors in the manifest's order."""


@dataclass(frozen=True)
class Network:
    """The shape of the network."""

    inputs: int
    """Values of an example."""
    hidden: int
    """Width of the hidden layer."""
    classes: int
    """Number of labels."""

    def initial(self, seed: int) -> dict[str, F32]:
        """Random weights (He et al. 2015), by name, a function of the seed alone."""
        rng = np.random.default_rng([seed, 0x6E6574])
        return {
            "hidden.weight": self._normal(rng, self.inputs, self.hidden),
            "hidden.bias": np.zeros(self.hidden, dtype=np.float32),
            "output.weight": self._normal(rng, self.hidden, self.classes),
            "output.bias": np.zeros(self.classes, dtype=np.float32),
        }

    @staticmethod
    def _normal(rng: np.random.Generator, rows: int, columns: int) -> F32:
        return np.asarray(rng.standard_normal((rows, columns)) * np.sqrt(2 / rows), dtype=np.float32)

    def train(self, start: dict[str, F32], batches: list[tuple[F32, I64]], rate: float) -> dict[str, F32]:
        """Train k models, each on its own batches.

        Args:
            start: The model that all start from, by name, or k models, with k in front of each shape.
            batches: One a step: float32[k, b, inputs] examples and int64[k, b] labels.
            rate: Learning rate.

        Returns:
            The k models after the steps, by name, with k in front of each shape.
        """
        count = batches[0][0].shape[0]
        w1, b1, w2, b2 = (
            np.array(np.broadcast_to(start[name], (count, *start[name].shape[-rank:])))
            for name, rank in zip(NAMES, (2, 1, 2, 1), strict=True)
        )
        step = np.float32(rate)
        for examples, labels in batches:
            before = examples @ w1 + b1[:, None]
            hidden = np.maximum(before, 0)
            slope = softmax(hidden @ w2 + b2[:, None])
            np.put_along_axis(
                slope, labels[..., None], np.take_along_axis(slope, labels[..., None], 2) - np.float32(1), 2
            )
            slope /= np.float32(labels.shape[1])
            back = (slope @ w2.transpose(0, 2, 1)) * (before > 0)
            w2 -= step * (hidden.transpose(0, 2, 1) @ slope)
            b2 -= step * slope.sum(axis=1)
            w1 -= step * (examples.transpose(0, 2, 1) @ back)
            b1 -= step * back.sum(axis=1)
        return dict(zip(NAMES, (w1, b1, w2, b2), strict=True))

    def predict(self, model: dict[str, F32], examples: F32) -> I64:
        """Most likely label of each of float32[m, inputs] examples: int64[m]."""
        return np.asarray(np.argmax(self.scores(model, examples), axis=1), dtype=np.int64)

    def scores(self, model: dict[str, F32], examples: F32) -> F32:
        """Scores of the labels for each of float32[m, inputs] examples: float32[m, classes]."""
        hidden = np.maximum(examples @ model["hidden.weight"] + model["hidden.bias"], 0)
        return np.asarray(hidden @ model["output.weight"] + model["output.bias"], dtype=np.float32)


def softmax(scores: F32) -> F32:
    """Softmax over the last axis."""
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True), dtype=np.float32)

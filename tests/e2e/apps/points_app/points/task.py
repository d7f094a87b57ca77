# SPDX-License-Identifier: Apache-2.0
"""Points on two sides of a plane, and a logistic regression on standardised points, as a list of arrays."""

import hashlib

import numpy as np


def make_model() -> list[np.ndarray]:
    """Return weights, how many batches were seen, offset, and the running mean of the points."""
    return [np.zeros((4, 1)), np.array(0, np.int64), np.zeros(1), np.zeros(4, np.float32)]


def load_data(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the points of a node, far from the origin."""
    random = np.random.default_rng(seed % 2**31)
    points = random.normal(size=(256, 4)) + 3
    return points, (points.sum(axis=1, keepdims=True) > 12).astype(float)


def loss_of(model: list[np.ndarray], points: np.ndarray, sides: np.ndarray) -> float:
    """Return the mean log loss."""
    weights, _, offset, mean = model
    margins = (2 * sides - 1) * ((points - mean) @ weights + offset)
    return float(np.log1p(np.exp(-margins)).mean())


def train(model: list[np.ndarray], points: np.ndarray, sides: np.ndarray, rate: float) -> list[np.ndarray]:
    """Take twenty steps."""
    weights, seen, offset, mean = (array.copy() for array in model)
    for _ in range(20):
        seen = seen + 1
        mean = (0.9 * mean + 0.1 * points.mean(axis=0)).astype(np.float32)
        centred = points - mean
        errors = 1 / (1 + np.exp(-(centred @ weights + offset))) - sides
        weights -= rate * centred.T @ errors / len(points)
        offset -= rate * errors.mean(axis=0)
    return [weights, np.asarray(seen), offset, mean]


def digest(arrays: list[np.ndarray]) -> str:
    """Return what tells one model from another."""
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()[:16]

# SPDX-License-Identifier: Apache-2.0
"""The data of drills: the shipped tasks' examples as plain arrays, with a root set set aside.

It knows nothing of attacks, rules or the command line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from folkmoot.errors import TaskError
from folkmoot.simulation.federation import Examples, Workload
from folkmoot.simulation.network import Network
from folkmoot.tasks import mnist, partition

if TYPE_CHECKING:
    from numpy.typing import NDArray

NAMES = ("mnist", "digits")
"""Tasks that can be drilled."""

_SPLIT_SEED = 2025


def workload(task: str, rare: tuple[int, int] | None = None) -> Workload:
    """Read the data of a shipped task.

    Args:
        task: Its name.
        rare: A class that only some contributors hold, and how many; None splits as the task does.

    Raises:
        TaskError: The task can't be drilled, or the package with its data is missing. (Whether the class can be
            held so is known when the drill splits the examples.)
    """
    if task == "mnist":
        images, labels = mnist.read()
        pixels = images.reshape(len(images), -1) * np.float32(0.3081) + np.float32(0.1307)
        return _workload(task, pixels, labels, (28, 28), 1000, rare)
    if task == "digits":
        try:
            from sklearn.datasets import load_digits
        except ImportError as error:
            raise TaskError(
                "The task digits needs the package scikit-learn, which brings the images.",
                remedy="Install folkmoot[tasks].",
            ) from error
        values, targets = load_digits(return_X_y=True)
        return _workload(task, values / 16, np.asarray(targets, dtype=np.int64), (8, 8), 400, rare)
    raise TaskError(f"The task {task!r} can't be drilled.", remedy=f"Use one of {', '.join(NAMES)}.")


def _workload(
    name: str,
    inputs: NDArray[Any],
    labels: NDArray[np.int64],
    image: tuple[int, int],
    test: int,
    rare: tuple[int, int] | None,
) -> Workload:
    """Cut the data into test, root and training examples, the same at every call."""
    order = np.random.default_rng(_SPLIT_SEED).permutation(len(labels))
    rest = order[test:]
    classes = int(labels.max()) + 1
    root, train = partition.set_aside(labels, rest)
    train = np.sort(train)
    pixels = inputs.astype(np.float32)

    def examples(places: NDArray[np.int64]) -> Examples:
        return Examples(pixels[places], labels[places])

    def split(contributors: int, seed: int) -> list[NDArray[np.int64]]:
        if rare is None:
            return partition.dirichlet(labels[train], contributors, seed)
        return partition.rare(labels[train], contributors, seed, *rare)

    return Workload(
        name,
        Network(pixels.shape[1], 32, classes),
        examples(train),
        examples(root),
        examples(order[:test]),
        split,
        image,
    )

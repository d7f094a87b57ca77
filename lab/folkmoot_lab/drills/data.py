# SPDX-License-Identifier: Apache-2.0
"""Data for drills: examples of the shipped tasks as plain arrays, with a separate root set.

This module does not depend on attacks, rules or the command line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from folkmoot.errors import TaskError
from folkmoot.tasks import mnist, partition
from folkmoot_lab.simulation.federation import Examples, Workload
from folkmoot_lab.simulation.network import Network

if TYPE_CHECKING:
    from numpy.typing import NDArray

NAMES = ("mnist", "digits")
"""Names of the tasks that have data for drills."""

_SPLIT_SEED = 2025


def workload(task: str, rare: tuple[int, int] | None = None) -> Workload:
    """Load the data of a shipped task.

    Args:
        task: Name of the task.
        rare: A class that only some contributors hold, and the number of these contributors. With None, the examples
            are split as the task splits them.

    Raises:
        TaskError: The task has no data for drills, or the package with its data is missing. (The rare class is
            checked later, when the drill splits the examples.)
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
                "The task digits needs the package scikit-learn, which contains the images.",
                remedy="Install folkmoot[tasks].",
            ) from error
        values, targets = load_digits(return_X_y=True)
        return _workload(task, values / 16, np.asarray(targets, dtype=np.int64), (8, 8), 400, rare)
    raise TaskError(f"The task {task!r} has no data for drills.", remedy=f"Use one of {', '.join(NAMES)}.")


def _workload(
    name: str,
    inputs: NDArray[Any],
    labels: NDArray[np.int64],
    image: tuple[int, int],
    test: int,
    rare: tuple[int, int] | None,
) -> Workload:
    """Split the data into test, root and training examples. Every call gives the same split."""
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
        return split_rare(labels[train], contributors, seed, *rare)

    return Workload(
        name,
        Network(pixels.shape[1], 32, classes),
        examples(train),
        examples(root),
        examples(order[:test]),
        split,
        image,
    )


def split_rare(
    labels: NDArray[Any], partitions: int, seed: int, label: int, holders: int
) -> list[NDArray[np.int64]]:
    """Split like `partition.dirichlet`, but give the examples of one class only to the first shares, in equal parts.

    Args:
        labels: One class label per example.
        partitions: Number of shares.
        seed: The same seed gives the same shares everywhere.
        label: The rare class.
        holders: Number of shares that have it.

    Returns:
        The sorted indices of the examples of each share.

    Raises:
        TaskError: If there are too few examples of the class or of the others, or fewer shares than holders.
    """
    labels = np.asarray(labels)
    members = np.flatnonzero(labels == label)
    if not 1 <= holders <= min(partitions, len(members)):
        raise TaskError(
            f"{len(members)} examples of the class {label} can't be held by {holders} of {partitions} shares.",
            remedy="Name a class of the task, and from one to all of the shares.",
        )
    others = np.flatnonzero(labels != label)
    shares = [others[share] for share in partition.dirichlet(labels[others], partitions, seed)]
    order = np.random.default_rng([seed, partitions, label]).permutation(members)
    for place, part in enumerate(np.array_split(order, holders)):
        shares[place] = np.sort(np.concatenate([shares[place], part]))
    return shares

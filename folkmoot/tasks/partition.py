# SPDX-License-Identifier: Apache-2.0
"""Split one public data set into the private shares of simulated contributors.

Real contributors have their own data and do not need this module. The shipped tasks use it so that several nodes on one
or more machines hold disjoint shares without communication: the split is a pure function of labels, number of shares
and seed. This module does not use models, Flower or the chain.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from folkmoot.errors import TaskError

MINIMUM_EXAMPLES = 8

ROOT_EXAMPLES = 10
"""Number of examples of each class in a root set of the shipped tasks."""

ROOTS = ("good", "biased")
"""Root sets of the shipped tasks: one with every class, and one with the first half of the classes, for experiments."""


def dirichlet(
    labels: NDArray[Any], partitions: int, seed: int, *, alpha: float = 0.5, minimum: int = MINIMUM_EXAMPLES
) -> list[NDArray[np.int64]]:
    """Split examples into label-skewed shares (Hsu, Qi, Brown 2019, arXiv 1909.06335).

    Every example is in exactly one share. A share below ``minimum`` takes examples from the largest ones.

    Args:
        labels: One class label per example.
        partitions: Number of shares.
        seed: The same seed gives the same shares everywhere.
        alpha: Concentration. With a small value each share has few classes; with a large value all shares are similar.
        minimum: Minimum number of examples of a share.

    Returns:
        The sorted indices of the examples of each share.

    Raises:
        TaskError: If there are not enough examples for so many shares.
    """
    labels = np.asarray(labels)
    if partitions < 1:
        raise TaskError(f"A data set can't be split into {partitions} shares.", remedy="Use at least one.")
    if len(labels) < partitions * minimum:
        raise TaskError(
            f"{len(labels)} examples are too few for {partitions} shares of at least {minimum}.",
            remedy="Use fewer partitions.",
        )
    rng = np.random.default_rng([seed, partitions])
    owner = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        shares = rng.dirichlet(np.full(partitions, alpha))
        cuts = np.floor(np.cumsum(shares)[:-1] * len(members)).astype(np.int64)
        for share, part in enumerate(np.split(members, cuts)):
            owner[part] = share
    _fill_up(owner, partitions, minimum, rng)
    return [np.flatnonzero(owner == share) for share in range(partitions)]


def set_aside(
    labels: NDArray[Any], indices: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Separate a root set from the training examples: the first ROOT_EXAMPLES of each class.

    Args:
        labels: One class label per example of the whole data set.
        indices: Indices of the training examples.

    Returns:
        Indices of the root set, class by class, and of the remaining examples, in their order.
    """
    classes = np.unique(labels[indices])
    root = np.concatenate([indices[labels[indices] == class_][:ROOT_EXAMPLES] for class_ in classes])
    return root, indices[~np.isin(indices, root)]


def root_set(labels: NDArray[Any], indices: NDArray[np.int64], kind: str) -> NDArray[np.int64]:
    """Return the indices of the root set of a kind.

    Args:
        labels: One class label per example of the whole data set.
        indices: Indices of the training examples.
        kind: One of ROOTS.

    Raises:
        TaskError: If there is no such root set.
    """
    if kind not in ROOTS:
        raise TaskError(f"There is no root set {kind!r}.", remedy=f"Root sets are {', '.join(ROOTS)}.")
    root, _ = set_aside(labels, indices)
    classes = np.unique(labels[root])
    return root if kind == "good" else root[np.isin(labels[root], classes[: len(classes) // 2])]


def _fill_up(owner: NDArray[np.int64], partitions: int, minimum: int, rng: np.random.Generator) -> None:
    """Move examples from the largest shares to those that are below the minimum."""
    sizes = np.bincount(owner, minlength=partitions)
    for share in range(partitions):
        while sizes[share] < minimum:
            largest = int(np.argmax(sizes))
            moved = rng.choice(np.flatnonzero(owner == largest))
            owner[moved] = share
            sizes[largest] -= 1
            sizes[share] += 1


def share_of(labels: NDArray[Any], partition: int, partitions: int, seed: int) -> NDArray[np.int64]:
    """Return the indices of one share of :func:`dirichlet`.

    Raises:
        TaskError: If there is no such share.
    """
    check_partition(partition, partitions)
    return dirichlet(labels, partitions, seed)[partition]


def check_partition(partition: int, partitions: int) -> None:
    """Check that there is such a share.

    Raises:
        TaskError: There is none.
    """
    if not 0 <= partition < partitions:
        raise TaskError(
            f"There is no partition {partition} of {partitions}.",
            remedy=f"Partitions are counted from 0; the last one is {max(partitions - 1, 0)}/{partitions}.",
        )

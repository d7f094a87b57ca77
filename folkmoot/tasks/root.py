# SPDX-License-Identifier: Apache-2.0
"""Root sets: the training data of the coordinator's own node, and the digest that commits to them.

The resulting update is compared with the others and never summed (docs/protocol.md section 8). The shipped tasks and
all tasks with ``root(kind) -> data`` have root sets. For any other task, the coordinator's node trains on the data of
its ``load``. This module does not use Flower, rounds or the chain.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any

from folkmoot.errors import InputError, TaskError
from folkmoot.tasks import Data, Task, optional
from folkmoot.tasks.partition import ROOTS

SETTING = "root_digest"
"""Key of the digest in the manifest's training settings, to which the genesis hash commits."""

GOOD = "good"
"""Name of the root set for production use."""


def load(task: Task, kind: str, seed: int) -> Any:
    """Load the root set of a task.

    Args:
        task: The task.
        kind: One of ROOTS. A task without root sets has only ``good``, which is the data of its ``load``.
        seed: Seed for the task's ``load``.

    Raises:
        TaskError: The task has no such root set.
    """
    if (root := optional(task, "root")) is not None:
        return root(kind)
    if kind != GOOD:
        raise TaskError(
            f"The task {task.name!r} has no root set {kind!r}.",
            remedy="Only tasks with a method `root` have several; leave out the name.",
        )
    return task.load(0, 1, seed)


def has_sets(task: Task) -> bool:
    """Return whether a task has root sets."""
    return optional(task, "root") is not None


def digest(task: Task, kind: str) -> str:
    """Return the SHA-256, in hex, of a task's root set: the inputs as float32, then the labels as int64.

    Labels that are numbers to predict are float32. All values are in C order and little-endian.

    Raises:
        TaskError: The task has no such root set, or the root set is not ``Data``.
    """
    data = load(task, kind, 0) if has_sets(task) else None
    if not isinstance(data, Data):
        raise TaskError(
            f"The task {task.name!r} has no root set whose digest Folkmoot could take.",
            remedy="Give the sha256 of your root data's file.",
            code="no-root-set",
        )
    taken = hashlib.sha256(data.inputs.numpy().astype("<f4").tobytes())
    labels = data.labels.numpy()
    taken.update(labels.astype("<f4" if labels.dtype.kind == "f" else "<i8").tobytes())
    return taken.hexdigest()


def parse_digest(task: Task, text: str) -> str:
    """Return a given digest, or the digest of a root set given by name.

    Args:
        task: The task.
        text: One of ROOTS, or 64 hex digits.

    Raises:
        InputError: The text is neither.
        TaskError: The task has no such root set.
    """
    if text in ROOTS:
        return digest(task, text)
    if not re.fullmatch("(0x)?[0-9a-fA-F]{64}", text):
        raise InputError(
            f"{text!r} is not a SHA-256.",
            remedy=f"Give the 64 hex digits that `sha256sum` prints, or {' or '.join(ROOTS)} for a shipped task's.",
        )
    return text.removeprefix("0x").lower()


def check(task: Task, kind: str, training: dict[str, Any]) -> None:
    """Check that a root set is the one that the federation committed to.

    Do nothing if the federation did not commit to a root set, or the task has no root sets.

    Args:
        task: The task.
        kind: One of ROOTS.
        training: The manifest's training settings.

    Raises:
        TaskError: The root set differs, or the task has no such root set.
    """
    committed = training.get(SETTING)
    if not has_sets(task):
        if kind != GOOD:
            load(task, kind, 0)
        return
    actual = digest(task, kind)
    if committed is not None and actual != committed:
        raise TaskError(
            f"The root set {kind!r} of the task {task.name!r} has the digest {actual}, the federation's is "
            f"committed to as {committed}.",
            remedy="Use the root set that the genesis names, in the version of the task that it was made with.",
            code="wrong-root-set",
        )

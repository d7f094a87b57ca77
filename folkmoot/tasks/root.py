# SPDX-License-Identifier: Apache-2.0
"""A root set: what the coordinator's own node trains on, and the digest that commits to it.

The update that comes of it is compared with the others and never summed (docs/protocol.md section 8). A shipped task
has root sets of its own, and so has any task with ``root(kind) -> data``; the node of any other task trains on what
its ``load`` gives. It knows nothing of Flower, rounds or the chain.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any

from folkmoot.errors import InputError, TaskError
from folkmoot.tasks import Data, Task
from folkmoot.tasks.partition import ROOTS

SETTING = "root_digest"
"""Name of the digest among the manifest's training settings, which the genesis hash binds."""

GOOD = "good"
"""The root set that a task has for real use."""


def load(task: Task, kind: str, seed: int) -> Any:
    """Load the root set of a task.

    Args:
        task: The task.
        kind: One of ROOTS. A task without root sets takes it from its ``load`` and has only the good one.
        seed: Goes to its ``load``.

    Raises:
        TaskError: The task has no such root set.
    """
    if has_sets(task):
        return task.root(kind)  # type: ignore[attr-defined]
    if kind != GOOD:
        raise TaskError(
            f"The task {task.name!r} has no root set {kind!r}.",
            remedy="Only tasks with a method `root` have several; leave out the name.",
        )
    return task.load(0, 1, seed)


def has_sets(task: Task) -> bool:
    """Whether a task has root sets of its own."""
    return callable(getattr(task, "root", None))


def digest(task: Task, kind: str) -> str:
    """SHA-256, in hex, of the root set of a task that has one: the inputs' float32, then the labels' int64.

    Labels that are numbers to predict are float32. All are in C order and little-endian.

    Raises:
        TaskError: The task has no such root set, or it is not ``Data``.
    """
    found = load(task, kind, 0) if has_sets(task) else None
    if not isinstance(found, Data):
        raise TaskError(
            f"The task {task.name!r} has no root set whose digest Folkmoot could take.",
            remedy="Give the sha256 of your root data's file.",
            code="no-root-set",
        )
    taken = hashlib.sha256(found.inputs.numpy().astype("<f4").tobytes())
    labels = found.labels.numpy()
    taken.update(labels.astype("<f4" if labels.dtype.kind == "f" else "<i8").tobytes())
    return taken.hexdigest()


def parse_digest(task: Task, text: str) -> str:
    """Return a digest that was given, or that of the root set that was named.

    Args:
        task: The task.
        text: One of ROOTS, or 64 hex digits.

    Raises:
        InputError: It is neither.
        TaskError: The task has no such root set.
    """
    if text in ROOTS:
        return digest(task, text)
    if not re.fullmatch("(0x)?[0-9a-fA-F]{64}", text):
        raise InputError(
            f"{text!r} is no SHA-256.",
            remedy=f"Give the 64 hex digits that `sha256sum` prints, or {' or '.join(ROOTS)} for a shipped task's.",
        )
    return text.removeprefix("0x").lower()


def check(task: Task, kind: str, training: dict[str, Any]) -> None:
    """Check that a root set is the one that the federation committed to.

    Where the federation committed to none, or the task has no root sets of its own, nobody can check it here.

    Args:
        task: The task.
        kind: One of ROOTS.
        training: The manifest's training settings.

    Raises:
        TaskError: It is another, or the task has no such root set.
    """
    committed = training.get(SETTING)
    if not has_sets(task):
        if kind != GOOD:
            load(task, kind, 0)
        return
    found = digest(task, kind)
    if committed is not None and found != committed:
        raise TaskError(
            f"The root set {kind!r} of the task {task.name!r} has the digest {found}, the federation's is "
            f"committed to as {committed}.",
            remedy="Use the root set that the genesis names, in the version of the task that it was made with.",
            code="wrong-root-set",
        )

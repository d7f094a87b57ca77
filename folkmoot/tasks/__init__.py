# SPDX-License-Identifier: Apache-2.0
"""What a contributor trains on: the shipped tasks, and how to name one's own.

A task is an object with the members of :class:`Task`. The shipped ones are found by name; one's own is named
as ``package.module:object``, importable where the node runs. Listing the names imports no machine learning
library.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, cast, runtime_checkable

from folkmoot.errors import TaskError
from folkmoot.tasks import naming

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    import torch
    from numpy.typing import NDArray

    Column = Sequence[Any] | NDArray[Any] | torch.Tensor
    """One value an example."""

SHIPPED = {
    "mnist": "folkmoot.tasks.mnist:task",
    "digits": "folkmoot.tasks.digits:task",
    "breast-cancer": "folkmoot.tasks.breast_cancer:task",
    "diabetes": "folkmoot.tasks.diabetes:task",
}


@dataclass(frozen=True)
class Data:
    """The examples of one contributor, in memory.

    Attributes:
        inputs: One row an example.
        labels: One integer class an example, or one number that is to be predicted.
    """

    inputs: torch.Tensor
    labels: torch.Tensor

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class HeldOutPredictions:
    """What a model says of a task's held-out examples. Every number of a report is counted from it.

    What is given decides the kind of the report: labels and predictions for classes, targets and predictions for
    numbers, losses and weights for a language model, losses alone for anything else. Every column has one value an
    example and may be a list, an array or a tensor.

    Attributes:
        labels: The class of each example, whole numbers or texts.
        predictions: The class that the model gives it, in the same values; beside targets, the number.
        groups: The group of each example (a hospital, an age band), for the worst-group gap; without it, the
            classes are the groups, if there are classes.
        images: The examples as an array [n, ..., rows, columns], if they are images: they are shown to the model once
            more with each trigger (docs/protocol.md section 11.1).
        predict: From images of that shape to one class each; goes with ``images``.
        targets: The number that each example really has, of a task that predicts numbers.
        losses: The loss of each example; of a language model the mean negative log-likelihood of its tokens.
        weights: Tokens of each example.
    """

    labels: Column | None = None
    predictions: Column | None = None
    groups: Column | None = None
    images: NDArray[np.float32] | None = None
    predict: Callable[[NDArray[np.float32]], Column] | None = None
    targets: Column | None = None
    losses: Column | None = None
    weights: Column | None = None


@runtime_checkable
class Task(Protocol):
    """What Folkmoot asks of a task. ``data`` is whatever ``load`` returns; nobody else looks into it.

    A task may also have ``examine(model) -> HeldOutPredictions``. Then reports have recalls by class or errors, and
    the worst-group gap, and the canary sees a class or a group that is lost. Three lines are enough::

        def examine(self, model: torch.nn.Module) -> HeldOutPredictions:
            inputs, labels, hospitals = self.test_set()
            return HeldOutPredictions(labels, model(inputs).argmax(dim=1), hospitals)

    And it may have ``root(kind) -> data``: examples for the coordinator's own node (``folkmoot.tasks.root``). Without
    it that node trains on what ``load`` gives there.
    """

    @property
    def name(self) -> str:
        """Name that the manifest carries, 1 to 64 characters."""

    @property
    def training(self) -> dict[str, Any]:
        """Settings that all contributors share; they become part of the manifest."""

    def model(self) -> torch.nn.Module:
        """Build the initial model, the same at every call."""

    def load(self, partition: int, partitions: int, seed: int) -> Any:
        """Load the contributor's own data; a task with real private data ignores the arguments."""

    def train(self, model: torch.nn.Module, data: Any, settings: dict[str, Any]) -> int:
        """Train the model in place and return the number of examples that were trained on."""

    def evaluate(self, model: torch.nn.Module) -> dict[str, float]:
        """Measure the model on the task's common test set."""


def names() -> list[str]:
    """Return the names of the shipped tasks."""
    return sorted(SHIPPED)


def load_task(reference: str) -> Task:
    """Find a task by its name or as ``package.module:object``, which may be in the current folder.

    Raises:
        TaskError: If there is no such task, it can't be imported or it lacks a member.
    """
    if reference not in SHIPPED:
        naming.check_spelling(reference, names())
        naming.make_importable()
    module_name, _, attribute = SHIPPED.get(reference, reference).partition(":")
    try:
        module = found = import_module(module_name)
    except Exception as error:
        raise naming.not_importable(reference, error) from error
    try:
        for part in attribute.split("."):
            found = getattr(found, part)
    except AttributeError as error:
        raise naming.no_such_object(reference, module_name, attribute, dir(module)) from error
    if isinstance(found, type):
        found = found()
    missing = [member for member in _MEMBERS if not hasattr(found, member)]
    if missing:
        raise TaskError(
            f"{reference!r} is not a task: it has no {', '.join(missing)}.",
            remedy="A task has the members of folkmoot.tasks.Task.",
        )
    return cast(Task, found)


_MEMBERS = ("name", "training", "model", "load", "train", "evaluate")

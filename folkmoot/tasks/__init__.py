# SPDX-License-Identifier: Apache-2.0
"""Tasks on which contributors train: the shipped tasks, and the lookup of custom ones.

A task is an object with the members of :class:`Task`. A shipped task is found by its name, a custom task as
``package.module:object``, which must be importable where the node runs. Listing the names imports no machine learning
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

    from folkmoot.tasks.memory import Memory

    Column = Sequence[Any] | NDArray[Any] | torch.Tensor
    """A column of values, one per example."""

SHIPPED = {
    "mnist": "folkmoot.tasks.mnist:task",
    "digits": "folkmoot.tasks.digits:task",
    "breast-cancer": "folkmoot.tasks.breast_cancer:task",
    "diabetes": "folkmoot.tasks.diabetes:task",
    "text": "folkmoot.tasks.text.task:task",
    "mnist-private": "folkmoot.tasks.mnist:private",
    "digits-private": "folkmoot.tasks.digits:private",
    "breast-cancer-private": "folkmoot.tasks.breast_cancer:private",
}


@dataclass(frozen=True)
class Data:
    """The examples of one contributor, in memory.

    Attributes:
        inputs: One row per example.
        labels: One integer class per example, or one number to be predicted.
    """

    inputs: torch.Tensor
    labels: torch.Tensor

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class HeldOutPredictions:
    """Predictions of a model for a task's held-out examples. All numbers of a report are computed from them.

    The given columns decide the kind of the report: labels and predictions for classes, targets and predictions for
    numbers, losses and weights for a language model, losses alone for anything else. Every column has one value per
    example, and may be a list, an array or a tensor.

    Attributes:
        labels: The class of each example, whole numbers or texts.
        predictions: The predicted class of each example, in the values of ``labels``; with ``targets``, the predicted
            number.
        groups: The group of each example (a hospital, an age band), for the worst-group gap; without it, the
            classes are the groups, if there are classes.
        images: The examples as an array [n, ..., rows, columns], if they are images. They are also predicted with each
            trigger (docs/protocol.md section 11.1).
        predict: Function from images of that shape to one class each; required with ``images``.
        targets: The true number of each example, for a task that predicts numbers.
        losses: The loss of each example; for a language model, the mean negative log-likelihood of its tokens.
        weights: Number of tokens of each example.
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
    """Interface of a task. ``data`` is what ``load`` returns; only the task itself uses its contents.

    A task may also have ``examine(model) -> HeldOutPredictions``. Then reports have recalls by class or errors, and
    the worst-group gap, and the canary detects the loss of a class or a group. Three lines are enough::

        def examine(self, model: torch.nn.Module) -> HeldOutPredictions:
            inputs, labels, hospitals = self.test_set()
            return HeldOutPredictions(labels, model(inputs).argmax(dim=1), hospitals)

    It may also have ``examine_site(model, partition, partitions) -> HeldOutPredictions``: the same for the examples
    that this site keeps to itself and has never trained on, which `folkmoot measure` counts. A task with real private
    data ignores the numbers.

    It may also have ``root(kind) -> data``: examples for the coordinator's own node (``folkmoot.tasks.root``). Without
    it, that node trains on the data that ``load`` returns there.

    A task whose models write text may have ``generate(model, prompt, *, tokens, temperature, seed) -> str``. A task may
    have ``from_weights(weights) -> weights`` for files of trained models (``folkmoot.tasks.pretrained``).
    """

    @property
    def name(self) -> str:
        """Name in the manifest, 1 to 64 characters."""

    @property
    def training(self) -> dict[str, Any]:
        """Settings of all contributors. They become part of the manifest."""

    def model(self) -> torch.nn.Module:
        """Return the initial model. Every call must return equal weights."""

    def load(self, partition: int, partitions: int, seed: int) -> Any:
        """Load the contributor's own data. A task with real private data ignores the arguments."""

    def train(self, model: torch.nn.Module, data: Any, settings: dict[str, Any], memory: Memory) -> int:
        """Train the model in place; return the number of training examples.

        ``settings`` are those of the manifest, and more: ``seed``, a secret one for whatever is drawn, another one each
        time; ``round``, the number of the round from 1, for schedules; ``report``, a dict for numbers that are sent
        with the update, such as the loss. In a training by the clock there is ``time_left``, a function that returns
        the seconds left; ``folkmoot.tasks.pace.steps(settings)`` counts steps both with it and without it. ``memory``
        has what this method left in it in an earlier round, or nothing (`folkmoot.tasks.memory`). A task whose method
        has no parameter ``memory`` trains without one. If the settings declare ``privacy``, the memory is always empty,
        nothing is reported, and the method must call ``folkmoot.privacy.mechanism.train`` once, and do no more.
        """

    def evaluate(self, model: torch.nn.Module) -> dict[str, float]:
        """Measure the model on the task's common test set."""


def names() -> list[str]:
    """Return the names of the shipped tasks."""
    return sorted(SHIPPED)


def load_task(reference: str) -> Task:
    """Load a task by its name, or as ``package.module:object``, which may be in the current folder.

    Raises:
        TaskError: If there is no such task, it can't be imported, or it lacks a member.
    """
    if reference not in SHIPPED:
        naming.check_spelling(reference, names())
        naming.make_importable()
    module_name, _, attribute = SHIPPED.get(reference, reference).partition(":")
    try:
        module = task = import_module(module_name)
    except Exception as error:
        raise naming.not_importable(reference, error) from error
    try:
        for part in attribute.split("."):
            task = getattr(task, part)
    except AttributeError as error:
        raise naming.no_such_object(reference, module_name, attribute, dir(module)) from error
    if isinstance(task, type):
        task = task()
    missing = [member for member in _MEMBERS if not hasattr(task, member)]
    if missing:
        raise TaskError(
            f"{reference!r} is not a task: it has no {', '.join(missing)}.",
            remedy="A task has the members of folkmoot.tasks.Task.",
        )
    return cast(Task, task)


def optional(task: Task, name: str) -> Callable[..., Any] | None:
    """Return a method that a task may have, such as ``examine``; None if it has none."""
    value = getattr(task, name, None)
    return value if callable(value) else None


_MEMBERS = ("name", "training", "model", "load", "train", "evaluate")

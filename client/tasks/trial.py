# SPDX-License-Identifier: Apache-2.0
"""Try a task once, step by step: model, data, train, evaluate, predictions.

Stops at the first error. The error names the task's method, the exception, its file and line, and the expected result.
If the data are missing on this machine, the trial continues without them. A task that keeps something in its memory is
trained a second time with it. This module does not use rounds or the chain.
"""

from __future__ import annotations

import inspect
import math
import re
import sysconfig
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from client.tasks.evaluation import count
from folkmoot.errors import FolkmootError, TaskError
from folkmoot.evaluation import Measurement, measure
from folkmoot.evaluation.canary import NOTHING, compared
from folkmoot.privacy import PrivacySettings
from folkmoot.privacy.layers import check_layers
from folkmoot.privacy.mechanism import checked
from folkmoot.tasks import Data, Task, optional, pretrained, private, training

if TYPE_CHECKING:
    import torch

SHARES = 5
"""Number of shares of a shipped task's data, of which the first is used. A user's own task ignores it."""

OK, WARNING, SKIPPED = "ok", "warning", "skipped"

_CALLED = {
    "model": "model() returns the initial torch.nn.Module, the same at every call.",
    "load": "load(partition, partitions, seed) returns this contributor's data.",
    "train": "train(model, data, settings, memory) trains the given model in place and returns the number of examples.",
    "evaluate": "evaluate(model) returns a dict of floats, for example {'loss': 0.3}.",
    "examine": "examine(model) returns a folkmoot.tasks.HeldOutPredictions.",
}
_MISTAKES = (NameError, TypeError, AttributeError, SyntaxError)
"""Exceptions of `load` that mean a mistake in its code, not missing data."""
_ABSENT = (OSError, ImportError, FolkmootError)
_SHAPES = re.compile(r"shape|size mismatch|size of tensor|mat1|channels|dimension|in_features", re.IGNORECASE)
_TYPES = re.compile(r"dtype|scalar type|data type", re.IGNORECASE)
_LEAST_SPREAD = 2.0**-10  # of targets; reports count in units of 2^-20


@dataclass(frozen=True)
class Step:
    """Result of a step."""

    name: str
    """model, data, train, evaluate or predictions."""
    state: str
    """OK, WARNING or SKIPPED."""
    result: str
    """Result of the step, or why it was skipped."""

    def __str__(self) -> str:
        return f"{self.state:8}{self.name:12} {self.result}"

    def to_json(self) -> dict[str, str]:
        """Return the step in JSON types."""
        return {"step": self.name, "state": self.state, "said": self.result}


class _Raised(Exception):
    """A method of the task raised an exception."""

    def __init__(self, cause: BaseException, explained: TaskError) -> None:
        super().__init__(str(explained))
        self.cause, self.explained = cause, explained


def steps(task: Task) -> Iterator[Step]:
    """Try a task, and yield each step when it is done."""
    try:
        yield from _steps(task)
    except _Raised as raised:
        raise raised.explained from raised.cause


def model_of(task: Task) -> torch.nn.Module:
    """Build a task's model once.

    Raises:
        TaskError: `model` raised an exception, or returned something other than a model.
    """
    try:
        return _model(task)
    except _Raised as raised:
        raise raised.explained from raised.cause


def _steps(task: Task) -> Iterator[Step]:
    model, step = _try_model(task)
    yield step
    data, step = _try_data(task)
    yield step
    if data is None:
        yield Step("train", SKIPPED, "there are no data to train on.")
    else:
        yield _try_train(task, model, data)
    metrics, step = _try_evaluate(task, model, lenient=data is None)
    yield step
    yield _try_predictions(task, model, metrics, lenient=data is None)


def _try_model(task: Task) -> tuple[torch.nn.Module, Step]:
    import torch

    if not isinstance(task.training, Mapping):
        raise TaskError(
            f"The training settings of the task {task.name!r} are {_kind(task.training)}.",
            remedy="`training` is a dict, for example {'local_steps': 40, 'batch_size': 32, 'learning_rate': 0.02}.",
        )
    first, second = _model(task), _model(task)
    ours, theirs = _weights(first), _weights(second)
    differing = [name for name in ours if name not in theirs or not _same(ours[name], theirs[name])]
    if differing or len(ours) != len(theirs):
        raise TaskError(
            f"Two calls of the method model of the task {task.name!r} give different initial models: "
            f"{_listing(differing or sorted(theirs))}.",
            remedy="All members must start from the same model: make torch.manual_seed(0) its first line.",
            code="unseeded-model",
        )
    private = PrivacySettings.of(task.training) is not None
    if private:
        check_layers(first)
    pretrained.frozen(first, private=private)
    odd = [name for name, value in first.named_parameters() if not bool(torch.isfinite(value).all())]
    if odd:
        raise TaskError(
            f"The initial model of the task {task.name!r} has values that are not finite: {_listing(odd)}.",
            remedy="Check how the method model sets these weights.",
        )
    parameters = sum(value.numel() for value in ours.values())
    return first, Step("model", OK, f"{parameters:,} values in {len(ours)} tensors, the same at two calls.")


def _try_data(task: Task) -> tuple[Any, Step]:
    """Return the data, or None if they are missing on this machine."""
    try:
        data = _call(task, "load", 0, SHARES, _split_seed(task))
    except _Raised as raised:
        if isinstance(raised.cause, _MISTAKES):
            raise
        warning = (
            f"{raised.explained.message} Ignore this if the data are not on this machine; else correct load."
        )
        return None, Step("data", WARNING, warning)
    if data is None:
        raise TaskError(f"The method load of the task {task.name!r} returned None.", remedy=_CALLED["load"])
    if _length(data) == 0:
        raise TaskError(
            f"The method load of the task {task.name!r} returned no examples.",
            remedy="Check which file it reads and which rows it selects.",
        )
    warned = private.warnings_of(data, task.training)
    return data, Step("data", WARNING if warned else OK, " ".join([f"{_described(data)}.", *warned]))


def _try_train(task: Task, model: torch.nn.Module, data: Any) -> Step:
    from flwr.app import RecordDict

    from folkmoot.flower.memory import StateMemory

    memory = StateMemory(RecordDict())
    before = _weights(model)
    settings = {**task.training, "seed": 0, "round": 1}
    private = PrivacySettings.of(task.training)
    began = time.monotonic()
    try:
        with nullcontext() if private is None else checked(model, private):
            examples = _call(task, "train", model, data, settings, memory)
        took = time.monotonic() - began
        if memory:
            _call(task, "train", model, data, {**settings, "round": 2}, memory)
    except _Raised as raised:
        raise _Raised(raised.cause, _training_error(task, raised, data, settings)) from raised.cause
    whose = f"The method train of the task {task.name!r}"
    if not isinstance(examples, int) or isinstance(examples, bool) or examples < 1:
        plain = isinstance(examples, int | float)
        shown = repr(examples) if plain else _kind(examples)
        raise TaskError(
            f"{whose} returned {shown}.",
            remedy="It returns the number of examples, an int: return len(data).",
        )
    after = _weights(model)
    other = [name for name in before if name not in after or after[name].shape != before[name].shape]
    if other or len(after) != len(before):
        raise TaskError(
            f"{whose} changed which tensors the model has: {_listing(other or sorted(set(after) - set(before)))}.",
            remedy="Build every layer in the method model.",
        )
    odd = [name for name, value in after.items() if not _finite(value) and _finite(before[name])]
    if odd:
        raise TaskError(
            f"After {whose[0].lower()}{whose[1:]} the model has values that are not finite: {_listing(odd)}.",
            remedy=_remedy_for_nan(data),
        )
    changed = [name for name in before if not _same(before[name], after[name])]
    if not changed:
        raise TaskError(
            f"{whose} changed nothing in the model.",
            remedy="Train the model that is given, not a copy: give the optimiser model.parameters() and a learning "
            "rate above 0, and call its step().",
        )
    summary = f"{examples:,} examples in {took:.1f} s; {len(changed)} of {len(before)} tensors changed."
    if memory:
        summary += f" Trained again with the {len(memory)} values that it keeps for the next round."
    return Step("train", OK, summary)


def _try_evaluate(
    task: Task, model: torch.nn.Module, *, lenient: bool
) -> tuple[dict[str, float] | None, Step]:
    before = _weights(model)
    try:
        returned = _call(task, "evaluate", model)
    except _Raised as raised:
        if not _is_missing(raised.cause, lenient):
            raise
        return None, Step("evaluate", WARNING, f"{raised.explained.message} The test set may be elsewhere.")
    whose = f"The method evaluate of the task {task.name!r}"
    if not isinstance(returned, Mapping):
        raise TaskError(f"{whose} returned {_kind(returned)}.", remedy=_CALLED["evaluate"])
    for name, value in returned.items():
        if not isinstance(name, str) or not isinstance(value, int | float) or isinstance(value, bool):
            raise TaskError(
                f"{whose} returned {name!r}: {_kind(value)}.",
                remedy="Return a dict from str to float. For a tensor or an array, use .item().",
            )
    metrics = {name: float(value) for name, value in returned.items()}
    shown = ", ".join(f"{name} {value:.4g}" for name, value in metrics.items()) or "no numbers"
    odd = [name for name, value in metrics.items() if not math.isfinite(value)]
    after = _weights(model)
    changed = [name for name in before if not _same(before[name], after[name])]
    if changed:
        warning = f"{shown}; but it changed the model ({_listing(changed)}). Call model.eval() first."
        return metrics, Step("evaluate", WARNING, warning)
    if odd:
        return metrics, Step(
            "evaluate", WARNING, f"{shown}; reports have null for values that are not finite."
        )
    return metrics, Step("evaluate", OK, f"{shown}.")


def _try_predictions(
    task: Task, model: torch.nn.Module, metrics: dict[str, float] | None, *, lenient: bool
) -> Step:
    name = "predictions"
    if optional(task, "examine") is None:
        summary = (
            "the task has no method examine, so reports have only the metrics of evaluate, and no groups."
        )
        if metrics is not None and not compared(measure(metrics)):
            return Step(name, WARNING, f"{summary} A canary has nothing to compare. {NOTHING}")
        return Step(name, SKIPPED, summary)
    try:
        held = _call(task, "examine", model)
    except _Raised as raised:
        if not _is_missing(raised.cause, lenient):
            raise
        return Step(name, WARNING, f"{raised.explained.message} The test set may be elsewhere.")
    measurement = count(task.name, metrics or {}, held)
    summary = f"{measurement.kind}, {measurement.examples:,} examples, {_groups(measurement)}"
    if measurement.losses is not None and measurement.losses.unmeasured:
        return Step(
            name, WARNING, f"{summary}; {measurement.losses.unmeasured} examples have no finite loss."
        )
    if measurement.regression is not None and measurement.losses is not None:
        m, errors = measurement.losses.measured, measurement.regression
        spread = math.sqrt(max(m * errors.target_squares - errors.targets**2, 0)) / max(m, 1) / (1 << 20)
        if spread < _LEAST_SPREAD:
            return Step(
                name,
                WARNING,
                f"{summary}; the targets have a standard deviation of only {spread:.2g}, and reports round to "
                "0.000001. Use a smaller unit.",
            )
    return Step(name, OK, f"{summary}.")


def _model(task: Task) -> torch.nn.Module:
    import torch

    model = _call(task, "model")
    if not isinstance(model, torch.nn.Module):
        raise TaskError(
            f"The method model of the task {task.name!r} returned {_kind(model)}.", remedy=_CALLED["model"]
        )
    odd = [name for name, value in model.state_dict().items() if not isinstance(value, torch.Tensor)]
    if odd:
        raise TaskError(
            f"The model of the task {task.name!r} has state that is not a tensor: {_listing(odd)}.",
            remedy="Keep only tensors in its state_dict(), and remove get_extra_state.",
        )
    return model


def _call(task: Task, method: str, *arguments: Any) -> Any:
    try:
        return (
            training.call_train(task, *arguments) if method == "train" else getattr(task, method)(*arguments)
        )
    except (Exception, SystemExit) as error:  # The task's own code may fail in any way.
        if isinstance(error, TaskError):
            raise _Raised(error, error) from error
        text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")[:300]
        what = f"{type(error).__name__}: {text}".rstrip(": ")
        explained = TaskError(
            f"The method {method} of the task {task.name!r} raised {what} ({_place(task, error)}).",
            remedy=f"Correct it: {_CALLED[method]}",
        )
        raise _Raised(error, explained) from error


def _place(task: Task, error: BaseException) -> str:
    """Return where the task's own code raised an exception: file, line number and text of the line."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)[1:]  # the first is `_call`
        if frame.filename != training.__file__
    ]
    if not frames:
        return "in the call itself: check its arguments"
    try:
        own = inspect.getsourcefile(type(task))
    except TypeError:
        own = None
    libraries = {sysconfig.get_paths()[name] for name in ("stdlib", "purelib", "platlib")}
    theirs = [frame for frame in frames if frame.filename == own] or [
        frame for frame in frames if not any(frame.filename.startswith(library) for library in libraries)
    ]
    frame = (theirs or frames)[-1]
    path = Path(frame.filename)
    shown = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    return f"{shown}, line {frame.lineno}: `{frame.line}`" if frame.line else f"{shown}, line {frame.lineno}"


def _training_error(task: Task, raised: _Raised, data: Any, settings: Mapping[str, Any]) -> TaskError:
    """Return a failure of `train` as an error with the most likely remedy."""
    cause, message = raised.cause, raised.explained.message
    if isinstance(cause, TaskError):
        return cause
    text = str(cause)
    if isinstance(cause, KeyError) and cause.args and cause.args[0] not in settings:
        given = ", ".join(sorted(task.training)) or "nothing"
        remedy = f"If {cause.args[0]!r} is a setting, add it to the task's `training`, which has {given}."
    elif _TYPES.search(text):
        remedy = "Let load return inputs as float32, classes as int64, and numbers to predict as float32."
    elif _SHAPES.search(text):
        remedy = f"The model's input must have the shape of the data; load returned {_described(data)}."
    else:
        return raised.explained
    return TaskError(message, remedy=remedy)


def _is_missing(error: BaseException, lenient: bool) -> bool:
    """Return whether a method failed because its data are missing. ``lenient``: the contributor's data are missing."""
    if isinstance(error, KeyError) and (frames := traceback.extract_tb(error.__traceback__)):
        return lenient or Path(frames[-1].filename).name in (
            "os.py",
            "<frozen os>",
        )  # An environment variable that is not set.
    return isinstance(error, _ABSENT) or (lenient and not isinstance(error, _MISTAKES))


def _remedy_for_nan(data: Any) -> str:
    import torch

    parts = (
        vars(data) if hasattr(data, "__dict__") else dict(enumerate(data)) if isinstance(data, tuple) else {}
    )
    for name, value in parts.items():
        if isinstance(value, torch.Tensor) and not _finite(value):
            return f"The data have values that are not finite ({name}): fill or drop them in load."
    return (
        "Lower the learning rate, scale the inputs to about -1 to 1, and check the loss for a division by 0."
    )


def _groups(measurement: Measurement) -> str:
    worst = measurement.worst_group
    if worst is None:
        return "no groups"
    return f"{len(measurement.groups)} groups, the worst is {worst.name}"


def _described(data: Any) -> str:
    """Return the shapes of data, as far as they are known."""
    parts = vars(data) if hasattr(data, "__dict__") else {}
    if isinstance(data, tuple):
        parts = {str(place): value for place, value in enumerate(data)}
    shown = [f"{name} {list(value.shape)}" for name, value in parts.items() if hasattr(value, "shape")]
    if hasattr(data, "shape"):
        shown = [str(list(data.shape))]
    length = None if isinstance(data, tuple) else _length(data)
    if length is None:
        return ", ".join(shown) or _kind(data)
    what = f"{length:,} examples" if isinstance(data, Data) else f"{_kind(data)} and the length {length:,}"
    return ", ".join([what, *shown])


def _length(data: Any) -> int | None:
    try:
        return len(data)
    except TypeError:  # Some have the method but no length, e.g. a DataLoader of a stream.
        return None


def _split_seed(task: Task) -> int:
    try:
        return int(task.training.get("split_seed", 0))
    except (TypeError, ValueError) as error:
        raise TaskError(
            f"The training setting split_seed of the task {task.name!r} is not a whole number.",
            remedy="Give a whole number, or leave it out.",
        ) from error


def _weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    import torch

    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    return torch.equal(one, other) or (one.is_floating_point() and bool(torch.isclose(
        one, other, rtol=0, atol=0, equal_nan=True
    ).all()))  # fmt: skip


def _finite(value: torch.Tensor) -> bool:
    import torch

    return bool(torch.isfinite(value).all())


def _listing(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _kind(value: Any) -> str:
    return "None" if value is None else f"an object of the type {type(value).__name__}"

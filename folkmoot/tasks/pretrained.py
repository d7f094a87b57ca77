# SPDX-License-Identifier: Apache-2.0
"""Start a federation from weights that somebody trained before: which of them are trained on, and which stay.

A parameter that needs no gradient is *frozen*: the manifest carries it, and every version of the model has it
unchanged. So a large model can be adapted by a few trained tensors. A task may have ``from_weights(weights) ->
weights``, which gives the tensors of a known kind of file the names and shapes of its model. This module does not use
Flower, files or the chain.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from folkmoot.errors import TaskError
from folkmoot.tasks import Task, optional

if TYPE_CHECKING:
    import torch


def frozen(model: torch.nn.Module, *, private: bool = False) -> list[str]:
    """Return the names of the arrays that training leaves as they are: parameters that need no gradient.

    Args:
        model: The model.
        private: Whether the task declares privacy. Its training leaves buffers of floats as they are, too.
    """
    names = [name for name, value in model.named_parameters() if not value.requires_grad]
    if private:
        saved = model.state_dict().keys()
        buffers = model.named_buffers()
        names += [name for name, value in buffers if name in saved and value.is_floating_point()]
    return names


def load(task: Task, model: torch.nn.Module, weights: Mapping[str, torch.Tensor]) -> None:
    """Put weights into a task's model.

    If the model has frozen parameters, all of these must be given, and a trained one that is not given stays as the
    task makes it. Otherwise all must be given.

    Raises:
        TaskError: A tensor is missing, unknown, of another shape, or not of floats.
    """
    import torch

    convert = optional(task, "from_weights")
    given: Mapping[str, Any] = weights if convert is None else convert(weights)
    own = model.state_dict()
    required = set(frozen(model)) or set(own)
    for problem, names in (("lacks", required - set(given)), ("has the unknown", set(given) - set(own))):
        if names:
            raise TaskError(
                f"The file is no model of the task {task.name!r}: it {problem} {_listing(names)}.",
                remedy="Give a file of this model, or a task whose model has these tensors.",
                code="wrong-model",
            )
    with torch.no_grad():
        for name, value in given.items():
            if value.shape != own[name].shape or value.is_floating_point() != own[name].is_floating_point():
                raise TaskError(
                    f"The tensor {name!r} of the file has the shape {list(value.shape)} and the type {value.dtype}, "
                    f"the task's has {list(own[name].shape)} and {own[name].dtype}.",
                    remedy="Give the task the sizes of the file's model.",
                    code="wrong-model",
                )
            own[name].copy_(value)


def tensor_of(array: NDArray[Any]) -> torch.Tensor:
    """Return an array as a tensor that shares its memory; nobody may write to it."""
    import torch

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(array)


def put_frozen(model: torch.nn.Module, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Copy arrays into a model, one after the other.

    Raises:
        RuntimeError: The model has no such array, or one of another shape.
    """
    import torch

    own = model.state_dict()
    for name, array in arrays.items():
        if name not in own or tuple(own[name].shape) != array.shape:
            raise RuntimeError(f"The model has no array {name!r} of the shape {list(array.shape)}.")
        with torch.no_grad():
            own[name].copy_(tensor_of(array))


def require_frozen(model: torch.nn.Module, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Check that a training left arrays of a model as they were.

    Raises:
        TaskError: It changed one (``base-changed``).
    """
    own = model.state_dict()
    for name, array in arrays.items():
        if not np.array_equal(own[name].cpu().numpy(), array, equal_nan=array.dtype.kind == "f"):
            raise TaskError(
                f"The training changed the array {name!r}, which the federation does not train.",
                remedy="Set requires_grad_(False) for it, and leave it out of the optimizer.",
                code="base-changed",
            )


def _listing(names: Iterable[str]) -> str:
    ordered = sorted(names)
    return ", ".join(ordered[:3]) + (f" and {len(ordered) - 3} more" if len(ordered) > 3 else "")

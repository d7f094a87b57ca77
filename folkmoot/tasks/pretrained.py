# SPDX-License-Identifier: Apache-2.0
"""Start a federation from weights that somebody trained before: which of them are trained on, and which stay.

A parameter that needs no gradient is *frozen*: the manifest carries it, and every version of the model has it
unchanged. So a large model can be adapted by a few trained tensors. A task may have ``from_weights(weights) ->
weights``, which gives the tensors of a known kind of file the names and shapes of its model. This module does not use
Flower, files or the chain.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from folkmoot.errors import TaskError
from folkmoot.tasks import Task, optional

if TYPE_CHECKING:
    import torch

LARGEST_FROZEN = 45 * 2**20
"""Most bytes of frozen arrays: the manifest has them as text, and it is read up to 64 MiB."""


def frozen(model: torch.nn.Module, *, private: bool = False) -> list[str]:
    """Return the names of the arrays that training leaves as they are: parameters that need no gradient.

    Args:
        model: The model.
        private: Whether the task declares privacy. Its training leaves buffers of floats as they are, too.

    Raises:
        TaskError: They have more than LARGEST_FROZEN bytes.
    """
    found: dict[str, torch.Tensor] = {
        name: value for name, value in model.named_parameters() if not value.requires_grad
    }
    if private:
        saved = model.state_dict().keys()
        buffers = model.named_buffers()
        found |= {name: value for name, value in buffers if name in saved and value.is_floating_point()}
    size = sum(value.numel() * value.element_size() for value in found.values())
    if size > LARGEST_FROZEN:
        raise TaskError(
            f"The model's frozen parameters have {size:,} bytes, more than {LARGEST_FROZEN:,}.",
            remedy="Keep them out of the model's state_dict(), and let the task's model() read them from a file that "
            "each contributor has.",
        )
    return list(found)


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


def _listing(names: Iterable[str]) -> str:
    ordered = sorted(names)
    return ", ".join(ordered[:3]) + (f" and {len(ordered) - 3} more" if len(ordered) > 3 else "")

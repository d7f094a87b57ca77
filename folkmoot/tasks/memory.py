# SPDX-License-Identifier: Apache-2.0
"""What a task keeps from round to round, such as the state of its optimiser.

A memory is a mapping from names to arrays and small values. In a round it holds what the training of an earlier round
left in it, and what it holds after training is kept as a whole for the next round, also across restarts. It is empty in
the first round, after a round that was void, after damage, and in every private training. So a task must train well
with an empty memory, only slower. This module does not use Flower, files, rounds or the chain.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

Memory = MutableMapping[str, Any]
"""Names with values: NumPy arrays or tensors, which come back as arrays; int, float, bool, str and bytes; lists of one
of these types. Assign to change a value: a change inside of an array is not kept. A ``dict`` is a memory too."""

OPTIMIZER = "optimizer"
"""First part of the names of an optimiser's state by default."""


def keep_optimizer(memory: Memory, optimizer: torch.optim.Optimizer, name: str = OPTIMIZER) -> None:
    """Keep the state of an optimiser, in the place of an earlier one.

    The names are ``NAME/PARAMETER/KEY`` with the number of the parameter in the optimiser. Rates and other settings of
    the optimiser are not kept: they come from the training settings in each round.

    Args:
        memory: The round's memory.
        optimizer: The optimiser after training.
        name: First part of the names; a task with two optimisers uses two.
    """
    import torch

    for key in _names(memory, name):
        del memory[key]
    for number, values in optimizer.state_dict()["state"].items():
        for key, value in values.items():
            if value is not None:
                kept = value.detach().cpu() if isinstance(value, torch.Tensor) else value
                memory[f"{name}/{number}/{key}"] = kept


def resume_optimizer(memory: Memory, optimizer: torch.optim.Optimizer, name: str = OPTIMIZER) -> bool:
    """Load the state that `keep_optimizer` kept, before the first step. Return whether there was one that fits.

    Does nothing if the memory has none, or one with another number or other shapes of parameters.

    Args:
        memory: The round's memory.
        optimizer: A new optimiser of the same type and parameters.
        name: First part of the names.
    """
    import torch

    described = optimizer.state_dict()
    shapes = [parameter.shape for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Any]] = {}
    for key in _names(memory, name):
        number, _, part = key.removeprefix(f"{name}/").partition("/")
        if not number.isdecimal() or int(number) >= len(shapes):
            return False
        value = memory[key]
        if hasattr(value, "shape"):
            value = torch.as_tensor(value).clone()  # Flower's arrays are read-only.
            if value.dim() and value.shape != shapes[int(number)]:
                return False
        state.setdefault(int(number), {})[part] = value
    if not state:
        return False
    optimizer.load_state_dict({**described, "state": state})
    return True


def _names(memory: Memory, name: str) -> list[str]:
    return [key for key in memory if key.startswith(f"{name}/")]

# SPDX-License-Identifier: Apache-2.0
"""Tasks that attack: what the training code of a hostile contributor can do.

A contributor chooses its own task, so an attack needs nothing from the product. This module has an object for each
attack on each task, e.g. ``folkmoot_lab.drills.tasks:sign-flip:2@mnist``; a comma in it stands for a dot. Like any
task, it runs in the node's sandbox, in the process of the bundle.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from folkmoot.errors import InputError
from folkmoot.tasks import Task, load_task
from folkmoot.tasks.training import call_train

if TYPE_CHECKING:
    import torch

    from folkmoot.tasks.memory import Memory

SIGN_FLIP = "sign-flip"
FALSE_NORM = "false-norm"
"""Attack that claims a quarter of an honest update's sum of squares. Larger updates would then pass the policy's cap.
The signer of `folkmoot join` refuses it (``wrong-norm``)."""


def parse_attack(text: str) -> float:
    """Return the factor by which an attack multiplies the change of the weights.

    Args:
        text: ``sign-flip``, ``sign-flip:SCALE`` or ``false-norm``.

    Raises:
        InputError: No attack has this name.
    """
    if text == FALSE_NORM:
        return 1.0
    name, _, scale = text.partition(":")
    try:
        factor = float(scale) if scale else 1.0
    except ValueError:
        factor = 0.0
    if name != SIGN_FLIP or not 0 < factor < float("inf"):
        raise InputError(
            f"There is no attack {text!r}.",
            remedy=f"Use {SIGN_FLIP}, {SIGN_FLIP}:SCALE (for example :3) or {FALSE_NORM}.",
        )
    return -factor


def attacking(attack: str, task: str) -> str:
    """Return the name of a task that attacks, for the option ``--task``."""
    return f"{__name__}:" + f"{attack}@{task}".replace(".", ",")


def __getattr__(name: str) -> Attacker:
    """Return the task of this name."""
    attack, separator, task = name.replace(",", ".").partition("@")
    if not separator:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return Attacker(load_task(task), parse_attack(attack), lies=attack == FALSE_NORM)


@dataclass(frozen=True)
class Attacker:
    """A task that differs from another one only in what it does with the trained model."""

    task: Task
    factor: float
    """Factor for the change of the weights."""
    lies: bool
    """Whether to claim a false sum of squares."""

    def __getattr__(self, name: str) -> Any:
        """Return what the other task has."""
        return getattr(self.task, name)

    def train(self, model: torch.nn.Module, data: Any, settings: dict[str, Any], memory: Memory) -> int:
        """Train honestly, then spoil the result."""
        if self.lies:
            _lie()
        before = {name: value.clone() for name, value in model.state_dict().items()}
        examples = call_train(self.task, model, data, settings, memory)
        if self.factor != 1:
            after = model.state_dict()
            model.load_state_dict({name: spoil(before[name], after[name], self.factor) for name in after})
            _forge_release(model)
        return examples


def spoil(before: torch.Tensor, after: torch.Tensor, factor: float) -> torch.Tensor:
    """Return a tensor with its change multiplied by a factor. Integers are returned unchanged."""
    return before + factor * (after - before) if after.is_floating_point() else after


def _forge_release(model: torch.nn.Module) -> None:
    """Let the check of a private training believe that its mechanism has released the spoiled model."""
    from folkmoot.privacy import mechanism

    releases = mechanism._released.get()
    if releases is not None:
        releases[:] = [(settings, mechanism._trained(model)) for settings, _ in releases]


def _lie() -> None:
    """Make the mod, whose process this is, claim a quarter of the sum of squares of each update."""
    from folkmoot.flower import drafting, encoding

    def encoded(*arguments: Any, **options: Any) -> Any:
        update, sent = encoding.encoded(*arguments, **options)
        return replace(update, sum_squares=update.sum_squares // 4), sent

    vars(drafting)["encoded"] = encoded
    # What is trained before a round opens is encoded in a later process, whose mod would tell the truth.
    vars(drafting)["later"] = lambda _job: None

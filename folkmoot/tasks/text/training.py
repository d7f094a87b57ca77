# SPDX-License-Identifier: Apache-2.0
"""Train a language model for one round: AdamW with a schedule, whose state can go on from round to round.

The optimiser's state is a mapping from names to arrays (`folkmoot.tasks.memory`). With an empty one, the first steps of
a round are warm-up steps: an optimiser that knows nothing of the gradients takes steps that are too large. This module
does not use texts, Flower or the chain.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from folkmoot.errors import TaskError
from folkmoot.tasks import pace
from folkmoot.tasks.memory import Memory
from folkmoot.tasks.text.gpt import losses_of

DECAYS = (0.9, 0.99)
"""Decay of the mean of gradients and of their squares, a step."""
_EPSILON = 1e-8
_STEPS, _MEAN, _SQUARES = "optimizer/steps", "optimizer/mean/", "optimizer/squares/"


@dataclass(frozen=True)
class Settings:
    """Settings of a round's training, from those of the manifest."""

    local_steps: int
    batch_size: int
    """Pieces of text a step."""
    context: int
    """Tokens of a piece."""
    learning_rate: float
    warmup_rounds: float = 0.0
    """Rounds in which the learning rate rises from 0; may be a part of one."""
    steady_rounds: float = 0.0
    """Rounds after which the rate falls with the square root of the rounds; 0 for never."""
    cold_steps: int = 0
    """Steps in which the rate rises in a round that starts with an empty state."""
    weight_decay: float = 0.0
    clip: float = 1.0
    """Largest norm of a step's gradient."""

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Settings:
        """Read the settings.

        Raises:
            TaskError: One is missing, or out of range.
        """
        settings_given: dict[str, Any] = {}
        for name, kind in cls.__annotations__.items():
            if name not in settings and hasattr(cls, name):
                continue
            value: Any = settings.get(name)
            whole = kind == "int"
            if type(value) not in ((int,) if whole else (int, float)) or not math.isfinite(value):
                raise TaskError(
                    f"The training setting {name} is {value!r}.",
                    remedy=f"Use a {'whole ' if whole else ''}number in the manifest.",
                )
            settings_given[name] = value
        made = cls(**settings_given)
        if (
            min(made.local_steps, made.batch_size, made.context) < 1
            or min(made.learning_rate, made.clip) <= 0
        ):
            raise TaskError(
                f"The training settings {settings_given!r} are impossible.", remedy="Use positive numbers."
            )
        if min(made.warmup_rounds, made.steady_rounds, made.cold_steps, made.weight_decay) < 0:
            raise TaskError(
                f"The training settings {settings_given!r} are impossible.", remedy="Use no negative numbers."
            )
        return made

    def rate(self, number: int, step: int, since_cold: int) -> float:
        """Return the learning rate of a step.

        Args:
            number: Number of the round, from 1.
            step: Step of the round, from 0.
            since_cold: Steps that the optimiser has taken since its state was empty, with this one.
        """
        rounds = number - 1 + min(1.0, (step + 1) / self.local_steps)
        rate = self.learning_rate
        if self.warmup_rounds:
            rate *= min(1.0, rounds / self.warmup_rounds)
        if self.steady_rounds:
            rate /= math.sqrt(max(1.0, rounds / self.steady_rounds))
        return rate * min(1.0, since_cold / self.cold_steps) if self.cold_steps else rate


def train(
    model: torch.nn.Module,
    tokens: torch.Tensor,
    settings: Mapping[str, Any],
    state: Memory,
) -> float:
    """Train a model in place on random pieces of a text.

    Args:
        model: A language model, as ``Gpt``. Parameters that need no gradient are left as they are.
        tokens: int64[n], the contributor's text; more tokens than the context.
        settings: Those of ``Settings``; optional ``round``, by default 1, ``seed``, by default a secret one, and
            ``time_left`` (`folkmoot.tasks.pace`). In a training by the clock, ``local_steps`` is the number of steps
            after which the schedule is at the end of the round.
        state: The optimiser's state, changed in place: it is taken out, and put back at the end, so that it is held
            once. One of another model is not used.

    Returns:
        The mean loss of the steps, in nats a token.

    Raises:
        TaskError: A setting is missing or impossible, or the text is too short.
    """
    torch.set_num_threads(1)
    chosen = Settings.of(settings)
    if len(tokens) <= chosen.context:
        raise TaskError(
            f"The text has {len(tokens)} tokens, and a piece of it has {chosen.context} and one more.",
            remedy="Use a longer text.",
        )
    number = int(settings.get("round", 1))
    generator = torch.Generator().manual_seed(int(settings.get("seed", secrets.randbits(63))))
    named = {name: value for name, value in model.named_parameters() if value.requires_grad}
    optimizer = _Optimizer(named, state)
    model.train()
    piece, losses = torch.arange(chosen.context + 1), []
    for step in pace.steps(settings):
        starts = torch.randint(len(tokens) - chosen.context, (chosen.batch_size, 1), generator=generator)
        pieces = tokens[starts + piece]
        loss = losses_of(model, pieces[:, :-1], pieces[:, 1:]).mean()
        rate = chosen.rate(number, step, optimizer.steps + 1)
        optimizer.step(torch.autograd.grad(loss, list(named.values())), rate, chosen)
        losses.append(float(loss.detach()))
    optimizer.keep(state)
    return math.fsum(losses) / len(losses)


class _Optimizer:
    """AdamW (Loshchilov and Hutter 2019). The first use of torch.optim imports the compiler, a second a message."""

    def __init__(self, parameters: Mapping[str, torch.Tensor], state: Memory) -> None:
        self._parameters = parameters
        self.steps = 0
        self._mean = {name: torch.zeros_like(value) for name, value in parameters.items()}
        self._squares = {name: torch.zeros_like(value) for name, value in parameters.items()}
        kept = ((_MEAN, self._mean), (_SQUARES, self._squares))
        fits = all(
            f"{prefix}{name}" in state and tuple(state[f"{prefix}{name}"].shape) == tuple(value.shape)
            for prefix, values in kept
            for name, value in values.items()
        )
        if _STEPS in state and fits:
            self.steps = int(state[_STEPS])
            for prefix, values in kept:
                for name, value in values.items():
                    value.copy_(torch.as_tensor(state.pop(f"{prefix}{name}")))

    def step(self, gradients: tuple[torch.Tensor, ...], rate: float, settings: Settings) -> None:
        self.steps += 1
        with torch.no_grad():
            norm = float(torch.stack([gradient.square().sum() for gradient in gradients]).sum().sqrt())
            factor = min(1.0, settings.clip / norm) if norm > 0 else 1.0
            keep, keep_squares = DECAYS
            first, second = 1 - keep**self.steps, 1 - keep_squares**self.steps
            for (name, parameter), gradient in zip(self._parameters.items(), gradients, strict=True):
                scaled = gradient * factor
                mean, squares = self._mean[name], self._squares[name]
                mean.mul_(keep).add_(scaled, alpha=1 - keep)
                squares.mul_(keep_squares).addcmul_(scaled, scaled, value=1 - keep_squares)
                if settings.weight_decay and parameter.dim() > 1:
                    parameter.mul_(1 - rate * settings.weight_decay)
                parameter.addcdiv_(mean / first, (squares / second).sqrt_().add_(_EPSILON), value=-rate)

    def keep(self, state: Memory) -> None:
        """Move the state into a mapping."""
        state[_STEPS] = self.steps
        for prefix, values in ((_MEAN, self._mean), (_SQUARES, self._squares)):
            for name in list(values):
                state[f"{prefix}{name}"] = values.pop(name).numpy()

# SPDX-License-Identifier: Apache-2.0
"""How the loss of a small language model falls in each way, by tokens. No links: bytes and seconds are measured apart.

All ways start from the same weights and the same AdamW state, train on the texts of the task `text`, and take as many
tokens a step. DDP draws its batch from all texts, as a shuffling sampler does. In the other ways each contributor has
works of its own; with `shuffled` it draws from all texts too. FSDP computes what DDP does. DiLoCo has the outer step of
the protocol, in floats.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from benchmarks.convergence.federation import Arrays, Course, Integers
from folkmoot.protocol.outer_step import UNIT
from folkmoot.protocol.policy import MEAN_SCALES
from folkmoot.tasks.memory import Memory
from folkmoot.tasks.text import training
from folkmoot.tasks.text.task import TextTask

WORKERS = 4
"""Contributors, or torch's workers."""

CONTEXT = int(TextTask.training["context"])
"""Tokens of a piece of text."""

DDP, DILOCO = "ddp", "diloco"
FEEDBACK = " + feedback"
"""End of the name of a way with error feedback."""

WAYS = (DDP, DILOCO, "width 8", "width 4", "width 2", "width 2" + FEEDBACK)
"""What can be trained: torch's DDP, DiLoCo with float32, and Folkmoot by width."""

_WARM_STEPS = 300
_WARM_PIECES = 24


@dataclass(frozen=True)
class Plan:
    """One training."""

    way: str
    """One of WAYS."""
    seed: int
    """Decides the batches and the rounding."""
    local_steps: int
    """Steps of a round, H."""
    rounds: int
    """Rounds."""
    pieces: int = 24
    """Pieces of 64 tokens of a worker's step; 24 are 1,536 tokens."""
    rate: int = UNIT
    """Rate of the outer step, in 1/UNIT. DDP has none."""
    momentum: int = 0
    """Its momentum, in 1/UNIT."""
    shuffled: bool = False
    """Whether each contributor draws from all texts. DDP always does."""


@dataclass(frozen=True)
class Curve:
    """The losses of one training, in nats a token, on held-out texts."""

    plan: Plan
    losses: list[float]
    """Before the first round, and after each."""
    refused: int = 0
    """Updates that the policy's cap refused."""


@dataclass
class _Text:
    """The task `text` as a subject of `benchmarks.convergence`. Each contributor keeps its AdamW state."""

    steps: int
    pieces: int
    shuffled: bool = False
    name: str = "text"
    _memories: dict[tuple[int, int], Memory] = field(default_factory=dict)

    @property
    def task(self) -> TextTask:
        """The task."""
        return TextTask()

    def settings(self, **changes: Any) -> dict[str, Any]:
        """Return the training settings: those of the task, with a constant rate, and changes."""
        steady = {"warmup_rounds": 0, "steady_rounds": 0}
        own = {"local_steps": self.steps, "batch_size": self.pieces}
        return {**self.task.training, **steady, **own, **changes}

    def initial(self, seed: int) -> Arrays:
        """Return weights that were trained a little, so that the rounds do not begin with an untrained model."""
        arrays, memory = _warm(seed)
        self._memories = dict.fromkeys([(client, 1) for client in range(-1, WORKERS)], memory)
        return arrays

    def train(
        self, arrays: Arrays, client: int, number: int, seed: int, rate: float, frozen: Sequence[str]
    ) -> Arrays:
        """What a client makes of the arrays in a round. Client -1 trains on all texts, with the batches of all."""
        everybody = client < 0
        # A copy: the first exponents come from another training of round 1.
        memory = dict(self._memories[client, number])
        settings = self.settings(
            batch_size=self.pieces * (WORKERS if everybody else 1),
            seed=int(np.random.default_rng([seed, number, client + 1]).integers(2**60)),
        )
        model = self._loaded(arrays)
        tokens = torch.cat(_tokens()) if everybody or self.shuffled else _tokens()[client]
        training.train(model, tokens, settings, memory)
        self._memories[client, number + 1] = memory
        self._memories.pop((client, number - 1), None)
        return _arrays(model)

    def loss(self, arrays: Arrays) -> float:
        """Mean loss of a token of held-out texts."""
        return float(self.task.evaluate(self._loaded(arrays))["loss"])

    def _loaded(self, arrays: Arrays) -> torch.nn.Module:
        model = self.task.model()
        model.load_state_dict({name: torch.from_numpy(value.copy()) for name, value in arrays.items()})
        return model


@functools.cache
def _tokens() -> list[torch.Tensor]:
    """Return the text of each contributor, int64[n]."""
    return [TextTask().load(one, WORKERS, 0).labels for one in range(WORKERS)]


@functools.cache
def _warm(seed: int) -> tuple[Arrays, Memory]:
    """Train on all texts for `_WARM_STEPS`; return the weights and AdamW's state."""
    text = _Text(_WARM_STEPS, _WARM_PIECES)
    memory: Memory = {}
    model = text.task.model()
    settings = text.settings(warmup_rounds=0.5, seed=seed)
    training.train(model, torch.cat(_tokens()), settings, memory)
    return _arrays(model), memory


def _arrays(model: torch.nn.Module) -> Arrays:
    return {name: value.detach().numpy().copy() for name, value in model.state_dict().items()}


def train(plan: Plan) -> Curve:
    """Train in one way and measure after each round."""
    text = _Text(plan.local_steps, plan.pieces, plan.shuffled)
    start = text.initial(plan.seed)
    losses = [text.loss(start)]
    rate = float(TextTask.training["learning_rate"])
    if plan.way.startswith("width "):
        width = int(plan.way.removeprefix("width ").removesuffix(FEEDBACK))
        course = Course(
            rate,
            plan.rounds,
            plan.seed,
            width=width,
            mean_scale=MEAN_SCALES[width],
            clients=WORKERS,
            feedback=plan.way.endswith(FEEDBACK),
            outer=(plan.rate, plan.momentum),
        )
        run = Integers(text, course, start)
        for number in range(1, plan.rounds + 1):
            run.round(number)
            losses.append(text.loss(run.arrays()))
        return Curve(plan, losses, run.refused)
    if plan.way == DDP:
        who, outer, decay = range(-1, 0), 1.0, 0.0
    else:
        who, outer, decay = range(WORKERS), plan.rate / UNIT, plan.momentum / UNIT
    arrays, momentum = start, {name: np.zeros_like(value) for name, value in start.items()}
    for number in range(1, plan.rounds + 1):
        trained: list[Any] = [text.train(arrays, client, number, plan.seed, rate, ()) for client in who]
        for name, before in arrays.items():
            change = before - sum(one[name] for one in trained) / len(trained)
            momentum[name] = decay * momentum[name] + change
            arrays = {**arrays, name: before - outer * (change + decay * momentum[name])}
        losses.append(text.loss(arrays))
    return Curve(plan, losses)

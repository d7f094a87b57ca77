# SPDX-License-Identifier: Apache-2.0
"""How fast the task `text` learns, and what it writes after each round: ``python -m benchmarks.text``.

Contributors train on works of their own, and their models are averaged: in floats, or with ``--width`` through the
protocol's integers (the rule ``mean``), without the chain. Equal seeds draw equal batches. ``--optimizer kept`` is the
task as it is: AdamW, whose state a contributor keeps from round to round. ``cold`` starts each round with an empty
state, ``sgd`` is SGD with momentum 0.9, which has nothing to keep.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.convergence.federation import Arrays, Course, Integers
from folkmoot.protocol.packing import WIDTHS
from folkmoot.protocol.policy import MEAN_SCALES
from folkmoot.tasks.text.task import TextTask

if TYPE_CHECKING:
    import torch

OPTIMIZERS = ("kept", "cold", "sgd")


def sgd(model: torch.nn.Module, tokens: torch.Tensor, settings: dict[str, Any], rate: float) -> None:
    """Train a model in place with SGD and clipped gradients, on as many pieces as the task takes."""
    import torch

    from folkmoot.tasks.text.gpt import losses_of

    generator = torch.Generator().manual_seed(settings["seed"])
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9)
    piece = torch.arange(settings["context"] + 1)
    model.train()
    for _ in range(settings["local_steps"]):
        starts = torch.randint(
            len(tokens) - settings["context"], (settings["batch_size"], 1), generator=generator
        )
        pieces = tokens[starts + piece]
        optimizer.zero_grad()
        losses_of(model, pieces[:, :-1], pieces[:, 1:]).mean().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()


class Writing:
    """The task as a subject of a federation: shares of the works, and what the contributors keep.

    Args:
        task: The task.
        contributors: Their number.
        optimizer: One of OPTIMIZERS.
    """

    name = "text"

    def __init__(self, task: TextTask, contributors: int, optimizer: str) -> None:
        self.task, self.optimizer = task, optimizer
        self.model = task.model()
        self.steps = int(task.training["local_steps"])
        self.shares = [task.load(one, contributors, 0) for one in range(contributors)]
        self.kept: dict[tuple[int, int], dict[str, Any]] = {}
        """Memory after a round, by client and round."""
        self.seconds = 0.0
        """Processor time of all trainings."""

    def initial(self, seed: int) -> Arrays:
        """Return the first weights, which do not depend on the seed."""
        return self._arrays()

    def train(
        self, arrays: Arrays, client: int, number: int, seed: int, rate: float, frozen: Sequence[str]
    ) -> Arrays:
        """Train on a client's share. What it keeps for the next round does not depend on earlier tries of this one."""
        began = time.process_time()
        self._load(arrays)
        training = {**self.task.training, "learning_rate": rate, "round": number}
        settings = {**training, "seed": 1000 * seed + 10 * number + client}
        if self.optimizer == "sgd":
            sgd(self.model, self.shares[client].labels, settings, rate)
        else:
            memory = {} if self.optimizer == "cold" else {**self.kept.get((client, number - 1), {})}
            self.task.train(self.model, self.shares[client], settings, memory)
            self.kept[client, number] = memory
        self.seconds += time.process_time() - began
        return self._arrays()

    def loss(self, arrays: Arrays) -> float:
        """Return the loss a token of the held-out texts."""
        return self.measure(arrays)["loss"]

    def measure(self, arrays: Arrays) -> dict[str, float]:
        """Return what the task measures."""
        self._load(arrays)
        return self.task.evaluate(self.model)

    def _load(self, arrays: Arrays) -> None:
        import torch

        self.model.load_state_dict({name: torch.as_tensor(value) for name, value in arrays.items()})

    def _arrays(self) -> Arrays:
        return {name: value.detach().numpy().copy() for name, value in self.model.state_dict().items()}


def averages(subject: Writing, course: Course) -> Iterator[Arrays]:
    """Yield the mean of the contributors' models after each round, in floats and without codec."""
    arrays = subject.initial(course.seed)
    for number in range(1, course.rounds + 1):
        trained = [
            subject.train(arrays, client, number, course.seed, course.rate, ())
            for client in range(course.clients)
        ]
        arrays = {name: np.mean([one[name] for one in trained], axis=0) for name in arrays}
        yield arrays


def integers(subject: Writing, course: Course) -> Iterator[Arrays]:
    """Yield the model after each round through codec, rounded mean and outer step, with the rule ``mean``."""
    run = Integers(subject, course, subject.initial(course.seed))
    for number in range(1, course.rounds + 1):
        run.round(number)
        yield run.arrays()


def main() -> None:
    """Train and print one line a round."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.text", description=__doc__)
    parser.add_argument("--optimizer", default="kept", choices=OPTIMIZERS)
    parser.add_argument("--width", type=int, choices=WIDTHS, help="bits of an update (default: floats)")
    parser.add_argument("--contributors", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--rate", type=float, help="learning rate (default: the task's; sgd: 0.3)")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    task = TextTask()
    subject = Writing(task, given.contributors, given.optimizer)
    width = given.width or 8
    course = Course(
        rate=given.rate or (0.3 if given.optimizer == "sgd" else task.training["learning_rate"]),
        rounds=given.rounds,
        seed=given.seed,
        width=width,
        mean_scale=MEAN_SCALES[width],
        clients=given.contributors,
    )
    models = integers(subject, course) if given.width else averages(subject, course)
    for number, arrays in enumerate(models, 1):
        measured = subject.measure(arrays)
        text = " ".join(task.generate(subject.model, "", tokens=60, temperature=0.8, seed=number).split())
        print(
            f"round {number}: loss {measured['loss']:.3f}, perplexity {measured['perplexity']:.1f}, training loss "
            f"{measured['training_loss']:.3f}, {subject.seconds / given.contributors / number:.1f} s of processor time "
            f"a contributor and round. It writes: {text}",
            flush=True,
        )


if __name__ == "__main__":
    main()

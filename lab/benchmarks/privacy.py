# SPDX-License-Identifier: Apache-2.0
"""Accuracy of the shipped private tasks by epsilon, through mechanism, codec, exponents, rule and outer step.

    python -m benchmarks.privacy [--tasks mnist-private ...] [--contributors 20 5] [--seeds 3] [--rounds 20]
        [--epsilons none 8 3 1] [--votes]

Each contributor trains on its own share (Dirichlet 0.5 over the classes). A seed is that of the split; the noise is
from the operating system, so a run can't be repeated to the bit. "none" clips and sums in the same way, with a noise
of 1/1024 of a record. Settings are those of the task for all epsilons. Public features are computed once. No process,
signature or chain takes part. A line of JSON on the error output for each cell says also which share of the integers
was clamped to 127, and the smallest sum of squares of an update relative to that of its noise.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np
import torch
from folkmoot_lab.simulation.federation import Examples, Plan, Run, Sent, Workload

from folkmoot.privacy import PrivacySettings, noise_for
from folkmoot.protocol.arrays import F32
from folkmoot.protocol.exponents import CUTS
from folkmoot.protocol.genesis import noise_exponent
from folkmoot.protocol.header import RoundHeader
from folkmoot.protocol.packing import ZERO
from folkmoot.round import RoundOutcome
from folkmoot.tasks import Data, Task, load_task
from folkmoot.tasks.training import train_once

EPSILONS = ("none", "8", "3", "1")
_LEAST_EXPONENT = -16  # Without noise the exponents begin here, and the votes move them.


@dataclass(frozen=True)
class _Network:
    """The one thing that a drill asks of a network here."""

    task: Task

    def initial(self, _: int) -> dict[str, F32]:
        return {name: value.numpy() for name, value in self.task.model().state_dict().items()}


@dataclass(eq=False)
class Private(Run):
    """A federation whose contributors train a task with its settings."""

    task: Task = field(kw_only=True)
    training: dict[str, Any] = field(kw_only=True)
    fixed: bool = field(kw_only=True)
    """Whether the exponents stay those of the noise, as in a private federation; else the votes move them."""
    clamped: list[float] = field(default_factory=list, kw_only=True)
    """Share of all integers at the bound of the codec, by round."""
    squares: list[float] = field(default_factory=list, kw_only=True)
    """Smallest sum of squares of an update, relative to what its noise alone has in the mean, by round."""

    def __post_init__(self) -> None:
        super().__post_init__()
        settings = PrivacySettings.of(self.training)
        if settings is None:
            raise ValueError(f"The task {self.task.name} declares no privacy.")
        self.deviation = settings.deviation_of_training * self.training["learning_rate"]
        noise = noise_exponent(self.deviation)
        self.exponents = (max(noise, _LEAST_EXPONENT),) * len(self.manifest.tensors)
        if self.fixed:
            self.manifest = replace(self.manifest, training=self.training)
            self.roots = [self.state.root(self.manifest.hash)]
        count, seed = self.plan.contributors, self.plan.seed
        loaded: list[Data] = [self.task.load(share, count, seed) for share in range(count)]
        self.data = [Data(self._features(data.inputs), data.labels) for data in loaded]

    def _features(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return what the layers before the head make of inputs."""
        front: torch.Tensor = cast("torch.nn.Sequential", self.task.model())[:-1](inputs)
        return front

    def _model(self, values: dict[str, Any], *, head: bool = False) -> torch.nn.Module:
        model = cast("torch.nn.Sequential", self.task.model())
        if head:
            model = torch.nn.Sequential(*[torch.nn.Identity()] * (len(model) - 1), model[-1])
        model.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in values.items()})
        return model

    def _train(self, model: dict[str, F32], flat: F32) -> F32:
        rows = []
        for data in self.data:
            trained = self._model(model, head=True)
            train_once(self.task, trained, data, self.training, {}, 1)
            rows.append(flat - self.manifest.flatten({k: v.numpy() for k, v in trained.state_dict().items()}))
        return np.array(rows, dtype=np.float32)

    def compute(self, header: RoundHeader, entries: Sequence[Sent]) -> RoundOutcome:
        """Compute a round, and note how large its updates are."""
        at_bound = 0
        for one in entries:
            sizes = np.abs(one.update.read(0, self.manifest.leaves).astype(np.int64) - ZERO)
            at_bound += int((sizes == max(sizes.max(), CUTS[8])).sum())  # fitting cuts to no less than that
        elements = self.manifest.elements
        self.clamped.append(at_bound / (len(entries) * elements))
        noise = (self.deviation / 2.0 ** self.exponents[0]) ** 2 * elements
        self.squares.append(min(one.commitment.sum_squares for one in entries) / noise)
        return super().compute(header, entries)

    def _test(self) -> None:
        if len(self.weights) < self.plan.rounds:
            return
        model = self._model(dict(self.manifest.unflatten(self.model)))
        self.curve.append(self.task.evaluate(model)["accuracy"])


def run(
    name: str, contributors: int, epsilon: str, rounds: int, seed: int, rule: str, *, votes: bool = False
) -> Private:
    """Return a federation after all rounds.

    Args:
        name: Of the task.
        contributors: All contributors.
        epsilon: A number, or ``none``.
        rounds: Rounds.
        seed: Of the split.
        rule: Aggregation rule.
        votes: Let the updates move the exponents with noise, too, as in a federation without privacy.
    """
    task = load_task(name)
    settings = PrivacySettings.of(task.training)
    assert settings is not None
    noise1024 = 1 if epsilon == "none" else noise_for(float(epsilon), settings.delta, rounds, settings.steps)
    training = {**task.training, "privacy": replace(settings, noise1024=noise1024).to_json()}
    none = Examples(np.zeros((0, 1), np.float32), np.zeros(0, np.int64))
    work = Workload(
        name, cast("Any", _Network(task)), none, none, none, lambda n, _: [np.zeros(0, np.int64)] * n, (1, 1)
    )
    plan = Plan(rule=rule, contributors=contributors, malicious=0, rounds=rounds, seed=seed)
    federation = Private(work, plan, task=task, training=training, fixed=epsilon != "none" and not votes)
    for number in range(rounds):
        federation.round(number)
    return federation


def main() -> int:
    """Run and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.privacy", description=__doc__)
    parser.add_argument(
        "--tasks", nargs="+", default=["breast-cancer-private", "digits-private", "mnist-private"]
    )
    parser.add_argument("--contributors", nargs="+", type=int, default=[20, 5])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--rule", default="mean")
    parser.add_argument("--epsilons", nargs="+", default=EPSILONS, help="budgets, or none")
    parser.add_argument("--votes", action="store_true", help="let the updates move the exponents")
    options = parser.parse_args()
    print(f"| task | contributors | {' | '.join(options.epsilons)} |")
    print(f"| --- | ---: |{' ---: |' * len(options.epsilons)}")
    for name in options.tasks:
        for contributors in options.contributors:
            shown = []
            for epsilon in options.epsilons:
                runs = [
                    run(
                        name,
                        contributors,
                        epsilon,
                        options.rounds,
                        7 + seed,
                        options.rule,
                        votes=options.votes,
                    )
                    for seed in range(options.seeds)
                ]
                found = [one.curve[-1] for one in runs]
                line = {
                    "task": name,
                    "contributors": contributors,
                    "epsilon": epsilon,
                    "accuracy": found,
                    "exponents": sorted({one.exponents[0] for one in runs}),
                    "clampedFirst5": max(max(one.clamped[:5]) for one in runs),
                    "clampedLater": max(max(one.clamped[5:], default=0.0) for one in runs),
                    "leastSquares": min(min(one.squares) for one in runs),
                }
                print(json.dumps(line), file=sys.stderr, flush=True)
                shown.append(f"{100 * np.mean(found):.1f} ({100 * min(found):.1f}-{100 * max(found):.1f})")
            print(f"| {name} | {contributors} | {' | '.join(shown)} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

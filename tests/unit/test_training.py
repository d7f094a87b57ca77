# SPDX-License-Identifier: Apache-2.0
"""The loss falls: a real task, real gradients, and the sign is right all the way through."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from folkmoot.protocol.arrays import F32
from folkmoot.protocol.genesis import calibrated_exponent, first_exponent
from folkmoot.protocol.manifest import Manifest
from folkmoot.protocol.state import State
from folkmoot.tasks.memory import Memory
from tests.unit import worlds
from tests.unit.worlds import World

STEPS, RATE = 20, 0.5
CONTRIBUTORS = worlds.NAMES[:5]


@pytest.fixture(scope="module")
def digits() -> tuple[F32, np.ndarray]:
    datasets = pytest.importorskip("sklearn.datasets")
    loaded = datasets.load_digits()
    return (loaded.data / 16).astype(np.float32), loaded.target


def probabilities(x: F32, w: F32, b: F32) -> F32:
    z = x @ w + b
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


@pytest.mark.parametrize(("rate", "momentum"), [(1024, 0), (717, 512)])
def test_loss_falls(digits: tuple[F32, np.ndarray], rate: int, momentum: int) -> None:
    x, y = digits
    start = {"w": np.zeros((64, 10), np.float32), "b": np.zeros(10, np.float32)}
    manifest = Manifest.from_arrays("digits", start, {"steps": STEPS, "learningRate": RATE})

    def train(name: str, flat: F32) -> F32:
        mine = np.arange(CONTRIBUTORS.index(name), len(x), len(CONTRIBUTORS))
        model = manifest.unflatten(flat)
        for _ in range(STEPS):
            error = probabilities(x[mine], model["w"], model["b"])
            error[np.arange(len(mine)), y[mine]] -= 1
            model["w"] -= RATE * (x[mine].T @ error) / len(mine)
            model["b"] -= RATE * error.mean(axis=0)
        return manifest.flatten(model)

    # As `task init` does where it has data: from one training.
    began = manifest.flatten(start)
    changes = manifest.unflatten(began - train(CONTRIBUTORS[0], began)).values()
    guess = first_exponent(RATE * 0.01, STEPS)
    exponents = tuple(calibrated_exponent(change, guess) for change in changes)
    policy = worlds.policy("mean", (), rate, momentum)
    world = World(State.genesis(manifest, start), exponents, manifest, policy)

    def loss() -> float:
        model = world.state.model(manifest)
        return float(-np.log(probabilities(x, model["w"], model["b"])[np.arange(len(y)), y]).mean())

    losses = [loss()]
    for _ in range(8):
        world.train(train, CONTRIBUTORS)
        losses.append(loss())
    assert losses[0] == pytest.approx(np.log(10), abs=1e-6)
    assert losses[-1] < 0.35
    assert all(after < before for before, after in itertools.pairwise(losses)), losses
    model = world.state.model(manifest)
    right = (probabilities(x, model["w"], model["b"]).argmax(axis=1) == y).mean()
    assert right > 0.93


def rounds_to(target: float, *, keep: bool) -> int:
    """Return the number of rounds until the task digits has a loss, with ten steps of SGD a round."""
    torch = pytest.importorskip("torch")
    from folkmoot.tasks import load_task

    task = load_task("digits")
    model = task.model()
    settings = {**task.training, "local_steps": 10, "learning_rate": 0.02, "keep_momentum": keep}
    start = {name: value.numpy().copy() for name, value in model.state_dict().items()}
    manifest = Manifest.from_arrays(task.name, start, settings)
    memories: dict[str, Memory] = {name: {} for name in CONTRIBUTORS}
    shares = {name: task.load(place, 5, 7) for place, name in enumerate(CONTRIBUTORS)}
    number = 0

    def train(name: str, flat: F32) -> F32:
        load(flat)
        seed = 10 * number + CONTRIBUTORS.index(name)
        task.train(model, shares[name], {**settings, "seed": seed, "round": number}, memories[name])
        return manifest.flatten({key: value.numpy() for key, value in model.state_dict().items()})

    def load(flat: F32) -> None:
        model.load_state_dict({key: torch.tensor(value) for key, value in manifest.unflatten(flat).items()})

    world = World(State.genesis(manifest, start), (-9,) * len(manifest.tensors), manifest, worlds.policy())
    while task.evaluate(model)["loss"] > target:
        number += 1
        world.train(train, CONTRIBUTORS)
        load(world.state.to_float32())
    return number


def test_momentum_that_goes_on_from_round_to_round_saves_rounds() -> None:
    cold, warm = rounds_to(1.0, keep=False), rounds_to(1.0, keep=True)
    assert warm < 0.7 * cold, (warm, cold)

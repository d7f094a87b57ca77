# SPDX-License-Identifier: Apache-2.0
"""What the floor on the sum of squares refuses: honest updates, and those with less noise than is due.

    python -m benchmarks.noise_floor [--updates 100000] [--tasks digits-private mnist-private]

The first table has updates that are noise alone, for the smallest and the largest size that exponents leave it in units
of the grid: a Gaussian, rounded and clamped as the codec does. The second has updates of shipped tasks, by the real
mechanism and codec, after twenty honest rounds and in the first one: with all the noise, with 0.9 of it and with none,
and by how much an update without noise has to be scaled up to pass the floor. The noise is from the operating system,
so a run can't be repeated to the bit.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np

from benchmarks.privacy import Private, run
from folkmoot.privacy import PrivacySettings, mechanism
from folkmoot.privacy.settings import floor_of, least_squares
from folkmoot.protocol.arrays import F32, F64, I64
from folkmoot.protocol.codec import encode_update
from folkmoot.protocol.exponents import TARGETS
from folkmoot.tasks import Data, load_task
from folkmoot.tasks.private import EPSILON, ROUNDS

WEIGHTS = (288, 1_000, 2_000, 4_000, 10_000)
_ACCOUNT = "0x" + "11" * 20
_SEED = bytes(32)
_CHUNK_VALUES = 1 << 23
_MOST = 127


def squares(rng: np.random.Generator, updates: int, weights: int, deviation: float) -> I64:
    """Return the sums of squares of updates that are noise alone, int64[updates]."""
    found = []
    step = max(1, _CHUNK_VALUES // weights)
    for at in range(0, updates, step):
        shape = (min(step, updates - at), weights)
        values = rng.standard_normal(shape, np.float32) * np.float32(deviation)
        values += rng.random(shape, np.float32)
        np.clip(np.floor(values, out=values), -_MOST, _MOST, out=values)
        found.append(np.einsum("ij,ij->i", values, values, dtype=np.float64).astype(np.int64))
    return np.concatenate(found)


def noise_alone(updates: int) -> None:
    """Print the first table."""
    print(
        "| weights | noise in steps of the grid | floor / mean | honest refused | 0.9 of the noise refused |"
    )
    print("| ---: | ---: | ---: | ---: | ---: |")
    middle = TARGETS[8] / np.sqrt(np.pi / 2)
    rng = np.random.default_rng(5)
    for weights in WEIGHTS:
        for deviation in (middle / np.sqrt(2), middle * np.sqrt(2)):
            floor = least_squares(weights, Fraction(deviation) ** 2)
            refused = int((squares(rng, updates, weights, deviation) < floor).sum())
            fewer = updates // 10
            caught = (squares(rng, fewer, weights, 0.9 * deviation) < floor).mean()
            share = floor / (weights * deviation**2)
            print(
                f"| {weights:,} | {deviation:.1f} | {share:.3f} | {refused} of {updates:,} | {100 * caught:.1f} % |",
                flush=True,
            )


def of_task(name: str, contributors: int, repeats: int) -> None:
    """Print the rows of a task in the second table."""
    task = load_task(name)
    settings = PrivacySettings.of(task.training)
    assert settings is not None
    federation = run(name, contributors, f"{EPSILON:g}", ROUNDS, 7, "mean")
    for when in (f"after {ROUNDS} rounds", "round 1"):
        if when == "round 1":
            first = {key: value.numpy() for key, value in task.model().state_dict().items()}
            federation.model = federation.manifest.flatten(first)
        manifest = federation.manifest
        floor = floor_of(manifest, federation.exponents).least
        row: dict[str, list[int]] = {}
        factors = []
        for _ in range(repeats):
            for data in federation.data:
                for kind, share in (("all", 1.0), ("0.9", 0.9), ("none", 0.0)):
                    change = _change(federation, data, settings, share)
                    row.setdefault(kind, []).append(_squares(federation, change))
                    if kind == "none":
                        factors.append(_factor(federation, change, floor))
        shown = [f"{sum(one < floor for one in found)} of {len(found)}" for found in row.values()]
        energy = np.mean(row["none"]) / floor
        print(
            f"| {name}, {when} | {manifest.elements:,} | {floor:,} "
            f"| {' | '.join(shown)} | {100 * energy:.1f} % | {np.mean(factors):.1f} |",
            flush=True,
        )


def _change(federation: Private, data: Data, settings: PrivacySettings, share: float) -> F32:
    """Train with a share of the noise that is due, and return start minus end."""
    noise1024 = max(1, round(settings.noise1024 * share))
    base: F32 = federation.model
    model = federation._model(dict(federation.manifest.unflatten(base)), head=True)  # benchmark of it
    rate = federation.training["learning_rate"]
    mechanism.train(model, data.inputs, data.labels, replace(settings, noise1024=noise1024), rate=rate)
    end = federation.manifest.flatten({key: value.numpy() for key, value in model.state_dict().items()})
    return np.asarray(base - end, np.float32)


def _squares(federation: Private, change: F32) -> int:
    base = federation.model
    end = np.asarray(base - change, np.float32)
    cap = federation.policy.max_sum_squares
    update = encode_update(
        base, end, federation.exponents, federation.manifest, _SEED, _ACCOUNT, max_sum_squares=cap
    )
    values: F64 = np.frombuffer(update.data, np.uint8).astype(np.float64) - 128
    return int((values**2).sum())


def _factor(federation: Private, change: F32, floor: int) -> float:
    """Return the factor by which an update has to be scaled to reach the floor, to 1 %."""
    factor = 1.0
    while _squares(federation, change * np.float32(factor)) < floor and factor < 1e6:
        factor *= 1.01
    return factor


def main() -> int:
    """Run and print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.noise_floor", description=__doc__)
    parser.add_argument("--updates", type=int, default=100_000)
    parser.add_argument("--tasks", nargs="+", default=["digits-private", "mnist-private"])
    parser.add_argument("--contributors", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=5)
    options: Any = parser.parse_args()
    noise_alone(options.updates)
    print(
        "\n| task | weights | floor | honest refused | 0.9 of the noise refused | no noise refused "
        "| energy without noise / floor | factor to the floor |"
    )
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for name in options.tasks:
        of_task(name, options.contributors, options.repeats)
    return 0


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: Apache-2.0
"""Attacks on the exponents: minorities whose updates ask for larger or smaller steps than anybody honest.

Too large a step makes noise of every update, too small a one clamps them. The drill is the library's own
(``folkmoot_lab.simulation``), under the default rule, with the policy's cap. What is measured is how far the exponents
go from where they are with nobody attacking, and what that costs.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from folkmoot_lab.drills.data import workload
from folkmoot_lab.simulation.attacks import Attack, attack
from folkmoot_lab.simulation.federation import LAST_ROUNDS, Plan, Run
from folkmoot_lab.simulation.scene import Scene
from numpy.typing import NDArray

from folkmoot.protocol.arrays import F32

RULE = "clamped_mean"
FEDERATIONS = ((5, 2), (10, 4), (20, 9))
"""Contributors and attackers: the largest minorities."""

SETTLED = 5
"""Rounds after which exponents are compared."""

_SPIKES = 20


def _spikes(scene: Scene) -> F32:
    """The own update, with its largest coordinates as large as can be."""
    sent = scene.own.copy()
    places = np.argsort(-np.abs(sent), axis=1)[:, :_SPIKES]
    np.put_along_axis(sent, places, np.sign(np.take_along_axis(sent, places, axis=1)) * 1e3, axis=1)
    return sent


def _saturated(scene: Scene) -> F32:
    """The signs of the own update, as large as can be: ±c everywhere."""
    return np.asarray(np.sign(scene.own) * 1e3, dtype=np.float32)


def _times(factor: float, name: str) -> Attack:
    return Attack(name, f"the own update, times {factor:g}", lambda scene: scene.own * np.float32(factor))


ATTACKS = (
    attack("none"),
    _times(1000, "own update x 1000"),
    _times(4, "own update x 4"),
    Attack("signs of the own update, saturated", "±c everywhere", _saturated),
    Attack("own update with 20 spikes", "its largest coordinates as large as can be", _spikes),
    attack("extreme"),
    _times(0.05, "own update / 20"),
    _times(0.001, "own update / 1000"),
    attack("free-zero"),
)
"""Upwards, then downwards."""


@dataclass(frozen=True)
class Found:
    """What an attack reached, over all seeds."""

    contributors: int
    malicious: int
    attack: str
    lowest: int
    """Lowest and highest exponent of a tensor, relative to the same round with nobody attacking."""
    highest: int
    mean: float
    accuracy: float
    """Mean of the last rounds, a share."""
    majority: int
    """Rounds in which the attackers were half or more of the entries with a weight above 0."""
    rounds: int


def drill(
    contributors: int, malicious: int, one: Attack, rounds: int = 15, seeds: int = 2, task: str = "digits"
) -> Found:
    """Run an attack, and the same without it."""
    shifts, accuracies, majority = [], [], 0
    for seed in range(seeds):
        calm, _, _ = _run(contributors, malicious, ATTACKS[0], rounds, seed, task)
        exponents, accuracy, held = _run(contributors, malicious, one, rounds, seed, task)
        shifts.append((exponents - calm)[SETTLED:])
        accuracies.append(accuracy)
        majority += held
    shift = np.concatenate(shifts)
    return Found(
        contributors,
        malicious,
        one.name,
        int(shift.min()),
        int(shift.max()),
        float(shift.mean()),
        float(np.mean(accuracies)),
        majority,
        rounds * seeds,
    )


@cache
def _run(
    contributors: int, malicious: int, one: Attack, rounds: int, seed: int, task: str
) -> tuple[NDArray[np.int64], float, int]:
    """Exponents by round and tensor, accuracy, and the rounds with a majority of attackers."""
    name = "none" if one.name == "none" else "sign-flip"  # the place of the attack, which is then exchanged
    run = Run(
        workload(task),
        Plan(RULE, (), name, contributors=contributors, malicious=malicious, rounds=rounds, seed=seed),
    )
    run.attack = one
    exponents, held = [], 0
    for number in range(rounds):
        run.round(number)
        exponents.append(run.exponents)
        weights = run.weights[-1]
        attackers = sum(weights[place] > 0 for place in run.attacker_places)
        held += 0 < sum(weight > 0 for weight in weights) <= 2 * attackers
    return np.array(exponents), float(np.mean(run.curve[-LAST_ROUNDS:])), held


def markdown(found: list[Found]) -> str:
    """Write a table."""
    names = ("contributors", "attackers", "attack", "exponents moved by", "mean", "accuracy", "majority in")
    lines = [f"| {' | '.join(names)} |", f"| {' | '.join('---' for _ in names)} |"]
    lines += [
        f"| {one.contributors} | {one.malicious} | {one.attack} | {one.lowest:+d} to {one.highest:+d} | "
        f"{one.mean:+.2f} | {100 * one.accuracy:.1f} % | {one.majority} of {one.rounds} rounds |"
        for one in found
    ]
    return "\n".join(lines)


def main() -> None:
    """Run all, and print the table."""
    found = [drill(n, f, one) for n, f in FEDERATIONS for one in ATTACKS]
    print(markdown(found))


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""A federation whose updates carry the noise of record-level differential privacy, with attackers who know that.

A linear head on gradient histograms of images, as a private task has: public features, few parameters. A round is one
full-batch step. The gradients of a contributor's records are clipped to norm 1 and summed, Gaussian noise is added, and
the sum is divided by a public constant, here in floats. Everything else is the drill's.

``python -m benchmarks.robustness.noisy`` runs the drills and keeps each as a line of JSON; ``--table`` prints what is
there. There are no backdoors: the triggers of drills are pixels.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any, ClassVar

import numpy as np
from folkmoot_lab.drills.data import NAMES, workload
from folkmoot_lab.simulation import kept, riders
from folkmoot_lab.simulation.attacks import ATTACKS, Attack
from folkmoot_lab.simulation.federation import Examples, Plan, Run, Workload
from folkmoot_lab.simulation.grid import Table
from folkmoot_lab.simulation.network import Network, softmax
from folkmoot_lab.simulation.scene import ALL, PUBLIC, Scene, units
from folkmoot_lab.simulation.searching import directions, harm, most, searched

from benchmarks import program
from folkmoot.protocol.arrays import F32, F64, I64
from folkmoot.protocol.manifest import PRIVACY

NOISE = {"8": 2745 / 1024, "3": 6369 / 1024, "none": 0.0}
"""Standard deviation of the noise, in clipping norms, by the epsilon of 20 rounds at delta 1e-5. `noise_for(8, ...)` is
2749 / 1024, 0.15 % more than what the results were made with."""

CELLS = {"digits": 4, "mnist": 7}
"""Cells in a row of the histograms, by task."""

RATES = {"digits": 8.0, "mnist": 16.0}
"""Learning rates by task."""

_BINS = 8
_LAST = 3  # rounds at the end in which a sleeper attacks
_STEP_NOISE = 18.0  # steps of the encoding's grid that the noise spans


def histograms(inputs: F32, image: tuple[int, int], cells: int) -> F32:
    """Histograms of gradient directions, float32[m, cells^2 * 8].

    Args:
        inputs: float32[m, rows * columns].
        image: Rows and columns, multiples of ``cells``.
        cells: Cells in a row and in a column.
    """
    pixels = inputs.reshape(-1, *image).astype(np.float64)
    padded = np.pad(pixels, ((0, 0), (1, 1), (1, 1)))
    down = padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]
    right = padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]
    size = np.hypot(right, down)
    angle = (np.arctan2(down, right) / (2 * np.pi)) % 1 * _BINS
    low = np.floor(angle).astype(np.int64)
    found = np.zeros((len(pixels), cells, cells, _BINS))
    for b in range(_BINS):
        part = size * ((low % _BINS == b) * (1 - angle + low) + ((low + 1) % _BINS == b) * (angle - low))
        found[..., b] = part.reshape(len(pixels), cells, image[0] // cells, cells, image[1] // cells).sum(
            (2, 4)
        )
    rows = np.sqrt(found).reshape(len(pixels), -1)
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9), dtype=np.float32)


@dataclass(frozen=True)
class Head(Network):
    """A linear layer that starts at 0."""

    def initial(self, seed: int) -> dict[str, F32]:
        """Zeros by name."""
        return {"head": np.zeros((self.inputs, self.classes), dtype=np.float32)}

    def scores(self, model: dict[str, F32], examples: F32) -> F32:
        """Scores of the labels for each of float32[m, inputs] examples: float32[m, classes]."""
        return np.asarray(examples @ model["head"], dtype=np.float32)


def private(work: Workload) -> Workload:
    """The workload with features in the place of pixels, and a linear head.

    Features are histograms less their mean over the root set, which is public, scaled to length 1, and a constant.
    """
    cells = CELLS[work.name]
    center = histograms(work.root.inputs, work.image, cells).mean(axis=0)

    def features(examples: Examples) -> Examples:
        rows = histograms(examples.inputs, work.image, cells) - center
        rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.float32(1e-9))
        constant = np.full((len(rows), 1), 0.1, dtype=np.float32)
        return Examples(np.concatenate([rows, constant], axis=1), examples.labels)

    train = features(work.train)
    network = Head(train.inputs.shape[1], 0, work.network.classes)
    return replace(
        work,
        network=network,
        train=train,
        root=features(work.root),
        test=features(work.test),
        rate=RATES[work.name],
    )


@dataclass(eq=False)
class NoisyRun(Run):
    """A drill with noise in every honest update."""

    epsilon: str = "8"
    """Key of NOISE."""
    declared: ClassVar[Mapping[str, Any]] = {PRIVACY: {}}
    poisoner: str = ""
    """One of POISONERS in the place of the plan's attack; empty for the plan's."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.noise = NOISE[self.epsilon]
        self.unit = self.workload.rate * self.plan.contributors / len(self.workload.train.labels)
        step = max(self.noise, 0.1) * self.unit / _STEP_NOISE
        self.exponents = tuple(int(np.ceil(np.log2(step))) for _ in self.exponents)
        self.noise_rng = np.random.default_rng([self.plan.seed, 4])
        if self.poisoner:
            knows = PUBLIC if self.poisoner == "blind" else ALL
            self.attack = Attack(self.poisoner, "", POISONERS[self.poisoner], knows=knows)

    def account_of(self, place: int, number: int) -> str:
        """Account of a contributor; with ``churn`` the attackers have new ones in each round."""
        fresh = self.poisoner == "churn" and place in self.attacker_places
        return super().account_of(place + 1000 * (number + 1) if fresh else place, number)

    def _train(self, model: dict[str, F32], flat: F32) -> F32:
        """float32[n, d]: everybody's step."""
        made = []
        for place, share in enumerate(self.shares):
            inputs, labels = self.workload.train.pick(share)
            if place >= len(self.honest_places) and self.attack.data == "flip":
                labels = self.workload.network.classes - 1 - labels
            gradient = clipped_gradient(model["head"], inputs, labels)
            gradient += self.noise * self.noise_rng.standard_normal(gradient.shape)
            made.append(np.asarray(self.unit * gradient, dtype=np.float32))
        return self._flatten({"head": np.stack(made)})

    def gradient(self, flat: F32, inputs: F32, labels: I64) -> F32:
        """float32[d]: the sum of the records' clipped gradients; only its direction counts."""
        gradient = clipped_gradient(self.manifest.unflatten(flat)["head"], inputs, labels)
        flattened: F32 = self._flatten({"head": np.asarray(gradient[None], dtype=np.float32)})[0]
        return flattened


def clipped_gradient(head: F32, inputs: F32, labels: I64) -> F64:
    """float64[inputs, classes]: the sum of the records' gradients, each of norm 1 at most."""
    slope = softmax(inputs @ head).astype(np.float64)
    slope[np.arange(len(labels)), labels] -= 1
    norms = np.linalg.norm(slope, axis=1) * np.linalg.norm(inputs, axis=1)
    slope *= np.minimum(1, 1 / np.maximum(norms, 1e-12))[:, None]
    return np.asarray(inputs.T @ slope, dtype=np.float64)


# Attackers who know of the noise and of the rule

Poisoner = Callable[[Scene], F32]
"""Maps the scene to float32[f, d]."""


def framing(scene: Scene) -> F32:
    """As `searched`, so near to honest updates that these, which commit later, are their copies.

    Outside of a drill only who gets updates before the end of the commit window can do so: the coordinator can.
    """
    return searched(scene, 2.0)


def bridging(scene: Scene) -> F32:
    """Harm, and 0.8 of the update of one honest contributor each, to be linked to the honest majority."""
    victims = scene.honest[np.arange(scene.count) % len(scene.honest)]
    return np.asarray(scene.norm * directions(scene)[0] + 0.8 * victims, dtype=np.float32)


def blind(scene: Scene) -> F32:
    """The attackers know their own data and public files only: against their own gradient, hidden in noise."""
    return scene.hidden(directions(scene)[0], 0.5)


def spread(scene: Scene) -> F32:
    """Harm without anything in common: each attacker works against other classes, in a searched share of its update."""
    head = scene.manifest.unflatten(directions(scene)[0])["head"]
    classes = np.arange(head.shape[1]) % scene.count
    mine = [np.where(classes == number, head, np.float32(0)) for number in range(scene.count)]
    rows = units(np.stack([scene.manifest.flatten({"head": one}) for one in mine]))
    return most([scene.hidden(rows, share) for share in (0.2, 0.4, 0.7, 1.0)], harm(scene))[0]


def mixed(scene: Scene) -> F32:
    """Honest work, with a searched share of harm in it, so that the window sum stays like the others'."""
    wrong, own = directions(scene)[1], units(scene.own)
    return most(
        [
            np.asarray(scene.norm * (share * wrong + np.sqrt(1 - share**2) * own), dtype=np.float32)
            for share in (0.05, 0.1, 0.2, 0.4)
        ],
        harm(scene),
    )[0]


def rider(scene: Scene) -> F32:
    """No data: the public trajectory, hidden in noise."""
    return riders.path(replace(scene, strength=0.3))


def sleeper(scene: Scene) -> F32:
    """Honest until the last rounds, then as `searched`."""
    return searched(scene) if scene.left < _LAST else scene.own


def on_off(scene: Scene) -> F32:
    """Honest and as `searched` by turns."""
    return searched(scene) if scene.number % 2 else scene.own


def half(scene: Scene) -> F32:
    """Honest for four rounds, as `searched` for four, and so on."""
    return searched(scene) if scene.number % 8 >= 4 else scene.own


def late(scene: Scene) -> F32:
    """Absent (a zero update is in no window sum) until the middle, then as `searched`."""
    return searched(scene) if scene.number > scene.left else np.zeros_like(scene.own)


def noise_only(scene: Scene) -> F32:
    """No data: noise of ordinary norm."""
    return scene.hidden(scene.noise[0], 0.0)


def huge(scene: Scene) -> F32:
    """Three times an honest update in every fourth round, as `searched` in the others."""
    return np.asarray(3 * scene.own, dtype=np.float32) if scene.number % 4 == 0 else searched(scene)


POISONERS: dict[str, Poisoner] = {
    "pga": searched,
    "framing": framing,
    "bridging": bridging,
    "blind": blind,
    "spread": spread,
    "mixed": mixed,
    "rider": rider,
    "noise-only": noise_only,
    "sleeper": sleeper,
    "on-off": on_off,
    "half": half,
    "late": late,
    "churn": searched,
    "huge": huge,
}
"""Attackers by name."""


# The drills and their table

_RESULTS = Path(__file__).parent / "results" / "noisy.jsonl"
SHIPPED = tuple(
    name
    for name, one in ATTACKS.items()
    if one.goal != "backdoor"
    and not one.claim
    and one.data not in ("corner", "none")
    and name not in POISONERS
)
"""Attacks of `folkmoot drill` that need no pixels, that the ledger does not refuse and that are not here already."""


Found = dict[str, float | None]
"""What came of a drill by name; None where there is no such number."""


@dataclass(frozen=True)
class Drill:
    """One drill of 20 contributors in 20 rounds."""

    task: str
    """Name of the workload."""
    epsilon: str
    """Key of NOISE."""
    malicious: int
    """Attackers among the 20."""
    rule: str
    """Name of the rule."""
    attack: str
    """One of SHIPPED or POISONERS."""
    seed: int
    """Decides everything that is random."""

    def run(self, work: Workload) -> Found:
        """Run it; shares are from 0 to 1."""
        own = self.attack in POISONERS
        plan = Plan(
            rule=self.rule,
            attack="sign-flip" if own else self.attack,
            malicious=self.malicious,
            rounds=20,
            seed=self.seed,
        )
        found = NoisyRun(work, plan, self.epsilon, self.attack if own else "").run().to_json()
        names = ("accuracy", "honest_dropped", "worst_honest_dropped", "detected", "attacker_pay")
        return {name: found[name] for name in names}


def load(path: Path) -> dict[Drill, Found]:
    """Read the results so far."""
    return dict(kept.read(path, lambda value: (Drill(**value["drill"]), value["found"])))


def table(done: dict[Drill, Found], task: str, epsilon: str, malicious: int) -> Table:
    """Means over seeds, rules down and attacks across."""
    groups: dict[tuple[str, str], list[Found]] = {}
    for drill, found in done.items():
        if (drill.task, drill.epsilon, drill.malicious) == (task, epsilon, malicious):
            groups.setdefault((drill.rule, drill.attack), []).append(found)
    means: dict[tuple[str, str], dict[str, float]] = {}
    for key, drills in groups.items():
        columns = {name: [one[name] for one in drills] for name in drills[0]}
        means[key] = {"seeds": float(len(drills))} | {
            name: fmean(value for value in values if value is not None)
            for name, values in columns.items()
            if None not in values
        }
    attacks = [name for name in (*SHIPPED, *POISONERS) if any(attack == name for _, attack in groups)]
    return Table(tuple(dict.fromkeys(rule for rule, _ in groups)), tuple(attacks), means)


def markdown(done: dict[Drill, Found]) -> str:
    """One row a setting and rule."""
    lines = [
        "| task | eps | malicious | rule | seeds | no attack | worst | under "
        "| honest left out, no attack: mean / most hit | most under attack | best paid attacker | `framing` |",
        "| --- | --- | --- | --- | --- | ---: | ---: | --- | --- | ---: | --- | ---: |",
    ]
    for task, epsilon, malicious in dict.fromkeys((one.task, one.epsilon, one.malicious) for one in done):
        made = table(done, task, epsilon, malicious)
        for rule in made.rules:
            cells = {name: made.values[rule, name] for name in made.attacks if (rule, name) in made.values}
            calm = cells.pop("none", {})
            if not cells or not calm:
                continue
            framed = cells.pop("framing", {}).get("accuracy")
            worst = min(cells, key=lambda name: cells[name]["accuracy"])
            paid = max(cells, key=lambda name: cells[name]["attacker_pay"])
            lines.append(
                f"| {task} | {epsilon} | {malicious} | `{rule}` | {min(one['seeds'] for one in cells.values()):.0f} | "
                f"{100 * calm['accuracy']:.1f} | {100 * cells[worst]['accuracy']:.1f} | {worst} | "
                f"{100 * calm['honest_dropped']:.1f} / {100 * calm['worst_honest_dropped']:.0f} | "
                f"{100 * max(one['honest_dropped'] for one in cells.values()):.1f} | "
                f"{100 * cells[paid]['attacker_pay']:.0f} ({paid}) | "
                f"{'-' if framed is None else f'{100 * framed:.1f}'} |"
            )
    return "\n".join(lines)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.robustness.noisy", description="Rules under noise."
    )
    parser.add_argument("--task", choices=NAMES, default="digits", help="what is trained")
    parser.add_argument("--epsilon", choices=list(NOISE), default="8", help="epsilon of 20 rounds")
    parser.add_argument("--malicious", type=int, default=6, help="attackers among 20")
    parser.add_argument("--seeds", type=int, default=3, help="seeds, from 0 on")
    parser.add_argument("--attacks", default=" ".join((*SHIPPED, *POISONERS)), help="separated by spaces")
    parser.add_argument("--rules", default="clamped_mean guided_mean mean", help="separated by spaces")
    parser.add_argument(
        "--out", type=Path, default=_RESULTS, help="file of results; what it has is not run again"
    )
    parser.add_argument("--table", action="store_true", help="run nothing, print the table of the file")
    parser.add_argument("--plot", type=Path, help="draw the accuracies of the setting into this SVG file")
    return parser.parse_args()


def work(chosen: argparse.Namespace) -> None:
    """Run the drills that the file does not have, or print its table.

    Raises:
        FolkmootError: The file can't be read or written, or there is no such rule or attack.
    """
    done = load(chosen.out)
    setting = (chosen.task, chosen.epsilon, chosen.malicious)
    if chosen.plot is not None:
        chosen.plot.write_text(table(done, *setting).to_svg(), encoding="utf-8")
    if chosen.table:
        print(markdown(done))
        return
    kept.prepare(chosen.out)
    data = private(workload(chosen.task))
    for seed in range(chosen.seeds):
        for rule in chosen.rules.split():
            for attack in chosen.attacks.split():
                drill = Drill(*setting, rule, attack, seed)
                if drill in done:
                    continue
                found = drill.run(data)
                kept.add(chosen.out, {"drill": asdict(drill), "found": found})
                print(drill, found, file=sys.stderr, flush=True)


def main() -> None:
    """Run the program."""
    program.run(lambda: work(arguments()))


if __name__ == "__main__":
    main()

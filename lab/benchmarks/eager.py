# SPDX-License-Identifier: Apache-2.0
"""What eager start costs in loss, at equal tokens: ``python -m benchmarks.eager``.

Contributors train the task `text` on works of their own, with the real codec, mean, outer step and exponents, without
signatures and chain. After some rounds together, the federation goes on twice from the same state: ``base`` starts each
round from the round's base, ``eager`` from the contributor's own eager start (docs/protocol.md section 9.1), so that
each training overlaps with the commitment and the anchor of the round before. Both train equally many steps.

Every round is a line of JSON in a file of results; a seed that the file has is not run again. The table at the end is
that of docs/language-models.md.
"""

from __future__ import annotations

import argparse
import copy
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from folkmoot_lab.simulation import kept

from benchmarks import program
from client.tasks.genesis import start_of
from folkmoot.protocol.codec import encode_update
from folkmoot.protocol.exponents import next_exponents
from folkmoot.protocol.fixed_point import LEAF, to_float32
from folkmoot.protocol.hashing import keccak
from folkmoot.protocol.mean import mean_of
from folkmoot.protocol.merkle import leaf_largest, leaf_sums
from folkmoot.protocol.outer_step import EAGER_MOMENTUM, EAGER_RATE, eager_start, outer_step
from folkmoot.protocol.packing import WIDTHS, ZERO
from folkmoot.protocol.policy import MEAN_SCALES
from folkmoot.protocol.update_checks import tensor_sums, used_elements
from folkmoot.tasks.pace import BASE, EAGER
from folkmoot.tasks.text.task import TextTask

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from folkmoot.protocol.arrays import F64, I64

_RESULTS = Path(__file__).parent / "results" / "eager.jsonl"


@dataclass(frozen=True)
class Plan:
    """One federation."""

    contributors: int
    """Their number."""
    together: int
    """Rounds before the two ways part."""
    rounds: int
    """Rounds after that."""
    steps: int
    """Steps of a round."""
    width: int
    """Bits of an encoded coordinate."""
    rate: int
    """Outer rate, in 1/1024."""
    momentum: int
    """Outer momentum, in 1/1024."""
    seed: int
    """Decides the batches and the rounding."""


class Federation:
    """Contributors with their texts, and the state that they have reached."""

    def __init__(self, given: Plan) -> None:
        self._given = given
        training = {**TextTask.training, "local_steps": given.steps}
        self._task: TextTask = type("Short", (TextTask,), {"training": training})()
        begun = start_of(self._task, width=given.width)
        self._manifest, self._exponents = begun.manifest, begun.genesis.exponents
        self._theta, self._momentum = begun.state.theta, begun.state.momentum
        self._shares = [self._task.load(one, given.contributors, 0) for one in range(given.contributors)]
        self._memories: list[dict[str, Any]] = [{} for _ in self._shares]
        self._owns: list[I64] = []
        self._model = self._task.model()

    def round(self, number: int, *, eager: bool) -> dict[str, float]:
        """Play a round; return the loss of the state after it, and the mean cosine of two updates."""
        given, manifest = self._given, self._manifest
        starts = self._owns if eager else [self._theta] * len(self._shares)
        updates: list[I64] = []
        sums = []
        for one, (start, data) in enumerate(zip(map(to_float32, starts), self._shares, strict=True)):
            self._load(start)
            seed = 10_000 * given.seed + 10 * number + one
            settings = {**self._task.training, "round": number, "seed": seed}
            self._task.train(self._model, data, settings, self._memories[one])
            trained = {name: value.numpy() for name, value in self._model.state_dict().items()}
            leaves = encode_update(
                start,
                manifest.flatten(trained),
                self._exponents,
                manifest,
                keccak(f"{given.seed} {number}".encode()),
                f"0x{one + 1:040x}",
                width=given.width,
            ).leaves
            used = used_elements(leaves, manifest.values_in_leaf)
            sums.append(tensor_sums(*leaf_sums(leaves)[:2], leaf_largest(leaves), used, manifest))
            updates.append(leaves.astype(np.int64).ravel() - ZERO)
        exponents = np.array(self._exponents, dtype=np.int64)[manifest.tensor_of_leaf]
        scale = MEAN_SCALES[given.width]
        mean = mean_of(np.sum(updates, axis=0), len(updates), scale)
        step = (scale, exponents, given.rate, given.momentum)
        self._owns = [eager_start(self._theta, self._momentum, update, *step) for update in updates]
        self._theta, self._momentum = outer_step(self._theta, self._momentum, mean, *step)
        self._exponents = next_exponents(self._exponents, sums, given.width)
        self._load(to_float32(self._theta))
        sizes = np.exp2(exponents.astype(np.float64)).repeat(LEAF)
        return {
            "loss": round(self._task.evaluate(self._model)["loss"], 4),
            "cosine": round(mean_cosine([sizes * update.astype(np.float64) for update in updates]), 3),
        }

    def _load(self, flat: Any) -> None:
        arrays = self._manifest.unflatten(flat, dtypes=True)
        self._model.load_state_dict({name: torch.tensor(value) for name, value in arrays.items()})


def mean_cosine(vectors: Sequence[F64]) -> float:
    """Return the mean cosine of each two of the vectors."""
    units = np.stack([vector / np.linalg.norm(vector) for vector in vectors])
    return float((units @ units.T)[np.triu_indices(len(vectors), 1)].mean())


@dataclass(frozen=True)
class Row:
    """What a round reached."""

    plan: Plan
    start: str
    """`base` or `eager`."""
    round: int
    loss: float
    """Nats a token, on held-out texts."""
    cosine: float
    """Mean cosine of two contributors' updates."""


def play(plan: Plan) -> Iterator[Row]:
    """Yield each round of a federation, until it has gone both ways."""
    common, last = Federation(plan), plan.together + plan.rounds
    for number in range(1, plan.together + 1):
        yield Row(plan, BASE, number, **common.round(number, eager=False))
    for start in (BASE, EAGER):
        federation = copy.deepcopy(common)
        for number in range(plan.together + 1, last + 1):
            yield Row(plan, start, number, **federation.round(number, eager=start == EAGER))


def row_of(value: dict[str, Any]) -> Row:
    """Read a row from its JSON value."""
    return Row(Plan(**value.pop("plan")), **value)


def table(results: dict[Plan, list[Row]]) -> str:
    """Return the losses of each seed's last round in Markdown, and how much more eager start has."""
    lines = ["| seed | base | eager | eager above base |", "| --- | ---: | ---: | ---: |"]
    losses, shares = [], []
    for plan, rows in results.items():
        found = {row.start: row.loss for row in rows if row.round == plan.together + plan.rounds}
        losses.append((found[BASE], found[EAGER]))
        shares.append(100 * (found[EAGER] / found[BASE] - 1))
        lines.append(f"| {plan.seed} | {found[BASE]:.4f} | {found[EAGER]:.4f} | {shares[-1]:+.2f} % |")
    base, eager = map(fmean, zip(*losses, strict=True))
    lines.append(
        f"| mean | {base:.4f} | {eager:.4f} | {fmean(shares):+.2f} % ({min(shares):+.2f} to {max(shares):+.2f}) |"
    )
    return "\n".join(lines)


def main() -> None:
    """Run the seeds that the file does not have, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.eager", description=__doc__)
    parser.add_argument("--contributors", type=int, default=4)
    parser.add_argument(
        "--together",
        type=int,
        default=2,
        choices=range(1, 100),
        metavar="N",
        help="rounds before the two ways part",
    )
    parser.add_argument("--rounds", type=int, default=6, help="rounds after that")
    parser.add_argument("--steps", type=int, default=50, help="steps a round")
    parser.add_argument("--width", type=int, default=4, choices=WIDTHS)
    parser.add_argument("--rate", type=int, default=EAGER_RATE, help="outer rate in 1/1024")
    parser.add_argument("--momentum", type=int, default=EAGER_MOMENTUM, help="outer momentum in 1/1024")
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument(
        "--seeds", type=int, default=1, choices=range(1, 100), metavar="N", help="number of seeds"
    )
    parser.add_argument("--out", type=Path, default=_RESULTS, help="file of results")
    given = parser.parse_args()
    settings = {name: value for name, value in vars(given).items() if name not in ("seeds", "out")}
    plans = [Plan(**{**settings, "seed": seed}) for seed in range(given.seed, given.seed + given.seeds)]
    torch.set_num_threads(1)
    results: dict[Plan, list[Row]] = {}
    for row in kept.read(given.out, row_of):
        results.setdefault(row.plan, []).append(row)
    kept.prepare(given.out)
    for plan in plans:
        if plan in results:
            continue
        results[plan] = []
        for row in play(plan):
            results[plan].append(row)
            print(
                f"seed {plan.seed}, {row.start}, round {row.round}: loss {row.loss}",
                file=sys.stderr,
                flush=True,
            )
        for row in results[plan]:
            kept.add(given.out, asdict(row))
    print(table({plan: results[plan] for plan in plans}))


if __name__ == "__main__":
    program.run(main)

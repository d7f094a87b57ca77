# SPDX-License-Identifier: Apache-2.0
"""What eager start costs in loss, at equal tokens: ``python -m benchmarks.eager``.

Contributors train the task `text` on works of their own, with the real codec, mean, outer step and exponents, without
signatures and chain. After some rounds together, the federation goes on twice from the same state: ``base`` starts each
round from the round's base, ``eager`` from the contributor's own eager start (docs/protocol.md section 9.1), so that
each training overlaps with the commitment and the anchor of the round before. Both train equally many steps. It prints
a JSON line a round.
"""

from __future__ import annotations

import argparse
import copy
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from client.genesis import start_of
from folkmoot.protocol.codec import encode_update
from folkmoot.protocol.exponents import next_exponents
from folkmoot.protocol.fixed_point import LEAF, to_float32
from folkmoot.protocol.hashing import keccak
from folkmoot.protocol.mean import mean_of
from folkmoot.protocol.merkle import leaf_largest, leaf_sums
from folkmoot.protocol.outer_step import eager_start, outer_step
from folkmoot.protocol.packing import ZERO
from folkmoot.protocol.update_checks import tensor_sums, used_elements
from folkmoot.tasks.text.task import TextTask

if TYPE_CHECKING:
    from collections.abc import Sequence

    from folkmoot.protocol.arrays import F64, I64


class Federation:
    """Contributors with their texts, and the state that they have reached."""

    def __init__(self, given: argparse.Namespace) -> None:
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
        scale = 7 if given.width == 2 else 1
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


def main() -> None:
    """Train and print one line a round."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.eager", description=__doc__)
    parser.add_argument("--contributors", type=int, default=4)
    parser.add_argument("--together", type=int, default=4, help="rounds before the two ways part")
    parser.add_argument("--rounds", type=int, default=6, help="rounds after that")
    parser.add_argument("--steps", type=int, default=40, help="steps a round")
    parser.add_argument("--width", type=int, default=4, choices=(8, 4, 2))
    parser.add_argument("--rate", type=int, default=512, help="outer rate in 1/1024")
    parser.add_argument("--momentum", type=int, default=307, help="outer momentum in 1/1024")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    common = Federation(given)

    def say(start: str, number: int, reached: dict[str, float]) -> None:
        print(json.dumps({**vars(given), "start": start, "round": number, **reached}), flush=True)

    for number in range(1, given.together + 1):
        say("base", number, common.round(number, eager=False))
    for start in ("base", "eager"):
        federation = copy.deepcopy(common)
        for number in range(given.together + 1, given.together + given.rounds + 1):
            say(start, number, federation.round(number, eager=start == "eager"))


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""A drill on a small data set, with what each round did to those who are honest.

Encoding and rounds are the drill's, which are the product's own.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from folkmoot_lab.simulation.federation import Plan, Run

from benchmarks.near_convergence.sets import Setting, SmallNetwork, workload
from folkmoot.protocol.arrays import F32
from folkmoot.protocol.genesis import calibrated_exponent


@dataclass
class Found:
    """What the rounds of a federation did to its honest contributors."""

    rounds: int = 0
    """Rounds."""
    hit: int = 0
    """Rounds in which an honest entry had weight 0."""
    left_out: int = 0
    """Honest entries with weight 0."""
    entries: int = 0
    """Honest entries."""
    weight_lost: float = 0.0
    """How much less than the round's largest weight an honest entry had, mean over entries, 0 to 1."""
    attackers_share: float = 0.0
    """The attackers' part of the weight, mean over rounds."""
    attackers_peak: float = 0.0
    """The same in the round in which it was largest."""
    first_loss: float = 0.0
    """Loss on the rows of all contributors before the first round."""
    last_loss: float = 0.0
    """The same after the last round."""
    test_loss: float = 0.0
    """Loss on the rows that nobody has, after the last round."""
    reasons: dict[str, int] = field(default_factory=dict)
    """Why honest entries were left out, by code."""


class SmallRun(Run):
    """A drill in progress on a small data set."""

    def __init__(self, setting: Setting, plan: Plan) -> None:
        super().__init__(workload(setting), plan)
        assert isinstance(self.workload.network, SmallNetwork)
        self.network = self.workload.network
        self.exponents = self._calibrated()

    def _calibrated(self) -> tuple[int, ...]:
        """Exponents from one trial training, as ``folkmoot genesis`` takes them."""
        state = self.rng.bit_generator.state
        model = {name: np.asarray(value) for name, value in self.manifest.unflatten(self.model).items()}
        tried = self._train(model, self.model)[0]
        self.rng.bit_generator.state = state
        changes = self.manifest.unflatten(tried)
        return tuple(
            calibrated_exponent(np.asarray(changes[tensor.name], dtype=np.float32), guess)
            for tensor, guess in zip(self.manifest.tensors, self.exponents, strict=True)
        )

    def _train(self, model: dict[str, F32], flat: F32) -> F32:
        """float32[n, d]: as ``Run._train``, but without batches everybody takes all rows in every step."""
        work = self.workload
        if work.batch:
            return super()._train(model, flat)
        rows = []
        for share in self.shares:
            inputs, labels = work.train.pick(share)
            trained = work.network.train(model, [(inputs[None], labels[None])] * work.steps, work.rate)
            rows.append(flat - self._flatten(trained)[0])
        return np.array(rows, dtype=np.float32)

    def _test(self) -> None:
        self.curve.append(self.loss())

    def loss(self) -> float:
        """Loss on the rows of all contributors."""
        return self.network.loss(dict(self.manifest.unflatten(self.model)), self.workload.train)


def measure(setting: Setting, plan: Plan) -> Found:
    """Run all rounds."""
    run = SmallRun(setting, plan)
    found = Found(first_loss=run.loss())
    reasons: Counter[str] = Counter()
    lost = shares = 0.0
    for number in range(plan.rounds):
        run.round(number)
        weights = np.array(run.weights[-1], dtype=np.float64)
        honest = weights[run.honest_places]
        found.rounds += 1
        found.hit += bool((honest == 0).any())
        found.left_out += int((honest == 0).sum())
        found.entries += len(honest)
        lost += float((1 - honest / weights.max()).mean())
        share = float(weights[run.attacker_places].sum() / weights.sum())
        shares += share
        found.attackers_peak = max(found.attackers_peak, share)
        reasons.update(
            str(run.results[-1][place].reason) for place in run.honest_places if run.weights[-1][place] == 0
        )
    found.weight_lost = lost / plan.rounds
    found.attackers_share = shares / plan.rounds
    found.last_loss = run.loss()
    found.test_loss = run.network.loss(dict(run.manifest.unflatten(run.model)), run.workload.test)
    found.reasons = dict(sorted(reasons.items()))
    return found

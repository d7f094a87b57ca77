# SPDX-License-Identifier: Apache-2.0
"""What the canary says of rounds of a task that is measured by its loss: ``python -m benchmarks.canary_losses``.

Contributors train the shipped regression, their models are averaged (the rule ``mean``, without the codec), and the
last ones may poison. A round that the canary withholds at its default limits is cancelled, and the next one builds on
the old base. Prints over all seeds how many rounds were withheld, and the largest rises that it saw.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING

from client.tasks.evaluation import measured
from folkmoot.evaluation import Measurement
from folkmoot.evaluation.canary import Finding, Limits, findings
from folkmoot.tasks import Data, load_task

if TYPE_CHECKING:
    import torch

ATTACKS = ("none", "sign-flip", "replace", "group")
"""Nobody; minus twice the honest change; minus ten times it; training on one group with the opposite targets."""


def poisoned(attack: str, base: torch.Tensor, honest: torch.Tensor) -> torch.Tensor:
    """What an attacker hands in."""
    factor = {"sign-flip": -2.0, "replace": -10.0, "group": 1.0}[attack]
    return base + factor * (honest - base)


def federation(
    attack: str, contributors: int, malicious: int, count: int, seed: int
) -> Iterator[tuple[Measurement, Measurement, list[Finding]]]:
    """What is measured before and after each round, and what the canary found."""
    task = load_task("diabetes")
    model = task.model()
    shares = [task.load(one, contributors, seed) for one in range(contributors)]
    bad = range(contributors - malicious, contributors) if attack != "none" else range(0)
    if attack == "group":
        for one in bad:
            chosen = shares[one].inputs[:, 1] > 0
            shares[one] = Data(shares[one].inputs[chosen], -3 * shares[one].labels[chosen])
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    before = measured(task, weights)
    for number in range(count):
        total = {name: value * 0 for name, value in weights.items()}
        for one, data in enumerate(shares):
            model.load_state_dict(weights)
            task.train(model, data, {**task.training, "seed": 1000 * seed + number}, {})
            for name, value in model.state_dict().items():
                total[name] += poisoned(attack, weights[name], value) if one in bad else value
        mean = {name: value / contributors for name, value in total.items()}
        after = measured(task, mean)
        found = findings(before, after, Limits())
        yield before, after, found
        if not found:
            weights, before = mean, after


def main() -> None:
    """Run the federations."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.canary_losses", description=__doc__)
    parser.add_argument("--attack", default="none", choices=ATTACKS)
    parser.add_argument("--contributors", type=int, default=5)
    parser.add_argument("--malicious", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--seeds", type=int, default=10)
    given = parser.parse_args()
    withheld: Counter[str] = Counter()
    total = any_of = 0
    all_, group, last = 0.0, 0.0, []
    for seed in range(given.seeds):
        end = None
        for base, after, found in federation(
            given.attack, given.contributors, given.malicious, given.rounds, seed
        ):
            total += 1
            any_of += bool(found)
            withheld.update({one.kind for one in found})
            all_ = max(all_, rise(base.mean_loss, after.mean_loss))
            for was, now in zip(base.groups, after.groups, strict=True):
                group = max(group, rise(was.mean_loss, now.mean_loss))
            end = base if found else after
        last.append(float(end.mean_loss) if end and end.mean_loss is not None else float("nan"))
    kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(withheld.items()))
    print(
        f"diabetes, {given.attack}, {given.contributors} contributors: {any_of} of {total} rounds withheld "
        f"({kinds or 'nothing'}), loss at the end {min(last):.0f} to {max(last):.0f}"
    )
    print(f"largest rise of the loss {100 * all_:.1f}%, of a group's {100 * group:.1f}%")


def rise(before: Fraction | None, after: Fraction | None) -> float:
    """By how much of itself a mean loss rose; 0 without one."""
    return float(after / before) - 1 if before and after else 0.0


if __name__ == "__main__":
    main()

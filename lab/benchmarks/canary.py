# SPDX-License-Identifier: Apache-2.0
"""What the canary says of whole drills, round by round: ``python -m benchmarks.canary [--attack NAME] ...``.

Prints, over all seeds, how many rounds it would withhold at its default limits (each judged against the round
before, as if that one had been anchored), and the largest losses that it saw.
"""

from __future__ import annotations

import argparse

from folkmoot_lab.drills import data as drill_data
from folkmoot_lab.simulation.federation import Plan, Run, Workload

from folkmoot.evaluation import Measurement, measure
from folkmoot.evaluation.canary import Limits, findings


def measured(work: Workload, run: Run) -> Measurement:
    """The state of a drill, measured like a task's."""
    model = run.manifest.unflatten(run.state.to_float32())
    rows, columns = work.image
    images = work.test.inputs.reshape(-1, rows, columns)
    guess = work.network.predict(model, work.test.inputs)
    return measure(
        {},
        work.test.labels,
        guess,
        images=images,
        predict=lambda some: work.network.predict(model, some.reshape(len(some), -1)),
    )


def main() -> None:
    """Run the drills."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.canary", description=__doc__)
    parser.add_argument("--task", default="mnist")
    parser.add_argument("--rule", default="mean", help="with parameters, e.g. multi_krum:6,0")
    parser.add_argument("--attack", default="none")
    parser.add_argument("--contributors", type=int, default=20)
    parser.add_argument("--malicious", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    rule, _, numbers = arguments.rule.partition(":")
    work, limits = drill_data.workload(arguments.task), Limits()
    withheld = {"accuracy": 0, "recall": 0, "trigger": 0}
    rounds = any_of = 0
    drop = fall = rise = 0.0
    for seed in range(arguments.seeds):
        plan = Plan(
            rule=rule,
            parameters=tuple(int(one) for one in numbers.split(",") if one),
            attack=arguments.attack,
            contributors=arguments.contributors,
            malicious=arguments.malicious,
            rounds=arguments.rounds,
            seed=seed,
        )
        run = Run(work, plan)
        before = measured(work, run)
        for number in range(plan.rounds):
            run.round(number)
            after = measured(work, run)
            found = findings(before, after, limits)
            rounds += 1
            any_of += bool(found)
            for kind in {one.kind for one in found}:
                withheld[kind] += 1
            unlimited = findings(before, after, Limits(0, 0, limits.least_examples, 0))
            for one in unlimited:
                loss = one.before - (one.after or 0.0)
                drop = max(drop, loss) if one.kind == "accuracy" else drop
                fall = max(fall, loss) if one.kind == "recall" else fall
                rise = max(rise, one.after or 0.0) if one.kind == "trigger" else rise
            before = after
    kinds = ", ".join(f"{kind} {count}" for kind, count in withheld.items())
    print(
        f"{arguments.task}, {arguments.rule}, {arguments.attack}: {any_of} of {rounds} rounds withheld ({kinds})"
    )
    print(f"largest: accuracy -{drop:.3f}, recall above chance -{fall:.3f}, trigger {rise:.3f}")


if __name__ == "__main__":
    main()

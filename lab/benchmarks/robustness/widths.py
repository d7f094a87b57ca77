# SPDX-License-Identifier: Apache-2.0
"""The default rule at each width, with and without eager start, under all attacks of a drill.

``python -m benchmarks.robustness.widths`` runs the drills, keeps each as a line of JSON, and prints the tables of
docs/robustness.md; ``--table`` prints what is there. Eager start comes with an outer rate and momentum of its own, so
there are three ways: from the base, the same with that rate and momentum, and eager.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean

from folkmoot_lab.drills.data import NAMES, workload
from folkmoot_lab.simulation.attacks import ATTACKS, attack
from folkmoot_lab.simulation.federation import Outcome, Plan
from folkmoot_lab.simulation.grid import Cell, grid, load

from benchmarks import program
from folkmoot.cli.policy import DEFAULT_RULE
from folkmoot.protocol.outer_step import EAGER_MOMENTUM, EAGER_RATE, UNIT
from folkmoot.protocol.packing import WIDTHS
from folkmoot.tasks.pace import BASE, EAGER

WAYS = {
    "base": (BASE, UNIT, 0),
    "base, 1/2, 0.3": (BASE, EAGER_RATE, EAGER_MOMENTUM),
    "eager, 1/2, 0.3": (EAGER, EAGER_RATE, EAGER_MOMENTUM),
}
"""Start, outer rate and outer momentum by name."""

_RESULTS = Path(__file__).parent / "results" / "widths.jsonl"
_SIZES = {"mnist": (20, 6), "digits": (12, 3)}

Group = dict[str, list[Cell]]
"""Drills by attack."""


def name_of(plan: Plan) -> str:
    """Name the column of a drill."""
    way = plan.start, plan.outer_rate, plan.outer_momentum
    feedback = " with feedback" if plan.feedback else ""
    return f"{plan.width} bits{feedback}, " + next(
        (name for name, one in WAYS.items() if one == way), str(way)
    )


def groups(cells: Iterable[Cell]) -> dict[str, Group]:
    """Sort drills by column and attack."""
    found: dict[str, Group] = {}
    for cell in cells:
        found.setdefault(name_of(cell.plan), {}).setdefault(cell.plan.attack, []).append(cell)
    return found


def _mean(cells: Sequence[Cell], name: str) -> float | None:
    values = [cell.values[name] for cell in cells]
    return None if None in values else 100 * fmean(values)


def _number(value: float | None, digits: int = 0) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def summary(found: dict[str, Group]) -> str:
    """Return the Markdown table with a row a column of ``details``; all but "worst one" are means over seeds."""
    lines = [
        "| width, start, outer step | seeds | no attack | worst | under | backdoor corner / live / boosted "
        "| honest left out, no attack: mean / most hit | attacked: mean / worst attack / most hit "
        "| best paid attacker |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, group in found.items():
        attacked = {attack: cells for attack, cells in group.items() if attack != "none"}
        if not attacked:
            continue
        accuracy = {attack: _mean(cells, "accuracy") or 0.0 for attack, cells in attacked.items()}
        pay = {attack: _mean(cells, "attacker_pay") or 0.0 for attack, cells in attacked.items()}
        left = {attack: _mean(cells, "honest_dropped") or 0.0 for attack, cells in attacked.items()}
        hit = {
            attack: 100 * max(cell.values["worst_honest_dropped"] for cell in cells)
            for attack, cells in group.items()
        }
        backdoors = " / ".join(
            _number(_mean(cells, "backdoor"))
            for attack, cells in attacked.items()
            if ATTACKS[attack].goal == "backdoor"
        )
        calm, worst, paid, out = (
            group.get("none", []),
            min(accuracy, key=lambda one: accuracy[one]),
            max(pay, key=lambda one: pay[one]),
            max(left, key=lambda one: left[one]),
        )
        harmed = max(attacked, key=lambda one: hit[one])
        lines.append(
            f"| {name} | {min(map(len, group.values()))} | {_number(_mean(calm, 'accuracy') if calm else None, 1)} "
            f"| {accuracy[worst]:.1f} | {worst} | {backdoors} "
            f"| {_number(_mean(calm, 'honest_dropped') if calm else None, 1)} / {_number(hit.get('none'))} "
            f"| {fmean(left.values()):.1f} / {left[out]:.1f} ({out}) / {hit[harmed]:.0f} ({harmed}) "
            f"| {pay[paid]:.0f} ({paid}) |"
        )
    return "\n".join(lines)


def details(found: dict[str, Group]) -> str:
    """Return the Markdown table: attacks down, widths and starts across."""
    attacks = [name for name in ATTACKS if any(name in group for group in found.values())]
    lines = [f"| attack | {' | '.join(found)} |", "| --- |" + " --- |" * len(found)]
    for name in attacks:
        cells = []
        for group in found.values():
            drills = group.get(name, [])
            values = [
                _number(_mean(drills, key) if drills else None, digits)
                for key, digits in (
                    ("accuracy", 1),
                    ("detected", 0),
                    ("attacker_pay", 0),
                    ("honest_dropped", 1),
                )
            ]
            cells.append(" / ".join(values))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Run what is missing, and print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.robustness.widths", description=__doc__)
    parser.add_argument("--task", choices=NAMES, default="digits", help="what is trained")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds")
    parser.add_argument("--seed", type=int, default=0, help="the first of them")
    parser.add_argument("--attacks", default="", help="attacks, separated by spaces; all if not given")
    parser.add_argument(
        "--ways", nargs="*", choices=list(WAYS), default=list(WAYS), help="starts and outer steps"
    )
    parser.add_argument(
        "--out", type=Path, default=_RESULTS, help="file of results; what it has is not run again"
    )
    parser.add_argument("--table", action="store_true", help="run nothing, print the tables of the file")
    given = parser.parse_args()
    contributors, malicious = _SIZES[given.task]
    names = [attack(name).name for name in given.attacks.split()] or list(ATTACKS)
    plans = [
        Plan(
            rule=DEFAULT_RULE,
            attack=name,
            contributors=contributors,
            malicious=malicious,
            seed=seed,
            width=width,
            start=start,
            outer_rate=rate,
            outer_momentum=momentum,
        )
        for width in WIDTHS
        for start, rate, momentum in (WAYS[way] for way in given.ways)
        for name in names
        for seed in range(given.seed, given.seed + given.seeds)
    ]
    if given.table:
        done = {cell.plan: cell for cell in load(given.out) if cell.workload == given.task}
        cells = [done[plan] for plan in plans if plan in done]
    else:

        def progress(done: int, count: int, plan: Plan, outcome: Outcome | None) -> None:
            if outcome is not None:
                print(
                    f"{done}/{count} {name_of(plan)} {plan.attack} seed {plan.seed}: {outcome.accuracy:.3f}",
                    file=sys.stderr,
                    flush=True,
                )

        cells = grid(workload(given.task), plans, given.out, progress)
    found = groups(cells)
    print(summary(found), details(found), sep="\n\n")


if __name__ == "__main__":
    program.run(main)

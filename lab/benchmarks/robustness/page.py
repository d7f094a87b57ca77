# SPDX-License-Identifier: Apache-2.0
"""Measure the default rule, and write the tables of docs/robustness.md.

``python -m benchmarks.robustness.page`` runs the drills that its file does not have, and writes the tables; each is a
line of JSON. With ``--table`` it runs nothing. The file belongs to one state of the code: delete it after a change of a
rule, of the pay or of an attack.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from folkmoot_lab.drills.data import workload
from folkmoot_lab.simulation.attacks import attack
from folkmoot_lab.simulation.federation import Outcome, Plan
from folkmoot_lab.simulation.grid import grid, rule_text

from benchmarks import program

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "docs" / "robustness.md"
RESULTS = Path(__file__).parent / "results" / "page.jsonl"
_BLOCK = re.compile(
    r"(<!-- robustness: (\w+)\. Written by [^>]*-->\n).*?(<!-- robustness: end -->)", re.DOTALL
)

KNOWN = (
    "none",
    "label-flip",
    "sign-flip",
    "alie-noise",
    "ipm-noise",
    "min-max-noise",
    "adaptive",
    "adaptive-root",
    "backdoor-corner",
    "backdoor-planted",
    "frame-mean",
    "frame-fading",
    "copy-noise",
    "stale",
    "replay",
    "sybil",
    "rider-mix",
)
"""Attacks that were looked at when weights and pay were chosen."""

HELD_OUT = (
    "ascent",
    "ascent-public",
    "sleeper",
    "latecomer",
    "backdoor-search",
    "backdoor-pair",
    "rider-path",
    "rider-choir",
    "rider-noise",
    "rider-search",
    "rider-pay",
)
"""Attacks that no choice saw."""

FEW = (
    "none",
    "sign-flip",
    "adaptive",
    "backdoor-corner",
    "rider-path",
    "rider-mix",
)
"""Attacks of the other federations."""

_SETTLED = 5  # rounds that the lowest accuracy leaves aside


@dataclass(frozen=True)
class Federation:
    """A row of the table of federations."""

    name: str
    """In words."""
    task: str
    """Whose data it has."""
    plan: Plan
    """Without attack and seed."""


SHARE = 307
"""The root share of the tables: three tenths of the weight."""

DEFAULT = Plan(rule="clamped_mean")
FEDERATIONS = (
    Federation("MNIST, 6 of 20", "mnist", DEFAULT),
    Federation("the same with a root set", "mnist", replace(DEFAULT, root="good")),
    Federation("the same with a root share", "mnist", replace(DEFAULT, root="good", parameters=(SHARE,))),
    Federation("the same at width 4", "mnist", replace(DEFAULT, width=4)),
    Federation("MNIST, 1 of 5", "mnist", replace(DEFAULT, contributors=5, malicious=1)),
    Federation("digits, 3 of 12", "digits", replace(DEFAULT, contributors=12, malicious=3)),
)

RARE = (
    Plan(rule="mean"),
    DEFAULT,
    replace(DEFAULT, root="good"),
    replace(DEFAULT, root="good", parameters=(SHARE,)),
)
"""What the table of a rare class compares."""


def plans(federation: Federation, attacks: Iterable[str], seeds: int) -> list[Plan]:
    """Return the drills of a federation."""
    return [replace(federation.plan, attack=name, seed=seed) for name in attacks for seed in range(seeds)]


def rare_plans() -> list[Plan]:
    """Return the drills with a rare class."""
    return [replace(plan, rounds=60, rare=(9, 2)) for plan in RARE]


class Results:
    """The drills that were run, by plan."""

    def __init__(self, seeds: int, path: Path, *, measure: bool) -> None:
        self.seeds = seeds
        first = plans(FEDERATIONS[0], (*KNOWN, *HELD_OUT), seeds)
        first += [replace(plan, rule="mean") for plan in plans(FEDERATIONS[0], KNOWN, 1)]
        self._cells: dict[tuple[str, Plan], dict[str, Any]] = {}
        self._take("mnist", None, first, path, measure)
        for one in FEDERATIONS[1:]:
            self._take(one.task, None, plans(one, FEW, 1), path, measure)
        self._take("mnist", (9, 2), rare_plans(), path, measure)

    def _take(
        self, task: str, rare: tuple[int, int] | None, wanted: Sequence[Plan], path: Path, measure: bool
    ) -> None:
        def say(done: int, count: int, plan: Plan, outcome: Outcome | None) -> None:
            if outcome is None and not measure:
                raise SystemExit(f"{path} lacks {rule_text(plan)} under {plan.attack}. Run without --table.")
            if outcome is not None:
                said = f"{task}: {done} of {count}: {rule_text(plan)}, {plan.attack}, seed {plan.seed}"
                print(said, file=sys.stderr, flush=True)

        for cell in grid(workload(task, rare), wanted, path, say):
            self._cells[task, cell.plan] = cell.values

    def of(self, federation: Federation, name: str, seeds: int | None = None) -> list[dict[str, Any]]:
        """Return the outcomes of a federation under an attack, one a seed."""
        wanted = plans(federation, [name], self.seeds if seeds is None else seeds)
        return [self._cells[federation.task, plan] for plan in wanted]

    def rare(self) -> list[tuple[str, dict[str, Any]]]:
        """Return the outcomes with a rare class, by rule."""
        return [(rule_text(plan), self._cells["mnist", plan]) for plan in rare_plans()]


def percent(values: Iterable[float | None], digits: int = 0) -> str:
    """Return the mean in per cent, nothing if there are no values."""
    known = [value for value in values if value is not None]
    return f"{100 * fmean(known):.{digits}f}" if known else ""


def with_worst(values: Sequence[float], worst: Callable[[Sequence[float]], float]) -> str:
    """Return the mean in per cent, and the worst one if there are several."""
    mean = percent(values, 1)
    return f"{mean} / {100 * worst(values):.1f}" if len(values) > 1 else mean


def lowest(outcome: dict[str, Any]) -> float:
    """Return the lowest accuracy after the first rounds."""
    return float(min(outcome["curve"][_SETTLED:]))


def attacks_table(results: Results, names: Sequence[str]) -> list[str]:
    """Return the table of attacks on the default federation."""
    mean = replace(FEDERATIONS[0], plan=replace(FEDERATIONS[0].plan, rule="mean"))
    lines = [
        "| attack | knows | accuracy | lowest round | backdoor works on | "
        "attackers' pay | honest pay: mean / least | honest left out | under `mean`: accuracy, backdoor |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name in names:
        found = results.of(FEDERATIONS[0], name)
        plain = results.of(mean, name, 1)[0] if name in KNOWN else None
        backdoors = [one["backdoor"] for one in found if one["backdoor"] is not None]
        beside = ""
        if plain is not None:
            beside = f"{100 * plain['accuracy']:.0f}"
            beside += "" if plain["backdoor"] is None else f", {100 * plain['backdoor']:.0f}"
        lines.append(
            f"| `{name}` | {attack(name).knows if name != 'none' else ''} | "
            f"{with_worst([one['accuracy'] for one in found], min)} | "
            f"{percent([lowest(one) for one in found])} | {with_worst(backdoors, max)} | "
            f"{percent([one['attacker_pay'] for one in found])} | "
            f"{percent([one['honest_pay'] for one in found])} / "
            f"{percent([one['least_honest_pay'] for one in found])} | "
            f"{percent([one['honest_dropped'] for one in found], 1)} | "
            f"{beside} |"
        )
    return lines


def federations_table(results: Results) -> list[str]:
    """Return the table of other federations."""
    lines = [
        "| federation | no attack | worst accuracy | under | corner backdoor works on | honest pay, no attack: "
        "mean / least | best paid attacker |",
        "| --- | ---: | ---: | --- | ---: | ---: | --- |",
    ]
    for federation in FEDERATIONS:
        found = {name: results.of(federation, name, 1) for name in FEW}
        accuracy = {name: fmean(one["accuracy"] for one in outcomes) for name, outcomes in found.items()}
        paid = {
            name: fmean(one["attacker_pay"] for one in outcomes)
            for name, outcomes in found.items()
            if name != "none"
        }
        worst, best = min(accuracy, key=lambda name: accuracy[name]), max(paid, key=lambda name: paid[name])
        calm = found["none"]
        lines.append(
            f"| {federation.name} | {100 * accuracy['none']:.1f} | {100 * accuracy[worst]:.1f} | `{worst}` | "
            f"{percent([one['backdoor'] for one in found['backdoor-corner']], 1)} | "
            f"{percent([one['honest_pay'] for one in calm])} / {percent([one['least_honest_pay'] for one in calm])} | "
            f"{100 * paid[best]:.0f} (`{best}`) |"
        )
    return lines


def rare_table(results: Results) -> list[str]:
    """Return the table of a class that two of twenty hold."""
    return [
        "| rule | accuracy | the 9 is found in | its holders' pay | their updates left out |",
        "| --- | ---: | ---: | ---: | ---: |",
        *(
            f"| `{rule}` | {100 * one['accuracy']:.1f} | {100 * one['rare_recall']:.0f} | "
            f"{100 * one['holders_pay']:.0f} | {100 * one['holders_dropped']:.0f} |"
            for rule, one in results.rare()
        ),
    ]


BLOCKS: dict[str, Callable[[Results], list[str]]] = {
    "known": lambda results: attacks_table(results, KNOWN),
    "held_out": lambda results: attacks_table(results, HELD_OUT),
    "federations": federations_table,
    "rare": rare_table,
}


def page(text: str, results: Results) -> str:
    """Return the page with its tables."""
    if sorted(match[2] for match in _BLOCK.finditer(text)) != sorted(BLOCKS):
        raise SystemExit(f"{PAGE} needs a pair of marks for each of: {', '.join(BLOCKS)}.")

    def block(match: re.Match[str]) -> str:
        return "\n".join([match[1].rstrip(), "", *BLOCKS[match[2]](results), "", match[3]])

    return _BLOCK.sub(block, text)


def work() -> None:
    """Run the drills and write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.robustness.page", description=__doc__)
    parser.add_argument("--seeds", type=int, default=2, help="seeds of the first table, from 0 on")
    parser.add_argument("--out", type=Path, default=RESULTS, help="file of results")
    parser.add_argument("--table", action="store_true", help="run nothing, write the tables of the file")
    chosen = parser.parse_args()
    results = Results(chosen.seeds, chosen.out, measure=not chosen.table)
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8"), results), encoding="utf-8")


if __name__ == "__main__":
    program.run(work)

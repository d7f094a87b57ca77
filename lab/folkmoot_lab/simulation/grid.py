# SPDX-License-Identifier: Apache-2.0
"""Many drills: rules by attacks by seeds, kept in a file as they come, and the table that they make.

The file has one JSON object a line: a plan and its outcome. An interrupted grid
continues where it was. This module does not know how a drill works.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from statistics import fmean
from typing import Any

from folkmoot_lab.simulation import kept
from folkmoot_lab.simulation.federation import Outcome, Plan, Workload, run

Progress = Callable[[int, int, Plan, Outcome | None], None]
"""Called with the number of finished drills, of all, the plan, and its outcome once it is there."""


@dataclass(frozen=True)
class Cell:
    """A drill that was run."""

    workload: str
    """Name of the workload."""
    plan: Plan
    """The plan."""
    values: dict[str, Any]
    """The outcome, as JSON types."""


def rule_text(plan: Plan) -> str:
    """The rule as it is written on the command line, with its root set."""
    text = plan.rule + ("" if not plan.parameters else ":" + ",".join(str(p) for p in plan.parameters))
    return text if plan.root == "none" else f"{text}@{plan.root}"


def load(path: Path) -> list[Cell]:
    """Read what a grid has so far; nothing if the file is not there. A damaged last line is skipped.

    Raises:
        InputError: ``not-a-grid``: another line can't be read.
    """

    def cell(value: Any) -> Cell:
        plan = Plan(**{**value["plan"], "parameters": tuple(value["plan"]["parameters"])})
        return Cell(value["workload"], plan, value["outcome"])

    return kept.read(path, cell, "not-a-grid")


def grid(
    workload: Workload, plans: Sequence[Plan], path: Path | None, progress: Progress | None = None
) -> list[Cell]:
    """Run the plans that the file does not have yet.

    Args:
        workload: What is trained.
        plans: The drills.
        path: Where each outcome is added as it comes; None keeps nothing.
        progress: Called before and after each drill.

    Returns:
        One cell a plan, in the order of the plans.

    Raises:
        InputError: The file is not of a grid, or can't be written.
    """
    done = {cell.plan: cell for cell in (load(path) if path else []) if cell.workload == workload.name}
    if path:
        kept.prepare(path)
    for number, plan in enumerate(plans):
        if plan in done:
            continue
        if progress is not None:
            progress(number, len(plans), plan, None)
        outcome = run(workload, plan)
        done[plan] = Cell(workload.name, plan, outcome.to_json())
        if path:
            outcome_ = done[plan].values
            kept.add(path, {"workload": workload.name, "plan": asdict(plan), "outcome": outcome_})
        if progress is not None:
            progress(number + 1, len(plans), plan, outcome)
    return [done[plan] for plan in plans]


@dataclass(frozen=True)
class Table:
    """Means over seeds, rules down and attacks across."""

    rules: tuple[str, ...]
    """Row names."""
    attacks: tuple[str, ...]
    """Column names."""
    values: dict[tuple[str, str], dict[str, float]]
    """Means by rule and attack; a value that no drill has is missing."""

    @classmethod
    def of(cls, cells: Iterable[Cell]) -> Table:
        """Average cells over their seeds."""
        groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for cell in cells:
            groups.setdefault((rule_text(cell.plan), cell.plan.attack), []).append(cell.values)
        means: dict[tuple[str, str], dict[str, float]] = {}
        for key, outcomes in groups.items():
            names = [name for name, value in outcomes[0].items() if isinstance(value, int | float)]
            means[key] = {name: fmean(float(outcome[name]) for outcome in outcomes) for name in names}
        rules = tuple(dict.fromkeys(rule for rule, _ in groups))
        return cls(rules, tuple(dict.fromkeys(attack for _, attack in groups)), means)

    def worst(self, rule: str) -> float:
        """Lowest accuracy of a rule over the attacks."""
        return min(self.values[rule, a]["accuracy"] for a in self.attacks if (rule, a) in self.values)

    def rows(self, name: str) -> list[list[str]]:
        """The table of one value in per cent, as text; ``-`` where there is none."""
        return [
            [
                rule,
                *(
                    f"{100 * cell[name]:.0f}" if name in (cell := self.values.get((rule, a), {})) else "-"
                    for a in self.attacks
                ),
            ]
            for rule in self.rules
        ]

    def to_svg(self, name: str = "accuracy") -> str:
        """Draw the table of one value as a picture: the greener the better (SVG)."""
        width, height, left, top = 46, 24, 330, 150
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width * len(self.attacks) + 10}" '
            f'height="{top + height * len(self.rules) + 10}" font-family="sans-serif" font-size="12">',
            '<rect width="100%" height="100%" fill="white"/>',
            f'<text x="8" y="20" font-size="14">{escape(name)}, % (mean over seeds)</text>',
        ]
        for column, attack in enumerate(self.attacks):
            x = left + width * column + width / 2
            parts.append(
                f'<text transform="translate({x:.0f},{top - 8}) rotate(-55)">{escape(attack)}</text>'
            )
        for line, row in enumerate(self.rows(name)):
            y = top + height * line
            parts.append(f'<text x="{left - 8}" y="{y + 16}" text-anchor="end">{escape(row[0])}</text>')
            for column, text in enumerate(row[1:]):
                x = left + width * column
                share = 0.0 if text == "-" else min(1.0, float(text) / 100)
                hue = "#eeeeee" if text == "-" else f"hsl({120 * share:.0f},60%,75%)"
                parts.append(
                    f'<rect x="{x}" y="{y}" width="{width - 2}" height="{height - 2}" fill="{hue}"/>'
                )
                parts.append(
                    f'<text x="{x + width / 2 - 1:.0f}" y="{y + 16}" text-anchor="middle">{text}</text>'
                )
        return "\n".join([*parts, "</svg>", ""])

# SPDX-License-Identifier: Apache-2.0
"""What was measured, in a file of one JSON object a line, and the tables that it makes.

An interrupted run goes on where it was. This module knows nothing of how a training works.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from folkmoot_lab.simulation import kept

from benchmarks.convergence.federation import Result
from benchmarks.convergence.trials import STEADY, Trial

TOLERANCE = 0.02
"""A loss may be so much above the floats', as a share of it."""


@dataclass(frozen=True)
class Key:
    """One training."""

    subject: str
    scenario: str
    rate: float
    seed: int

    @classmethod
    def of(cls, trial: Trial) -> Key:
        """Name a trial."""
        return cls(trial.subject.name, trial.scenario, trial.course.rate, trial.course.seed)


def load(path: Path) -> dict[Key, Result]:
    """Read a file of results; nothing if it is not there. A damaged last line is left out.

    Raises:
        InputError: ``not-results``: another line can't be read.
    """

    def training(value: Any) -> tuple[Key, Result]:
        return Key(**value["key"]), Result(**value["result"])

    return dict(kept.read(path, training))


def to_json(key: Key, result: Result) -> dict[str, Any]:
    """A line of the file."""
    rounded = {name: round(value, 6) for name, value in asdict(result).items()}
    return {"key": asdict(key), "result": rounded}


@dataclass(frozen=True)
class Row:
    """The trainings of one subject, scenario and rate over all seeds; losses are means."""

    subject: str
    scenario: str
    rate: float
    seeds: int
    floats: float
    shaken: float
    integers: float
    refused: int
    fitted: int
    error: float
    converged: bool

    @property
    def above(self) -> float:
        """By how much the integers' loss is above the floats', as a share of the floats'."""
        return (self.integers - self.floats) / self.floats

    @property
    def reached(self) -> bool:
        """Whether the integers reached the floats, where these converged."""
        return not self.converged or self.above <= TOLERANCE


def rows(results: Mapping[Key, Result], chosen: Callable[[Key], bool]) -> list[Row]:
    """Bring the seeds of the chosen trainings together, in the order of the results."""
    groups: dict[tuple[str, str, float], list[Result]] = {}
    for key, result in results.items():
        if chosen(key):
            groups.setdefault((key.subject, key.scenario, key.rate), []).append(result)
    return [
        Row(
            *place,
            len(group),
            fmean(one.floats for one in group),
            fmean(one.shaken for one in group),
            fmean(one.integers for one in group),
            sum(one.refused for one in group),
            sum(one.fitted for one in group),
            max(one.error for one in group),
            all(one.converged for one in group),
        )
        for place, group in groups.items()
    ]


def is_steady(key: Key) -> bool:
    """Whether nothing changes in a training."""
    return key.scenario == STEADY


def markdown(table: Iterable[Row], scenario: bool) -> str:
    """Write rows as a Markdown table."""
    names = ["model and optimizer", *(["scenario"] if scenario else []), "rate", "seeds", "refused", "fitted"]
    names += ["error", "float", "float with noise", "integers", "integers above float"]
    lines = [f"| {' | '.join(names)} |", f"| {' | '.join('---' for _ in names)} |"]
    for row in table:
        cells = [row.subject, *([row.scenario] if scenario else []), f"{row.rate:g}", str(row.seeds)]
        cells += [str(row.refused), str(row.fitted), f"{row.error:.3f}", f"{row.floats:.4f}"]
        cells += [f"{row.shaken:.4f}", f"{row.integers:.4f}", f"{100 * row.above:+.2f} %"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def summary(table: Iterable[Row]) -> str:
    """Count, in one line."""
    made = list(table)
    converged = [row for row in made if row.converged]
    missed = ", ".join(f"{row.subject} at {row.rate:g} ({row.scenario})" for row in made if not row.reached)
    return (
        f"{len(made)} settings, {sum(row.refused for row in made)} updates refused; floats converged in "
        f"{len(converged)}, and the integers' loss is at most {100 * TOLERANCE:g} % above theirs in "
        f"{sum(row.reached for row in converged)} of these" + (f"; not in: {missed}." if missed else ".")
    )

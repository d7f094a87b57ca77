# SPDX-License-Identifier: Apache-2.0
"""What the comparison measured, in a file of one JSON object a line, and the tables that it makes.

A line is a drill: setting, contender, attack, seed, and what came of it. An interrupted comparison goes on where it
was. This module knows nothing of how a drill works.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from folkmoot_lab.simulation import kept
from folkmoot_lab.simulation.attacks import ATTACKS
from folkmoot_lab.simulation.grid import Table


@dataclass(frozen=True)
class Setting:
    """The federation that all contenders of a table have in common."""

    task: str
    """Name of the workload."""
    contributors: int
    """All contributors, n."""
    malicious: int
    """Attackers among them, f."""
    rounds: int
    """Rounds."""


@dataclass(frozen=True)
class Key:
    """One drill."""

    setting: Setting
    """Where."""
    contender: str
    """Who aggregates."""
    attack: str
    """What the attackers do."""
    seed: int
    """Decides everything that is random."""


@dataclass(frozen=True)
class Found:
    """What came of a drill. Shares are from 0 to 1."""

    by: str
    """Package and version of the contender."""
    accuracy: float
    """On the test set, mean of the last rounds."""
    backdoor: float | None
    """Share of triggered test examples that go to the attackers' class; None where no backdoor is planted."""


def load(path: Path) -> dict[Key, Found]:
    """Read a file of results; nothing if it is not there. A damaged last line is left out.

    Raises:
        InputError: ``not-results``: another line can't be read.
    """

    def drill(value: Any) -> tuple[Key, Found]:
        setting = Setting(value["task"], value["contributors"], value["malicious"], value["rounds"])
        key = Key(setting, value["contender"], value["attack"], value["seed"])
        return key, Found(value["by"], value["accuracy"], value["backdoor"])

    return dict(kept.read(path, drill))


def to_json(key: Key, found: Found) -> dict[str, Any]:
    """A line of the file."""
    place = {"contender": key.contender, "attack": key.attack, "seed": key.seed}
    return {**asdict(key.setting), **place, **asdict(found)}


@dataclass(frozen=True)
class Row:
    """A contender over all attacks; accuracies are means over its seeds."""

    contender: str
    by: str
    calm: float | None
    """Accuracy with nobody attacking."""
    worst: float
    """Lowest accuracy over the attacks."""
    under: str
    """The attack of the lowest."""
    mean: float
    """Mean accuracy over the attacks."""
    backdoors: tuple[float | None, ...]
    """How often each backdoor works, in the order of BACKDOORS."""
    attacks: int
    """Attacks that were run."""
    seeds: int
    """Seeds that count: those that every attack of the row has."""


BACKDOORS = tuple(name for name, attack in ATTACKS.items() if attack.goal == "backdoor")
"""Attacks that plant one."""


def _groups(results: dict[Key, Found], setting: Setting) -> dict[str, dict[str, list[Found]]]:
    """The drills of a setting by contender and attack.

    A seed counts if every attack of the contender has it, so that an unfinished one does not tilt the row; if none
    is finished, what is there counts.
    """
    groups: dict[str, dict[str, dict[int, Found]]] = {}
    for key, found in results.items():
        if key.setting == setting and key.attack in ATTACKS:
            groups.setdefault(key.contender, {}).setdefault(key.attack, {})[key.seed] = found
    counted = {}
    for contender, attacks in groups.items():
        whole = set.intersection(*(set(seeds) for seeds in attacks.values()))
        counted[contender] = {
            attack: [found for seed, found in seeds.items() if seed in whole or not whole]
            for attack, seeds in attacks.items()
        }
    return counted


def rows(results: dict[Key, Found], setting: Setting) -> list[Row]:
    """One row a contender, the best worst case first."""
    made = []
    for contender, attacks in _groups(results, setting).items():
        means = {attack: fmean(one.accuracy for one in found) for attack, found in attacks.items()}
        calm = means.pop("none", None)
        if not means:
            continue
        under = min(means, key=lambda attack: means[attack])
        made.append(
            Row(
                contender,
                ", ".join(sorted({one.by for found in attacks.values() for one in found})),
                calm,
                means[under],
                under,
                fmean(means.values()),
                tuple(_backdoor(attacks.get(name, [])) for name in BACKDOORS),
                len(means),
                min(len(found) for found in attacks.values()),
            )
        )
    return sorted(made, key=lambda row: (-row.worst, -row.mean))


def _backdoor(found: Iterable[Found]) -> float | None:
    values = [one.backdoor for one in found if one.backdoor is not None]
    return fmean(values) if values else None


def _percent(share: float | None, digits: int = 1) -> str:
    return "-" if share is None else f"{100 * share:.{digits}f}"


def markdown(made: Sequence[Row]) -> str:
    """The rows as a Markdown table, accuracies and shares in per cent."""
    short = " / ".join(name.removeprefix("backdoor-") for name in BACKDOORS)
    lines = [
        f"| rule | source | no attack | worst | under | mean over attacks | backdoor {short} | seeds |",
        "| --- | --- | ---: | ---: | --- | ---: | ---: | ---: |",
    ]
    everything = len(ATTACKS) - 1
    for row in made:
        name = row.contender.partition(":")[2]
        part = "" if row.attacks == everything else f" ({row.attacks} of {everything} attacks)"
        backdoors = " / ".join(_percent(value, 0) for value in row.backdoors)
        lines.append(
            f"| `{name}` | {row.by} | {_percent(row.calm)} | {_percent(row.worst)} | {row.under} | "
            f"{_percent(row.mean)} | {backdoors} | {row.seeds}{part} |"
        )
    return "\n".join(lines)


def picture(results: dict[Key, Found], setting: Setting) -> str:
    """The accuracies as the drill draws them: rules down, the best worst case first, attacks across (SVG)."""
    names = tuple(row.contender for row in rows(results, setting))
    values = {
        (contender, attack): {"accuracy": fmean(one.accuracy for one in found)}
        for contender, attacks in _groups(results, setting).items()
        for attack, found in attacks.items()
    }
    across = tuple(attack for attack in ATTACKS if any((name, attack) in values for name in names))
    return Table(names, across, values).to_svg()

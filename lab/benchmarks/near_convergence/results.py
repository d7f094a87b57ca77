# SPDX-License-Identifier: Apache-2.0
"""The file of results, one JSON object a line, and the table that it makes.

This module knows nothing of how a federation is run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from folkmoot_lab.simulation import kept

from benchmarks.near_convergence.federation import Found
from benchmarks.near_convergence.sets import Setting


@dataclass(frozen=True)
class Key:
    """What was measured."""

    setting: Setting
    """What is trained, and how."""
    rule: str
    """Name of the aggregation rule."""
    attack: str
    """Name of the attack."""
    contributors: int
    """All contributors."""
    malicious: int
    """Attackers among them."""
    rounds: int
    """Rounds."""
    seed: int
    """Decides everything that is random."""


def load(path: Path) -> dict[Key, Found]:
    """Read what a file has so far; nothing if it is not there. A damaged last line is left out.

    Raises:
        InputError: ``not-results``: another line can't be read.
    """

    def federation(value: Any) -> tuple[Key, Found]:
        setting = Setting(**value["key"]["setting"])
        return Key(**{**value["key"], "setting": setting}), Found(**value["found"])

    return dict(kept.read(path, federation))


def to_json(key: Key, found: Found) -> dict[str, Any]:
    """A line of the file."""
    rounded = {
        name: round(value, 5) if isinstance(value, float) else value for name, value in asdict(found).items()
    }
    return {"key": asdict(key), "found": rounded}


def markdown(done: dict[Key, Found], keys: Sequence[Key]) -> str:
    """One row a data set, and one for all: means over models, splits, batches and seeds, as a Markdown table."""
    lines = [
        "| data | rounds in which an honest update has weight 0 | honest updates with weight 0 | weight lost "
        "| attackers' weight: mean / peak | loss: train / test | why left out |",
        "| --- | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    known = [key for key in keys if key in done]
    names = list(dict.fromkeys(key.setting.table for key in known))
    lines += [_row(name, [done[key] for key in known if key.setting.table == name]) for name in names]
    if len(names) > 1:
        lines.append(_row("all", [done[key] for key in known]))
    return "\n".join(lines)


def _row(name: str, found: Sequence[Found]) -> str:
    count = len(found)
    reasons: Counter[str] = Counter()
    for one in found:
        reasons.update(one.reasons)

    def mean(field: str) -> float:
        return float(sum(getattr(one, field) for one in found) / count)

    share = sum(one.hit for one in found) / sum(one.rounds for one in found)
    left_out = sum(one.left_out for one in found) / sum(one.entries for one in found)
    attackers = "-"
    if peak := max(one.attackers_peak for one in found):
        attackers = f"{100 * mean('attackers_share'):.0f} / {100 * peak:.0f} %"
    why = ", ".join(f"{reason} {number}" for reason, number in reasons.most_common()) or "-"
    losses = f"{mean('last_loss'):.3f} / {mean('test_loss'):.3f}" if name != "all" else "-"
    return (
        f"| {name} | {100 * share:.1f} % | {100 * left_out:.1f} % | {100 * mean('weight_lost'):.0f} % "
        f"| {attackers} | {losses} | {why} |"
    )

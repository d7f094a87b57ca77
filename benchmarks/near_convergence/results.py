# SPDX-License-Identifier: Apache-2.0
"""The file of results, one JSON object a line, and the table that it makes.

A line that was cut off is run again. This module knows nothing of how a federation is run.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

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
    """Read what a file has so far; nothing if it is not there. A last line that was cut off is dropped."""
    if not path.exists():
        return {}
    text = path.read_text(encoding="utf-8")
    if not text.endswith("\n"):
        text = text[: text.rfind("\n") + 1]
        path.write_text(text, encoding="utf-8")
    done = {}
    for line in text.splitlines():
        value = json.loads(line)
        key = Key(**{**value["key"], "setting": Setting(**value["key"]["setting"])})
        done[key] = Found(**value["found"])
    return done


def add(path: Path, key: Key, found: Found) -> None:
    """Append a result."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rounded = {
        name: round(value, 5) if isinstance(value, float) else value for name, value in asdict(found).items()
    }
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"key": asdict(key), "found": rounded}) + "\n")


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

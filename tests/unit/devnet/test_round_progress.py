# SPDX-License-Identifier: Apache-2.0
"""What the demo shows of a round comes from the coordinator's events and from `folkmoot train`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from folkmoot_lab.stories.demo import Demo, RoundProgress
from folkmoot_lab.stories.federation import Story
from rich.console import Console

from folkmoot.coordinator_api import Event
from folkmoot.errors import LocalError


def test_events_of_a_round_are_stored() -> None:
    progress = RoundProgress(3)
    verdicts = [{"contributor": "0xA", "weight": 1}]
    events: list[tuple[str, dict[str, Any]]] = [
        ("round-opened", {"gas": 7}),
        ("update-received", {"contributor": "0xA", "bytes": 100}),
        ("update-received", {"contributor": "0xB", "bytes": None}),
        ("update-refused", {"contributor": "0xC", "reason": "wrong-root"}),
        ("updates-committed", {"contributors": ["0xA"], "gas": 20}),
        ("updates-committed", {"contributors": ["0xB"], "gas": "30"}),
        ("round-computed", {"verdicts": verdicts}),
        ("round-anchored", {"gas": None}),
        ("round-finalized", {"gas": 99}),
    ]
    for number, (kind, data) in enumerate(events):
        progress.note(Event(number, kind, data))
    assert progress.gas == {"open": 7, "commit": 50, "anchor": 0}
    assert progress.received == {"0xA": 100, "0xB": 0}
    assert progress.refused == {"0xC": "wrong-root"}
    assert progress.committed == {"0xA", "0xB"}
    assert progress.verdicts == verdicts


def test_train_measures_a_model_or_says_why_not(tmp_path: Path) -> None:
    plan = Story(tmp_path)
    plan.logs.mkdir(parents=True)
    lines = (
        {"event": "round-opened", "round": 1},
        {
            "event": "round-measured",
            "round": 1,
            "metrics": {"server": {"loss": 0.5, "auc": None}},
            "sample": "To  be",
        },
        {"event": "round-not-measured", "round": 2, "error": "The file is missing."},
    )
    (plan.logs / "train.log").write_text("".join(json.dumps(line) + "\n" for line in lines))
    demo, measured = Demo(plan, 2, Console(quiet=True)), RoundProgress(1)
    demo._evaluate(measured)
    assert (measured.metrics, measured.sample) == ({"loss": 0.5}, "To be")
    with pytest.raises(LocalError, match=r"The file is missing\.") as refused:
        demo._evaluate(RoundProgress(2))
    assert refused.value.code == "demo-not-measured"

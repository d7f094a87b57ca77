# SPDX-License-Identifier: Apache-2.0
"""What the demo shows of a round comes from the coordinator's events."""

from __future__ import annotations

from typing import Any

from folkmoot.coordinator_api import Event
from folkmoot.devnet.demo import RoundProgress


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

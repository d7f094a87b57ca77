# SPDX-License-Identifier: Apache-2.0
"""An operator sees the transfers that take long, with their rates, and all of them as bytes."""

from __future__ import annotations

import pytest

from server.telemetry.metrics import Metrics
from server.telemetry.transfers import INTERVAL, Progress


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_long_transfer_has_a_line_now_and_then(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    metrics, clock = Metrics(), Clock()
    progress = Progress(metrics, "in", "the update of Ada", 10_000_000, 1_000_000, clock)
    for _ in range(30):
        clock.now += 1
        progress.moved(100_000, 1_000_000 + int(clock.now - 100) * 200_000)
    clock.now += 2
    progress.ended()
    assert caplog.messages == [
        "the update of Ada, in: 3.0 of 10.0 MB after 10 s, 0.100 MB/s",
        "the update of Ada, in: 5.0 of 10.0 MB after 20 s, 0.100 MB/s",
        "the update of Ada, in: 7.0 of 10.0 MB after 30 s, 0.100 MB/s",
        "the update of Ada, in: 7.0 of 10.0 MB after 32 s, 0.094 MB/s",
    ]
    assert metrics.registry.get_sample_value("folkmoot_carried_bytes_total", {"direction": "in"}) == 3_000_000


def test_a_short_transfer_has_none(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    metrics, clock = Metrics(), Clock()
    progress = Progress(metrics, "out", "a mean", 100, clock=clock)
    clock.now += INTERVAL - 1
    progress.moved(60, 100)
    progress.ended()
    assert caplog.messages == []
    assert metrics.registry.get_sample_value("folkmoot_carried_bytes_total", {"direction": "out"}) == 60

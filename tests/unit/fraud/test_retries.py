# SPDX-License-Identifier: Apache-2.0
"""When a watcher tries again, and how it says that it does not."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from prometheus_client import generate_latest

from folkmoot.fraud.watcher.metrics import Metrics
from folkmoot.fraud.watcher.retries import FIRST_PAUSE, KINDS, LONGEST_PAUSE, Retries, Task
from tests.logged import log_to

TASK = Task("blame", 7)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Tried:
    """Retries with a clock to turn, and what was said."""

    def __init__(self) -> None:
        self.clock, self.stream, self.metrics = Clock(), io.StringIO(), Metrics()
        self.retries = Retries(self.clock, log_to(self.stream), self.metrics)

    def pause(self, left: float | None = None) -> float:
        """Fail, and return how long it is waited: the clock is there then."""
        began = self.clock.now
        self.retries.failed(TASK, "No mirror has it.", left)
        while not self.retries.is_due(TASK):
            self.clock.now += 0.25
        return self.clock.now - began

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.stream.getvalue().splitlines()]


@pytest.mark.parametrize("left", [None, 1e9, 0, -1e6])
def test_pauses_double_up_to_some_minutes(left: float | None) -> None:
    tried = Tried()
    assert tried.retries.is_due(TASK)
    pauses = [tried.pause(left) for _ in range(12)]
    assert pauses[:4] == [FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE, 8 * FIRST_PAUSE]
    assert pauses[-4:] == [LONGEST_PAUSE] * 4


def test_towards_the_end_it_is_tried_more_often() -> None:
    tried = Tried()
    for _ in range(12):
        tried.pause()
    assert [tried.pause(left) for left in (400, 40, 4, 0.5)] == [100, 10, 1, 1]
    assert tried.pause(-1) == LONGEST_PAUSE  # nobody knows how long somebody leaves it like that


def test_an_end_is_said_once_and_counted() -> None:
    tried = Tried()
    for _ in range(3):
        tried.pause()
    assert tried.retries.tasks == [TASK]
    assert tried.retries.tried_for(TASK) == 35
    tried.retries.give_up(TASK, "its window is over")
    (line,) = tried.lines
    assert (line["event"], line["level"], line["round"], line["tries"]) == ("given-up", "warning", 7, 3)
    assert line["text"] == (
        "Round 7 has an invalid update, whose contributor keeps its stake: given up, as its window is over. "
        "It failed 3 times in 35 s, the last time so: No mirror has it."
    )
    assert tried.metrics.registry.get_sample_value("folkmoot_watch_given_up_total", {"what": "blame"}) == 1
    assert tried.retries.tasks == []
    assert tried.retries.tried_for(TASK) == 0


def test_what_was_never_tried_can_be_given_up() -> None:
    tried = Tried()
    tried.retries.give_up(TASK, "its window is over")
    assert tried.lines[0]["text"].endswith("given up, as its window is over. It was not tried.")


def test_what_is_done_begins_anew() -> None:
    tried = Tried()
    for _ in range(3):
        tried.pause()
    tried.retries.done(TASK)
    assert tried.retries.is_due(TASK)
    assert tried.pause() == FIRST_PAUSE
    assert tried.lines == []


def test_every_kind_is_a_number_from_the_start() -> None:
    text = generate_latest(Metrics().registry).decode()
    for kind in KINDS:
        assert f'folkmoot_watch_given_up_total{{what="{kind}"}} 0' in text
    assert text.count("folkmoot_watch_given_up_total{") == len(KINDS)

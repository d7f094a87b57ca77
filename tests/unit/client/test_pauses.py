# SPDX-License-Identifier: Apache-2.0
"""How long a node and its executor wait between two looks for work."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Iterator
from contextlib import suppress
from threading import Timer

import pytest

from client.node import pauses
from client.node.pauses import (
    AWAKE_SECONDS,
    BUSY_SECONDS,
    IDLE_PAUSE,
    REPLY_PAUSE,
    SHARE,
    SHORTEST_PAUSE,
    ExecutorPause,
    NodePause,
    Waker,
)


class Clock:
    """A monotonic clock that moves only when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    for descriptor in (reader, writer):
        with suppress(OSError):
            os.close(descriptor)


def test_a_node_looks_often_until_nothing_has_come_for_a_while() -> None:
    clock = Clock()
    pause = NodePause(0.5, sleep=clock.sleep, now=clock)
    began = clock.now
    while clock.now - began < BUSY_SECONDS:
        waited = clock.now - began
        pause(3)
        assert SHORTEST_PAUSE <= clock.slept[-1] <= max(SHORTEST_PAUSE, SHARE * waited), (
            "a share of the round"
        )
    assert sorted(clock.slept) == clock.slept
    assert clock.slept[-1] == 0.5
    pause(3)
    assert clock.slept[-1] == IDLE_PAUSE
    pause(0.5)  # a message
    pause(3)
    assert clock.slept[-2:] == [REPLY_PAUSE, SHORTEST_PAUSE]


def test_an_idle_node_waits_no_less_than_its_user_asked_for() -> None:
    clock = Clock()
    pause = NodePause(10.0, sleep=clock.sleep, now=clock)
    clock.now += BUSY_SECONDS
    pause(20)
    assert clock.slept == [10.0]


def test_an_executor_waits_for_the_wake_up(pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pauses, "ASLEEP_PAUSE", 60.0)
    reader, writer = pipe
    clock = Clock()
    pause = ExecutorPause(reader, now=clock)
    clock.now += AWAKE_SECONDS
    Waker(writer)()
    began = time.monotonic()
    pause(60)  # returns at once: the wake-up is there
    assert time.monotonic() - began < 50
    pause(0.001)  # awake now
    pause.rest()  # the task is started
    Timer(0.05, Waker(writer)).start()
    pause(0.001)  # waits for the next wake-up, however often it is called
    assert not select.select([reader], [], [], 0)[0], "the wake-up is read"


def test_an_executor_without_a_node_sleeps_as_it_was_told(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    clock = Clock()
    pause = ExecutorPause(reader, now=clock)
    clock.now += AWAKE_SECONDS
    os.close(writer)
    pause(0.001)
    slept = time.monotonic()
    pause(0.05)
    assert time.monotonic() - slept >= 0.05


def test_waking_an_executor_that_is_gone_or_has_enough_to_read_does_nothing(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    waker = Waker(writer)
    for _ in range(100_000):
        waker()
    assert 0 < len(os.read(reader, 100_000)) < 100_000
    waker()
    assert os.read(reader, 2) == b"\n"
    os.close(reader)
    waker()

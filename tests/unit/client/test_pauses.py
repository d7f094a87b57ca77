# SPDX-License-Identifier: Apache-2.0
"""How long a node and its executor wait between two looks for work."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from types import ModuleType

import pytest

from client import pauses
from client.pauses import (
    AWAKE_SECONDS,
    BUSY_SECONDS,
    IDLE_PAUSE,
    REPLY_PAUSE,
    ExecutorPause,
    NodePause,
    Waker,
    replace_clock,
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


def test_only_the_clock_of_one_module_is_replaced() -> None:
    module = ModuleType("loop")
    module.time = time  # type: ignore[attr-defined]
    slept: list[float] = []
    assert replace_clock(module, slept.append)
    module.time.sleep(3)
    assert slept == [3]
    assert module.time.monotonic() > 0
    assert time.sleep is not module.time.sleep
    assert not replace_clock(ModuleType("without"), slept.append)


def test_a_node_looks_often_until_nothing_has_come_for_a_while() -> None:
    clock = Clock()
    pause = NodePause(0.5, lambda: None, sleep=clock.sleep, now=clock)
    began = clock.now
    while clock.now - began < BUSY_SECONDS:
        pause(3)
    assert set(clock.slept) == {0.5}
    pause(3)
    assert clock.slept[-1] == IDLE_PAUSE
    pause(0.5)  # a message
    pause(3)
    assert clock.slept[-2:] == [REPLY_PAUSE, 0.5]


def test_an_idle_node_waits_no_less_than_its_user_asked_for() -> None:
    clock = Clock()
    pause = NodePause(10.0, lambda: None, sleep=clock.sleep, now=clock)
    clock.now += BUSY_SECONDS
    pause(20)
    assert clock.slept == [10.0]


def test_the_executor_is_woken_once_a_message() -> None:
    clock = Clock()
    woken: list[float] = []
    pause = NodePause(0.5, lambda: woken.append(clock.now), sleep=clock.sleep, now=clock)
    for _ in range(3):
        pause(0.5)
    assert len(woken) == 1
    pause(3)
    for _ in range(3):
        pause(0.5)
    assert len(woken) == 2


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

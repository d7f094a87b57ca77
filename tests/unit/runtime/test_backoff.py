# SPDX-License-Identifier: Apache-2.0
"""Pauses grow, and a call is tried again until it succeeds, fails for good, or its time is over."""

from __future__ import annotations

import pytest

from folkmoot.errors import FolkmootError, RpcError
from folkmoot.runtime import backoff as module
from folkmoot.runtime.backoff import Backoff, retry


class Clock:
    """A clock that only `sleep` moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.pauses = 0.0, list[float]()
        monkeypatch.setattr(module, "time", self)

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.pauses.append(seconds)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def away(error: FolkmootError) -> bool:
    return error.code == "away"


class Service:
    """Fails so many times, and then answers."""

    def __init__(self, failures: float, code: str = "away") -> None:
        self.left, self.code, self.calls = failures, code, 0

    def __call__(self) -> str:
        self.calls += 1
        if self.calls > self.left:
            return "answer"
        raise RpcError("It is away.", code=self.code)


def test_pauses_double_up_to_the_longest_and_begin_again() -> None:
    backoff = Backoff(0.5, 3.0)
    assert [backoff.next() for _ in range(5)] == [0.5, 1.0, 2.0, 3.0, 3.0]
    backoff.reset()
    assert backoff.next() == 0.5
    slow = Backoff(1.0, factor=3.0)
    assert [slow.next() for _ in range(3)] == [1.0, 3.0, 9.0]


def test_jitter_spreads_pauses_within_its_share() -> None:
    pauses = [Backoff(10.0, jitter=0.2).next() for _ in range(200)]
    assert len(set(pauses)) > 100
    assert all(8.0 <= pause <= 12.0 for pause in pauses)


def test_a_failure_that_passes_is_tried_again(clock: Clock) -> None:
    told: list[tuple[str, float]] = []
    service = Service(3)
    found = retry(service, Backoff(1.0, 2.0), 60, away, lambda error, pause: told.append((error.code, pause)))
    assert found == "answer"
    assert clock.pauses == [1.0, 2.0, 2.0]
    assert told == [("away", 1.0), ("away", 2.0), ("away", 2.0)]


def test_a_failure_that_stays_is_raised_at_once(clock: Clock) -> None:
    service = Service(3, "wrong")
    with pytest.raises(RpcError):
        retry(service, Backoff(1.0), 60, away)
    assert service.calls == 1
    assert clock.pauses == []


def test_no_try_comes_after_the_timeout(clock: Clock) -> None:
    service = Service(1000)
    with pytest.raises(RpcError):
        retry(service, Backoff(1.0), 10, away)
    assert clock.pauses == [1.0, 2.0, 4.0], "the next one would end after 15 seconds"

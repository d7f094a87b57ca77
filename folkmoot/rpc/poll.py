# SPDX-License-Identifier: Apache-2.0
"""One question to several endpoints at the same time, and what is remembered of each endpoint.

Knows nothing of what the answers mean: `quorum` counts them. Travels in the Flower App Bundle.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

from folkmoot.errors import ContractRefused, RpcError
from folkmoot.rpc.client import Rpc

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds for which an endpoint that failed is left alone: twice as long each time. The first holds as long as there is
no majority without it."""

GRACE = 0.5
"""Seconds for which the slow are waited for, where a majority has answered and more answers are only better."""

MOST_OPEN = 64
"""Requests to one endpoint under way, above which it is not asked: it is so slow that they pile up."""

_SHOWN = 80
"""Characters of an answer that a message shows."""


@dataclass(eq=False)
class Endpoint:
    """One endpoint of a quorum, and what is remembered of it."""

    rpc: Rpc
    failures: int = 0
    """Failures in a row: no answer, or none that is JSON-RPC."""
    failed: int = 0
    disagreed: int = 0
    """Answers that contradicted a majority."""
    why: str = ""
    """What the last failure was."""
    about: str = ""
    """What the last contradiction was about."""
    behind: int = 0
    """Seconds by which its newest block was older than the majority's when that was last asked."""
    open: int = 0
    """Requests under way."""
    failed_at: float = float("-inf")
    """When it failed, or was last asked whether it is back; of the monotonic clock, as the other times here."""
    disagreed_at: float = float("-inf")
    """When it last contradicted a majority."""
    logged_at: dict[str, float] = field(default_factory=dict)
    """When each kind of trouble with it was last logged."""

    @property
    def name(self) -> str:
        """Its address, without secrets."""
        return self.rpc.name

    @property
    def up(self) -> bool:
        """Whether its last answer was one."""
        return self.failures == 0

    def rests(self, now: float, pause: float) -> bool:
        """Whether it failed so lately that it is left alone."""
        if self.open >= MOST_OPEN:
            return True
        return self.failures > 0 and now < self.failed_at + min(FIRST_PAUSE * 2 ** (self.failures - 1), pause)


@dataclass(frozen=True, slots=True)
class Answer:
    """What one endpoint said."""

    endpoint: Endpoint
    """Who said it."""
    key: Hashable = None
    """What it is compared by; None if it is no vote."""
    value: Any = None
    """The answer; None where there is an error."""
    error: RpcError | ContractRefused | None = None
    """A revert, which is a vote, or why there is no answer."""

    def shown(self) -> str:
        """Return it for a message, cut short."""
        if self.key is None:
            return self.error.message if self.error else "no answer"
        text = str(self.error.message if self.error else self.value)
        return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


class Poll:
    """One question that several endpoints are asked at the same time.

    Args:
        endpoints: Who is asked; each must be answered for once, by `add`.
    """

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        self._changed = threading.Condition()
        self._answers: list[Answer] = []
        self._left = len(endpoints)
        self._late: Callable[[Answer], None] | None = None

    def add(self, answer: Answer) -> None:
        """Take in an answer."""
        with self._changed:
            self._answers.append(answer)
            self._left -= 1
            late = self._late
            self._changed.notify_all()
        if late is not None:
            late(answer)

    def wait(self, enough: Callable[[list[Answer], int], bool], most: float, grace: int = 0) -> None:
        """Wait until the answers (with the number of those to come) are enough, or all are there.

        Args:
            enough: Whether they are.
            most: Seconds to wait at most.
            grace: Votes after which the others are waited for only `GRACE` seconds; 0 for no such bound.
        """
        end = time.monotonic() + most
        hurried = False
        with self._changed:
            while self._left and not enough(self._answers, self._left):
                if grace and not hurried and sum(answer.key is not None for answer in self._answers) >= grace:
                    hurried, end = True, min(end, time.monotonic() + GRACE)
                if not self._changed.wait(max(0.0, end - time.monotonic())):
                    break

    def so_far(self) -> list[Answer]:
        """Return the answers that there are."""
        with self._changed:
            return list(self._answers)

    def close(self, judge: Callable[[Answer], None]) -> None:
        """Give all answers to `judge`, also those that are still to come."""
        with self._changed:
            self._late = judge
            there = list(self._answers)
        for answer in there:
            judge(answer)

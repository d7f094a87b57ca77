# SPDX-License-Identifier: Apache-2.0
"""What the routes work with, and common forms of their parameters."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Annotated

from eth_utils.address import is_address, to_checksum_address
from fastapi import Depends, Path, Request
from starlette.concurrency import run_in_threadpool

from folkmoot.policy import Policy
from server.api.problems import Problem
from server.checks.services import Intake
from server.coordinator import Coordinator
from server.db import events
from server.db.engine import Database
from server.worker import Worker

POLL_SECONDS = 0.25


class EventHub:
    """Tells streams that the event log grew: one look at the database for all of them."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.newest = 0
        self._grown = asyncio.Event()
        self.closed = False

    async def run(self) -> None:
        """Look for new events until cancelled."""
        while True:
            newest = await run_in_threadpool(self._newest)
            if newest > self.newest:
                self.newest = newest
                self._announce()
            await asyncio.sleep(POLL_SECONDS)

    def close(self) -> None:
        """Let every stream end."""
        self.closed = True
        self._announce()

    async def grown(self, last: int) -> None:
        """Wait until there is an event after `last`, or the end."""
        while self.newest <= last and not self.closed:
            await self._grown.wait()

    def _announce(self) -> None:
        self._grown.set()
        self._grown = asyncio.Event()

    def _newest(self) -> int:
        with self._database.read() as session:
            return events.newest(session)


@dataclass(frozen=True, slots=True)
class RoundTotals:
    """What the entries of a judged round have in common."""

    largest: int
    """Largest weight."""
    entries: int
    """Number of entries."""
    sharers: int
    """Entries that are not the coordinator's own."""
    coordinator: str
    """Account that opened the round."""


@dataclass
class Parts:
    """What the routes work with."""

    coordinator: Coordinator
    worker: Worker
    intake: Intake
    hub: EventHub
    models: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while a model file is made, so that it is made once."""
    totals: dict[tuple[int, str], RoundTotals] = field(default_factory=dict)
    """By round and verdicts file, which fixes them: reputations need those of every round, at every request."""
    _policies: dict[int, Policy] = field(default_factory=dict)

    def policy(self, policy_id: int) -> Policy:
        """A policy; they never change, so that each is asked for once."""
        if policy_id not in self._policies:
            self._policies[policy_id] = self.coordinator.ledger.policy(policy_id)
        return self._policies[policy_id]


def _parts(request: Request) -> Parts:
    parts: Parts = request.app.state.parts
    return parts


def _address(address: Annotated[str, Path(description="An account's address.", max_length=64)]) -> str:
    if not is_address(address):
        raise Problem(
            422, "invalid-address", f"{address!r} is not an address.", "Write 0x and 40 hex digits."
        )
    return to_checksum_address(address)


Here = Annotated[Parts, Depends(_parts)]
Address = Annotated[str, Depends(_address)]
RoundNumber = Annotated[int, Path(ge=0, le=2**63 - 1, description="Number of a round.")]
Sha256 = Annotated[str, Path(pattern="^[0-9a-f]{64}$", description="sha256 of the file, hex without 0x.")]
Keccak = Annotated[str, Path(pattern="^(0x)?[0-9a-f]{64}$", description="keccak256 of the file, hex.")]

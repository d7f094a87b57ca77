# SPDX-License-Identifier: Apache-2.0
"""What the routes work with, and common forms of their parameters."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated

from anyio import CapacityLimiter
from eth_utils.address import is_address, to_checksum_address
from fastapi import Depends, Path, Request
from starlette.concurrency import run_in_threadpool

from folkmoot.artifacts.federation import Federation
from folkmoot.errors import DatabaseError
from server.api.files import Files
from server.api.limits import CONNECTIONS, Buckets, Slots, Stream, Streams, client_of
from server.api.problems import Problem
from server.api.verdict_queries import VerdictQueries
from server.chain.view import ChainView
from server.db import events
from server.db.engine import Database
from server.db.models import Artifact
from server.intake.intake import Intake
from server.intake.uploads import Uploads
from server.rounds.canary import Canary
from server.settings import Settings
from server.storage import Storage
from server.telemetry.metrics import Metrics
from server.worker import Worker

POLL_SECONDS = 0.25
"""Seconds between two looks for events while somebody waits for them."""

IDLE_SECONDS = 1.0
"""The same while nobody does."""

UPLOADS_PER_ACCOUNT = 2
"""Updates of one account that are received at once: one, and another try beside one whose connection hangs."""

STREAMS, STREAMS_PER_CLIENT = 128, 16
"""Event streams of all clients and of one: each node of a federation that trains has one."""

ACCOUNT_WRITES_PER_MINUTE, ACCOUNT_BURST = 30.0, 20
"""Updates that may bear one account's signature, in the long run and at once: a node sends one a round, and a few
tries."""

EVIDENCE = 2
"""Downloads of evidence at once, one of a client: each reads the chain's events, and is held in memory."""

EVIDENCE_LIMIT = 256 << 20
"""Most bytes of one."""

REPORT_COST = 10
"""Writes that a published report counts for: it stays."""


class EventHub:
    """Tells streams that the event log grew: one look at the database for all of them."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.newest = 0
        self._grown = asyncio.Event()
        self._closing = asyncio.Event()
        self._waiting = 0

    @property
    def closed(self) -> bool:
        """Whether streams are to end."""
        return self._closing.is_set()

    async def run(self) -> None:
        """Look for new events until it is closed. Not to be cancelled: a look's thread would go on without anybody."""
        while not self.closed:
            # While the database is in trouble nothing grows; health and the worker's log say so.
            with contextlib.suppress(DatabaseError):
                newest = await run_in_threadpool(self._newest)
                if newest > self.newest:
                    self.newest = newest
                    self._announce()
            with contextlib.suppress(TimeoutError):
                pause = POLL_SECONDS if self._waiting else IDLE_SECONDS
                await asyncio.wait_for(self._closing.wait(), pause)

    def close(self) -> None:
        """Let every stream end."""
        self._closing.set()
        self._announce()

    def wake(self) -> None:
        """Let every stream look whether it is to end."""
        self._announce()

    async def grown(self, last: int, stream: Stream) -> None:
        """Wait until there is an event after `last`, or the end of all streams or of this one."""
        self._waiting += 1
        try:
            while self.newest <= last and not self.closed and not stream.ended:
                await self._grown.wait()
        finally:
            self._waiting -= 1

    def _announce(self) -> None:
        self._grown.set()
        self._grown = asyncio.Event()

    def _newest(self) -> int:
        with self._database.read() as session:
            return events.newest(session)


@dataclass
class AppState:
    """What the routes work with."""

    settings: Settings
    federation: Federation
    chain: ChainView
    storage: Storage
    metrics: Metrics
    intake: Intake
    canary: Canary
    worker: Worker
    models: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while a model file is made, so that it is made once."""

    def __post_init__(self) -> None:
        settings = self.settings
        self.judged = VerdictQueries(self.chain.policy)
        self.database, self.store = self.storage.database, self.storage.store
        self.files = Files(self.store, 2 * settings.uploads, self.metrics)
        self.hub = EventHub(self.database)
        self.writes = Buckets(ACCOUNT_WRITES_PER_MINUTE / 60, ACCOUNT_BURST)
        """By account, for what bears its signature."""
        self.uploads = Slots(CONNECTIONS, UPLOADS_PER_ACCOUNT)
        """Updates under way, by account."""
        self.unsigned = Slots(settings.uploads, settings.uploads)
        """Updates under way that bear no good signature: files of commitments that are on the chain."""
        self.evidence = Slots(EVIDENCE, 1)
        """Downloads of evidence under way, by client."""
        self.unfinished = Uploads(self.store)
        self.streams = Streams(STREAMS, STREAMS_PER_CLIENT, self.hub.wake)
        """Event streams, by client."""

    @cached_property  # of an event loop, so made inside it
    def receiving(self) -> CapacityLimiter:
        """Threads for what is checked of an update before its bytes are read: reads have others."""
        return CapacityLimiter(4 * self.settings.uploads)

    @cached_property
    def checking(self) -> CapacityLimiter:
        """Threads for the checks of an update's bytes."""
        return CapacityLimiter(self.settings.uploads)

    def artifact(self, sha256: str) -> Artifact | None:
        """Return the row of a file that is or was in the store; None if there is none."""
        with self.database.read() as session:
            row = session.get(Artifact, sha256)
            session.expunge_all()
        return row

    def count_write(self, account: str, cost: float = 1) -> None:
        """Count something that bears an account's signature, and nothing else: nobody pays for a forgery.

        Raises:
            Problem: 429 `account-rate-limited`.
        """
        wait = self.writes.take(account, time.monotonic(), cost)
        if wait > 0:
            raise Problem(
                "account-rate-limited",
                f"There was too much from {account}.",
                "Wait a little, and send less often.",
                retryAfter=int(wait) + 1,
            )


def _parts(request: Request) -> AppState:
    parts: AppState = request.app.state.parts
    return parts


def _address(
    address: Annotated[
        str,
        Path(
            description="An account's address.",
            # In the document alone: what is none gets a code of its own.
            json_schema_extra={"pattern": "^(0x)?[0-9a-fA-F]{40}$"},
        ),
    ],
) -> str:
    if not is_address(address):
        raise Problem(
            "invalid-address", f"{address[:80]!r} is not an address.", "Write 0x and 40 hex digits."
        )
    return to_checksum_address(address)


async def _stream_slot(request: Request) -> AsyncIterator[Stream]:
    parts = _parts(request)
    with parts.streams.held(client_of(request.scope, parts.settings)) as stream:
        yield stream


async def _evidence_slot(request: Request) -> AsyncIterator[None]:
    parts = _parts(request)
    with parts.evidence.held(client_of(request.scope, parts.settings), "downloads of evidence"):
        yield


EvidenceSlot = Depends(_evidence_slot)
StreamSlot = Annotated[Stream, Depends(_stream_slot)]
Parts = Annotated[AppState, Depends(_parts)]
Address = Annotated[str, Depends(_address)]
RoundNumber = Annotated[int, Path(ge=0, le=2**63 - 1, description="Number of a round.")]
Sha256 = Annotated[str, Path(pattern="^[0-9a-f]{64}$", description="sha256 of the file, hex without 0x.")]
Keccak = Annotated[str, Path(pattern="^(0x)?[0-9a-f]{64}$", description="keccak256 of the file, hex.")]

# SPDX-License-Identifier: Apache-2.0
"""The stream of what happens."""

from __future__ import annotations

from collections.abc import AsyncIterable
from typing import Annotated

from fastapi import APIRouter, Header, Query
from fastapi.sse import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool

from server.api.parts import Parts, StreamSlot
from server.db import events
from server.db.models import LogEntry

router = APIRouter(tags=["events"])


@router.get("/v1/events", response_class=EventSourceResponse)
async def stream(
    parts: Parts,
    slot: StreamSlot,
    last_event_id: Annotated[
        int | None, Header(ge=0, le=2**63 - 1, description="Number of the last event that is known.")
    ] = None,
    after: Annotated[int | None, Query(ge=0, le=2**63 - 1, description="The same, as a parameter.")] = None,
) -> AsyncIterable[ServerSentEvent]:
    """Server-sent events: those after `Last-Event-ID`, then new ones as they happen.

    The first event is `hello`, with the number after which the stream begins. Without a number only new
    events come; 0 gives all. A comment every 15 seconds says that the stream is alive. Types and data:
    docs/api.md.
    """
    database = parts.database

    def newest() -> int:
        with database.read() as session:
            return events.newest(session)

    def read(last: int) -> list[LogEntry]:
        with database.read() as session:
            newer = events.after(session, last)
            session.expunge_all()
            return newer

    last = last_event_id if last_event_id is not None else after
    if last is None:
        last = await run_in_threadpool(newest)
    yield ServerSentEvent(id=str(last), event="hello", data={"after": last}, retry=1000)
    while not parts.hub.closed and not slot.ended:
        for entry in await run_in_threadpool(read, last):
            last = entry.id
            yield ServerSentEvent(id=str(entry.id), event=entry.type, data=entry.data)
        await parts.hub.grown(last, slot)

# SPDX-License-Identifier: Apache-2.0
"""What a connection may cost before, between and after requests, where no proxy stands before the coordinator.

uvicorn has no limit for a client that sends its head byte by byte, that never reads its answer, or that opens a
thousand connections, and ASGI middleware sees a request once its head is whole. So this is a subclass of uvicorn's
protocol, whose attributes may change with any release: pyproject.toml names the releases that were tried, and
`tests/integration/test_hostile_load.py` tries them.
"""

from __future__ import annotations

import asyncio
import sys
from http import HTTPStatus
from typing import Any

from fastapi.responses import JSONResponse
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from server.api import problems
from server.api.limits import CONNECTIONS, CONNECTIONS_PER_CLIENT, PATIENCE, Slots, client_name

LINGER_SECONDS, LINGER_BYTES = 5.0, 1 << 20
"""How long, and for how much, a client is read on that was answered before it had sent everything: a socket that is
closed while bytes lie unread in it resets the connection, and the answer may be lost (RFC 9112, section 9.6)."""


class Gate:
    """Counts the connections of one server.

    Args:
        proxied: Whether all clients have the address of a proxy, which counts their connections.
    """

    def __init__(self, proxied: bool) -> None:
        self._slots = Slots(CONNECTIONS, CONNECTIONS if proxied else CONNECTIONS_PER_CLIENT)
        self.idle: dict[Connection, None] = {}
        """Connections without a request; the first has waited longest."""

    def enter(self, client: str) -> bool:
        """Let a connection in, if need be in the place of the one that has waited longest without a request."""
        if self._slots.spent(client):
            return False
        if self._slots.full and self.idle:
            next(iter(self.idle)).cut()
        if self._slots.full:
            return False
        self._slots.take(client)
        return True

    def leave(self, connection: Connection, client: str) -> None:
        """Count a connection that was let in out."""
        self.idle.pop(connection, None)
        self._slots.release(client)


class Connection(H11Protocol):
    """A connection with limits.

    Args:
        gate: Counts the connections of the server.
        arguments: Those of uvicorn's protocols.
    """

    def __init__(self, gate: Gate, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._gate = gate
        self._client = ""
        self._inside = False
        self._surplus: int | None = None
        """Bytes that came after an answer which ends the connection; None before such an answer."""
        self._read_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn narrows it too
        """Let it in, or tell it to come again."""
        super().connection_made(transport)
        self._client = client_name(self.client[0]) if self.client else "unknown"
        if self._gate.enter(self._client):
            self._inside = True
            self._limit_reading()
            return
        refusal = problems.response(
            "too-many-connections",
            "There are too many connections, from this address or in all.",
            "Use fewer connections, and come again in a few seconds.",
            headers={"Retry-After": "5"},
        )
        self._answer(refusal)
        self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._leave()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take in bytes of a connection that was let in."""
        if self._surplus is not None:
            self._surplus += len(data)
            if self._surplus > LINGER_BYTES:
                self.transport.close()
        elif self._inside and not self.transport.is_closing():
            super().data_received(data)
            self._limit_reading()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        self._limit_reading()

    def pause_writing(self) -> None:
        """Give the client its time to read on."""
        super().pause_writing()
        if self._write_timer is None:
            self._write_timer = self.loop.call_later(PATIENCE, self.cut)

    def resume_writing(self) -> None:
        """The client reads."""
        super().resume_writing()
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, or too large a head, with a problem. uvicorn calls it while it handles the error."""
        if self._answering:
            if self.cycle.response_started:
                self.cut()  # in the middle of an answer there is no place for another one
                return
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        status = HTTPStatus(getattr(sys.exception(), "error_status_hint", HTTPStatus.BAD_REQUEST))
        if status == HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE:
            answer = problems.response("head-too-large", "The head is too large.", "Send less than 16 KiB.")
        else:
            answer = problems.response("bad-request", msg, "Send HTTP/1.1.", status=status)
        self._answer(answer)
        self._surplus = 0
        self._gate.idle.setdefault(self)
        if self._read_timer is not None:
            self._read_timer.cancel()
        self._read_timer = self.loop.call_later(min(LINGER_SECONDS, PATIENCE), self.transport.close)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.flow.resume_reading()

    def cut(self) -> None:
        """End it at once, whatever is under way."""
        self._leave()
        self.transport.abort()

    @property
    def _answering(self) -> bool:
        """Whether there is a request whose answer is not complete."""
        cycle: RequestResponseCycle | None = (
            self.cycle
        )  # None before the first request, whatever uvicorn says
        return cycle is not None and not cycle.response_complete

    def _limit_reading(self) -> None:
        """Count the time in which there is no request; it does not begin anew with every byte."""
        if not self._inside or self._surplus is not None:
            return
        if not self._answering:
            self._gate.idle.setdefault(self)
            if self._read_timer is None:
                self._read_timer = self.loop.call_later(PATIENCE, self.cut)
            return
        self._gate.idle.pop(self, None)
        if self._read_timer is not None:
            self._read_timer.cancel()
            self._read_timer = None

    def _leave(self) -> None:
        if self._inside:
            self._inside = False
            self._gate.leave(self, self._client)
        for timer in (self._read_timer, self._write_timer):
            if timer is not None:
                timer.cancel()
        self._read_timer = self._write_timer = None

    def _answer(self, answer: JSONResponse) -> None:
        status = HTTPStatus(answer.status_code)
        lines = [b"%s: %s" % pair for pair in answer.raw_headers]
        head = b"\r\n".join(
            [f"HTTP/1.1 {status} {status.phrase}".encode(), *lines, b"connection: close", b"", b""]
        )
        self.transport.write(head + bytes(answer.body))

# SPDX-License-Identifier: Apache-2.0
"""What a connection may cost before, between and after requests.

uvicorn has no limit for a client that sends its head byte by byte, that never reads its answer, or that opens a
thousand connections: `limit_concurrency` counts all clients together, `timeout_keep_alive` ends with the first byte of
a request, `h11_max_incomplete_event_size` bounds bytes and no time, and ASGI middleware sees a request once its head is
whole. So this is a subclass of uvicorn's protocol, whose attributes may change with any release: pyproject.toml names
the releases that were tried, and `tests/integration/test_hostile_load.py` tries them. Here each client has a number of
connections, all of them together too; a head has to be whole in time, and who takes nothing of an answer for as long is
cut off. If all connections are taken, one that is at no request gives way to a new one. Who is answered in the middle
of a request is read on for a while, so that the answer arrives. This module knows nothing of what is asked.
"""

from __future__ import annotations

import asyncio
import sys
from collections import OrderedDict
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from server.api import problems
from server.api.limits import Slots, client_name
from server.settings import Settings

LINGER_SECONDS, LINGER_BYTES = 5.0, 1 << 20
"""How long, and for how much, a client is read on that was answered before it had said everything."""


class Gate:
    """Counts the connections of one server.

    Args:
        settings: The coordinator's settings.
    """

    def __init__(self, settings: Settings) -> None:
        # Behind a proxy all clients have its address; it counts their connections.
        each = settings.connections if settings.trust_proxy else settings.connections_per_client
        self.patience = settings.patience
        self._slots = Slots(settings.connections, each)
        self._idle: OrderedDict[Connection, None] = OrderedDict()

    def enter(self, connection: Connection, client: str) -> bool:
        """Let a connection in, if need be in the place of one that has waited longest without a request."""
        if self._slots.spent(client):
            return False
        if self._slots.full:
            if not self._idle:
                return False
            oldest, _ = self._idle.popitem(last=False)
            oldest.cut()
        self._slots.take(client)
        return True

    def leave(self, connection: Connection, client: str) -> None:
        """Count a connection that was let in out."""
        self._idle.pop(connection, None)
        self._slots.release(client)

    def idle(self, connection: Connection) -> None:
        """Note that a connection is at no request."""
        self._idle.setdefault(connection)

    def busy(self, connection: Connection) -> None:
        """Note that a connection is at a request."""
        self._idle.pop(connection, None)


class Connection(H11Protocol):
    """A connection with limits.

    Args:
        gate: Counts the connections of the server.
        arguments: Those of uvicorn's protocols.
    """

    def __init__(self, gate: Gate, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._gate = gate
        self._name = ""
        self._inside = False
        self._lingers = False
        self._thrown_away = 0  # bytes
        self._head_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn narrows it too
        """Let it in, or tell it to come again."""
        super().connection_made(transport)
        self._name = client_name(self.client[0]) if self.client else "unknown"
        if self._gate.enter(self, self._name):
            self._inside = True
            self._look()
            return
        self._say(
            problems.response(
                429,
                "too-many-connections",
                "There are too many connections, from this address or in all.",
                "Use fewer connections, and come again in a few seconds.",
                headers={"Retry-After": "5", "Connection": "close"},
            ),
            b"429 Too Many Requests",
        )

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        if self._inside:
            self._inside = False
            self._gate.leave(self, self._name)
        self._cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take in bytes, of a connection that was let in."""
        if self._lingers:
            self._thrown_away += len(data)
            if self._thrown_away > LINGER_BYTES:
                self.transport.close()
        elif self._inside and not self.transport.is_closing():
            super().data_received(data)
            self._look()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        self._look()

    def pause_writing(self) -> None:
        """Give the client its time to read on."""
        super().pause_writing()
        if self._write_timer is None:
            self._write_timer = self.loop.call_later(self._gate.patience, self.cut)

    def resume_writing(self) -> None:
        """The client reads."""
        super().resume_writing()
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    @property
    def _answering(self) -> bool:
        """Whether there is a request whose answer is not complete."""
        cycle: RequestResponseCycle | None = (
            self.cycle
        )  # None before the first request, whatever uvicorn says
        return cycle is not None and not cycle.response_complete

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, or too large a head, with a problem. uvicorn calls it while it handles the error."""
        if self._answering and self.cycle.response_started:
            self.cut()  # in the middle of an answer there is no place for another one
            return
        status = HTTPStatus(getattr(sys.exception(), "error_status_hint", HTTPStatus.BAD_REQUEST))
        if status == HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE:
            answer = problems.response(
                status, "head-too-large", "The head is too large.", "Send less than 16 KiB."
            )
        else:
            answer = problems.response(status, "bad-request", msg, "Send HTTP/1.1.")
        self._say(answer, f"{status} {status.phrase}".encode(), linger=True)

    def cut(self) -> None:
        """End it at once, whatever is under way."""
        if self._inside:
            self._inside = False
            self._gate.leave(self, self._name)
        self._cancel()
        self.transport.abort()

    def _look(self) -> None:
        """Count the time in which there is no request; it does not begin anew with every byte."""
        if not self._inside or self._lingers:
            return
        if self._answering:
            self._gate.busy(self)
            if self._head_timer is not None:
                self._head_timer.cancel()
                self._head_timer = None
            return
        self._gate.idle(self)
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(self._gate.patience, self.cut)

    def _cancel(self) -> None:
        for timer in (self._head_timer, self._write_timer):
            if timer is not None:
                timer.cancel()
        self._head_timer = self._write_timer = None

    def _say(self, answer: Any, status: bytes, *, linger: bool = False) -> None:
        lines = [b"%s: %s" % pair for pair in answer.raw_headers if pair[0] != b"connection"]
        head = b"\r\n".join([b"HTTP/1.1 " + status, *lines, b"connection: close", b"", b""])
        self.transport.write(head + bytes(answer.body))
        if linger and self._inside:
            self._linger()
        else:
            self.transport.close()

    def _linger(self) -> None:
        """Close it such that what was said arrives.

        A socket that is closed while bytes lie unread in it resets the connection, and a reset can take the answer away
        before the client has read it. So this side ends, and throws away what still comes, until the client ends too
        (RFC 9112, section 9.6).
        """
        self._lingers = True
        self._gate.idle(self)
        if self._answering:  # an earlier request of the same connection; its answer has no place any more
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self._head_timer is not None:
            self._head_timer.cancel()
        self._head_timer = self.loop.call_later(
            min(LINGER_SECONDS, self._gate.patience), self.transport.close
        )
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.flow.resume_reading()

# SPDX-License-Identifier: Apache-2.0
"""Slow lines between programs of one machine, without the rights that the kernel's own limits need.

A line is a set of TCP ports of this machine. What connects to one of them is passed on to another port, and all
connections of a line share its rate in each direction. So all bytes of a program behind a line, headers included, take
the time that they would take on it. Not slowed down are the first bytes that fill the kernel's buffers.
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from typing import Self

_HOST = "127.0.0.1"
_PART = 1 << 13
"""Most bytes that pass at a time: 13 ms at 5 Mbit/s."""
_CREDIT = 0.05
"""Seconds by which a part may be late and the next one early: the depth of the token bucket."""
_BUFFER = 1 << 16
"""Bytes of a connection's receive buffer."""


@dataclass(frozen=True)
class Passed:
    """What passed a line in one direction."""

    bytes: int = 0
    seconds: float = 0.0
    """Time during which something was on its way."""

    def since(self, earlier: Passed) -> Passed:
        """Return what passed after an earlier look."""
        return Passed(self.bytes - earlier.bytes, self.seconds - earlier.seconds)


class _Direction:
    """One direction of a line: a token bucket.

    Args:
        rate: Bytes a second.
    """

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._free = 0.0  # When everything before has passed.
        self._under_way, self._since = 0, 0.0
        self.passed = Passed()

    async def pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on what one end sends, until it ends."""
        while part := await reader.read(_PART):
            now = time.monotonic()
            if not self._under_way:
                self._since = now
            self._under_way += 1
            self._free = max(self._free, now - _CREDIT) + len(part) / self._rate
            try:
                await asyncio.sleep(self._free - now)
                writer.write(part)
                await writer.drain()
            finally:
                self._under_way -= 1
                before, self._since = self._since, time.monotonic()
                took = self._since - before
                self.passed = Passed(self.passed.bytes + len(part), self.passed.seconds + took)
        writer.write_eof()


class Line:
    """A line, with a thread of its own while the block runs; a context manager.

    Args:
        megabits: Rate in each direction, in 10^6 bits a second.
        targets: Ports of this machine to which its own ports lead.
    """

    def __init__(self, megabits: float, targets: Sequence[int]) -> None:
        self._down, self._up = (_Direction(megabits * 1e6 / 8) for _ in range(2))
        self._targets = targets
        self.ports: list[int] = []
        """Its ports, in the order of the targets, from when the block has begun."""
        self._began, self._end = threading.Event(), asyncio.Event()
        self._connections: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="line", daemon=True)

    def __enter__(self) -> Self:
        """Start to pass on connections."""
        self._thread.start()
        self._began.wait()
        return self

    def __exit__(self, *_: object) -> None:
        """Break all connections."""
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()

    @property
    def passed(self) -> tuple[Passed, Passed]:
        """What came from the targets, and what went to them."""
        return self._down.passed, self._up.passed

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        try:
            servers = [
                await asyncio.start_server(partial(self._accept, target), _HOST, 0)
                for target in self._targets
            ]
            self.ports += [server.sockets[0].getsockname()[1] for server in servers]
        finally:
            self._began.set()
        await self._end.wait()
        for server in servers:
            server.close()

    def _accept(self, target: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        def ended(task: asyncio.Task[None]) -> None:
            self._connections.discard(task)
            writer.close()  # Here, because a task that is cancelled before it starts does nothing.

        task = self._loop.create_task(self._connect(target, reader, writer))
        self._connections.add(task)  # The loop holds tasks weakly.
        task.add_done_callback(ended)

    async def _connect(self, target: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on one connection, until both ends have closed it or one of them breaks it."""
        with suppress(OSError):
            other_reader, other_writer = await asyncio.open_connection(_HOST, target)
            with closing(other_writer):
                for one in (writer, other_writer):
                    one.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
                await asyncio.gather(
                    self._up.pass_on(reader, other_writer), self._down.pass_on(other_reader, writer)
                )

# SPDX-License-Identifier: Apache-2.0
"""What lies between a client and a server and can fail: a TCP proxy. Knows nothing of what it carries."""

from __future__ import annotations

import selectors
import socket
import threading
import time
from contextlib import suppress

REFUSE, HANG, BAD_GATEWAY = "refuse", "hang", "502"
"""Connections are closed at once; they are taken and nothing comes back; a proxy answers in the server's place."""
_BAD_GATEWAY = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 11\r\nConnection: close\r\n\r\nBad Gateway"


class Line:
    """The line to a server.

    Args:
        target: Port of the server on this machine, or the path of its Unix socket.
        name: What is at its far end, for people.
        outages: The ways in which it may fail, for those who choose one.
    """

    def __init__(
        self, target: int | str, name: str = "the server", outages: tuple[str, ...] = (REFUSE, HANG)
    ) -> None:
        self.name = name
        self.outages = outages
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.outage: str | None = None
        """Which one is on."""
        self.up = self.down = 0
        """Bytes that were carried to the server, and from it."""
        self._open: set[socket.socket] = set()
        self._left: int | None = None
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, name=f"line to {name}", daemon=True).start()

    @property
    def url(self) -> str:
        """Its near end, for HTTP."""
        return f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        """End it."""
        self._listener.close()
        self._drop()

    def fail(self, outage: str = REFUSE) -> None:
        """Begin an outage; but for one that hangs, connections that are there are broken."""
        with self._lock:
            self.outage = outage
        if outage != HANG:
            self._drop()

    def mend(self) -> None:
        """End it; connections that hung are closed."""
        with self._lock:
            self.outage = None
        self._drop()

    def break_after(self, size: int) -> None:
        """Break the connection that brings the next `size` bytes from the server, once."""
        self._left = size

    def _drop(self) -> None:
        with self._lock:
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            if self.outage == BAD_GATEWAY:
                client.recv(1 << 16)
                client.sendall(_BAD_GATEWAY)
                return
            if self.outage == REFUSE:
                return
            with self._reached() as server:
                with self._lock:
                    if self.outage == REFUSE:
                        return  # it began meanwhile, and has not seen these two
                    self._open |= {client, server}
                try:
                    self._pump(client, server)
                finally:
                    with self._lock:
                        self._open -= {client, server}

    def _reached(self) -> socket.socket:
        if isinstance(self._target, int):
            return socket.create_connection(("127.0.0.1", self._target))
        server = socket.socket(socket.AF_UNIX)
        server.connect(self._target)
        return server

    def _pump(self, client: socket.socket, server: socket.socket) -> None:
        """Carry bytes both ways until one end closes."""
        with selectors.DefaultSelector() as ready:
            ready.register(client, selectors.EVENT_READ, server)
            ready.register(server, selectors.EVENT_READ, client)
            while True:
                for key, _ in ready.select(timeout=1.0):
                    source = key.fileobj
                    if not isinstance(source, socket.socket):
                        raise AssertionError("only sockets were registered")
                    data = source.recv(1 << 16)
                    if not data or (source is server and self._breaks_in(data)):
                        return
                    if source is client:
                        self.up += len(data)
                    else:
                        self.down += len(data)
                    while self.outage == HANG:
                        time.sleep(0.05)  # what came is held back until the outage ends
                    key.data.sendall(data)

    def _breaks_in(self, data: bytes) -> bool:
        """Whether the connection is to break before these bytes are handed on."""
        if self._left is None:
            return False
        self._left -= len(data)
        if self._left >= 0:
            return False
        self._left = None
        return True

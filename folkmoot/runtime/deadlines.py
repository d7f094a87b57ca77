# SPDX-License-Identifier: Apache-2.0
"""An end for a whole HTTP exchange, however steadily it goes on.

httpx bounds each read and each write; one who sends a byte of a header every few seconds, or takes one of a request,
can hold a caller for days. Here every read and write of a client gets what is left of the time in `within`. Not bounded
is the look-up of a name, which the system's resolver ends. Travels in the Flower App Bundle.
"""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import httpcore
import httpx

_SLICE = 4096
"""Bytes that are written between two looks at the clock."""

_now = threading.local()


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Let what clients of `bounded` do in this thread fail with a timeout (of httpx) once these seconds are over."""
    before = getattr(_now, "end", float("inf"))
    _now.end = min(before, time.monotonic() + seconds)
    try:
        yield
    finally:
        _now.end = before


def bounded(client: httpx.Client) -> httpx.Client:
    """Make a client heed `within`, and return it.

    httpx has no public way to give a client's connection pools a network backend, httpcore has: so this looks into the
    former's transports, those for proxies included. `tests/unit/runtime/test_deadlines.py` tells if that changes.
    """
    for transport in (client._transport, *client._mounts.values()):
        pool = getattr(transport, "_pool", None)
        if isinstance(pool, httpcore.ConnectionPool):
            pool._network_backend = _Backend(pool._network_backend)
    return client


def _left(timeout: float | None, over: type[httpcore.TimeoutException]) -> float | None:
    left = getattr(_now, "end", float("inf")) - time.monotonic()
    if left <= 0:
        raise over("the time for the whole exchange is over")
    if left == float("inf"):
        return timeout
    return left if timeout is None else min(timeout, left)


class _Backend(httpcore.NetworkBackend):
    def __init__(self, inner: httpcore.NetworkBackend) -> None:
        self._inner = inner

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        left = _left(timeout, httpcore.ConnectTimeout)
        return _Stream(self._inner.connect_tcp(host, port, left, local_address, socket_options))

    def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.NetworkStream:
        left = _left(timeout, httpcore.ConnectTimeout)
        return _Stream(self._inner.connect_unix_socket(path, left, socket_options))

    def sleep(self, seconds: float) -> None:
        self._inner.sleep(seconds)


class _Stream(httpcore.NetworkStream):
    def __init__(self, inner: httpcore.NetworkStream) -> None:
        self._inner = inner

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, _left(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        for start in range(0, len(buffer), _SLICE):
            self._inner.write(buffer[start : start + _SLICE], _left(timeout, httpcore.WriteTimeout))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        left = _left(timeout, httpcore.ConnectTimeout)
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, left))

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)

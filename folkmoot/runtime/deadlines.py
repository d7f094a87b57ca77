# SPDX-License-Identifier: Apache-2.0
"""An end for a whole HTTP exchange, however steadily it goes on, and bounds for a coded body.

httpx bounds each read and each write; one who sends a byte of a header every few seconds, or takes one of a request,
can hold a caller for days. Here every read and write of a client gets what is left of the time in `within`, if the
client sends through a `Transport`. Not bounded is the look-up of a name, which the system's resolver ends.

httpx decodes what has arrived of a coded body at once, and codings within codings, so that a few kilobytes become
gigabytes in memory. A `Transport` decodes bodies itself, in small pieces. Travels in the Flower App Bundle.
"""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.request import getproxies, proxy_bypass

import httpcore
import httpx

from folkmoot.runtime.coding import CODINGS, CodingError, Decoder

_SLICE = 4096
"""Bytes that are written between two looks at the clock."""

_now = threading.local()


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Let clients with a `Transport` fail in this thread, with a timeout of httpx, once these seconds are over."""
    before = getattr(_now, "end", float("inf"))
    _now.end = min(before, time.monotonic() + seconds)
    try:
        yield
    finally:
        _now.end = before


class Transport(httpx.BaseTransport):
    """What an `httpx.Client` sends through so that it heeds `within`.

    It has what httpx's own transport has: the same numbers of connections, the environment's proxies (HTTP_PROXY,
    HTTPS_PROXY, ALL_PROXY, NO_PROXY) and SSL_CERT_FILE. It differs in the network backend, which only httpcore lets one
    choose.

    Args:
        verify: Certificates to trust; those that httpx trusts if left out.
    """

    def __init__(self, verify: ssl.SSLContext | None = None) -> None:
        self._verify = verify
        proxies = getproxies()
        self._proxies = {
            scheme: proxies[scheme] for scheme in ("http", "https", "all") if proxies.get(scheme)
        }
        self._pools: dict[tuple[bool, str], httpcore.ConnectionPool] = {}
        self._opening = threading.Lock()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request and return the answer, whose body is not read yet."""
        url, pool = request.url, self._pool(request.url)
        target = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        with _errors_of_httpx():
            answer = pool.handle_request(
                httpcore.Request(
                    request.method,
                    target,
                    headers=request.headers.raw,
                    content=request.stream,
                    extensions=request.extensions,
                )
            )
        body, headers = _Body(answer), httpx.Headers(answer.headers)
        coding = headers.get("Content-Encoding", "identity").strip().lower()
        if coding != "identity":
            body = _Decoded(answer, coding)
            for name in ("Content-Encoding", "Content-Length"):
                headers.pop(name, None)
        return httpx.Response(answer.status, headers=headers, stream=body, extensions=answer.extensions)

    def close(self) -> None:
        """Close all connections."""
        for pool in self._pools.values():
            pool.close()

    def _pool(self, url: httpx.URL) -> httpcore.ConnectionPool:
        """Return the connections for a URL. Certificates are read for https only: it takes longer than a request."""
        proxy = self._proxies.get(url.scheme) or self._proxies.get("all", "")
        if proxy_bypass(url.host):
            proxy = ""
        secure = url.scheme == "https"
        with self._opening:
            if (pool := self._pools.get((secure, proxy))) is None:
                context = (self._verify or httpx.create_ssl_context()) if secure else None
                pool = self._pools[secure, proxy] = _pool(context, proxy)
        return pool


def _pool(context: ssl.SSLContext | None, proxy: str) -> httpcore.ConnectionPool:
    through = httpx.Proxy(proxy if "://" in proxy else f"http://{proxy}") if proxy else None
    return httpcore.ConnectionPool(
        ssl_context=context,
        proxy=httpcore.Proxy(str(through.url), auth=through.raw_auth) if through else None,
        max_connections=100,
        max_keepalive_connections=20,
        keepalive_expiry=5.0,
        network_backend=_Backend(),
    )


@contextmanager
def _errors_of_httpx() -> Iterator[None]:
    try:
        yield
    except (
        httpcore.TimeoutException,
        httpcore.NetworkError,
        httpcore.ProtocolError,
        httpcore.ProxyError,
        httpcore.UnsupportedProtocol,
    ) as error:
        raise getattr(httpx, type(error).__name__)(str(error)) from error  # the two name them alike


class _Body(httpx.SyncByteStream):
    def __init__(self, answer: httpcore.Response) -> None:
        self._answer = answer

    def __iter__(self) -> Iterator[bytes]:
        with _errors_of_httpx():
            yield from self._answer.iter_stream()

    def close(self) -> None:
        self._answer.close()


class _Decoded(_Body):
    """A coded body, as what it stands for.

    Raises:
        httpx.DecodingError: While it is read: it can't be decoded.
    """

    def __init__(self, answer: httpcore.Response, coding: str) -> None:
        super().__init__(answer)
        self._coding = coding

    def __iter__(self) -> Iterator[bytes]:
        if self._coding not in CODINGS:
            raise httpx.DecodingError(
                f"the answer has the coding {self._coding[:40]!r}, which was not asked for"
            )
        decoder = Decoder()
        try:
            for data in super().__iter__():
                yield from decoder.decode(data)
            decoder.end()
        except CodingError as error:
            raise httpx.DecodingError(f"the coded answer can't be used: {error}") from error


def _left(timeout: float | None, over: type[httpcore.TimeoutException]) -> float | None:
    left = getattr(_now, "end", float("inf")) - time.monotonic()
    if left <= 0:
        raise over("the time for the whole exchange is over")
    if left == float("inf"):
        return timeout
    return left if timeout is None else min(timeout, left)


class _Backend(httpcore.SyncBackend):
    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        left = _left(timeout, httpcore.ConnectTimeout)
        return _Stream(super().connect_tcp(host, port, left, local_address, socket_options))


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

# SPDX-License-Identifier: Apache-2.0
"""Whoever sends or takes a byte at a time holds nobody longer than the whole exchange may take."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from folkmoot import coordinator_api
from folkmoot.artifacts.sources import CoordinatorSource
from folkmoot.coordinator_api import CoordinatorApi
from folkmoot.errors import ArtifactError, CoordinatorError
from folkmoot.runtime.certificates import Authority
from folkmoot.runtime.deadlines import Transport, within

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"


@contextmanager
def server(talk: Callable[[socket.socket, threading.Event], None]) -> Iterator[int]:
    """A server that does with each connection what a test says; yields its port."""
    over, listener = threading.Event(), socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.05)

    def serve() -> None:
        while not over.is_set():
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                continue
            with connection, suppress(OSError):  # the other side has had enough
                talk(connection, over)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        over.set()
        thread.join()
        listener.close()


def trickle(connection: socket.socket, over: threading.Event) -> None:
    """Send a header that never ends, ten bytes a second."""
    connection.recv(65536)
    connection.sendall(HEAD + b"X: ")
    while not over.wait(0.1):
        connection.sendall(b"x")


def sip(connection: socket.socket, over: threading.Event) -> None:
    """Take a request some bytes at a time."""
    while not over.wait(0.05):
        connection.recv(2048)


def answer(connection: socket.socket, over: threading.Event) -> None:
    connection.recv(65536)
    connection.sendall(HEAD + b"Connection: close\r\n\r\nok")


def hang_up(connection: socket.socket, over: threading.Event) -> None:
    connection.recv(65536)


def test_a_header_that_trickles_ends_with_the_time() -> None:
    with server(trickle) as port, httpx.Client(timeout=5, transport=Transport()) as client:
        begun = time.monotonic()
        with within(0.5), pytest.raises(httpx.ReadTimeout):
            client.get(f"http://127.0.0.1:{port}")
        assert 0.4 < time.monotonic() - begun < 3


def test_a_request_that_is_sipped_ends_with_the_time() -> None:
    with server(sip) as port, httpx.Client(timeout=5, transport=Transport()) as client:
        begun = time.monotonic()
        with within(0.5), pytest.raises(httpx.WriteTimeout):
            client.post(f"http://127.0.0.1:{port}", content=bytes(64 << 20))
        assert 0.4 < time.monotonic() - begun < 3


def test_a_handshake_that_never_ends_does(tmp_path: Path) -> None:
    def silent(connection: socket.socket, over: threading.Event) -> None:
        while not over.wait(0.1):
            connection.sendall(b"\x16\x03\x01\x40\x00" if connection.recv(1) else b"\0")

    with server(silent) as port, httpx.Client(timeout=5, transport=Transport()) as client:
        begun = time.monotonic()
        with within(0.5), pytest.raises(httpx.HTTPError):
            client.get(f"https://127.0.0.1:{port}")
        assert time.monotonic() - begun < 3


def test_time_that_is_over_sends_nothing() -> None:
    with server(answer) as port, httpx.Client(timeout=5, transport=Transport()) as client:
        assert client.get(f"http://127.0.0.1:{port}").text == "ok"
        with within(0), pytest.raises(httpx.TimeoutException):
            client.get(f"http://127.0.0.1:{port}")


def test_the_inner_bound_cannot_lengthen_the_outer_one() -> None:
    with server(trickle) as port, httpx.Client(timeout=5, transport=Transport()) as client:
        begun = time.monotonic()
        with within(0.3), within(60), pytest.raises(httpx.ReadTimeout):
            client.get(f"http://127.0.0.1:{port}")
        assert time.monotonic() - begun < 3


def test_what_is_quick_is_as_before_and_proxies_are_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    with server(answer) as port, httpx.Client(timeout=5, transport=Transport()) as client:
        with within(5):
            assert client.get(f"http://127.0.0.1:{port}").text == "ok"
        assert client.get(f"http://127.0.0.1:{port}").text == "ok", "without a bound"
    with server(trickle) as port:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{port}")
        with httpx.Client(timeout=5, transport=Transport()) as client:
            begun = time.monotonic()
            with within(0.5), pytest.raises(httpx.ReadTimeout):
                client.get("http://chain.example/")
            assert time.monotonic() - begun < 3


def test_the_environment_says_which_hosts_a_proxy_is_for(monkeypatch: pytest.MonkeyPatch) -> None:
    heads: list[bytes] = []

    def note(connection: socket.socket, over: threading.Event) -> None:
        heads.append(connection.recv(65536))
        connection.sendall(HEAD + b"Connection: close\r\n\r\nok")

    with server(note) as proxy, server(answer) as port:
        monkeypatch.setenv("ALL_PROXY", f"ada:secret@127.0.0.1:{proxy}")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1,.example.org")
        with httpx.Client(timeout=5, transport=Transport()) as client:
            assert client.get(f"http://127.0.0.1:{port}").text == "ok"
            assert heads == []
            assert client.get("http://chain.example/path").text == "ok"
    assert heads[0].startswith(b"GET http://chain.example/path HTTP/1.1")
    assert b"Proxy-Authorization: Basic YWRhOnNlY3JldA==" in heads[0]


def test_failures_are_those_of_httpx() -> None:
    with socket.socket() as unused, httpx.Client(timeout=5, transport=Transport()) as client:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(httpx.ConnectError):
            client.get(f"http://127.0.0.1:{unused.getsockname()[1]}")
        with pytest.raises(httpx.UnsupportedProtocol):
            client.get("ftp://127.0.0.1/")
    with (
        server(hang_up) as port,
        httpx.Client(timeout=5, transport=Transport()) as client,
        pytest.raises(httpx.RemoteProtocolError),
    ):
        client.get(f"http://127.0.0.1:{port}")


def test_tls_works_through_it(tmp_path: Path) -> None:
    authority = Authority.create("tests")
    authority.save(tmp_path / "ca.pem", tmp_path / "ca-key.pem")
    authority.issue("127.0.0.1").save(tmp_path / "cert.pem", tmp_path / "key.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")

    def secret(connection: socket.socket, over: threading.Event) -> None:
        with context.wrap_socket(connection, server_side=True) as safe:
            answer(safe, over)

    verify = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
    with server(secret) as port, httpx.Client(timeout=5, transport=Transport(verify)) as client, within(5):
        assert client.get(f"https://127.0.0.1:{port}").text == "ok"


def test_a_mirror_whose_head_trickles_is_given_up() -> None:
    with server(trickle) as port:
        begun = time.monotonic()
        source = CoordinatorSource(f"http://127.0.0.1:{port}", 0.3, retry_timeout=0.0)
        with source, pytest.raises(ArtifactError) as error:
            source.fetch("ab" * 32, 100)
        assert error.value.code == "artifact-unreachable"
        assert time.monotonic() - begun < 5


def flood(connection: socket.socket, over: threading.Event) -> None:
    """Send a body that never ends."""
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while not over.is_set():
        connection.sendall(b"[" * 65536)


def test_a_coordinator_that_trickles_holds_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coordinator_api, "ANSWER_SECONDS", 0.5)
    with server(trickle) as port, CoordinatorApi(f"http://127.0.0.1:{port}", timeout=5) as api:
        began = time.monotonic()
        with pytest.raises(CoordinatorError) as caught:
            api.deployment()
        assert caught.value.code == "coordinator-unreachable"
        assert time.monotonic() - began < 4


def test_a_coordinator_that_never_ends_fills_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coordinator_api, "MAX_ANSWER", 1 << 20)
    told = pytest.raises(CoordinatorError, match="/v1/deployment with more than 1 MiB")
    with server(flood) as port, CoordinatorApi(f"http://127.0.0.1:{port}", timeout=5) as api, told:
        api.deployment()

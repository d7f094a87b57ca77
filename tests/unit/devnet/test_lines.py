# SPDX-License-Identifier: Apache-2.0
"""Lines pass on every byte, and take at least the time of their rate, whatever the machine does beside."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from folkmoot.devnet.federation import Plan
from folkmoot.devnet.lines import Line
from folkmoot.errors import InputError

SIZE = 200_000
MEGABITS = 8.0
"""A million bytes a second."""
LEAST = SIZE / 1e6 - 0.06
"""Seconds that SIZE bytes take at least; a line may be early by its credit of 0.05."""


@pytest.fixture
def echo() -> Iterator[int]:
    """Port of a server that sends back what it gets, when it has all of it."""

    def serve(connection: socket.socket) -> None:
        with connection:
            got = bytearray()
            while part := connection.recv(1 << 16):
                got += part
            connection.sendall(got)

    def accept() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=accept, daemon=True).start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)


def back(port: int, data: bytes) -> bytes:
    """Send data and return what comes back."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        got = bytearray()
        while part := connection.recv(1 << 16):
            got += part
        return bytes(got)


def test_every_byte_passes_both_ways_at_the_rate(echo: int) -> None:
    data = os.urandom(SIZE)
    with Line(MEGABITS, [echo]) as line:
        began = time.monotonic()
        assert back(line.ports[0], data) == data
        took = time.monotonic() - began
        down, up = line.passed
    assert (down.bytes, up.bytes) == (SIZE, SIZE)
    assert took >= 2 * LEAST
    assert min(down.seconds, up.seconds) >= LEAST
    assert down.seconds + up.seconds <= took


def test_connections_and_ports_share_the_rate(echo: int) -> None:
    data = os.urandom(SIZE)
    got: list[bytes] = []
    with Line(MEGABITS, [echo, echo]) as line:
        began = time.monotonic()
        threads = [
            threading.Thread(target=lambda port=port: got.append(back(port, data))) for port in line.ports
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        took = time.monotonic() - began
        earlier = line.passed[0]
        assert back(line.ports[0], b"more") == b"more"
        assert line.passed[0].since(earlier).bytes == 4
    assert got == [data, data]
    assert took >= 2 * SIZE / 1e6 - 0.06


def test_a_line_without_its_target_and_a_line_that_ends(echo: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        nobody = free.getsockname()[1]
    threads = threading.active_count()
    with Line(MEGABITS, [nobody, echo]) as line:
        assert back(line.ports[0], b"") == b""
        held = socket.create_connection(("127.0.0.1", line.ports[1]), timeout=60)
        held.sendall(b"x")
        end = time.monotonic() + 60
        while not line.passed[1].bytes:
            assert time.monotonic() < end
    with held:
        assert held.recv(1) == b""
    with pytest.raises(ConnectionRefusedError):
        back(line.ports[1], b"x")
    assert threading.active_count() <= threads + 1  # the echo's own


@pytest.mark.parametrize("link", [-1.0, 0.01, float("nan"), float("inf")])
def test_a_rate_that_no_line_has(tmp_path: Path, link: float) -> None:
    with pytest.raises(InputError, match="can't be made"):
        Plan(tmp_path, link=link)

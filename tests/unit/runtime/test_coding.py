# SPDX-License-Identifier: Apache-2.0
"""A coded body is decoded within bounds, whatever it holds."""

from __future__ import annotations

import gzip
import os
import socket
import threading
import tracemalloc
import zlib
from pathlib import Path

import httpx
import numpy as np
import pytest

from folkmoot import coordinator_api
from folkmoot.artifacts.sources import CoordinatorSource
from folkmoot.artifacts.store import FolderStore
from folkmoot.coordinator_api import CoordinatorApi
from folkmoot.errors import ArtifactError, CoordinatorError
from folkmoot.protocol.packing import pack
from folkmoot.runtime.coding import PIECE, SMALLEST, Coder, CodingError, Decoder, coded, pays
from tests.unit.runtime.test_deadlines import server

BOMB = gzip.compress(gzip.compress(bytes(1 << 26), 6), 6)
"""A few hundred bytes; decoded once 65 kB, decoded twice 64 MiB."""


def decoded(parts: list[bytes]) -> bytes:
    decoder = Decoder()
    found = b"".join(piece for part in parts for piece in decoder.decode(part))
    decoder.end()
    return found


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("size", [0, 1, PIECE, 3 * PIECE + 5])
def test_what_is_coded_is_decoded(packed: bool, size: int) -> None:
    data = np.random.default_rng(1).normal(128, 3, size).astype(np.uint8).tobytes()
    body = b"".join(coded([data[:7], data[7:]], packed))
    assert gzip.decompress(body) == data, "anybody's gzip reads it"
    assert decoded([body[at : at + 1000] for at in range(0, len(body), 1000)]) == data
    assert decoded([zlib.compress(data)]) == data


@pytest.mark.parametrize("width", [8, 4, 2])
def test_updates_lose_what_their_entropy_allows(width: int) -> None:
    most = (1 << width - 1) - 1
    drawn = np.rint(np.random.default_rng(2).standard_t(4, (400, 256)) * {8: 18, 4: 1.6, 2: 0.55}[width])
    leaves = (np.clip(drawn, -most, most) + 128).astype(np.uint8)
    data = pack(leaves, width).tobytes()
    share = np.bincount(leaves.ravel()) / leaves.size
    entropy = -float((share[share > 0] * np.log2(share[share > 0])).sum()) * leaves.size / 8
    coder = Coder(packed=True)
    size = len(coder.code(data, last=True))
    assert entropy < size < 1.03 * entropy
    assert size < len(gzip.compress(data, 9)), "the search for repetitions brings nothing"
    assert pays(data, packed=True)


def test_coding_that_brings_nothing_is_left_out() -> None:
    assert not pays(os.urandom(1 << 16), packed=True)
    assert not pays(bytes(SMALLEST - 1), packed=False)
    assert pays(bytes(SMALLEST), packed=False)


def test_pieces_are_small_however_large_the_content() -> None:
    decoder = Decoder()
    sizes = [len(piece) for piece in decoder.decode(gzip.compress(bytes(20 * PIECE + 3)))]
    decoder.end()
    assert sum(sizes) == 20 * PIECE + 3
    assert max(sizes) <= PIECE


def test_bodies_that_are_none_are_refused() -> None:
    whole = gzip.compress(b"abc" * 1000)
    empty = zlib.compressobj(0, zlib.DEFLATED, 31)
    endless = [empty.compress(b"") + empty.flush(zlib.Z_FULL_FLUSH) for _ in range(30_000)]
    for parts, why in (
        ([b"no gzip at all"], "header"),
        ([whole[:-9]], "too early"),
        ([whole + b"x"], "after its end"),
        ([whole, whole], "after its end"),
        ([whole[:-6] + bytes(6)], "check"),
        (endless, "stand for 0"),
    ):
        with pytest.raises(CodingError, match=why):
            decoded(parts)


def answering(coding: str, body: bytes) -> bytes:
    return (
        f"HTTP/1.1 200 OK\r\nContent-Encoding: {coding}\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


@pytest.mark.parametrize("coding", ["gzip", "gzip, gzip", "br", "GZIP"])
def test_a_bomb_takes_no_memory_and_no_disk(
    coding: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coordinator_api, "MAX_ANSWER", 1 << 19)
    body = gzip.decompress(BOMB) if coding != "gzip, gzip" else BOMB  # Both stand for 64 MiB.

    def talk(connection: socket.socket, over: threading.Event) -> None:
        connection.recv(65536)
        connection.sendall(answering(coding, body))

    with server(talk) as port:
        url = f"http://127.0.0.1:{port}"
        tracemalloc.start()
        try:
            with CoordinatorSource(url, retry_timeout=0, store=FolderStore(tmp_path)) as source:
                with pytest.raises(ArtifactError) as caught:
                    source.fetch("ab" * 32, 1 << 20)
                understood = coding.lower() == "gzip"
                assert caught.value.code == ("artifact-damaged" if understood else "artifact-unreachable")
            assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) <= 1 << 20
            reason = "more than 0 MiB" if understood else "coding"
            with CoordinatorApi(url) as api, pytest.raises(CoordinatorError, match=reason):
                api.health()
            assert tracemalloc.get_traced_memory()[1] < 32 << 20
        finally:
            tracemalloc.stop()


def test_a_plain_client_of_the_same_transport_reads_what_is_coded() -> None:
    from folkmoot.runtime.deadlines import Transport

    data = b"a sentence, again and again. " * 1000

    def talk(connection: socket.socket, over: threading.Event) -> None:
        connection.recv(65536)
        connection.sendall(answering("gzip", gzip.compress(data)))

    with server(talk) as port, httpx.Client(transport=Transport()) as client:
        answer = client.get(f"http://127.0.0.1:{port}/")
        assert answer.content == data
        assert "content-encoding" not in answer.headers

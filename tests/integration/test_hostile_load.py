# SPDX-License-Identifier: Apache-2.0
"""The real server process under hostile load: what one client does, and what the others notice of it.

All of 127.0.0.0/8 is this machine, so each address of it can stand for another client.
"""

from __future__ import annotations

import base64
import itertools
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest

from folkmoot.coordinator_api import CoordinatorApi
from folkmoot.devnet.anvil import Anvil
from folkmoot.errors import CoordinatorError, UpdateRefused
from folkmoot.protocol.commitment import Domain
from folkmoot.protocol.header import RoundHeader
from folkmoot.protocol.state import State
from folkmoot.runtime.processes import free_port
from tests import factories
from tests.integration.coordinator_world import (
    Process,
    Signed,
    federation,
    make_home,
    open_round,
    train,
    until,
)

HONEST = "127.0.0.2"
PATIENCE = 3.0
MIB = 1 << 20
VALUES = {
    "server.api.limits.PATIENCE": PATIENCE,
    "server.api.connections.PATIENCE": PATIENCE,
    "server.api.connections.CONNECTIONS": 128,
    "server.api.parts.STREAMS_PER_CLIENT": 4,
    "server.api.parts.ACCOUNT_BURST": 4,
    "server.api.parts.ACCOUNT_WRITES_PER_MINUTE": 1,
    "server.api.limits.BODY_LIMIT": 16 * MIB,
}
"""Limits that a test reaches soon."""


class From(CoordinatorApi):
    """A coordinator, asked from another address."""

    def __init__(self, url: str, address: str) -> None:
        super().__init__(url)
        transport = httpx.HTTPTransport(local_address=address)
        self._http = httpx.Client(base_url=url, timeout=20, transport=transport)


@dataclass
class Server:
    """A coordinator's process with an open round."""

    process: Process
    world: factories.Federation
    header: RoundHeader
    state: State

    def update(self, name: str, seed: int = 0) -> Signed:
        return train(self.world, name, self.header, self.state, seed=seed)

    def resident(self, what: str) -> int:
        """VmRSS (now) or VmHWM (most so far) of the process, in bytes."""
        assert self.process._process is not None
        text = Path(f"/proc/{self.process._process.pid}/status").read_text()
        found = re.search(rf"{what}:\s+(\d+) kB", text)
        assert found is not None
        return 1024 * int(found[1])

    def connect(self, address: str = "127.0.0.1", *, receive_buffer: int = 0) -> socket.socket:
        made = socket.socket()
        if receive_buffer:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        made.settimeout(30)
        made.bind((address, 0))
        made.connect(("127.0.0.1", self.process.port))
        return made


@pytest.fixture(scope="module")
def server(anvil_process: Anvil, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    snapshot = anvil_process.snapshot()
    world = federation(anvil_process, commit_window=1_800)
    home = tmp_path_factory.mktemp("hostile") / "home"
    make_home(
        home,
        world,
        time_travel=False,
        requests_per_second=20,
    )
    process = Process(home, free_port(), VALUES)
    process.start()
    try:
        with From(process.url, "127.0.0.9") as api:

            def healthy() -> bool:
                try:
                    return api.health()["status"] == "ok"
                except CoordinatorError:
                    return False

            until(healthy, what="the start")
            domain = Domain(world.deployment.chain_id, world.deployment.ledger)
            api.start_run(1, 9, world.coordinator, domain)
            _, header, state = open_round(api, 1)
        yield Server(process, world, header, state)
        assert "Traceback" not in process.log(), "nothing that clients do is a defect"
    finally:
        process.kill()
        world.chain.close()
        anvil_process.revert(snapshot)


@contextmanager
def dripping(server: Server, count: int, addresses: list[str]) -> Iterator[list[socket.socket]]:
    """Connections that send their head byte by byte."""
    head = itertools.chain(b"GET /v1/health HTTP/1.1\r\nHost: x\r\nX: ", itertools.repeat(97))
    held = [
        server.connect(address) for address, _ in zip(itertools.cycle(addresses), range(count), strict=False)
    ]
    done = threading.Event()

    def drip() -> None:
        while not done.wait(0.2):
            byte = bytes([next(head)])
            for one in held:
                try:
                    one.send(byte)
                except OSError:
                    continue

    thread = threading.Thread(target=drip)
    thread.start()
    try:
        yield held
    finally:
        done.set()
        thread.join()
        for one in held:
            one.close()


def ended(connection: socket.socket) -> bytes:
    """What a connection said until the server ended it."""
    said = b""
    try:
        while piece := connection.recv(1 << 16):
            said += piece
    except ConnectionError:
        pass
    return said


@pytest.mark.long
def test_two_hundred_slow_connections_keep_nobody_from_being_served(server: Server) -> None:
    began = time.monotonic()
    with dripping(server, 200, ["127.0.0.1", "127.0.0.3", "127.0.0.4", "127.0.0.5"]) as held:
        with From(server.process.url, HONEST) as honest:
            assert honest.health()["status"] == "ok"
            signed = server.update("ada")
            honest.submit_update(1, signed.wire, signed.data)
        assert time.monotonic() - began < 60
        said = [ended(one) for one in held]
    refused = sum(b"too-many-connections" in one for one in said)
    assert refused < 200
    assert sum(one == b"" for one in said) == 200 - refused, "and all the others were cut off"


@pytest.mark.long
def test_one_address_has_so_many_connections(server: Server) -> None:
    with dripping(server, 80, ["127.0.0.1"]) as held:
        said = [ended(one) for one in held]
        with From(server.process.url, HONEST) as honest:
            assert honest.health()["status"] == "ok"
    refused = [one for one in said if one]
    assert len(refused) == 80 - 64
    head, body = refused[0].split(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 429 ")
    assert b"retry-after: " in head.lower()
    assert json.loads(body)["code"] == "too-many-connections"


def test_flood_from_one_address_is_slowed_and_another_is_served(server: Server) -> None:
    with (
        httpx.Client(base_url=server.process.url) as flood,
        From(server.process.url, HONEST) as honest,
        ThreadPoolExecutor(8) as pool,
    ):
        answers = list(pool.map(lambda _: flood.get("/v1/deployment"), range(300)))
        slowed = [answer for answer in answers if answer.status_code == 429]
        assert len(slowed) > 100
        assert slowed[-1].json()["code"] == "rate-limited"
        assert int(slowed[-1].headers["Retry-After"]) >= 1
        assert honest.deployment() == server.world.deployment


def test_large_body_is_cut_off_and_never_in_memory(server: Server) -> None:
    signed = server.update("cleo")
    header = wire_header(signed)
    assert server.process._process is not None
    Path(f"/proc/{server.process._process.pid}/clear_refs").write_text("5")  # VmHWM begins anew
    before = server.resident("VmRSS")
    with server.connect(HONEST) as runs, server.connect(HONEST) as update:
        for connection, path, more in (
            (runs, "/v1/runs", "Content-Type: application/json\r\n"),
            (update, "/v1/rounds/1/updates", f"Folkmoot-Commitment: {header}\r\n"),
        ):
            connection.sendall(
                f"POST {path} HTTP/1.1\r\nHost: x\r\n{more}Transfer-Encoding: chunked\r\n\r\n".encode()
            )
        sent = [pour(runs, 512 * MIB), pour(update, 512 * MIB)]
        answers = [ended(runs), ended(update)]
    assert max(sent) < 512 * MIB, "it was not read to its end"
    assert b" 413 " in answers[0]
    assert b'"too-large"' in answers[0]
    assert b'"wrong-size"' in answers[1]
    # The first may have its limit twice in memory (pieces, and joined), the second nothing.
    assert server.resident("VmHWM") - before < 64 * MIB


def pour(connection: socket.socket, most: int) -> int:
    """Send chunks until nobody takes them; return how many bytes went."""
    chunk = b"10000\r\n" + bytes(0x10000) + b"\r\n"
    sent = 0
    try:
        while sent < most:
            connection.sendall(chunk)
            sent += 0x10000
    except OSError:
        pass
    return sent


def wire_header(signed: Signed) -> str:
    return base64.urlsafe_b64encode(signed.wire.encode()).decode()


@pytest.mark.parametrize(
    ("number", "name", "code"), [(7, "dora", b'"round-unknown"'), (1, "outsider", b'"stake-too-low"')]
)
def test_upload_is_refused_before_its_body_is_sent(
    server: Server, number: int, name: str, code: bytes
) -> None:
    signed = server.update(name)
    with server.connect(HONEST) as connection:
        connection.sendall(
            f"POST /v1/rounds/{number}/updates HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
            f"Folkmoot-Commitment: {wire_header(signed)}\r\nContent-Length: {len(signed.data)}\r\n\r\n".encode()
        )
        answer = ended(connection)
    assert b" 100 " not in answer
    assert code in answer, answer


@pytest.mark.long
def test_slow_body_is_cut_off(server: Server) -> None:
    signed = server.update("emil")
    began = time.monotonic()
    with server.connect(HONEST) as connection:
        connection.sendall(
            f"POST /v1/rounds/1/updates HTTP/1.1\r\nHost: x\r\nFolkmoot-Commitment: {wire_header(signed)}\r\n"
            f"Content-Length: {len(signed.data)}\r\n\r\n".encode()
        )
        answer, place = b"", 0
        connection.settimeout(0.2)
        while not answer and time.monotonic() - began < 30:
            try:
                connection.send(signed.data[place : place + 1])
                place += 1
                answer = connection.recv(1 << 16)
            except TimeoutError:
                continue
        connection.settimeout(10)
        answer += ended(connection)
    assert b" 408 " in answer
    assert b'"too-slow"' in answer


def test_account_pays_for_what_it_signed_and_for_nothing_else(server: Server) -> None:
    with From(server.process.url, "127.0.0.6") as api:
        dora, mallory = server.update("dora"), factories.account("ben")
        forged = bytes(mallory.sign_message(dora.commitment._message(domain_of(server))).signature)
        for _ in range(20):
            with pytest.raises(UpdateRefused, match="signature"):
                api.submit_update(1, replace(dora, signature=forged).wire, dora.data)
        codes, ben = [], server.update("ben")
        for _ in range(6):
            with pytest.raises((UpdateRefused, CoordinatorError)) as refused:
                api.submit_update(1, ben.wire, ben.data[:-1])
            codes.append(refused.value.code)
        assert codes == ["wrong-size"] * 4 + ["account-rate-limited"] * 2
        assert refused.value.details["status"] == 429
        api.submit_update(1, dora.wire, dora.data)


def domain_of(server: Server) -> Domain:
    return Domain(server.world.deployment.chain_id, server.world.deployment.ledger)


@pytest.mark.long
def test_strangers_leave_nothing_in_the_list_of_refusals(server: Server) -> None:
    with From(server.process.url, "127.0.0.7") as api:
        stranger = server.update("outsider")
        newest = api.newest_event()
        for number in (1, 8):
            with pytest.raises(UpdateRefused):
                api.submit_update(number, stranger.wire, stranger.data)
        assert api.newest_event() == newest
        listed = [item["contributor"] for item in api.items("/v1/rounds/1/updates")]
        assert stranger.commitment.contributor not in listed


def test_one_client_has_so_many_event_streams(server: Server) -> None:
    with httpx.Client(
        base_url=server.process.url, transport=httpx.HTTPTransport(local_address="127.0.0.8")
    ) as http:
        kept: list[Iterator[str]] = []
        with ExitStack() as stack:
            for _ in range(4):
                answer = stack.enter_context(http.stream("GET", "/v1/events"))
                assert answer.status_code == 200
                kept.append(answer.iter_lines())  # httpx closes a stream whose iterator is gone
                assert next(kept[-1])
            fifth = http.get("/v1/events")
            assert (fifth.status_code, fifth.json()["code"]) == (429, "too-many")
            assert "Retry-After" in fifth.headers
            with From(server.process.url, HONEST) as honest:
                assert honest.newest_event() > 0

        def again() -> bool:
            with http.stream("GET", "/v1/events") as answer:
                return answer.status_code == 200

        until(again, what="a place for another stream")


@pytest.mark.long
def test_reader_that_takes_nothing_is_cut_off(server: Server) -> None:
    report = json.dumps({"filler": "x" * 12 * MIB}).encode()
    with From(server.process.url, HONEST) as api:
        sha256 = api.upload_report(report, server.world.coordinator, domain_of(server))
        assert api.files.read(sha256) == report
    with server.connect(HONEST, receive_buffer=4096) as lazy:
        lazy.sendall(f"GET /v1/artifacts/{sha256} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        time.sleep(PATIENCE + 2)
        assert len(ended(lazy)) < len(report)


def test_what_is_no_http_is_a_problem_too(server: Server) -> None:
    for said, status, code in (
        (b"hello\r\n\r\n", b"400", "bad-request"),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 70_000, b"431", "head-too-large"),
    ):
        with server.connect(HONEST) as connection:
            connection.sendall(said)
            head, body = ended(connection).split(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 " + status)
        assert b"application/problem+json" in head
        assert json.loads(body)["code"] == code


NO_END = b"GET / HTTP/1.1\r\nX: " + b"x" * 20_000


def test_answer_arrives_although_the_client_says_more(server: Server) -> None:
    with server.connect(HONEST) as connection:
        connection.sendall(NO_END)
        for _ in range(5):
            time.sleep(0.1)  # time for the server to refuse, and to close if it did
            connection.sendall(b"x" * 50_000)  # no reset, as long as it comes to its end
        said = b""
        while piece := connection.recv(1 << 16):  # to its end: a reset would be an error here
            said += piece
    assert b"head-too-large" in said


@pytest.mark.long
@pytest.mark.parametrize(("piece", "pause"), [(100_000, 0.01), (1, 0.1)], ids=["much", "long"])
def test_who_says_more_and_more_is_read_on_for_a_while_only(server: Server, piece: int, pause: float) -> None:
    def say_on(connection: socket.socket) -> None:
        connection.sendall(NO_END)
        end = time.monotonic() + PATIENCE + 3
        while time.monotonic() < end:
            connection.sendall(b"x" * piece)
            time.sleep(pause)  # the pace of a client that is no flood

    with server.connect(HONEST) as connection, pytest.raises(ConnectionError):
        say_on(connection)


def test_request_that_breaks_off_into_nonsense_has_one_answer(server: Server) -> None:
    head = b"POST /v1/runs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n"
    with server.connect(HONEST) as connection:
        connection.sendall(head + b"\r\n2\r\n[[\r\n")
        time.sleep(0.2)  # the request is begun before it breaks
        connection.sendall(b"this is no chunk\r\n" * 1_000)
        said = ended(connection)
    assert said.startswith(b"HTTP/1.1 400 ")
    assert said.count(b"HTTP/1.1 ") == 1

# SPDX-License-Identifier: Apache-2.0
"""Small holes of the API that an audit found: redirects, doubtful requests, event streams, rights of files, paths."""

from __future__ import annotations

import json
import re
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from server.waiting import without_paths
from tests import factories
from tests.integration.coordinator_world import Running, open_round, running, train, until


@pytest.fixture
def here(world: factories.Federation, tmp_path: Path) -> Iterator[Running]:
    few = {"server.api.parts.STREAMS": 4, "server.api.parts.STREAMS_PER_CLIENT": 3}
    with running(tmp_path / "home", world, values=few, trust_proxy=True) as found:
        yield found


def address(here: Running) -> tuple[str, int]:
    host, port = str(here.api.url).removeprefix("http://").split(":")
    return host, int(port)


def test_d9_a_path_with_a_slash_leads_nowhere(here: Running) -> None:
    found = httpx.get(f"{here.api.url}/v1/rounds/", headers={"Host": "evil.example"})
    assert (found.status_code, found.json()["code"]) == (404, "unknown-path")
    assert "location" not in found.headers


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_d9_a_request_with_two_lengths_is_refused_and_the_connection_closed(
    here: Running, method: str
) -> None:
    with socket.create_connection(address(here), timeout=10) as client:
        client.sendall(
            f"{method} /v1/health HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
            "0\r\n\r\nGET /v1/rounds HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        )
        said = b""
        while piece := client.recv(1 << 16):
            said += piece
    head, _, body = said.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert json.loads(body)["code"] == "bad-request", "one answer, and none to what came behind"


def test_d9_whoever_has_most_event_streams_gives_way(here: Running) -> None:
    def stream(client: str) -> httpx.Response:
        request = connection.build_request(
            "GET", f"{here.api.url}/v1/events", headers={"X-Forwarded-For": client}
        )
        answer = connection.send(request, stream=True)
        stack.callback(answer.close)
        return answer

    with ExitStack() as stack:
        connection = stack.enter_context(httpx.Client(timeout=20))
        many = [stream("10.0.0.1") for _ in range(3)]
        one = stream("10.0.0.2")
        third = stream("10.0.0.3")
        assert third.status_code == 200
        pieces = third.iter_raw()  # kept: the stream ends with it
        assert b"hello" in next(pieces)
        assert b"hello" in b"".join(many[0].iter_raw()), (
            "the oldest of the client with most of them has ended"
        )
        assert one.status_code == 200
        assert stream("10.0.0.4").status_code == 200, "the other one has two more"
        refused = stream("10.0.0.5")
        refused.read()
        assert refused.status_code == 503, "everybody has one"


def test_d9_files_of_a_coordinator_are_its_owners(here: Running) -> None:
    home = here.coordinator.settings.home
    here.api.start_run(1, 2, here.world.coordinator, here.domain)
    _, header, state = open_round(here.api, 1)
    signed = train(here.world, "ada", header, state)
    here.api.submit_update(1, signed.wire, signed.data)
    store = home / "artifacts"
    named = [file for file in home.glob("coordinator.*") if file.suffix != ".lock"]  # those are empty
    files = [*named, *store.glob("??/*"), *store.glob("by-keccak/*")]
    assert {"coordinator.json", "coordinator.sqlite3", "coordinator.sqlite3-wal"} <= {
        file.name for file in files
    }
    assert len(files) > 8
    for file in files:
        assert not stat.S_IMODE(file.stat().st_mode) & 0o077, file


def test_d9_health_shows_no_path(here: Running) -> None:
    store = Path(here.coordinator.storage.store.location)
    moved = store.with_name("unmounted")
    store.rename(moved)
    try:
        found = until(lambda: _down(here), what="the complaint")
    finally:
        moved.rename(store)
    assert found["store"] is False
    assert "<path>" in found["error"]
    assert str(store.parent) not in json.dumps(found)


def _down(here: Running) -> dict[str, Any] | None:
    found: dict[str, Any] = httpx.get(f"{here.api.url}/v1/health").json()
    return found if found["status"] == "degraded" and found["error"] else None


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("The folder /srv/moot/artifacts can't be used.", "The folder <path> can't be used."),
        ("sqlite:////srv/moot/coordinator.sqlite3 is locked", "<path> is locked"),
        (
            "See /v1/rounds and https://rpc.example/key/path.",
            "See /v1/rounds and https://rpc.example/key/path.",
        ),
        ("s3://federation/ours can't be read", "s3://federation/ours can't be read"),
    ],
)
def test_d9_paths_are_taken_out_of_texts(text: str, shown: str) -> None:
    assert without_paths(text) == shown


def test_d9_the_documentation_loads_nothing(here: Running) -> None:
    page = httpx.get(f"{here.api.url}/v1/docs", timeout=60)
    assert page.status_code == 200
    assert "<script" not in page.text
    assert not re.search(r"""(?:src|href|url)\s*[=(]\s*["']?(?:https?:)?//""", page.text)
    assert "default-src 'none'" in page.headers["content-security-policy"]
    for text in ("POST /v1/runs", "artifact-damaged", "Last-Event-ID"):
        assert text in page.text


@pytest.mark.long
def test_d9_a_commitment_without_a_file_shuts_nobody_out(world: factories.Federation, tmp_path: Path) -> None:
    with running(tmp_path / "home", world) as here:
        here.api.start_run(1, 2, world.coordinator, here.domain)
        _, header, state = open_round(here.api, 1)
        empty = train(world, "cleo", header, state)
        world.chain.send(
            world.chain.ledger.functions.commitUpdate(empty.commitment.abi_tuple()), factories.account("cleo")
        )
        ada, ben = (train(world, name, header, state) for name in ("ada", "ben"))
        here.api.submit_update(1, ada.wire, ada.data)
        time.sleep(3)  # with the empty commitment, two would have answered
        here.api.submit_update(1, ben.wire, ben.data)
        until(lambda: here.api.get("/v1/rounds/1")["step"] == "settled", what="settlement")
        reasons = {entry["contributor"]: entry["reason"] for entry in here.api.items("/v1/rounds/1/updates")}
        assert reasons[factories.account("ben").address] == "accepted"

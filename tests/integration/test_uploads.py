# SPDX-License-Identifier: Apache-2.0
"""An update whose upload broke goes on where it stopped, whoever was killed, and nobody fills the disk with parts."""

from __future__ import annotations

import base64
import gzip
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest

from folkmoot import coordinator_api
from folkmoot.coordinator_api import CoordinatorApi
from folkmoot.devnet.anvil import Anvil
from folkmoot.errors import CoordinatorError, UpdateRefused
from folkmoot.protocol.acknowledgement import Acknowledgement
from folkmoot.protocol.commitment import Domain
from folkmoot.protocol.header import RoundHeader
from folkmoot.protocol.state import State
from folkmoot.runtime.processes import free_port
from tests import factories
from tests.integration.coordinator_world import (
    Process,
    Running,
    Signed,
    federation,
    make_home,
    open_round,
    running,
    train,
    until,
)

PART = 300
"""Bytes that arrive before a connection breaks."""

CLIENT = """
import base64, os, signal, sys
from folkmoot import coordinator_api
from folkmoot.coordinator_api import CoordinatorApi
from folkmoot.runtime import coding
coordinator_api.CHUNK, coding.SMALLEST = 100, 1 << 20
url, commitment, update = sys.argv[1:]
header = {"Folkmoot-Commitment": base64.urlsafe_b64encode(commitment.encode()).decode()}
other = CoordinatorApi(url)
def moved(new, done, total):
    while done == 300:
        if other._client().get("/v1/rounds/1/upload", headers=header).json()["offset"] > 0:
            os.kill(os.getpid(), signal.SIGKILL)
with CoordinatorApi(url) as api:
    api.submit_update(1, commitment, open(update, "rb").read(), moved=moved)
"""
"""Sends 300 bytes of an update, plain, waits until the coordinator has some of them, and kills itself."""


@pytest.fixture(autouse=True)
def every_update_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coordinator_api, "RESUMED", 1)


@pytest.fixture
def here(world: factories.Federation, tmp_path: Path) -> Iterator[Running]:
    values = {"server.coordinator.SCRUB_PAUSE": 0.1, "server.api.parts.ACCOUNT_BURST": 10_000}
    with running(tmp_path / "home", world, values=values) as found:
        found.api.start_run(1, 9, found.world.coordinator, found.domain)
        yield found


@pytest.fixture
def ready(here: Running) -> tuple[RoundHeader, State]:
    _, header, state = open_round(here.api, 1)
    return header, state


def name_of(signed: Signed) -> str:
    return f"1-{signed.commitment.contributor.lower()}-{signed.commitment.struct_hash.hex()}"


def header_of(signed: Signed) -> str:
    return base64.urlsafe_b64encode(signed.wire.encode()).decode()


def begin(url: str, signed: Signed, part: bytes, size: int | None = None, offset: int = 0) -> socket.socket:
    """Send the first part of an update, and leave the connection open."""
    place = urlsplit(url)
    connection = socket.create_connection((place.hostname, place.port))
    connection.sendall(
        f"POST /v1/rounds/1/updates HTTP/1.1\r\nHost: moot\r\nFolkmoot-Commitment: {header_of(signed)}\r\n"
        f"Upload-Offset: {offset}\r\nContent-Length: {len(signed.data) if size is None else size}\r\n\r\n".encode()
        + part
    )
    return connection


def ask(api: CoordinatorApi, signed: Signed) -> dict[str, object]:
    answer = api._client().get("/v1/rounds/1/upload", headers={"Folkmoot-Commitment": header_of(signed)})
    found: dict[str, object] = answer.json()
    return found


def broken(api: CoordinatorApi, signed: Signed, part: bytes) -> None:
    """Begin an upload, and break the connection after a part."""
    connection = begin(api.url, signed, part)
    until(lambda: ask(api, signed)["offset"] == len(part), what="the part")
    connection.close()


def unfinished(here: Running) -> list[str]:
    return sorted(here.coordinator.storage.store.unfinished())


def sent(api: CoordinatorApi, signed: Signed) -> list[int]:
    """Submit an update; return the number of bytes of each piece that is sent."""
    pieces: list[int] = []
    api.submit_update(1, signed.wire, signed.data, moved=lambda new, done, total: pieces.append(new))
    return pieces


def test_a_broken_upload_goes_on_and_is_sent_once(here: Running, ready: tuple[RoundHeader, State]) -> None:
    ada, ben, cleo, dora = (train(here.world, name, *ready) for name in ("ada", "ben", "cleo", "dora"))
    size = len(ada.data)
    assert ask(here.api, ada) == {"offset": 0, "size": size, "accepted": False, "acknowledgement": None}
    broken(here.api, ada, ada.data[:PART])
    assert sent(here.api, ada) == [size - PART]
    assert here.api.get(f"/v1/rounds/1/updates/{ada.commitment.contributor}")["status"] == "received"
    assert sent(here.api, ada) == [], "what was taken in is not sent again"
    taken = ask(here.api, ada)
    signature = str(taken.pop("acknowledgement"))
    assert taken == {"offset": size, "size": size, "accepted": True}
    made = Acknowledgement(ada.commitment, bytes.fromhex(signature[2:]))
    assert made.signer(here.domain) == here.world.coordinator.address, (
        "lost with the first answer, and given again"
    )

    broken(here.api, ben, bytes([1]) * PART)
    assert sent(here.api, ben) == [size - PART, size], "a part that is damaged costs one more upload"

    with here.coordinator.storage.store.continued(name_of(cleo)) as writer:
        writer.write(cleo.data)
    assert sent(here.api, cleo) == [], "all has arrived, and was not checked"
    assert ask(here.api, cleo)["accepted"]

    with closing(begin(here.api.url, dora, dora.data[:PART])) as hanging:
        until(lambda: ask(here.api, dora)["offset"] == PART, what="the part")
        assert sent(here.api, dora) == [size - PART], "a later upload takes over from a connection that hangs"
        assert b'"superseded"' in hanging.recv(65536)
    assert unfinished(here) == []


def test_offsets_that_do_not_fit_are_refused(here: Running, ready: tuple[RoundHeader, State]) -> None:
    ada = train(here.world, "ada", *ready)
    broken(here.api, ada, ada.data[:PART])

    def post(offset: int, content: bytes) -> dict[str, object]:
        header = {"Folkmoot-Commitment": header_of(ada), "Upload-Offset": str(offset)}
        answer = here.api._client().post("/v1/rounds/1/updates", content=content, headers=header)
        found: dict[str, object] = answer.json()
        return found

    for offset in (PART - 1, PART + 1, len(ada.data)):
        refused = post(offset, ada.data[offset:])
        assert (refused["code"], refused["offset"]) == ("wrong-offset", PART)
    for offset, content in ((PART, ada.data[PART:] + b"\x80"), (PART, b""), (10**9, b"")):
        assert post(offset, content)["code"] == "wrong-size"
    assert post(-1, b"")["code"] == "invalid-request"
    assert sent(here.api, ada) == [len(ada.data) - PART], "and the part is still there"


def test_who_begins_many_uploads_has_one_until_the_deadline(
    here: Running, ready: tuple[RoundHeader, State]
) -> None:
    header, state = ready
    ada, ben = (train(here.world, name, header, state) for name in ("ada", "ben"))
    broken(here.api, ben, ben.data[:PART])
    for seed in range(1, 6):
        broken(here.api, train(here.world, "ada", header, state, seed=seed), bytes(PART + seed))
    assert len(unfinished(here)) == 2
    with pytest.raises(UpdateRefused) as refused:
        sent(here.api, replace(ada, signature=ben.signature))
    assert refused.value.code == "invalid-signature", "nobody else reaches an account's upload"
    outsider = train(here.world, "outsider", header, state)
    begin(here.api.url, outsider, outsider.data[:PART]).close()
    assert ask(here.api, outsider)["code"] == "stake-too-low"
    assert len(unfinished(here)) == 2
    assert sent(here.api, ada) == [len(ada.data)]
    assert [name.split("-")[1] for name in unfinished(here)] == [ben.commitment.contributor.lower()]
    assert sent(here.api, ben) == [len(ben.data) - PART], "and ben's part was left alone"
    cleo = train(here.world, "cleo", header, state)
    broken(here.api, cleo, cleo.data[:PART])
    here.world.anvil.advance(int(here.api.get("/v1/policies/1")["commitWindow"]))
    until(lambda: unfinished(here) == [], what="the deletion of what no round takes any more")


def test_coded_updates_are_taken_and_bombs_are_not(here: Running, ready: tuple[RoundHeader, State]) -> None:
    ada = train(here.world, "ada", *ready)
    written = here.coordinator.metrics.carried.labels("in")._value.get

    def post(body: bytes, name: str = "gzip", offset: int = 0) -> tuple[int, str]:
        headers = {
            "Folkmoot-Commitment": header_of(ada),
            "Content-Encoding": name,
            "Upload-Offset": str(offset),
        }
        answer = httpx.post(f"{here.api.url}/v1/rounds/1/updates", content=body, headers=headers)
        return answer.status_code, str(answer.json().get("code"))

    assert post(gzip.compress(bytes(1 << 26))) == (422, "wrong-size")
    assert post(gzip.compress(gzip.compress(ada.data))) == (422, "wrong-size")
    assert post(gzip.compress(ada.data)[:-1]) == (400, "invalid-coding")
    assert post(gzip.compress(ada.data) + b"x") == (400, "invalid-coding")
    assert post(b"\x1f\x8b no gzip") == (400, "invalid-coding")
    assert post(gzip.compress(ada.data), "br") == (415, "unsupported-coding")
    assert unfinished(here) == [], "nothing of them stays"
    broken(here.api, ada, ada.data[:PART])
    before = written()
    assert sent(here.api, ada) == [len(ada.data) - PART]
    assert 0 < written() - before < len(ada.data) - PART, "the rest travels coded"
    assert ask(here.api, ada)["accepted"]


def test_files_travel_coded_to_whom_takes_that(here: Running, ready: tuple[RoundHeader, State]) -> None:
    name, state = here.api.get("/v1/rounds/current")["baseState"], ready[1].to_bytes()
    with httpx.Client(base_url=here.api.url) as http:
        place = f"/v1/artifacts/{name}"
        answers = {
            accepted: http.get(place, headers={"Accept-Encoding": accepted})
            for accepted in ("gzip", "br, GZIP;q=0.5", "identity", "gzip;q=0", "gzip;q=0.000, *")
        }
        coded = [accepted for accepted, answer in answers.items() if "content-encoding" in answer.headers]
        assert coded == ["gzip", "br, GZIP;q=0.5"]
        assert {answer.content for answer in answers.values()} == {state}
        assert answers["gzip"].num_bytes_downloaded < len(state)
        assert answers["gzip"].headers["etag"] == f'"{name}-gzip"'
        assert {answer.headers["vary"] for answer in answers.values()} == {"Accept-Encoding"}
        part = http.get(place, headers={"Range": "bytes=5-", "Accept-Encoding": "gzip"})
        assert (part.status_code, part.content) == (206, state[5:])
        assert "content-encoding" not in part.headers
        for tag in (f'"{name}"', f'"{name}-gzip"'):
            assert http.get(place, headers={"If-None-Match": tag}).status_code == 304
        assert http.head(place).headers["content-length"] == str(len(state))


@pytest.mark.long
@pytest.mark.timeout(300)
def test_killed_on_both_sides_an_upload_goes_on(anvil: Anvil, tmp_path: Path) -> None:
    world = federation(anvil)
    home = tmp_path / "home"
    make_home(home, world)
    process = Process(home, free_port(), {"server.api.parts.ACCOUNT_BURST": 10_000})
    process.start()
    try:
        with CoordinatorApi(process.url) as api:

            def there(signed: Signed) -> object:
                try:
                    return ask(api, signed).get("offset")
                except httpx.HTTPError:
                    return None

            def healthy() -> bool:
                try:
                    return api.health()["status"] == "ok"
                except CoordinatorError:
                    return False

            until(healthy, what="the start")
            api.start_run(1, 9, world.coordinator, Domain(world.deployment.chain_id, world.deployment.ledger))
            _, header, state = open_round(api, 1)
            ada, ben = (train(world, name, header, state) for name in ("ada", "ben"))
            update = tmp_path / "update"
            update.write_bytes(ben.data)
            client = subprocess.run([sys.executable, "-c", CLIENT, process.url, ben.wire, str(update)])
            assert client.returncode == -signal.SIGKILL
            with closing(begin(process.url, ada, ada.data[:PART])):
                until(lambda: there(ada) == PART, what="a part of ada's update")
                process.kill()
            process.start()
            until(healthy, what="the restart")
            assert there(ada) == PART
            part = there(ben)
            assert isinstance(part, int)
            assert 0 < part < len(ben.data)
            assert sent(api, ada) == [len(ada.data) - PART]
            assert sent(api, ben) == [len(ben.data) - part]
            received = {item["contributor"] for item in api.items("/v1/rounds/1/updates")}
            assert received == {ada.commitment.contributor, ben.commitment.contributor}
    finally:
        process.kill()
        world.chain.close()


def test_a_hostile_coordinator_gets_one_update_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    data, told = np.random.default_rng(3).bytes(1000), dict[str, object]()

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return httpx.Response(200, json=told)
        sizes.append(len(request.read()))
        problem = {"code": "wrong-offset", "detail": "no", "offset": 7}
        return httpx.Response(409, json=problem)

    with CoordinatorApi("http://moot") as api:
        api._http = httpx.Client(base_url="http://moot", transport=httpx.MockTransport(answer))
        for there in (-1, 1001, True, "5", None, 5.0):
            told.update(offset=there, size=1000, accepted=False)
            sizes: list[int] = []
            with pytest.raises(CoordinatorError, match="can't be read"):
                api.submit_update(1, "{}", data)
            assert sizes == []
        told.update(offset=5, size=1000)
        with pytest.raises(CoordinatorError) as caught:
            api.submit_update(1, "{}", data)
        assert (caught.value.code, sizes) == ("wrong-offset", [995, 1000])

# SPDX-License-Identifier: Apache-2.0
"""Sources of artifacts: what they hand out is what its name promises."""

from __future__ import annotations

import hashlib
from pathlib import Path

import httpx
import pytest

from folkmoot.artifacts.sources import CoordinatorSource, FolderSource, open_source
from folkmoot.artifacts.store import FolderStore
from folkmoot.errors import ArtifactError
from folkmoot.protocol.hashing import keccak
from tests.file_server import FileServer

DATA = b"a file of a federation" * 1000
SHA256 = hashlib.sha256(DATA).hexdigest()
KECCAK = keccak(DATA).hex()
ENOUGH = len(DATA)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / SHA256[:2]).mkdir()
    (tmp_path / SHA256[:2] / SHA256).write_bytes(DATA)
    (tmp_path / "by-keccak").mkdir()
    (tmp_path / "by-keccak" / KECCAK).write_text(SHA256 + "\n")
    return tmp_path


def coordinator(answer: httpx.Response | Exception) -> CoordinatorSource:
    def handle(request: httpx.Request) -> httpx.Response:
        if isinstance(answer, Exception):
            raise answer
        return answer

    return CoordinatorSource(
        "http://coordinator.test/", retry_timeout=0, transport=httpx.MockTransport(handle)
    )


def test_a_folder_hands_out_a_file_by_sha256_and_a_document_by_keccak(folder: Path) -> None:
    source = FolderSource(folder)
    assert source.fetch(SHA256, ENOUGH).read_bytes() == DATA
    assert source.fetch("0x" + SHA256.upper(), ENOUGH).read_bytes() == DATA
    assert source.document(KECCAK) == DATA


def test_a_folder_names_a_missing_file(folder: Path) -> None:
    with pytest.raises(ArtifactError, match="00" * 32) as caught:
        FolderSource(folder).fetch("00" * 32, ENOUGH)
    assert caught.value.code == "artifact-missing"
    with pytest.raises(ArtifactError) as caught:
        FolderSource(folder).document("00" * 32)
    assert caught.value.code == "artifact-missing"


def test_a_folder_that_can_not_be_read_says_nothing_about_its_files(folder: Path, tmp_path: Path) -> None:
    (folder / "by-keccak" / KECCAK).unlink()
    (folder / "by-keccak" / KECCAK).mkdir()
    source, gone = FolderSource(folder), FolderSource(tmp_path / "nowhere")
    for attempt in (
        lambda: source.document(KECCAK),
        lambda: gone.fetch(SHA256, ENOUGH),
    ):
        with pytest.raises(ArtifactError, match="can't be read from") as caught:
            attempt()
        assert caught.value.code == "artifact-unreachable"
    assert not (tmp_path / "nowhere").exists(), "it is only read"


def test_a_folder_refuses_a_damaged_file(folder: Path) -> None:
    path = folder / SHA256[:2] / SHA256
    path.write_bytes(DATA[:-1] + b"!")
    for attempt in (
        lambda: FolderSource(folder).fetch(SHA256, ENOUGH),
        lambda: FolderSource(folder).document(KECCAK),
    ):
        with pytest.raises(ArtifactError, match=SHA256) as caught:
            attempt()
        assert caught.value.code == "artifact-damaged"


def test_a_file_larger_than_it_may_be_is_refused(folder: Path) -> None:
    with pytest.raises(ArtifactError, match="more than") as caught:
        FolderSource(folder).fetch(SHA256, ENOUGH - 1)
    assert caught.value.code == "artifact-damaged"
    with (
        pytest.raises(ArtifactError, match="more than"),
        coordinator(httpx.Response(200, content=DATA)) as source,
    ):
        source.fetch(SHA256, ENOUGH - 1)


@pytest.mark.parametrize("pointer", ["", "../../etc/passwd", "zz" * 32, "\xff" * 64])
def test_a_pointer_that_is_no_sha256_is_refused(folder: Path, pointer: str) -> None:
    (folder / "by-keccak" / KECCAK).write_text(pointer)
    with pytest.raises(ArtifactError, match="does not hold a sha256"):
        FolderSource(folder).document(KECCAK)


def test_a_pointer_to_another_document_is_refused(folder: Path) -> None:
    (folder / "by-keccak" / ("00" * 32)).write_text(SHA256)
    with pytest.raises(ArtifactError, match=KECCAK) as caught:
        FolderSource(folder).document("00" * 32)
    assert caught.value.code == "artifact-damaged"


@pytest.mark.parametrize("name", ["", "abc", "../../../etc/passwd", "g" * 64])
def test_a_name_that_is_no_hash_never_reaches_the_disk(folder: Path, name: str) -> None:
    with pytest.raises(ArtifactError, match="not the hash of a file"):
        FolderSource(folder).fetch(name, ENOUGH)


def test_a_coordinator_is_asked_once_and_its_copy_can_be_discarded() -> None:
    asked = []

    def handle(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        return httpx.Response(200, content=DATA)

    source = CoordinatorSource("http://coordinator.test", transport=httpx.MockTransport(handle))
    with source:
        path = source.fetch(SHA256, ENOUGH)
        assert path.read_bytes() == DATA
        assert source.fetch(SHA256, ENOUGH) == path
        assert asked == [f"/v1/artifacts/{SHA256}"]
        source.discard(SHA256)
        assert not path.exists()
        assert source.document(KECCAK) == DATA
        assert asked[1:] == [f"/v1/artifacts/by-keccak/{KECCAK}"]
    assert not path.parent.parent.exists()


def test_what_a_coordinator_sends_is_hashed() -> None:
    with coordinator(httpx.Response(200, content=DATA + b"!")) as source:
        for attempt in (lambda: source.fetch(SHA256, 2 * ENOUGH), lambda: source.document(KECCAK)):
            with pytest.raises(ArtifactError) as caught:
                attempt()
            assert caught.value.code == "artifact-damaged"
        assert not list(source._store.incoming.iterdir())


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (httpx.Response(404), "artifact-missing"),
        (httpx.Response(500), "artifact-unreachable"),
        (httpx.Response(429), "artifact-unreachable"),
        (httpx.ConnectError("connection refused"), "artifact-unreachable"),
    ],
)
def test_no_answer_is_not_the_same_as_no_file(answer: httpx.Response | Exception, code: str) -> None:
    with coordinator(answer) as source, pytest.raises(ArtifactError) as caught:
        source.fetch(SHA256, ENOUGH)
    assert caught.value.code == code


def test_a_busy_coordinator_is_asked_again_when_it_says() -> None:
    answers: list[httpx.Response | Exception] = [
        httpx.Response(429, headers={"Retry-After": "7"}),
        httpx.Response(503),
        httpx.ReadError("the connection broke"),
        httpx.Response(200, content=DATA),
    ]
    pauses: list[float] = []

    def handle(request: httpx.Request) -> httpx.Response:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    transport = httpx.MockTransport(handle)
    with CoordinatorSource("http://coordinator.test", transport=transport, sleep=pauses.append) as source:
        assert source.fetch(SHA256, ENOUGH).read_bytes() == DATA
        assert pauses == [7, 1, 1]
        answers += [httpx.Response(429, headers={"Retry-After": "119"}), httpx.Response(429)] * 2
        with pytest.raises(ArtifactError, match="HTTP 429"):
            source.document(KECCAK)
        assert pauses[3:] == [119, 1]


def test_a_location_is_a_url_or_a_folder(folder: Path) -> None:
    assert isinstance(open_source(str(folder)), FolderSource)
    source = open_source("http://127.0.0.1:1")
    assert isinstance(source, CoordinatorSource)
    source.close()
    with pytest.raises(ArtifactError, match="no folder"):
        open_source(str(folder / "nowhere"))


def test_a_broken_transfer_continues_where_it_broke(tmp_path: Path) -> None:
    seen: list[tuple[int, int, int | None]] = []
    with FileServer({SHA256: DATA}) as server:
        server.break_after = [1000, 5000]
        source = CoordinatorSource(
            server.url,
            store=FolderStore(tmp_path),
            moved=lambda *moved: seen.append(moved),
            sleep=lambda seconds: None,
        )
        with source:
            assert source.fetch(SHA256, ENOUGH).read_bytes() == DATA
        assert server.ranges == [None, "bytes=1000-", "bytes=6000-"]
        assert server.sent == ENOUGH, "no byte was sent twice"
        assert seen[-1][1:] == (ENOUGH, ENOUGH)
        assert sum(new for new, _, _ in seen) == ENOUGH


def test_a_later_process_and_another_source_continue_a_part(tmp_path: Path) -> None:
    with FileServer({SHA256: DATA}) as first, FileServer({SHA256: DATA}) as second:
        first.break_after = [7000]
        with (
            CoordinatorSource(first.url, store=FolderStore(tmp_path), retry_timeout=0) as source,
            pytest.raises(ArtifactError) as caught,
        ):
            source.fetch(SHA256, ENOUGH)
        assert caught.value.code == "artifact-unreachable"
        with CoordinatorSource(second.url, store=FolderStore(tmp_path)) as source:
            assert source.fetch(SHA256, ENOUGH).read_bytes() == DATA
        assert second.ranges == ["bytes=7000-"]


@pytest.mark.parametrize(
    "part", [b"another file", DATA[:500] + b"!", DATA + b"more", DATA[:-1] + b"!"], ids=len
)
def test_a_part_of_another_file_is_fetched_again(tmp_path: Path, part: bytes) -> None:
    FolderStore(tmp_path).unfinished_path(SHA256).write_bytes(part)
    with (
        FileServer({SHA256: DATA}) as server,
        CoordinatorSource(server.url, store=FolderStore(tmp_path), sleep=lambda seconds: None) as source,
    ):
        assert source.fetch(SHA256, 2 * ENOUGH).read_bytes() == DATA


def test_a_part_that_is_whole_is_not_fetched(tmp_path: Path) -> None:
    FolderStore(tmp_path).unfinished_path(SHA256).write_bytes(DATA)
    with (
        FileServer({SHA256: DATA}) as server,
        CoordinatorSource(server.url, store=FolderStore(tmp_path)) as source,
    ):
        assert source.fetch(SHA256, ENOUGH).read_bytes() == DATA
        assert server.ranges == []


def test_a_server_without_ranges_sends_all_again(tmp_path: Path) -> None:
    FolderStore(tmp_path).unfinished_path(SHA256).write_bytes(DATA[:500])
    with (
        FileServer({SHA256: DATA}, ranges=False) as server,
        CoordinatorSource(server.url, store=FolderStore(tmp_path)) as source,
    ):
        assert source.fetch(SHA256, ENOUGH).read_bytes() == DATA
        assert server.ranges == ["bytes=500-"]


def test_a_file_that_is_missing_leaves_no_part(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    with FileServer({}) as server, CoordinatorSource(server.url, store=store) as source:
        with pytest.raises(ArtifactError) as caught:
            source.fetch(SHA256, ENOUGH)
        assert caught.value.code == "artifact-missing"
    assert store.unfinished() == {}


def test_a_lying_server_leaves_no_part(tmp_path: Path) -> None:
    with (
        FileServer({SHA256: DATA[:-1] + b"!"}) as server,
        CoordinatorSource(server.url, store=FolderStore(tmp_path)) as source,
        pytest.raises(ArtifactError) as caught,
    ):
        source.fetch(SHA256, ENOUGH)
    assert caught.value.code == "artifact-damaged"
    assert FolderStore(tmp_path).unfinished() == {}

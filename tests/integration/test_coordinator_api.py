# SPDX-License-Identifier: Apache-2.0
"""The HTTP interface as a client sees it: problems, limits, events, documentation."""

from __future__ import annotations

import base64
import itertools
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from folkmoot.artifacts.sources import CoordinatorSource
from folkmoot.artifacts.store import FolderStore
from folkmoot.devnet.anvil import Anvil
from folkmoot.errors import ArtifactError, CoordinatorError
from folkmoot.protocol.hashing import sha256_hex
from server.api.limits import BODY_LIMIT
from server.db import events
from tests import factories
from tests.integration.coordinator_world import Running, federation, genesis, running, until


@pytest.fixture(scope="module")
def here(anvil_process: Anvil, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    snapshot = anvil_process.snapshot()
    world = federation(anvil_process)
    with running(tmp_path_factory.mktemp("home"), world, time_travel=False) as found:
        until(lambda: found.worker.status.indexed_block > 0)
        yield found
    world.chain.close()
    anvil_process.revert(snapshot)


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/nothing", 404, "unknown-path"),
        ("GET", "/v1/rounds/99", 404, "round-unknown"),
        ("GET", "/v1/rounds/99/updates", 404, "round-unknown"),
        ("GET", "/v1/rounds/current", 404, "no-open-round"),
        ("GET", "/v1/rounds/-1", 422, "invalid-request"),
        ("GET", "/v1/rounds?limit=0", 422, "invalid-request"),
        ("GET", "/v1/rounds?cursor=zzz", 422, "invalid-cursor"),
        ("GET", "/v1/policies/7", 404, "unknown-policy"),
        ("GET", "/v1/contributors/0x12", 422, "invalid-address"),
        ("GET", "/v1/contributors/0x" + "11" * 20, 404, "unknown-contributor"),
        ("GET", "/v1/models/9", 404, "unknown-version"),
        ("GET", "/v1/models/9/download", 404, "unknown-version"),
        ("GET", "/v1/models/active/download", 404, "no-active-version"),
        ("GET", "/v1/proposals/1", 404, "unknown-proposal"),
        ("GET", "/v1/artifacts/" + "00" * 32, 404, "artifact-unknown"),
        ("GET", "/v1/artifacts/by-keccak/" + "00" * 32, 404, "artifact-unknown"),
        ("GET", "/v1/artifacts/..%2f..%2fkey.json", 404, "unknown-path"),
        ("GET", "/v1/runs/current", 404, "unknown-run"),
        ("GET", "/v1/events?after=x", 422, "invalid-request"),
        ("DELETE", "/v1/rounds", 405, "method-not-allowed"),
        ("POST", "/v1/runs", 422, "invalid-request"),
    ],
)
def test_error_is_a_problem_with_a_stable_code(
    here: Running, method: str, path: str, status: int, code: str
) -> None:
    answer = here.api._client().request(method, path)
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (status, code), problem
    assert answer.headers["content-type"] == "application/problem+json"
    assert {"type", "title", "status", "detail", "code", "remedy"} <= set(problem)


def test_large_body_is_refused_whether_declared_or_not(here: Running) -> None:
    http = here.api._client()
    declared = http.post("/v1/runs", content=b"x" * (BODY_LIMIT + 1))
    streamed = http.post("/v1/runs", content=iter([b"x" * BODY_LIMIT, b"x"]))
    for answer in (declared, streamed):
        assert (answer.status_code, answer.json()["code"]) == (413, "too-large")


def test_defect_shows_no_trace(here: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise KeyError("secret")

    monkeypatch.setattr(here.coordinator.chain.ledger, "current_policy", broken)
    answer = here.api._client().get("/v1/policies")
    assert answer.status_code == 500
    assert answer.json()["code"] == "defect"
    assert "secret" not in answer.text


def test_reads_describe_the_federation(here: Running) -> None:
    api = here.api
    assert api.deployment() == here.world.deployment
    (policy,) = api.items("/v1/policies")
    assert (policy["rule"], policy["current"], policy["minStake"]) == ("mean", True, str(50 * 10**18))
    people = list(api.items("/v1/contributors", limit=2))
    assert len(people) == len({person["address"] for person in people}) == 6
    (version,) = api.items("/v1/models")
    assert (version["version"], version["status"]) == (0, "candidate")
    made, state = genesis()
    assert api.files.document(here.world.deployment.genesis_hash[2:]) == made.to_json()
    assert api.files.read(made.state) == state.to_bytes()
    assert list(api.items("/v1/proposals")) == list(api.items("/v1/rounds")) == []
    assert api.health()["chainLag"] == 0
    assert api.health()["warnings"] == []
    answer = api._client().get("/v1/health", headers={"Origin": "https://elsewhere.example"})
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "folkmoot_indexed_block" in api._client().get("/metrics").text


def test_download_is_whole_or_nothing(here: Running, tmp_path: Path) -> None:
    made, state = genesis()
    store = FolderStore(tmp_path)
    with CoordinatorSource(here.api.url, store=store) as source:
        with pytest.raises(ArtifactError, match="is not at") as caught:
            source.fetch("00" * 32, 100)
        assert caught.value.code == "artifact-missing"
        with pytest.raises(ArtifactError, match="more than"):
            source.fetch(made.state, len(state.to_bytes()) - 1)
        assert not store.has(made.state)
        assert source.fetch(made.state, len(state.to_bytes())).read_bytes() == state.to_bytes()


def test_report_needs_stake_and_a_signature(here: Running) -> None:
    report = b'{"accuracy": 0.9}'
    sha256 = here.api.upload_report(report, here.world["ada"], here.domain)
    assert sha256 == sha256_hex(report)
    assert here.api.files.read(sha256) == report
    assert here.api.upload_report(report, here.world["ada"], here.domain) == sha256
    with pytest.raises(CoordinatorError) as poor:
        here.api.upload_report(report, here.world["outsider"], here.domain)
    assert poor.value.code == "no-stake"
    with pytest.raises(CoordinatorError) as words:
        here.api.upload_report(b"not json", here.world["ada"], here.domain)
    assert words.value.code == "invalid-report"
    stale = {"account": here.world["ada"].address, "deadline": str(int(time.time()) - 1), "signature": "0x00"}
    header = base64.urlsafe_b64encode(json.dumps(stale).encode()).decode()
    answer = here.api._client().post("/v1/artifacts", content=report, headers={"Folkmoot-Upload": header})
    assert answer.json()["code"] == "signature-expired"
    empty = base64.urlsafe_b64encode(
        json.dumps({**stale, "deadline": str(int(time.time()) + 60), "signature": ""}).encode()
    ).decode()
    answer = here.api._client().post("/v1/artifacts", content=report, headers={"Folkmoot-Upload": empty})
    assert answer.json()["code"] == "not-authorised"


def test_event_stream_is_taken_up_where_it_broke(here: Running) -> None:
    def tell(number: int) -> None:
        with here.coordinator.storage.database.write() as session:
            events.append(session, "test", {"number": number})

    start = here.api.newest_event()
    for number in range(3):
        tell(number)
    first = list(itertools.islice(here.api.events(start), 2))
    assert [event.data["number"] for event in first] == [0, 1]
    rest = here.api.events(first[-1].id)
    assert next(rest).data["number"] == 2
    tell(3)
    assert next(rest).data["number"] == 3
    rest.close()  # type: ignore[attr-defined]


def test_documentation_covers_the_interface(here: Running) -> None:
    document = here.api.get("/v1/openapi.json")
    paths = document["paths"]
    for path in (
        "/v1/health", "/v1/deployment", "/v1/policies", "/v1/contributors/{address}", "/v1/rounds/current",
        "/v1/rounds/{round_number}/updates", "/v1/models/active/download", "/v1/proposals", "/v1/artifacts/{sha256}",
        "/v1/artifacts/by-keccak/{keccak}", "/v1/runs", "/v1/events", "/metrics",
    ):  # fmt: skip
        assert path in paths, path
    for path, methods in paths.items():
        for method, operation in methods.items():
            assert operation.get("description"), f"{method} {path} says what it does"
            assert operation.get("tags"), f"{method} {path} has a subject"
    for name, schema in document["components"]["schemas"].items():
        for field, shape in schema.get("properties", {}).items():
            if name.endswith("View"):
                assert "_" not in field, f"{name}.{field} is camelCase"
                assert shape.get("description"), f"{name}.{field} is described"


def test_too_many_requests_are_slowed(here: Running, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with running(tmp_path / "home", here.world, requests_per_second=0.375, time_travel=False) as small:
        codes = [small.api._client().get("/v1/deployment") for _ in range(4)]
    assert [answer.status_code for answer in codes] == [200, 200, 200, 429]
    assert codes[-1].json()["code"] == "rate-limited"
    assert int(codes[-1].headers["Retry-After"]) > 0
    assert factories.PASSWORD not in codes[-1].text

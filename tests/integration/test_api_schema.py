# SPDX-License-Identifier: Apache-2.0
"""The OpenAPI document is true: schemathesis asks the real coordinator what it allows, and much that it does not.

The database is a real one with real rows: a settled round with a refusal, an open one with an update, a proposal.
What exists is named to schemathesis by examples, or random numbers would meet nothing but 404.
"""

from __future__ import annotations

import base64
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import settings
from schemathesis.checks import CHECKS
from schemathesis.config import (
    ChecksConfig,
    GenerationConfig,
    ProjectConfig,
    ProjectsConfig,
    SchemathesisConfig,
)
from sqlalchemy import event

from folkmoot.chain import governance
from folkmoot.devnet.anvil import Anvil
from folkmoot.errors import UpdateRefused
from server.api.app import interface
from server.api.codes import CODES
from tests import factories, postgres
from tests.integration.coordinator_world import Running, federation, open_round, running, train, until

EXAMPLES = {
    "round_number": ["1", "2"],
    "address": [factories.account("ada").address, factories.account("cleo").address],
    "policy_id": ["1"],
    "sha256": ["1" * 64, "2" * 64],
    "keccak": ["3" * 64],
    "run_id": ["4" * 32],
    "proposal_id": ["5" * 78],
    "folkmoot-commitment": ["6" * 64],
}
"""Examples of parameters. Those of repeated digits stand for what is known only once it is there."""


@dataclass(frozen=True)
class Api:
    """A coordinator that has something to tell."""

    here: Running
    real: dict[str, str]
    """Values in place of examples."""

    def fill(self, case: schemathesis.Case[Any]) -> None:
        """Put what is there into a request that has an example in its place."""
        for values in (case.path_parameters, case.headers):
            for name, value in (values or {}).items():
                if isinstance(value, str) and value in self.real:
                    values[name] = self.real[value]


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.long)])
def api(
    request: pytest.FixtureRequest, anvil_process: Anvil, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Api]:
    snapshot = anvil_process.snapshot()
    world = federation(anvil_process)
    chosen: dict[str, Any] = {"requests_per_second": 100_000.0}
    with ExitStack() as stack:
        if request.param == "postgresql":
            chosen["database_url"] = stack.enter_context(postgres.postgres()).url
        here = stack.enter_context(running(tmp_path_factory.mktemp("home"), world, **chosen))
        yield Api(here, history(here))
    world.chain.close()
    anvil_process.revert(snapshot)


def history(here: Running) -> dict[str, str]:
    """Let something of everything happen; return what is there in place of examples."""
    here.api.start_run(2, 3, here.world.coordinator, here.domain)
    _, header, state = open_round(here.api, 1)
    first = [train(here.world, name, header, state) for name in ("ada", "ben", "cleo")]
    for signed in first[:2]:
        here.api.submit_update(1, signed.wire, signed.data)
    with pytest.raises(UpdateRefused):
        here.api.submit_update(1, first[2].wire, first[2].data[:-1])
    _, header, state = open_round(here.api, 2)
    ada, ben = (train(here.world, name, header, state) for name in ("ada", "ben"))
    here.api.submit_update(2, ada.wire, ada.data)
    until(lambda: here.api.get("/v1/rounds/1")["step"] == "settled", what="settlement")
    settled, chain = here.api.get("/v1/rounds/1"), here.world.chain
    proposal, _ = governance.propose(
        chain, here.world["ada"], [governance.activation(chain, 1)], "Release the first round"
    )
    here.world.anvil.advance(factories.GOVERNANCE.voting_delay + 1)
    governance.vote(chain, here.world["ada"], governance.find(chain, str(proposal)), "for", "it is good")
    until(lambda: list(here.api.items("/v1/proposals")), what="the proposal")
    return {
        "1" * 64: settled["verdicts"],
        "2" * 64: settled["state"],
        "3" * 64: settled["verdictHash"],
        "4" * 32: settled["run"],
        "5" * 78: str(proposal),
        "6" * 64: base64.urlsafe_b64encode(ben.wire.encode()).decode(),
    }


def document() -> Any:
    """What the coordinator says of itself, with examples."""
    found = interface().openapi()
    for operation in (one for path in found["paths"].values() for one in path.values()):
        for parameter in operation.get("parameters", []):
            values = EXAMPLES.get(parameter["name"].lower(), [])
            parameter["examples"] = {value: {"value": value} for value in values}
    return found


def config() -> SchemathesisConfig:
    # 413: a body may also be refused for its size, before its form is read.
    refusals = ["400", "401", "403", "404", "405", "406", "409", "413", "415", "422", "428", "429", "5xx"]
    project = ProjectConfig(
        generation=GenerationConfig(deterministic=True),
        checks=ChecksConfig.from_dict({"negative_data_rejection": {"expected-statuses": refusals}}),
    )
    return SchemathesisConfig(projects=ProjectsConfig(default=project), seed=5)


described = schemathesis.openapi.from_dict(document(), config=config()).exclude(path="/v1/events")


@schemathesis.check
def valid_is_not_called_invalid(
    _context: schemathesis.CheckContext, response: schemathesis.Response, case: schemathesis.Case[Any]
) -> None:
    """What the document allows may be refused for what it says, but not for its form."""
    positive = case.meta is not None and case.meta.generation.mode is schemathesis.GenerationMode.POSITIVE
    assert not (positive and response.status_code == 422 and response.json()["code"] == "invalid-request")


def ask(case: schemathesis.Case[Any], api: Api) -> None:
    api.fill(case)
    # What stands in its place is `valid_is_not_called_invalid`.
    case.call_and_validate(
        base_url=api.here.api.url, excluded_checks=[CHECKS.get_one("positive_data_acceptance")]
    )


# On PostgreSQL the longer test below has these examples too.
@pytest.mark.parametrize("api", ["sqlite"], indirect=True)
@described.parametrize()
@settings(max_examples=20, derandomize=True, deadline=None)
def test_every_answer_is_in_the_document(case: schemathesis.Case[Any], api: Api) -> None:
    ask(case, api)


@pytest.mark.long
@described.parametrize()
@settings(max_examples=80, deadline=None)
def test_every_answer_is_in_the_document_at_length(case: schemathesis.Case[Any], api: Api) -> None:
    ask(case, api)


def said(api: Api, request: bytes) -> tuple[int, dict[str, Any]]:
    """Status and problem of what is sent as it is, byte for byte."""
    address = httpx.URL(api.here.api.url)
    with socket.create_connection((address.host, address.port), timeout=20) as connection:
        connection.sendall(request)
        answer = b""
        while piece := connection.recv(1 << 16):
            answer += piece
    head, body = answer.split(b"\r\n\r\n", 1)
    assert b"content-type: application/problem+json" in head.lower(), answer
    return int(head.split()[1]), json.loads(body)


def written(line: str, body: bytes = b"", **headers: str | bytes) -> bytes:
    """A request."""
    lines = [f"{line} HTTP/1.1".encode("latin-1"), b"Host: x", b"Connection: close"]
    headers |= {"Content-Length": str(len(body))} if body else {}
    for name, value in headers.items():
        text = value if isinstance(value, bytes) else value.encode()
        lines.append(name.replace("_", "-").encode() + b": " + text)
    return b"\r\n".join([*lines, b"", body])


def base64url(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode("utf-8", "surrogatepass")).decode()


JSON_BODY = {"Content_Type": "application/json"}


@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        (written("GET /v1/rounds/%00"), 422, "invalid-request"),
        (written("GET /v1/contributors/%00%ff%ed%a0%80"), 422, "invalid-address"),
        (written("GET /v1/contributors/" + "9" * 9000), 422, "invalid-address"),
        (written("GET /v1/rounds/" + "9" * 5000), 422, "invalid-request"),
        (written("GET /v1/rounds/9223372036854775808"), 422, "invalid-request"),
        (written("GET /v1/rounds/1/updates?limit=" + "9" * 5000), 422, "invalid-request"),
        (written("GET /v1/rounds?cursor=" + base64url("9" * 40)), 422, "invalid-cursor"),
        (written("GET /v1/rounds?cursor=%00"), 422, "invalid-cursor"),
        (written("GET /v1/runs/%ED%A0%80"), 422, "invalid-request"),
        (written("GET /v1/events?after=" + "9" * 30), 422, "invalid-request"),
        (written("GET /v1/events", Last_Event_ID="\x001"), 400, "bad-request"),
        (written("GET /v1/events", Last_Event_ID=b"\xff"), 422, "invalid-request"),
        (written("BREW /v1/rounds"), 405, "method-not-allowed"),
        (written("GET /v1/\xe9"), 400, "bad-request"),
        (written("GET /v1/rounds", X="x" * 70_000)[:-4], 431, "head-too-large"),
        (b"GET /" + b"x" * 70_000, 431, "head-too-large"),
        (written("POST /v1/runs", b"[" * 100_000, **JSON_BODY), 400, "bad-request"),
        (written("POST /v1/runs", b"9" * 100_000, **JSON_BODY), 400, "bad-request"),
        (written("POST /v1/runs", b'{"rounds": 1e999, "expect": NaN}', **JSON_BODY), 422, "invalid-request"),
        (
            written("POST /v1/runs", b'{"signature": "\\ud800", "\\ud800": 1}', **JSON_BODY),
            422,
            "invalid-request",
        ),
        (written("POST /v1/runs", b"\xff\xfe", **JSON_BODY), 422, "invalid-request"),
        (written("POST /v1/runs", b"{}", Content_Type="text/plain"), 422, "invalid-request"),
        (written("POST /v1/runs", Content_Length="-1"), 400, "bad-request"),
        (written("POST /v1/runs", Transfer_Encoding="gzip"), 501, "bad-request"),
        (written("POST /v1/artifacts", b"{}", Folkmoot_Upload=b"\xff" * 9), 422, "invalid-upload"),
        (written("POST /v1/artifacts", b"{}", Folkmoot_Upload="x" * 5_000), 422, "invalid-request"),
        (
            written("POST /v1/artifacts", b"{}", Folkmoot_Upload=base64url('{"account":"\\ud800"}')),
            422,
            "invalid-upload",
        ),
        (written("POST /v1/rounds/2/updates", b"x", Folkmoot_Commitment=b"\xff"), 422, "invalid-commitment"),
        (written("POST /v1/rounds/2/updates", b"x", Folkmoot_Commitment="A"), 422, "invalid-commitment"),
        (
            written("POST /v1/rounds/2/updates", b"x", Folkmoot_Commitment=base64url("[" * 5_000)),
            422,
            "invalid-commitment",
        ),
        (
            written("POST /v1/rounds/2/canary", b"[" * 100_000, Folkmoot_Canary="0x" + "1b" * 65),
            422,
            "invalid-report",
        ),
    ],
    ids=lambda value: value[:40].decode("latin-1") if isinstance(value, bytes) else None,
)
def test_odd_request_is_a_problem(api: Api, request_: bytes, status: int, code: str) -> None:
    found, problem = said(api, request_)
    assert (found, problem["code"]) == (status, code), problem


ODD = ["\ud800", "\x00", "9" * 3_000, "0x" + "ff" * 33, "-1", "1e9", "\u202e", "", "None"]
"""Texts in place of each value of a signed commitment."""


@pytest.mark.parametrize(
    "field",
    [
        "contributor",
        "round",
        "baseStateRoot",
        "updateRoot",
        "sumSquares",
        "memoryHash",
        "bundleHash",
        "signature",
    ],
)
def test_odd_commitment_is_a_problem(api: Api, field: str) -> None:
    honest = json.loads(base64.urlsafe_b64decode(api.real["6" * 64]))
    value: Any
    for value in [*ODD, None, 1, 2**70, [], {}, 1.5]:
        wire = json.dumps({**honest, field: value}, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        status, problem = said(
            api, written("POST /v1/rounds/2/updates", b"x", Folkmoot_Commitment=base64url(wire))
        )
        assert status < 500, (value, problem)
        assert problem["code"] in CODES, (value, problem)
    assert api.here.api.health()["status"] == "ok"


@pytest.mark.parametrize(
    ("path", "least"),
    [
        ("/v1/contributors", 6),
        ("/v1/contributors/{ada}/verdicts", 1),
        ("/v1/rounds", 2),
        ("/v1/rounds/1/updates", 3),
        ("/v1/rounds/2/updates", 1),
        ("/v1/models", 2),
        ("/v1/policies", 1),
        ("/v1/proposals", 1),
    ],
)
def test_pages_of_one_hold_what_a_page_of_many_holds(api: Api, path: str, least: int) -> None:
    path = path.format(ada=factories.account("ada").address)
    whole = api.here.api.get(path, limit=200)
    assert whole["nextCursor"] is None
    assert len(whole["items"]) >= least
    assert list(api.here.api.items(path, limit=1)) == whole["items"]


def test_updates_of_a_round_are_listed_before_what_was_refused(api: Api) -> None:
    listed = api.here.api.get("/v1/rounds/1/updates")["items"]
    assert [(item["status"], item["position"]) for item in listed[:2]] == [("committed", 0), ("committed", 1)]
    assert {item["status"] for item in listed[2:]} == {"refused"}
    for item in listed:
        alone = api.here.api.get(f"/v1/rounds/1/updates/{item['contributor']}")
        assert item == {name: alone[name] for name in item} or item["status"] == "refused"


@pytest.mark.parametrize(
    "path",
    [
        "/v1/contributors",
        "/v1/rounds",
        "/v1/models",
        "/v1/contributors/{ada}/verdicts",
    ],
)
def test_longer_page_asks_no_more_queries(api: Api, path: str) -> None:
    path = path.format(ada=factories.account("ada").address)
    engine = api.here.coordinator.storage.database.engine
    asked = 0

    def count(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        nonlocal asked
        asked += threading.current_thread().name.startswith("AnyIO") and "event_log" not in statement

    def queries(limit: int) -> int:
        nonlocal asked
        asked = 0
        api.here.api.get(path, limit=limit)
        return asked

    event.listen(engine, "before_cursor_execute", count)
    try:
        # The first request fills what is kept in memory; others may still be at work for a test before this one.
        one, many = (min(queries(limit) for _ in range(4)) for limit in (1, 200))
    finally:
        event.remove(engine, "before_cursor_execute", count)
    assert 0 < many == one

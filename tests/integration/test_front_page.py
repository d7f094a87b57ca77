# SPDX-License-Identifier: Apache-2.0
"""The page at `/` of a real coordinator: what it shows, that it is whole HTML, and that no stranger's word gets out of
its place."""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from folkmoot.aggregation.cosines import UNIT
from folkmoot.chain import governance
from folkmoot.devnet.anvil import Anvil
from folkmoot.errors import RpcError, UpdateRefused
from server.api import overview
from server.api.app import interface
from server.db.models import Entry, RoundReport
from tests import factories
from tests.integration.coordinator_world import Running, federation, open_round, report, running, train, until

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&\x1b[31m\u202e"
"""What a stranger could call a metric, or write into a proposal."""

VOID = {"meta", "link", "br", "hr", "img"}


class Reader(HTMLParser):
    """Checks that tags are balanced, and collects what a test asks for."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> without a beginning"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.text += data

    @property
    def links(self) -> set[str]:
        return {attrs["href"] or "" for tag, attrs in self.tags if tag == "a" and "href" in attrs}


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert reader.open == [], "every element ends"
    names = {tag for tag, _ in reader.tags}
    assert not names & {"script", "iframe", "object", "form", "img"}
    assert not any(name.startswith("on") or name == "style" for _, attrs in reader.tags for name in attrs)
    return reader


@pytest.fixture(autouse=True)
def _no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overview, "FRESH", 0.0)


@contextmanager
def _federation(home: Path) -> Iterator[Running]:
    """A federation on a chain of its own: two coordinators of this file run at the same time."""
    with Anvil() as anvil:
        world = federation(anvil)
        with running(home, world) as found:
            yield found
        world.chain.close()


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A federation with two rounds, their reports and a proposal."""
    with _federation(tmp_path_factory.mktemp("home")) as found:
        _play(found)
        yield found


def _play(here: Running) -> None:
    here.api.start_run(2, 3, here.world.coordinator, here.domain)
    for number in (1, 2):
        _, header, state = open_round(here.api, number)
        signed = {name: train(here.world, name, header, state) for name in ("ada", "ben", "cleo")}
        with pytest.raises(UpdateRefused):
            here.api.submit_update(number, signed["cleo"].wire, signed["cleo"].data[:-1])
        for name in signed:
            here.api.submit_update(number, signed[name].wire, signed[name].data)
        until(lambda number=number: here.api.get(f"/v1/rounds/{number}")["step"] == "settled")
        report(here, number, {"server": {"loss": 2.0 / number, "accuracy": 0.4 * number}, "train": None})
    chain = here.world.chain
    governance.propose(chain, here.world["ada"], [governance.activation(chain, 1)], f"Release {EVIL}")
    until(lambda: list(here.api.items("/v1/proposals")), what="the proposal")


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Running]:
    """An empty federation of the test's own."""
    with _federation(tmp_path / "home") as found:
        yield found


def get(here: Running, path: str = "/", **headers: str) -> httpx.Response:
    return httpx.get(here.api.url + path, headers={"Accept": "text/html,*/*;q=0.8", **headers}, timeout=20)


def kept(here: Running, number: int, metrics: Any) -> None:
    """A report as the database has it, whoever let it in."""
    with here.coordinator.storage.database.write() as session:
        document = {"round": number, "complete": True, "nodes": [], "metrics": metrics}
        made = RoundReport(
            round=number, complete=True, document=document, deadline=0, received_at=datetime.now(UTC)
        )
        session.merge(made)


def test_an_empty_federation_has_a_page(own: Running) -> None:
    until(lambda: len(list(own.api.items("/v1/contributors"))) == 6, what="the events of all stakes")
    answer = get(own)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    page = read(answer.text)
    assert "none yet" in page.text
    assert "No round has opened yet." in page.text
    assert "There are no proposals yet." in page.text
    assert "<figure" not in answer.text, "no chart without metrics"
    start = page.text[: page.text.index("Contributors")]
    assert "waiting: for the operator to start a run. 5 of 5 contributors enrolled so far." in page.text
    assert not re.search("0x[0-9a-fA-F]{20}", page.text[: page.text.index("Check this yourself")])
    assert "ok" not in start.split(), "nothing goes on"


def test_the_page_shows_the_state_of_the_federation(own: Running) -> None:
    here = own  # others write metrics of strangers into the shared one
    _play(here)
    (proposal,) = (view["id"] for view in here.api.items("/v1/proposals"))

    answer = get(here)
    page = read(answer.text)
    for text in ("tests", "final", "80.0%", "2 of 2", "accepted", "Release </script>", "UTC"):
        assert text in page.text, text
    assert f"/v1/contributors/{factories.account('ada').address}" in page.links
    assert {
        "/check",
        "/check?round=2",
        "/v1/rounds/2/evidence",
        "/v1/docs",
        "/v1/openapi.json",
        "/v1/deployment",
        "/metrics",
        "/vote",
        f"/vote#p{proposal}",
    } <= page.links
    assert answer.text.count("<figure") == 2
    assert "loss by round: server/loss 1 in round 2" in answer.text.lower()
    command = (
        f"folkmoot audit --rpc {here.world.anvil.url} --deployment deployment.json --artifacts {here.api.url}"
    )
    assert command in page.text
    for link in page.links - {"/v1/events", "?reload=0", "/v1/models/active/download"}:
        assert get(here, link).status_code == 200, link


def test_a_low_weight_has_its_reason_in_words_and_the_next_step_its_command(own: Running) -> None:
    _play(own)
    numbers = {"medianCosine": str(UNIT // 10), "medianCosineMedian": str(UNIT)}
    with own.coordinator.storage.database.write() as session:
        low, copied, high = session.scalars(select(Entry).where(Entry.round == 2).order_by(Entry.position))
        low.weight, low.numbers, high.weight = 1, numbers, 4
        copied.weight, copied.reason = 0, "copy"
    page = " ".join(read(get(own).text).text.split())
    assert "accepted, low weight median cosine with the others 0.1" in page
    assert "Excluded: it is a copy or a near-duplicate" in page
    newest = "The newest model is that of round 2 (loss 1.000, accuracy 80.0%): download it, or put it to the vote: "
    assert newest + "folkmoot propose" in page


def test_the_page_begins_with_people_and_what_is_waited_for(tmp_path: Path) -> None:
    accounts = {name: factories.account(name).address for name in ("ada", "ben", "coordinator")}
    names = {accounts["ada"]: f"Clinic {EVIL[:30]}".strip(), accounts["ben"].lower(): "Charit\u00e9"}
    with Anvil() as anvil:
        world = federation(anvil)
        with running(tmp_path / "home", world, names=names) as here:
            here.api.start_run(2, 3, here.world.coordinator, here.domain)
            until(lambda: len(list(here.api.items("/v1/contributors"))) == 6, what="the events of all stakes")
            _, header, state = open_round(here.api, 1)
            signed = train(world, "ben", header, state)
            here.api.submit_update(1, signed.wire, signed.data)
            page = read(get(here).text)
            named = {view["address"]: view["name"] for view in here.api.items("/v1/contributors")}
        world.chain.close()
    text = " ".join(page.text.split())
    assert named[accounts["ben"]] == "Charit\u00e9"
    assert re.search(r"Round 1 \(1 of 2 in this run\): open, takes updates until .* left\)\.", text)
    assert text.index("Charit\u00e9") < text.index("Clinic </script>") < text.index("Check this yourself")
    assert re.search(f"Charit\u00e9 {accounts['ben'][:8]}\u2026\\s*accepted", text)
    assert re.search(f"{accounts['ada'][:8]}\u2026\\s*awaited", text)
    assert f"/v1/contributors/{accounts['coordinator']}" not in page.links, "it does not contribute"
    assert "member 4" in text, "an account without a name has its number on the chain"


def test_words_of_strangers_stay_words(here: Running) -> None:
    kept(here, 2, {"train": {EVIL: 0.5, f"loss {EVIL}": 1.25, "x" * 500: float("1e99")}, "server": EVIL})
    answer = get(here)
    page = read(answer.text)
    assert "1.25" in page.text
    assert "\x1b" not in answer.text
    assert "\u202e" not in answer.text
    assert "x" * 65 not in answer.text


@pytest.mark.parametrize(
    "metrics", [None, [], "loss", {"train": []}, {"train": {"loss": "NaN"}}, {"train": {"loss": 10**400}}]
)
def test_metrics_that_are_none_are_left_out(here: Running, metrics: Any) -> None:
    kept(here, 1, metrics)
    assert get(here).status_code == 200


def test_the_policy_names_the_style_sheet_and_nothing_else(here: Running) -> None:
    answer = get(here)
    (style,) = re.findall("<style>(.*?)</style>", answer.text, re.DOTALL)
    digest = b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = answer.headers["content-security-policy"]
    assert f"style-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert not re.search(r"(?:src|href)=\"(?:https?:)?//", answer.text), "nothing comes from elsewhere"


def test_programs_get_an_index(here: Running) -> None:
    answer = get(here, Accept="application/json")
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["vary"] == "Accept"
    found = answer.json()
    assert found["task"] == "tests"
    assert found["chainId"] == 31337
    assert (found["round"], found["phase"]) == (2, "final")
    for link in found["links"].values():
        if link != "/v1/events":
            assert get(here, link).status_code == 200, link


@pytest.mark.parametrize(
    ("accept", "json"),
    [
        ("*/*", False),
        ("", False),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", False),
        ("application/json, text/html;q=0.5", True),
        ("application/json;q=0.5, text/html", False),
        ("application/json;q=x", False),
        ("APPLICATION/JSON", True),
    ],
)
def test_who_asks_for_what(here: Running, accept: str, json: bool) -> None:
    kind = get(here, Accept=accept).headers["content-type"]
    assert (kind == "application/json") is json


@pytest.mark.parametrize(
    "host", ["evil.example;id", "a b", "$(id)", "x`id`", "<b>", "a/../b", "-oProxyCommand=x", "a" * 300]
)
def test_a_host_that_is_none_gets_into_no_command(here: Running, host: str) -> None:
    page = read(get(here, Host=host).text)
    assert "--artifacts https://COORDINATOR" in page.text
    assert host not in page.text


def test_the_page_is_known_again(here: Running) -> None:
    first = get(here, "/?reload=0", Accept="application/json")
    again = get(here, "/?reload=0", Accept="application/json", **{"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert httpx.head(here.api.url + "/").status_code == 200


def test_the_page_reloads_as_asked(here: Running) -> None:
    assert ("meta", {"http-equiv": "refresh", "content": "15"}) in read(get(here).text).tags
    assert 'http-equiv="refresh"' not in get(here, "/?reload=0").text
    assert get(here, "/?reload=x").json()["code"] == "invalid-request"


def test_one_look_serves_many(here: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overview, "FRESH", 3600.0)
    get(here)
    looks: list[int] = []
    monkeypatch.setattr(overview, "overview", lambda _parts: looks.append(1))
    for _ in range(20):
        assert get(here).status_code == 200
    assert looks == []


def away(*_: object, **__: object) -> None:
    raise RpcError("The endpoint is away.")


def test_the_page_stands_while_the_chain_is_away(here: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    kept(here, 2, {"server": {"loss": 1.0, "accuracy": 0.8}})
    monkeypatch.setattr(here.coordinator.chain.rpc, "call", away)
    page = read(get(here).text)
    assert "The chain does not answer" in page.text
    assert "degraded" in page.text
    assert "80.0%" in page.text


def test_it_is_in_the_document() -> None:
    operation = interface().openapi()["paths"]["/"]["get"]
    assert set(operation["responses"]["200"]["content"]) == {"application/json", "text/html"}


def decide(here: Running, number: int) -> None:
    chain, ada = here.world.chain, here.world["ada"]
    here.world.anvil.advance(factories.GOVERNANCE.voting_delay + 1)
    for name in ("ada", "ben", "cleo"):
        governance.vote(chain, here.world[name], governance.find(chain, str(number)), "for")
    for act in (governance.queue, governance.execute):
        here.world.anvil.advance(600)
        act(chain, ada, governance.find(chain, str(number)))


def test_a_recall_is_an_alarm_on_the_page_and_in_the_interface(
    own: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the vote is open, and after it, also while the chain is away. The text is a stranger's."""
    chain, ada = own.world.chain, own.world["ada"]
    number, _ = governance.propose(chain, ada, [governance.activation(chain, 0)], "Release")
    decide(own, number)
    until(lambda: get(own, "/v1/models/active").status_code == 200, what="the version")
    assert get(own, "/v1/models/0").json()["recalled"] is False
    assert re.search(r"The chain's clock is 2\dm .* ahead of the coordinator's", read(get(own).text).text)

    number, _ = governance.propose(chain, ada, governance.recall(chain, 0), f"It does harm {EVIL}")
    until(lambda: "A vote to recall version 0 is open" in get(own).text, what="the alarm")
    page = get(own).text
    assert 'class="notice bad" role="alert"' in page
    assert EVIL not in page

    decide(own, number)
    until(lambda: get(own, "/v1/models/0").json()["recalled"], what="the recall")
    assert get(own, "/v1/models/0").json()["status"] == "recalled"
    refused = get(own, "/v1/models/0/download")
    assert (refused.status_code, refused.json()["code"]) == (410, "version-recalled")
    assert get(own, "/v1/models/0/download?recalled=true").status_code == 200
    assert get(own, "/v1/models/active").json()["code"] == "no-active-version"
    until(lambda: "Version 0 was recalled by a vote: It does harm" in get(own).text, what="the red notice")
    assert any(event.type == "version-recalled" for event in own.api.events(0))  # It waits for one otherwise.
    monkeypatch.setattr(own.coordinator.chain.rpc, "call", away)
    assert "Version 0 was recalled by a vote." in get(own).text


def test_the_check_of_a_round_is_one_page_that_reaches_nothing(here: Running) -> None:
    answer = get(here, "/check")
    policy = answer.headers["Content-Security-Policy"]
    assert "connect-src 'none'" in policy
    assert "default-src 'none'" in policy
    (script,) = re.findall("<script>(.*?)</script>", answer.text, re.DOTALL)
    digest = b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert not re.search(r'(?:src|href)="(?!data:)', answer.text)
    fetching = get(here, "/check?round=1")
    assert "connect-src 'self'" in fetching.headers["Content-Security-Policy"]
    assert fetching.text == answer.text.replace("connect-src 'none'", "connect-src 'self'"), (
        "the same but for that"
    )

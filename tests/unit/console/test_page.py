# SPDX-License-Identifier: Apache-2.0
"""The page that checks a round, in a real Chromium: the three outcomes, without a network, at every width."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from folkmoot.web import pages
from tests.chromium import CHROMIUM, Page, chromium
from tests.http_servers import Handler, serving
from tests.unit.console.played import Told, random_world

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on this machine")

SHOWN = "['right', 'wrong', 'cannot'].includes(document.getElementById('outcome').className)"
STEP = "[...document.querySelectorAll('#rows tr')].find(row => row.querySelector('.bad,.warn'))?.innerText"


EVIL = "<img src=x onerror=document.title='hit'>"
EVIDENCE: dict[str, bytes] = {}


class Coordinator(Handler):
    """Serves the page as a coordinator does."""

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        if path != "/check":
            self.evidence(path)
            return
        body, policy = pages.check_page(fetches=bool(query))
        self.send_response(200)
        for name, value in (
            ("Content-Type", "text/html; charset=utf-8"),
            ("Content-Length", str(len(body))),
            ("Content-Security-Policy", policy),
            ("Cache-Control", "no-store"),
        ):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def evidence(self, path: str) -> None:
        """Answer for the evidence of round 3, for nonsense as round 4, and for a refusal with markup in it."""
        body = {
            "/v1/rounds/3/evidence": EVIDENCE.get("body", b""),
            "/v1/rounds/4/evidence": b"<html>" * 99,
        }.get(path)
        self.send_response(409 if body is None else 200)
        body = json.dumps({"detail": EVIL, "remedy": "Wait."}).encode() if body is None else body
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with chromium(tmp_path_factory.mktemp("chromium")) as page:
        yield page


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving(Coordinator) as url:
        yield url + "/check"


@pytest.fixture(scope="module")
def world() -> Told:
    return random_world(3, 3)


def outcome(page: Page, file: Path) -> str:
    page.value("document.getElementById('outcome').className = ''")  # not that of the file before
    page.drop(file)
    page.when(SHOWN)
    text: str = page.value("document.getElementById('outcome').innerText")
    return text


def test_a_file_that_is_dropped_is_checked(page: Page, url: str, world: Told, tmp_path: Path) -> None:
    right, wrong, cannot = (tmp_path / f"{name}.evidence" for name in ("right", "wrong", "cannot"))
    right.write_bytes(world.evidence(3))
    lie = world.rounds[3].anchor.weights
    rounds = {**world.rounds, 3: world.rounds[3].anchored(weights=(*lie[:-1], lie[-1] + 1))}
    liar = Told(**{**vars(world), "rounds": rounds})
    wrong.write_bytes(liar.evidence(3))
    cannot.write_bytes(world.evidence(3, without=[world.rounds[3].base.sha256()]))

    page.open(url)
    assert "sends nothing anywhere" in page.value("document.body.innerText")
    text = outcome(page, right)
    assert text.splitlines()[0] == "✓ Recomputed and right"
    assert page.value("document.activeElement.id") == "outcome", "a screen reader begins there"
    assert "0x" + world.rounds[3].anchor.hash.hex() in page.value(
        "document.getElementById('chain').innerText"
    )

    text = outcome(page, wrong)
    assert text.splitlines()[0] == "✗ Provably wrong"
    row = page.value(STEP)
    assert row.startswith("weights")
    assert str(lie[-1]) in row
    assert str(lie[-1] + 1) in row

    text = outcome(page, cannot)
    assert text.splitlines()[0] == "? Cannot be checked here"
    assert "This file does not have the state that the round trained from." in text
    assert page.complaints() == []
    assert all(one.startswith((url, "blob:", "data:")) for one in page.requests()), page.requests()


def test_the_evidence_of_a_round_is_fetched_from_where_the_page_came_from(
    page: Page, url: str, world: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(EVIDENCE, "body", world.evidence(3))
    page.open(url + "?round=3")
    page.when(SHOWN)
    text = page.value("document.body.innerText")
    assert "✓ Recomputed and right" in text
    assert "could serve a page that lies" in text
    assert page.value("document.getElementById('download').getAttribute('href')") == "v1/rounds/3/evidence"
    assert page.complaints() == []
    said = page.value("fetch('http://localhost:1/').then(() => 'reached', () => 'refused')")
    assert said == "refused"
    assert any("connect-src" in one for one in page.complaints()), "no other place"

    for number, said in (("4", "Cannot be checked here"), ("5", "The coordinator answers 409. <img src=x")):
        page.open(f"{url}?round={number}")
        page.when(SHOWN)
        assert said in page.value("document.getElementById('outcome').innerText")
        assert page.value("document.title") == "Check a round"
    for query in ("?round=../../x", "?round=-1", "?round="):
        page.open(url + query)
        assert page.value("document.getElementById('served').hidden"), query
        assert not any("evidence" in one for one in page.requests()[-2:])


def test_the_page_reaches_nothing(page: Page, url: str) -> None:
    page.open(url)
    for attempt in (
        f"fetch('{url}')",
        f"new Promise((_, no) => {{ const w = new WebSocket('{url.replace('http', 'ws')}'); w.onerror = no; }})",
    ):
        said = page.value(f"(async () => {attempt})().then(() => 'reached', () => 'refused')")
        assert said == "refused", attempt
    assert any("connect-src" in one for one in page.complaints())


def test_it_works_from_a_disk_by_keyboard_and_says_text_as_text(
    page: Page, world: Told, tmp_path: Path
) -> None:
    file = tmp_path / "<img src=x onerror=document.title='hit'>.evidence"
    file.write_bytes(world.evidence(3))
    page.open((Path(pages.__file__).with_name("check.html")).as_uri())
    page.call("Input.dispatchKeyEvent", type="keyDown", key="Tab", code="Tab", windowsVirtualKeyCode=9)
    assert page.value("document.activeElement.id") == "file"
    node = page.call("Runtime.evaluate", expression="document.getElementById('file')")["result"]["objectId"]
    page.call("DOM.setFileInputFiles", files=[str(file)], objectId=node)
    page.when(SHOWN)
    text = page.value("document.getElementById('outcome').innerText")
    assert text.startswith("✓ Recomputed and right")
    assert file.name in text
    assert page.value("document.title") == "Check a round"
    assert page.complaints() == []


@pytest.mark.parametrize("width", [390, 800, 1440])
def test_nothing_is_wider_than_the_window(
    page: Page, url: str, world: Told, width: int, tmp_path: Path
) -> None:
    file = tmp_path / "wrong.evidence"
    file.write_bytes(world.evidence(3, logs=json.loads(world.evidence(3).partition(b"\n")[0])["logs"][:-1]))
    page.open(url)
    assert page.width(width) <= width
    assert outcome(page, file).startswith("✗ Provably wrong")
    assert page.width(width) <= width

# SPDX-License-Identifier: Apache-2.0
"""The page on which people vote with a wallet, in a real Chromium, on a real chain, served by a real coordinator."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from eth_utils.crypto import keccak

from folkmoot.chain import governance
from folkmoot.devnet.anvil import Anvil
from folkmoot.ledger.releases import PROPOSER_MARK
from folkmoot.runtime.processes import free_port
from folkmoot.runtime.units import UNIT
from tests import factories
from tests.browser_wallet import BrowserWallet
from tests.chromium import CHROMIUM, Page, chromium
from tests.http_servers import Handler, serving
from tests.integration.coordinator_world import Running, federation, running, until

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on this machine")

EVIL = "<img src=x onerror=document.title='hit'>\u202e"


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Running]:
    with Anvil() as anvil:
        world = federation(anvil)
        with running(tmp_path / "home", world) as found:
            yield found
        world.chain.close()


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    with chromium(tmp_path) as page:
        yield page


@pytest.fixture
def wallet(page: Page, here: Running) -> BrowserWallet:
    return BrowserWallet(page, here.world.anvil, here.world["ada"])


def proposed(here: Running, text: str = "Release version 0", voting: bool = True) -> int:
    """A proposal to release version 0 that the coordinator lists, and on which votes are taken."""
    chain = here.world.chain
    number, _ = governance.propose(chain, here.world["ben"], [governance.activation(chain, 0)], text)
    if voting:
        here.world.anvil.advance(factories.GOVERNANCE.voting_delay + 1)
    until(
        lambda: any(one["id"] == str(number) for one in here.api.items("/v1/proposals")), what="the proposal"
    )
    return number


def text(page: Page, selector: str = "body") -> str:
    found: str = page.value(f"document.querySelector({selector!r})?.innerText ?? ''")
    return found


def says(page: Page, words: str, selector: str = "body") -> None:
    """Wait until an element says something."""
    page.when(f"document.querySelector({selector!r})?.innerText.includes({json.dumps(words)})")


def press(page: Page, words: str) -> None:
    """Press the button with a text, once it is there and can be pressed."""
    found = f"[...document.querySelectorAll('button:enabled')].find(one => one.textContent === {json.dumps(words)})"
    page.when(found)
    page.value(f"{found}.click()")


def write(page: Page, field: str, value: str) -> None:
    page.value(f"document.getElementById({field!r}).value = {json.dumps(value)}")


def connected(page: Page, here: Running, url: str = "") -> None:
    page.open((url or here.api.url) + "/vote")
    press(page, "Connect Purse")
    says(page, "read from the chain")


def test_first_visit_to_the_release(page: Page, wallet: BrowserWallet, here: Running) -> None:
    """Read, connect, vote with a reason, put it into the timelock, carry it out."""
    number, chain = proposed(here), here.world.chain
    card = f"#p{number}"
    page.open(here.api.url + "/vote")
    says(page, "the coordinator's word")
    assert "version 0 becomes the active model" in text(page, card)
    assert "Nobody answers for it with tokens." in text(page, card)
    assert "eth_requestAccounts" not in wallet.asked, "a page asks for nothing that nobody pressed"
    assert "Vote for" not in text(page, card)

    press(page, "Connect Purse")
    says(page, "You have 100 MOOT on this one.", card)
    write(page, f"reason-{number}", "it reads better")
    press(page, "Vote for")
    says(page, "You have voted.", card)
    assert "Done, in block" in text(page, card)
    (vote,) = governance.votes_on(chain, governance.find(chain, str(number)))
    assert (vote.voter, vote.support, vote.reason) == (here.world["ada"].address, 1, "it reads better")

    for name in ("ben", "cleo"):
        governance.vote(chain, here.world[name], governance.find(chain, str(number)), "for")
    here.world.anvil.advance(700)
    page.open(here.api.url + "/vote")
    press(page, "Put it into the timelock")  # the wallet is known still
    says(page, "It can be carried out from", card)
    assert page.value(f"document.querySelector('{card} button').disabled"), "not before its time"
    here.world.anvil.advance(factories.GOVERNANCE.timelock_delay + 1)
    page.open(here.api.url + "/vote")
    press(page, "Carry it out")
    says(page, "done", f"{card} .chip")
    assert chain.registry.active() == (0, bytes(32))
    assert page.complaints() == []
    origin = here.api.url
    assert all(one.startswith((origin, "data:")) for one in page.requests()), page.requests()
    assert page.value("fetch('http://localhost:1/').then(() => 'reached', () => 'refused')") == "refused"


def test_an_account_stakes_delegates_and_leaves(page: Page, wallet: BrowserWallet, here: Running) -> None:
    chain, newcomer = here.world.chain, here.world["newcomer"]
    wallet.account = newcomer
    connected(page, here)
    had = int(chain.read(chain.token.functions.balanceOf(newcomer.address)))

    for wrong in ("", "0", "-1", "1e3", "0.0000000000000000001"):
        write(page, "field-stake", wrong)
        press(page, "Stake")
        says(page, f"“{wrong}” is no amount.", "#account")
    write(page, "field-stake", "1000000")
    press(page, "Stake")
    says(page, "The wallet has fewer tokens than that.", "#account")
    write(page, "field-stake", "2,5")
    press(page, "Stake")
    says(page, "2.5 MOOT staked", "#account")
    assert int(chain.read(chain.vault.functions.stakeOf(newcomer.address))) == 5 * UNIT // 2
    assert "votes with 2.5 MOOT" in text(page, "#wallet")

    write(page, "field-delegate", "0x12")
    press(page, "Let another account vote")
    says(page, "“0x12” is no address.", "#account")
    write(page, "field-delegate", here.world["ada"].address)
    press(page, "Let another account vote")
    says(page, f"Your stake votes through {here.world['ada'].address}", "#account")
    assert "votes with 0 MOOT" in text(page, "#wallet")

    write(page, "field-unstake", "1")
    press(page, "Take out")
    says(page, "1 MOOT are leaving until", "#account")
    here.world.anvil.advance(factories.GOVERNANCE.unbonding + 1)
    page.open(here.api.url + "/vote")
    press(page, "Withdraw 1 MOOT")
    says(page, "1.5 MOOT staked", "#account")
    until(lambda: int(chain.read(chain.token.functions.balanceOf(newcomer.address))) == had - 3 * UNIT // 2)
    assert page.complaints() == []


def test_a_wallet_that_refuses_changes_or_is_elsewhere(
    page: Page, wallet: BrowserWallet, here: Running
) -> None:
    number, chain = proposed(here), here.world.chain
    card = f"#p{number}"
    wallet.chain_id, wallet.known = 1, {1}
    page.open(here.api.url + "/vote")
    press(page, "Connect Purse")
    says(page, "Your wallet is on the chain 1, and this federation is on the chain 31337.")
    press(page, "Switch the wallet")
    says(page, "Your wallet does not know the chain 31337.")
    assert "Vote for" not in text(page, card)
    wallet.known.add(31337)
    press(page, "Switch the wallet")
    says(page, "You have 100 MOOT on this one.", card)

    wallet.rejects = True
    write(page, f"reason-{number}", "kept")
    press(page, "Vote against")
    says(page, "You rejected it in the wallet. Nothing was sent.", card)
    assert page.value(f"document.getElementById('reason-{number}').value") == "kept"
    wallet.rejects = False

    # A stale tab: the same account votes elsewhere.
    write(page, f"reason-{number}", "")
    ada = here.world["ada"]
    wallet.meanwhile = lambda: governance.vote(chain, ada, governance.find(chain, str(number)), "for")
    press(page, "Vote against")
    says(page, "This account has voted already", card)
    says(page, "You have voted.", card)

    wallet.change(here.world["newcomer"])
    says(page, "You have no votes on this one", card)
    wallet.change(here.world["cleo"])
    says(page, "You have 100 MOOT on this one.", card)
    wallet.meanwhile = lambda: here.world.anvil.advance(700)
    press(page, "Vote for")
    says(page, "The proposal is in another state now.", card)
    press(page, "Disconnect")
    says(page, "the coordinator's word")
    wallet.rejects = True
    press(page, "Connect Purse")
    says(page, "You rejected it in the wallet.")
    assert page.complaints() == []


class Liar(Handler):
    """A coordinator's front that changes what it answers."""

    url = ""
    change: Any = staticmethod(lambda path, answer: answer)

    def do_GET(self) -> None:
        answer = httpx.get(
            self.url + self.path, timeout=20, headers={"Accept": self.headers["Accept"] or "*/*"}
        )
        body = self.change(self.path, answer.content)
        self.send_response(answer.status_code)
        for name in ("Content-Type", "Content-Security-Policy"):
            if name in answer.headers:
                self.send_header(name, answer.headers[name])
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def test_what_a_coordinator_changes_or_leaves_out_is_seen(
    page: Page, wallet: BrowserWallet, here: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = proposed(here, "Release version 0")
    card = f"#p{number}"
    lies: dict[str, Any] = {}

    def change(path: str, body: bytes) -> bytes:
        if not path.startswith("/v1/proposals") or not lies:
            return body
        if "html" in lies:
            return b"<html>Sign in to the hotel</html>"
        document = json.loads(body)
        document["items"] = [] if lies.get("items") == [] else [one | lies for one in document["items"]]
        return json.dumps(document).encode()

    monkeypatch.setattr(Liar, "url", here.api.url)
    monkeypatch.setattr(Liar, "change", staticmethod(change))
    with serving(Liar) as url:
        page.open(url + "/vote")
        says(page, "version 0 becomes the active model")
        genuine = here.api.get("/v1/proposals")["items"][0]
        other = genuine["calldatas"][0][:-1] + "1"
        for lie in (
            {"description": "Release something else"},
            {"calldatas": [other]},
            {"targets": [here.world["ada"].address]},
            {"values": ["1"]},
            {"targets": ["no address"]},
        ):
            lies.clear()
            lies.update(lie)
            page.open(url + "/vote")
            says(page, "Do not vote on it here")
            press(page, "Connect Purse")
            says(page, "What you see is what your wallet's node has.", card)
            assert "version 0 becomes the active model" in text(page, card)
            says(page, "Vote for", card)
            press(page, "Disconnect")
            says(page, "Do not vote on it here", card)

        # One that does not exist, with the number of what it says.
        lies.clear()
        chain = here.world.chain
        lies["description"] = "Invented"
        calls = [genuine["targets"][0]], [0], [bytes.fromhex(genuine["calldatas"][0][2:])]
        made = chain.governor.functions.hashProposal(*calls, keccak(text="Invented"))
        lies["id"] = str(chain.read(made))
        page.open(url + "/vote")
        press(page, "Connect Purse")
        says(page, "Your wallet's node has no proposal of this number", f"#p{lies['id']}")
        assert "Vote for" not in text(page, f"#p{lies['id']}")
        says(page, "The coordinator left out a proposal")
        press(page, "Disconnect")

        lies.clear()
        lies["items"] = []
        page.open(url + "/vote")
        says(page, "There are no proposals yet.")
        press(page, "Connect Purse")
        says(page, "The coordinator left out a proposal that your wallet's node has.")
        says(page, "You have 100 MOOT on this one.", card)

        # A node that does not search so far back: what is whole can be voted on, what is not can't.
        wallet.refused.add("eth_getLogs")
        lies.clear()
        page.open(url + "/vote")
        says(page, "Vote for", card)
        lies["description"] = "Release something else"
        page.open(url + "/vote")
        says(page, "Do not vote on it here", card)
        assert "Vote for" not in text(page, card)

        lies["html"] = True
        page.open(url + "/vote")
        says(page, "something that this page can't read")
    assert page.value("document.title") == "Votes"


def test_another_governor_than_at_the_last_visit_is_said(
    page: Page, wallet: BrowserWallet, here: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    proposed(here)
    governor, other = here.world.deployment.governor, here.world["ada"].address
    swap: list[bytes] = []

    def change(path: str, body: bytes) -> bytes:
        return body.replace(governor.encode(), other.encode()) if swap and "deployment" in path else body

    monkeypatch.setattr(Liar, "url", here.api.url)
    monkeypatch.setattr(Liar, "change", staticmethod(change))
    with serving(Liar) as url:
        connected(page, here, url)
        swap.append(b"")
        page.open(url + "/vote")
        says(page, f"names another governor than at your last visit, when it was {governor}")
        says(page, "There is no such contract at this address on this chain.")


@pytest.mark.parametrize("width", [390, 800, 1440])
def test_words_of_strangers_and_every_width(
    page: Page, wallet: BrowserWallet, here: Running, width: int
) -> None:
    number = proposed(here, f"{EVIL}\n\n{'x' * 300} {EVIL}")
    ada = here.world["ada"]
    governance.propose(here.world.chain, ada, [governance.Call(ada.address, 0, b"\x12\x34\x56\x78")], "Pay")
    until(lambda: len(list(here.api.items("/v1/proposals"))) == 2)
    connected(page, here)
    assert page.width(width) <= width
    assert "<img src=x onerror=document.title='hit'>\ufffd" in text(page, f"#p{number}")
    assert PROPOSER_MARK not in text(page, f"#p{number}")
    assert "a call that this page has no words for" in text(page)
    assert page.value("document.title") == "Votes"
    press(page, "Français")
    says(page, "Votre compte")
    assert page.value("document.documentElement.lang") == "fr"
    says(page, "Voter pour")
    assert page.width(width) <= width
    assert page.complaints() == []


def test_the_console_serves_the_pages_of_ones_own(
    page: Page, wallet: BrowserWallet, here: Running, tmp_path: Path
) -> None:
    """A coordinator that names another governor is not asked for it; one that is away is said to be."""
    number = proposed(here)
    file = tmp_path / "deployment.json"
    file.write_text(json.dumps(here.world.deployment.to_json()), encoding="utf-8")
    command = [sys.executable, "-m", "folkmoot", "console", "--port", "0"]
    given = ["--coordinator", here.api.url, "--deployment", str(file)]
    with subprocess.Popen([*command, *given], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().split()[-1].removesuffix("/vote")
            connected(page, here, url)
            says(page, "from your own deployment.json")
            press(page, "Vote for")
            says(page, "You have voted.", f"#p{number}")
            assert page.complaints() == []
            assert httpx.get(url).headers["Location"] == "/vote"
            assert httpx.get(url + "/check").content == httpx.get(here.api.url + "/check?round=1").content
            model = httpx.get(url + "/v1/models/0/download")
            assert model.content == httpx.get(here.api.url + "/v1/models/0/download").content
            assert httpx.get(url + "/v1/models/7").json() == httpx.get(here.api.url + "/v1/models/7").json()
            assert httpx.get(url + "/etc/passwd").status_code == 404
            assert httpx.get(url + "/vote", headers={"Host": "evil.example"}).status_code == 421
            assert httpx.post(url + "/v1/runs").status_code == 501
        finally:
            process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
    given[1] = f"http://127.0.0.1:{free_port()}"
    with subprocess.Popen([*command, *given], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().split()[-1]
            page.open(url)
            says(page, f"The coordinator answers 502. The coordinator {given[1]} can't be reached")
        finally:
            process.send_signal(signal.SIGINT)

# SPDX-License-Identifier: Apache-2.0
"""What interrupted commands left behind: listed, forgotten, and cancelled on the chain."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from folkmoot.chain.transactions import confirmations
from folkmoot.chain.transactions import resume as interrupted
from folkmoot.chain.transactions import status as fate
from folkmoot.chain.transactions.journal import TransactionJournal
from folkmoot.cli.main import INTERRUPTED, run
from folkmoot.devnet.anvil import Anvil
from folkmoot.runtime.units import UNIT
from tests import factories
from tests.factories import STAKE, Federation
from tests.killed import Mortal, blocks

ADA = factories.account("ada")


@dataclass
class Commands:
    """Ada's commands."""

    federation: Federation
    mortal: Mortal
    monkeypatch: pytest.MonkeyPatch

    @property
    def anvil(self) -> Anvil:
        return self.federation.anvil

    def interrupt(self, *words: str, sent: bool = True) -> None:
        """Call a command that Ctrl-C ends once it has sent something, or noted what it was about to send."""

        def end(*_: Any, **__: Any) -> Any:
            raise KeyboardInterrupt

        write = TransactionJournal.write

        def noted(notes: TransactionJournal, note: Any, form: Any) -> None:
            write(notes, note, form)
            raise KeyboardInterrupt

        with self.monkeypatch.context() as patch:
            if sent:
                patch.setattr(confirmations, "await_receipts", end)
            else:
                patch.setattr(TransactionJournal, "write", noted)
            assert run(words) == INTERRUPTED
        self.mortal.capsys.readouterr()

    def pending(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.mortal.call("account", "list", "--pending")["pending"]
        return found

    def forget(self, what: str, *words: str, fails: int = 0) -> dict[str, Any]:
        return self.mortal.call("account", "list", "--forget", what, *words, fails=fails)

    def nonce(self) -> int:
        return int(self.federation.chain.w3.eth.get_transaction_count(ADA.address))

    def stake(self) -> int:
        return self.federation.chain.vault.stake_of(ADA.address)


@pytest.fixture
def commands(federation: Federation, mortal: Mortal, monkeypatch: pytest.MonkeyPatch) -> Commands:
    monkeypatch.setattr(fate, "LOOK_PAUSE", 0.01)
    return Commands(federation, mortal, monkeypatch)


def test_nothing_was_left_behind(commands: Commands) -> None:
    assert commands.pending() == []
    assert run(["account", "list", "--pending"]) == 0
    assert commands.mortal.capsys.readouterr().out == "Nothing was left behind.\n"


def test_what_was_never_sent_is_cancelled(commands: Commands) -> None:
    before = commands.nonce()
    commands.interrupt("enrol", "--only-stake", "7", sent=False)
    (left,) = commands.pending()
    assert (left["state"], left["nonce"], left["account"]) == ("absent", before, ADA.address)
    assert left["purpose"] == f"stake {7 * UNIT}"
    (sent,) = left["transactions"]
    assert run(["account", "list", "--pending"]) == 0
    shown = commands.mortal.capsys.readouterr().out
    assert sent[:18] in shown
    assert "not known to this node: the same command sends it" in shown

    done = commands.forget(sent[:10])
    assert (done["transaction"], done["state"], done["filled"]) == (sent, "lost", 0)
    cancelled = commands.federation.chain.w3.eth.get_transaction(done["cancelled"])
    assert (cancelled["nonce"], cancelled["to"], cancelled["value"]) == (before, ADA.address, 0)
    assert commands.pending() == []
    assert commands.mortal.call("enrol", "--only-stake", "7")["earlier"] is False
    assert (commands.stake(), commands.nonce()) == (STAKE + 7 * UNIT, before + 2)


@pytest.mark.long
def test_what_is_on_its_way_is_outbid(commands: Commands) -> None:
    before, await_receipts = commands.nonce(), confirmations.await_receipts

    def mine(*arguments: Any, **options: Any) -> Any:
        commands.anvil.call("evm_mine")
        return await_receipts(*arguments, **options)

    commands.anvil.call("evm_setAutomine", False)
    try:
        commands.interrupt("enrol", "--only-stake", "7")
        (left,) = commands.pending()
        assert left["state"] == "underway"
        commands.monkeypatch.setattr(confirmations, "await_receipts", mine)
        done = commands.forget(left["transactions"][0])
    finally:
        commands.anvil.call("evm_setAutomine", True)
    assert done["state"] == "lost"
    assert (commands.stake(), commands.nonce()) == (STAKE, before + 1)
    assert commands.pending() == []


@pytest.mark.long
def test_what_is_mined_before_it_is_cancelled_is_told(commands: Commands) -> None:
    begin = confirmations.begin

    def late(*arguments: Any) -> None:
        commands.anvil.call("evm_mine")
        begin(*arguments)

    commands.anvil.call("evm_setAutomine", False)
    try:
        commands.interrupt("enrol", "--only-stake", "7")
        (left,) = commands.pending()
        commands.monkeypatch.setattr(confirmations, "begin", late)
        done = commands.forget(left["transactions"][0])
    finally:
        commands.anvil.call("evm_setAutomine", True)
    assert (done["state"], done["cancelled"]) == ("mined", None)
    assert commands.stake() == STAKE + 7 * UNIT
    assert commands.pending() == []


@pytest.mark.long
def test_what_waits_for_others_that_nobody_has_is_cancelled_with_them(commands: Commands) -> None:
    before = commands.nonce()
    for module in (fate, interrupted):
        commands.monkeypatch.setattr(module, "LOCAL_CHAIN_ID", 1)
    commands.anvil.call("evm_setAutomine", False)
    try:
        commands.interrupt("delegate", "self")
        commands.interrupt("enrol", "--only-stake", "7")
        commands.anvil.call("anvil_dropAllTransactions")
    finally:
        commands.anvil.call("evm_setAutomine", True)
    states = {left["purpose"].split("(")[0]: left["state"] for left in commands.pending()}
    assert states == {"delegate": "absent", f"stake {7 * UNIT}": "gap"}
    error = commands.mortal.call("enrol", "--only-stake", "7", fails=1)["error"]
    assert error["code"] == "nonce-gap"
    sent = error["details"]["transaction"]
    assert f"folkmoot account list --forget {sent}" in error["remedy"]

    assert commands.forget(sent)["filled"] == 1
    assert (commands.nonce(), commands.stake()) == (before + 2, STAKE)
    (left,) = commands.pending()
    assert left["state"] == "lost"
    assert commands.forget(left["transactions"][0])["cancelled"] is None
    assert commands.pending() == []
    assert commands.mortal.call("enrol", "--only-stake", "7")["earlier"] is False


@pytest.mark.long
def test_an_endpoint_that_is_far_behind_fills_nothing(commands: Commands) -> None:
    before = commands.nonce()
    commands.interrupt("enrol", "--only-stake", "7", sent=False)
    (path,) = (commands.mortal.home / "data").rglob("*.json")
    document = json.loads(path.read_text())
    (form,) = document["forms"]
    nonce = before + 33
    path.write_text(json.dumps({**document, "nonce": nonce, "forms": [{**form, "nonce": nonce}]}))
    assert commands.forget(form["hash"], fails=1)["error"]["code"] == "nonce-gap"
    assert commands.nonce() == before
    assert len(commands.pending()) == 1


@pytest.mark.long
def test_what_was_mined_is_forgotten_once_it_is_deep(commands: Commands) -> None:
    commands.interrupt("enrol", "--only-stake", "7")
    (left,) = commands.pending()
    assert left["state"] == "mined"
    (sent,) = left["transactions"]
    error = commands.forget(sent, "--confirmations", "3", fails=1)["error"]
    assert error["code"] == "not-confirmed"
    commands.anvil.call("anvil_mine", hex(2))
    assert commands.forget(sent, "--confirmations", "3")["state"] == "mined"
    assert commands.mortal.call("enrol", "--only-stake", "7")["earlier"] is False
    assert commands.stake() == STAKE + 14 * UNIT


@pytest.mark.long
def test_a_cancellation_that_is_killed_while_it_waits_is_gone_on_with(commands: Commands) -> None:
    before = commands.nonce()
    commands.interrupt("enrol", "--only-stake", "7", sent=False)
    (left,) = commands.pending()
    words = ("account", "list", "--forget", left["transactions"][0], "--confirmations", "3")
    commands.mortal.kill("sender.waiting", *words)
    assert commands.mortal.call(*words, fails=1)["error"]["code"] == "not-confirmed"
    with blocks(commands.anvil):
        commands.mortal.call("enrol", "--only-stake", "8", "--confirmations", "3")
    assert commands.mortal.call(*words)["state"] == "lost"
    assert (commands.stake(), commands.nonce()) == (STAKE + 8 * UNIT, before + 2)


@pytest.mark.long
def test_a_note_that_can_not_be_read_is_forgotten_by_its_name(commands: Commands) -> None:
    commands.interrupt("enrol", "--only-stake", "7", sent=False)
    (path,) = (commands.mortal.home / "data").rglob("*.json")
    path.write_text("{")
    error = commands.mortal.call("enrol", "--only-stake", "7", fails=1)["error"]
    assert error["code"] == "note-damaged"
    assert f"--forget {path.name}" in error["remedy"]
    (left,) = commands.pending()
    assert (left["file"], left["state"]) == (path.name, "damaged")
    assert commands.forget(path.name)["state"] == "damaged"
    assert commands.pending() == []


@pytest.mark.long
def test_notes_elsewhere_are_named_with_their_folder(commands: Commands) -> None:
    commands.interrupt("enrol", "--only-stake", "7", sent=False)
    (path,) = (commands.mortal.home / "data").rglob("*.json")
    moved = commands.mortal.home / "watcher" / "sent"
    moved.mkdir(parents=True)
    path.rename(moved / path.name)
    assert commands.pending() == []
    (left,) = commands.mortal.call("account", "list", "--pending", "--notes", str(moved))["pending"]
    commands.forget(left["transactions"][0], "--notes", str(moved))
    assert list(moved.glob("*.json")) == []


@pytest.mark.long
def test_others_can_not_cancel_it(commands: Commands, keystore: Callable[[str], Path]) -> None:
    commands.interrupt("enrol", "--only-stake", "7", sent=False)
    (left,) = commands.pending()
    (sent,) = left["transactions"]
    assert (
        commands.forget(sent, "--keystore", str(keystore("ben")), fails=1)["error"]["code"] == "other-account"
    )
    for wrong in ("0x", "0x" + "ab" * 32, "nothing"):
        assert commands.forget(wrong, fails=1)["error"]["code"] == "note-unknown"
    with Anvil(chain_id=31338) as other:
        words = ("account", "list", "--pending", "--rpc", other.url)
        assert commands.mortal.call(*words)["pending"][0]["state"] == "elsewhere"
        error = commands.forget(sent, "--rpc", other.url, fails=1)["error"]
        assert error["code"] == "other-chain"
    assert len(commands.pending()) == 1

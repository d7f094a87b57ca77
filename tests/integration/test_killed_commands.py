# SPDX-License-Identifier: Apache-2.0
"""Commands that send transactions, killed at every step: called again, they do what was asked once, and say so."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

import client.cli.join
from folkmoot.chain.transactions import confirmations as depth
from folkmoot.chain.transactions import resume as interrupted
from folkmoot.chain.transactions import status as fate
from folkmoot.cli.main import run
from folkmoot.devnet.anvil import Anvil
from folkmoot.runtime.units import UNIT
from tests import factories
from tests.factories import ALLOCATION, STAKE, Federation
from tests.killed import Mortal, blocks

pytestmark = pytest.mark.long

POINTS = (
    "sender.note-written.before",
    "sender.note-written.after",
    "sender.sent",
    "sender.mined",
    "sender.note-removed.before",
)


def sent_by(federation: Federation, name: str = "ada") -> int:
    """Return how many transactions of an account are on the chain."""
    return int(federation.chain.w3.eth.get_transaction_count(federation[name].address))


@pytest.mark.parametrize("point", POINTS)
def test_a_stake_that_is_killed_anywhere_is_staked_once(
    federation: Federation, mortal: Mortal, point: str
) -> None:
    before, ada = sent_by(federation), federation["ada"].address
    mortal.kill(point, "enrol", "--only-stake", "7")
    again = mortal.call("enrol", "--only-stake", "7")
    assert federation.chain.vault.stake_of(ada) == STAKE + 7 * UNIT
    assert sent_by(federation) == before + 1
    assert again["stake"] == str(STAKE + 7 * UNIT)
    assert again["earlier"] == (point in POINTS[2:]), "it says whether it did it"

    assert mortal.call("enrol", "--only-stake", "7")["earlier"] is False, (
        "whoever was told and calls again means it"
    )
    assert federation.chain.vault.stake_of(ada) == STAKE + 14 * UNIT
    assert sent_by(federation) == before + 2
    assert list((mortal.home / "data").rglob("*.json")) == []


def test_a_command_that_is_killed_after_its_last_word_was_done(
    federation: Federation, mortal: Mortal
) -> None:
    said = mortal.kill("sender.note-removed.after", "enrol", "--only-stake", "7")
    assert f'"stake": "{STAKE + 7 * UNIT}"' in said
    assert list((mortal.home / "data").rglob("*.json")) == []


def test_a_stake_that_is_killed_while_it_waits_for_confirmations_goes_on_waiting(
    federation: Federation, mortal: Mortal
) -> None:
    before, anvil, ada = sent_by(federation), federation.anvil, federation["ada"].address
    mortal.set({"FOLKMOOT_CONFIRMATIONS": "3"})
    said = mortal.kill("sender.waiting", "enrol", "--only-stake", "7")
    assert said == "", "nothing is told before it is deep"
    with blocks(anvil):
        again = mortal.call("enrol", "--only-stake", "7")
    assert federation.chain.rpc.block_number() >= again["block"] + 2
    assert again["earlier"] is True
    assert federation.chain.vault.stake_of(ada) == STAKE + 7 * UNIT
    assert sent_by(federation) == before + 1
    assert list((mortal.home / "data").rglob("*.json")) == []


def test_a_stake_that_a_reorg_took_after_its_command_was_killed_is_staked_once(
    federation: Federation, mortal: Mortal
) -> None:
    before, anvil, ada = sent_by(federation), federation.anvil, federation["ada"].address
    mortal.kill("sender.waiting", "enrol", "--only-stake", "7", "--confirmations", "3")
    anvil.call("anvil_reorg", 1, [])
    anvil.call("anvil_dropAllTransactions")
    assert federation.chain.vault.stake_of(ada) == STAKE
    with blocks(anvil):
        mortal.call("enrol", "--only-stake", "7", "--confirmations", "3")
    assert federation.chain.vault.stake_of(ada) == STAKE + 7 * UNIT
    assert sent_by(federation) == before + 1


def test_people_are_told_once_that_it_waits(federation: Federation, mortal: Mortal) -> None:
    with blocks(federation.anvil):
        assert run(["enrol", "--only-stake", "7", "--confirmations", "3"]) == 0
    said = mortal.capsys.readouterr()
    assert said.err.count("Waiting until 3 blocks hold it") == 1
    assert "Staked 7 MOOT" in said.out


def test_people_are_told_that_nothing_was_sent_now(mortal: Mortal) -> None:
    mortal.kill("sender.mined", "enrol", "--only-stake", "7")
    assert run(["enrol", "--only-stake", "7"]) == 0
    said = mortal.capsys.readouterr()
    assert "An interrupted call did this already: transaction 0x" in said.err
    assert "Nothing was sent now" in said.err
    assert "Staked 7 MOOT; the stake of" in said.out


def test_a_stake_that_is_still_on_its_way_is_waited_for(federation: Federation, mortal: Mortal) -> None:
    before, anvil = sent_by(federation), federation.anvil
    anvil.call("evm_setAutomine", False)
    try:
        mortal.kill("sender.sent", "enrol", "--only-stake", "7")
        mortal.mine_once_awaited(anvil)
        assert mortal.call("enrol", "--only-stake", "7")["earlier"] is True
    finally:
        anvil.call("evm_setAutomine", True)
    assert federation.chain.vault.stake_of(federation["ada"].address) == STAKE + 7 * UNIT
    assert sent_by(federation) == before + 1


def test_a_stake_that_pays_too_little_now_is_outbid_and_staked_once(mortal: Mortal, tmp_path: Path) -> None:
    with Anvil() as anvil:  # its fees stay high
        own = factories.federation(anvil)
        own.deployment.save(tmp_path / "own.json")
        mortal.set({"FOLKMOOT_RPC": anvil.url, "FOLKMOOT_DEPLOYMENT": str(tmp_path / "own.json")})
        before = sent_by(own)
        anvil.call("evm_setAutomine", False)
        mortal.kill("sender.sent", "enrol", "--only-stake", "7")
        anvil.call("anvil_setNextBlockBaseFeePerGas", hex(10**12))
        anvil.call("evm_mine")
        anvil.call("evm_setAutomine", True)
        assert mortal.call("enrol", "--only-stake", "7")["earlier"] is False
        assert own.chain.vault.stake_of(own["ada"].address) == STAKE + 7 * UNIT
        assert sent_by(own) == before + 1
        own.chain.close()


def test_a_stake_that_was_never_sent_and_lost_its_nonce_is_sent_with_another(
    federation: Federation, mortal: Mortal
) -> None:
    before = sent_by(federation)
    mortal.kill("sender.note-written.after", "enrol", "--only-stake", "7")
    assert mortal.call("delegate", "self")["earlier"] is False, "a note is not in the way of other commands"
    assert mortal.call("enrol", "--only-stake", "7")["earlier"] is False
    assert federation.chain.vault.stake_of(federation["ada"].address) == STAKE + 7 * UNIT
    assert sent_by(federation) == before + 2


@pytest.mark.parametrize("local", [True, False])
def test_a_chain_that_knows_none_of_the_nonces_before(
    mortal: Mortal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, local: bool
) -> None:
    """A local one was started anew. Any other lacks what may come to it yet: nothing may be sent beside that."""
    if not local:
        for module in (fate, interrupted):
            monkeypatch.setattr(module, "LOCAL_CHAIN_ID", 1)
    for start in ("first", "again"):
        with Anvil() as anvil:
            own = factories.federation(anvil)
            own.deployment.save(tmp_path / "own.json")
            mortal.set({"FOLKMOOT_RPC": anvil.url, "FOLKMOOT_DEPLOYMENT": str(tmp_path / "own.json")})
            before = sent_by(own)
            if start == "first":
                mortal.call("delegate", "self")
                mortal.kill("sender.note-written.after", "enrol", "--only-stake", "7")
            elif local:
                assert mortal.call("enrol", "--only-stake", "7")["earlier"] is False
                assert sent_by(own) == before + 1
            else:
                error = mortal.call("enrol", "--only-stake", "7", fails=1)["error"]
                assert (error["code"], sent_by(own)) == ("nonce-gap", before)
                mortal.call("delegate", "self")
                assert mortal.call("enrol", "--only-stake", "7")["earlier"] is False
            own.chain.close()


def test_several_endpoints_tell_of_it_as_one(federation: Federation, mortal: Mortal) -> None:
    before, anvil = sent_by(federation), federation.anvil
    mortal.set({"FOLKMOOT_RPC": f"{anvil.url},http://localhost:{anvil.port}"})
    anvil.call("evm_setAutomine", False)
    try:
        mortal.kill("sender.sent", "enrol", "--only-stake", "7")
        mortal.mine_once_awaited(anvil)
        assert mortal.call("enrol", "--only-stake", "7")["earlier"] is True
    finally:
        anvil.call("evm_setAutomine", True)
    assert sent_by(federation) == before + 1


def test_two_commands_at_once_both_act(federation: Federation, mortal: Mortal) -> None:
    before = sent_by(federation)
    results: list[str] = []

    def other() -> None:
        results.append(mortal.kill("sender.note-removed.after", "enrol", "--only-stake", "7"))

    thread = threading.Thread(target=other)
    thread.start()
    mortal.call("enrol", "--only-stake", "7")
    thread.join()
    assert federation.chain.vault.stake_of(federation["ada"].address) == STAKE + 14 * UNIT
    assert sent_by(federation) == before + 2
    (said,) = results
    assert '"earlier": false' in said


@pytest.mark.parametrize("amount", ["7", "all"])
def test_stake_that_leaves_leaves_once(federation: Federation, mortal: Mortal, amount: str) -> None:
    before, ada = sent_by(federation), federation["ada"].address
    mortal.kill("sender.mined", "withdraw", amount)
    again = mortal.call("withdraw", amount)
    units = STAKE if amount == "all" else 7 * UNIT
    (leaving,) = federation.chain.vault.unbondings(ada)
    assert (again["earlier"], again["unbonding"], again["releaseAt"]) == (
        True,
        str(units),
        leaving.release_at,
    )
    assert leaving.amount == units

    federation.anvil.advance(factories.GOVERNANCE.unbonding + 1)
    mortal.kill("sender.mined", "withdraw")
    assert mortal.call("withdraw")["withdrawn"] == str(units)
    assert federation.chain.token.balance_of(ada) == ALLOCATION - STAKE + units
    left = amount == "all"  # without stake, the account also leaves the list of the enrolled
    assert federation.chain.ledger.enrolled(ada) is not left
    assert sent_by(federation) == before + 2 + left


def test_each_step_of_a_vote_happens_once(federation: Federation, mortal: Mortal) -> None:
    before = sent_by(federation)
    words = ("propose", "--version", "0", "--title", "Release it")
    mortal.kill("sender.mined", *words)
    short = mortal.call(*words)["proposal"]["short"]
    federation.anvil.advance(11)

    mortal.kill("sender.mined", "vote", short, "for", "--reason", "good")
    cast = mortal.call("vote", short, "for", "--reason", "good")
    assert (cast["earlier"], cast["weight"]) == (True, str(STAKE))
    for name in ("ben", "cleo"):
        chain = federation.chain
        chain.send(chain.governor.functions.castVote(int(cast["proposal"]["id"]), 1), federation[name])
    federation.anvil.advance(600)

    for state, again in (("queued", "too-early"), ("executed", "wrong-proposal-state")):
        mortal.kill("sender.mined", "execute", short)
        done = mortal.call("execute", short)
        assert (done["earlier"], done["proposal"]["state"]) == (True, state)
        assert mortal.call("execute", short, fails=1)["error"]["code"] == again, "told once"
        federation.anvil.advance(601)
    assert mortal.call("status")["active"]["version"] == 0
    assert sent_by(federation) == before + 4


def test_who_joins_with_stake_and_is_interrupted_stakes_once(
    federation: Federation, mortal: Mortal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`join` looks at the stake first, so only what is not mined yet could be sent twice."""

    def interrupted(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    newcomer, anvil, before = federation["newcomer"], federation.anvil, sent_by(federation, "newcomer")
    arguments = (federation.deployment, newcomer, "7")
    anvil.call("evm_setAutomine", False)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(depth, "await_receipts", interrupted)
            with pytest.raises(KeyboardInterrupt):
                client.cli.join._stake(*arguments, there=False)
        mortal.mine_once_awaited(anvil)
        client.cli.join._stake(*arguments, there=False)
    finally:
        anvil.call("evm_setAutomine", True)
    assert "An interrupted call did this already" in mortal.capsys.readouterr().err
    assert federation.chain.vault.stake_of(newcomer.address) == 7 * UNIT
    assert sent_by(federation, "newcomer") == before + 1


def test_who_joins_with_stake_and_is_interrupted_while_it_waits_goes_on_waiting(
    federation: Federation, mortal: Mortal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    newcomer, anvil, before = federation["newcomer"], federation.anvil, sent_by(federation, "newcomer")
    mortal.set({"FOLKMOOT_CONFIRMATIONS": "3"})
    arguments = (federation.deployment, newcomer, "7")
    with monkeypatch.context() as patch:
        patch.setattr(depth, "await_depth", interrupted)
        with pytest.raises(KeyboardInterrupt):
            client.cli.join._stake(*arguments, there=False)
    mined = federation.chain.rpc.block_number()
    with blocks(anvil):
        client.cli.join._stake(*arguments, there=True)
    assert federation.chain.rpc.block_number() >= mined + 2
    assert "An interrupted call did this already" in mortal.capsys.readouterr().err
    assert sent_by(federation, "newcomer") == before + 1
    assert list((mortal.home / "data").rglob("*.json")) == []


def test_a_round_is_cancelled_once(federation: Federation, mortal: Mortal) -> None:
    chain, before = federation.chain, sent_by(federation)
    header = b"\1" * 32
    chain.send(
        chain.ledger.functions.openRound(1, chain.ledger.head().state_root, header), federation.coordinator
    )
    federation.anvil.advance(factories.policy().commit_window + 1)
    mortal.kill("sender.mined", "close", "1")
    assert mortal.call("close", "1")["earlier"] is True
    assert mortal.call("close", "1", fails=1)["error"]["code"] == "bond-released"
    assert sent_by(federation) == before + 1


@pytest.mark.parametrize("point", ["account.key-written.before", "account.key-written.after"])
def test_a_key_file_is_whole_or_not_there(mortal: Mortal, point: str) -> None:
    out = mortal.home / "mine.json"
    mortal.kill(point, "account", "new", "--out", out)
    if point.endswith("before"):
        assert not out.exists()
        mortal.call("account", "new", "--out", out)
    else:
        error = mortal.call("account", "new", "--out", out, fails=1)["error"]
        assert error["code"] == "keystore-exists"
    assert mortal.call("account", "list", out)["accounts"][0]["path"] == str(out)
    assert out.stat().st_mode & 0o777 == 0o600


def test_a_note_that_is_damaged_stops_the_command_and_says_what_to_do(
    federation: Federation, mortal: Mortal
) -> None:
    before = sent_by(federation)
    mortal.kill("sender.note-written.after", "enrol", "--only-stake", "7")
    (note,) = (mortal.home / "data").rglob("*.json")
    note.write_text("{")
    error = mortal.call("enrol", "--only-stake", "7", fails=1)["error"]
    assert error["code"] == "note-damaged"
    assert str(note) in error["message"]
    assert sent_by(federation) == before

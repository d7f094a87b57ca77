# SPDX-License-Identifier: Apache-2.0
"""Calls that are taken up on nodes that no longer know what became of what was sent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from eth_utils.crypto import keccak

from folkmoot.chain.client import Chain
from folkmoot.chain.transactions import confirmations
from folkmoot.chain.transactions import resume as interrupted
from folkmoot.chain.transactions import status as fate
from folkmoot.chain.transactions.journal import Intent, PendingTx, TransactionJournal
from folkmoot.chain.transactions.sender import Form
from folkmoot.devnet.anvil import Anvil
from folkmoot.errors import ChainError
from folkmoot.runtime.units import UNIT
from tests import factories
from tests.factories import Federation
from tests.rpc_proxy import Lack, RpcProxy

ADA = factories.account("ada")
GONE = (Lack.RECEIPTS, Lack.INDEX, Lack.BLOCK_RECEIPTS)
"""What a node lacks that has thrown receipts away."""
STRANGER = b"\2 is not sent"
"""Bytes of something that was never sent."""


class Interrupted(Exception):
    """A call ends before it knows what came of what it sent."""


@dataclass
class Taking:
    """Ada's calls, and the node that they ask."""

    federation: Federation
    node: RpcProxy
    chain: Chain
    folder: Path
    said: list[str]

    def __post_init__(self) -> None:
        self.reopen()

    def reopen(self, depth: int = 1) -> None:
        """Begin another call."""
        if self.chain.notes is not None:
            self.chain.notes.close()
        self.chain.notes = TransactionJournal(self.folder, self.said.append, depth)

    def unbond(self, **options: Any) -> Any:
        return self.chain.send(self.chain.vault.functions.requestUnbond(UNIT), ADA, **options)

    def interrupt(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Ask for a withdrawal, and be interrupted once it is mined."""

        await_receipts = confirmations.await_receipts

        def wait(*arguments: Any, **options: Any) -> Any:
            await_receipts(*arguments, **options)  # a chain that mines at once mines after it has answered
            raise Interrupted

        with monkeypatch.context() as patch:
            patch.setattr(confirmations, "await_receipts", wait)
            with pytest.raises(Interrupted):
                self.unbond()
        self.reopen()

    def note(self, block: int | None = None) -> None:
        """Note a withdrawal that was never sent, and let something else have its nonce."""
        assert self.chain.notes is not None
        function = self.chain.vault.functions.requestUnbond(UNIT)
        vault = self.chain.deployment.vault
        intent = Intent(self.chain.deployment.chain_id, ADA.address, vault, f"requestUnbond{(UNIT,)!r}")
        assert function.to == vault
        newest = self.chain.rpc.block_number() if block is None else block
        form = Form(self.nonce(), "0x" + keccak(STRANGER).hex(), STRANGER, newest, 0)
        self.chain.notes.write(PendingTx(intent, form.nonce), form)
        self.chain.notes.close()
        self.federation.chain.send(self.chain.vault.functions.delegate(ADA.address), ADA)

    def nonce(self) -> int:
        return int(self.federation.chain.w3.eth.get_transaction_count(ADA.address))

    def asked(self) -> int:
        """Return how many withdrawals Ada has asked for."""
        return len(self.federation.chain.vault.unbondings(ADA.address))

    def mine(self, blocks: int = 1) -> None:
        self.federation.anvil.call("anvil_mine", hex(blocks))

    def notes_left(self) -> int:
        return len(list(self.folder.glob("*.json")))


@pytest.fixture(scope="module")
def chain() -> Iterator[Anvil]:
    """A chain of the module's own that keeps all states."""
    with Anvil(kept_states=10_000) as anvil:
        yield anvil


@pytest.fixture(autouse=True)
def _public(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the chain for one that keeps no more than others, and lose no time."""
    for module in (fate, interrupted):
        monkeypatch.setattr(module, "LOCAL_CHAIN_ID", 1)
    monkeypatch.setattr(fate, "LOOK_PAUSE", 0.01)


@contextmanager
def begun(federation: Federation, folder: Path) -> Iterator[Taking]:
    """Let Ada call."""
    with RpcProxy(federation.anvil.url) as node:
        chain = Chain.connect(node.url, federation.deployment)
        try:
            yield Taking(federation, node, chain, folder, [])
        finally:
            assert chain.notes is not None
            chain.notes.close()
            chain.close()


@pytest.fixture
def taking(apart: Federation, tmp_path: Path) -> Iterator[Taking]:
    with begun(apart, tmp_path / "sent") as made:
        yield made


@pytest.mark.parametrize(
    "lacks",
    [(Lack.RECEIPTS, Lack.STATES), (Lack.RECEIPTS, Lack.INDEX)],
    ids=["found by its hash", "found by its nonce"],
)
def test_the_receipts_of_its_block_have_it(
    taking: Taking, monkeypatch: pytest.MonkeyPatch, lacks: tuple[Lack, ...]
) -> None:
    taking.interrupt(monkeypatch)
    taking.mine(10)
    before = taking.nonce()
    taking.node.lack(*lacks)
    receipt = taking.unbond()
    assert taking.chain.notes is not None
    assert taking.chain.notes.is_earlier(receipt["transactionHash"].to_0x_hex())
    assert (taking.nonce(), taking.asked()) == (before, 1)


def test_several_nodes_say_it_as_one(taking: Taking, monkeypatch: pytest.MonkeyPatch) -> None:
    taking.interrupt(monkeypatch)
    before = taking.nonce()
    with ExitStack() as stack:
        other = stack.enter_context(RpcProxy(taking.federation.anvil.url))
        for node in (taking.node, other):
            node.lack(Lack.RECEIPTS, Lack.INDEX)
        chain = Chain.connect([taking.node.url, other.url], taking.federation.deployment)
        stack.callback(chain.close)
        chain.notes = TransactionJournal(taking.folder)
        stack.callback(chain.notes.close)  # whatever happens: its lock is a file
        chain.send(chain.vault.functions.requestUnbond(UNIT), ADA)
        assert (taking.nonce(), taking.asked()) == (before, 1)
        for node in (taking.node, other):
            node.lack(*GONE)
        with pytest.raises(ChainError) as caught:
            chain.send(chain.vault.functions.requestUnbond(UNIT), ADA)
        assert caught.value.code == "outcome-unknown"


@pytest.mark.parametrize(
    ("lacks", "known"),
    [(GONE, True), ((Lack.RECEIPTS, Lack.BLOCK_RECEIPTS, Lack.STATES), True), ((*GONE, Lack.STATES), False)],
    ids=["its block is known", "its block is known by its hash", "nothing is known"],
)
def test_what_may_have_been_done_is_not_done_again(
    taking: Taking, monkeypatch: pytest.MonkeyPatch, lacks: tuple[Lack, ...], known: bool
) -> None:
    block = taking.chain.rpc.block_number() + 1
    taking.interrupt(monkeypatch)
    taking.mine(10)
    before = taking.nonce()
    taking.node.lack(*lacks)
    with pytest.raises(ChainError) as caught:
        taking.unbond()
    assert caught.value.code == "outcome-unknown"
    assert caught.value.details["block"] == (block if known else None)
    assert (taking.nonce(), taking.asked(), taking.notes_left()) == (before, 1, 1)

    taking.node.lack()
    taking.reopen()
    taking.unbond()
    assert taking.nonce() == before, "an endpoint that has the receipt says that it was done"


def test_what_the_contract_allows_only_once_is_tried(taking: Taking, monkeypatch: pytest.MonkeyPatch) -> None:
    taking.note()
    taking.mine(10)
    taking.node.lack(Lack.STATES)
    assert taking.unbond(once=True)["status"] == 1
    assert any("can't be found out" in text for text in taking.said)
    assert taking.asked() == 1


@pytest.mark.parametrize("once", [True, False])
def test_a_command_that_looks_at_the_chain_first_tries_it_too(taking: Taking, once: bool) -> None:
    taking.note()
    taking.mine(10)
    taking.node.lack(Lack.STATES)
    purpose = f"requestUnbond{(UNIT,)!r}"
    if once:
        assert taking.chain.earlier("vault", ADA.address, purpose, once=True) is None
        assert taking.notes_left() == 0
        return
    with pytest.raises(ChainError) as caught:
        taking.chain.earlier("vault", ADA.address, purpose)
    assert caught.value.code == "outcome-unknown"
    assert taking.notes_left() == 1


def test_another_transaction_is_found_that_had_the_nonce(taking: Taking) -> None:
    taking.note()
    taking.mine(10)
    taking.unbond()
    assert taking.asked() == 1
    assert any("another transaction had its nonce" in text for text in taking.said)


def test_without_old_states_nobody_knows_that_another_transaction_had_the_nonce(taking: Taking) -> None:
    taking.note()
    taking.mine(10)
    taking.node.lack(Lack.STATES)
    with pytest.raises(ChainError) as caught:
        taking.unbond()
    assert caught.value.code == "outcome-unknown"
    assert taking.asked() == 0


def test_it_is_found_in_the_newest_states_where_older_ones_are_gone(tmp_path: Path) -> None:
    """The local chain itself keeps the newest 128; a note of an older release does not say how far to go back."""
    with Anvil() as anvil:  # its own: a chain that is put back does not get old states back
        federation = factories.federation(anvil)
        with begun(federation, tmp_path) as taking:
            taking.mine(300)
            taking.note(block=0)
            taking.mine(10)
            taking.unbond()
            assert taking.asked() == 1
            taking.reopen()

            for note in taking.folder.glob("*.json"):
                note.unlink()
            taking.note(block=0)
            taking.mine(300)
            with pytest.raises(ChainError) as caught:
                taking.unbond()
            assert caught.value.code == "outcome-unknown", "it was used before all states that are left"
        federation.chain.close()


def test_another_transaction_counts_when_it_is_as_deep_as_ours_should_be(taking: Taking) -> None:
    taking.note()
    taking.reopen(depth=3)
    with pytest.raises(ChainError) as caught:
        taking.unbond()
    assert caught.value.code == "not-confirmed"
    assert taking.notes_left() == 1
    taking.mine(2)
    taking.reopen()
    taking.unbond()
    assert taking.asked() == 1

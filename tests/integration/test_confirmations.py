# SPDX-License-Identifier: Apache-2.0
"""Waiting for confirmations on a real node, whose newest blocks go away meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from folkmoot.chain.client import Chain
from folkmoot.chain.transactions import confirmations as depth
from folkmoot.chain.transactions import connection
from folkmoot.chain.transactions.journal import TransactionJournal
from folkmoot.devnet.anvil import Anvil
from folkmoot.errors import ChainError, ContractRefused
from folkmoot.runtime.units import UNIT
from tests import factories
from tests.factories import Federation
from tests.rpc_proxy import RpcProxy, Trouble

DEPTH = 3
ADA, BEN = factories.account("ada"), factories.account("ben")


@dataclass
class Waiting:
    """A call that waits until what it sent is deep enough, in a thread of its own."""

    federation: Federation
    folder: Path
    threads: ThreadPoolExecutor
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.chain = Chain.connect(self.anvil.url, self.federation.deployment)
        self.notes = self.chain.notes = TransactionJournal(self.folder, self.said.append, DEPTH)

    @property
    def anvil(self) -> Anvil:
        return self.federation.anvil

    def begin(self, act: Callable[[], Any]) -> Future[Any]:
        """Do something until it waits."""
        before, future = len(self.said), self.threads.submit(act)
        self.until(lambda: any("Waiting until 3 blocks" in text for text in self.said[before:]), future)
        return future

    def until(self, so: Callable[[], bool], future: Future[Any]) -> None:
        """Wait until something is so; meanwhile the call must go on."""
        end = time.monotonic() + 20
        while not so():
            if future.done():
                pytest.fail(f"it ended: {future.exception() or future.result()}")
            assert time.monotonic() < end
            time.sleep(0.02)

    def unbond(self, amount: int = UNIT) -> Any:
        return self.chain.send(self.chain.vault.functions.requestUnbond(amount), ADA)

    def mine(self, blocks: int = 1) -> None:
        self.anvil.call("anvil_mine", hex(blocks))

    def reorg(self, blocks: int, *first: Any) -> None:
        """Replace the newest blocks by empty ones, or by one with these transactions; the pool forgets the others."""
        self.anvil.call("anvil_reorg", blocks, [[raw, 0] for raw in first])
        self.anvil.call("anvil_dropAllTransactions")

    def signed(self, function: Any, account: Any, nonce: int | None = None) -> str:
        """Return the bytes of a call, 0x-hex."""
        given = {} if nonce is None else {"nonce": nonce}
        fields = factories.fields_of(self.chain, function, account, **given)
        return str(account.sign_transaction(fields).raw_transaction.to_0x_hex())

    def nonce(self, account: Any = ADA) -> int:
        return int(self.chain.w3.eth.get_transaction_count(account.address))

    def notes_left(self) -> int:
        return len(list(self.folder.glob("*.json")))


@pytest.fixture
def waiting(apart: Federation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Waiting]:
    monkeypatch.setattr(depth, "PAUSE", 0.05)
    with ThreadPoolExecutor(1) as threads:
        made = Waiting(apart, tmp_path / "sent", threads)
        try:
            yield made
        finally:
            apart.anvil.call("evm_setAutomine", True)
            made.mine(DEPTH)  # whoever still waits ends
    made.notes.close()
    made.chain.close()


def test_it_is_told_when_so_many_blocks_hold_it(waiting: Waiting) -> None:
    before, call = waiting.nonce(), waiting.begin(waiting.unbond)
    waiting.mine()
    time.sleep(0.5)
    assert not call.done(), "two blocks hold it"
    waiting.mine()
    receipt = call.result(20)
    assert waiting.chain.rpc.block_number() == receipt["blockNumber"] + DEPTH - 1
    assert (waiting.nonce(), waiting.notes_left()) == (before + 1, 1), "it was not told yet"
    assert len(waiting.said) == 1
    waiting.notes.acknowledge()
    assert waiting.notes_left() == 0


def test_what_a_reorg_takes_is_sent_again_unchanged(waiting: Waiting) -> None:
    before, call = waiting.nonce(), waiting.begin(waiting.unbond)
    (sent,) = waiting.notes.untold()
    waiting.mine()
    waiting.reorg(2)
    told = f"A reorg took the transaction {sent}"
    waiting.until(lambda: any(told in text for text in waiting.said), call)  # it is sent before that is told
    assert waiting.nonce() == before + 1
    waiting.mine(DEPTH - 1)
    receipt = call.result(20)
    assert receipt["transactionHash"].to_0x_hex() == sent
    assert receipt["blockHash"] == waiting.chain.w3.eth.get_block(receipt["blockNumber"])["hash"]
    assert waiting.nonce() == before + 1
    assert len(waiting.chain.vault.unbondings(ADA.address)) == 1


def test_what_a_reorg_lets_fail_is_a_failure_once_it_is_deep(waiting: Waiting) -> None:
    """What Ben sends needs Ada's word, which the other branch of the chain lacks."""
    token = waiting.chain.token.functions
    other = waiting.signed(token.approve(BEN.address, 0), ADA, waiting.nonce() + 1)
    waiting.federation.chain.send(token.approve(BEN.address, 5), ADA)
    call = waiting.begin(lambda: waiting.chain.send(token.transferFrom(ADA.address, BEN.address, 5), BEN))
    before = waiting.nonce(BEN)
    waiting.reorg(1, other)
    waiting.until(lambda: waiting.nonce(BEN) == before, call)
    time.sleep(0.5)
    assert not call.done(), "a reorg may still let it succeed"
    waiting.mine(DEPTH)
    error = call.exception(20)
    assert isinstance(error, ContractRefused)
    assert error.details["error"] == "ERC20InsufficientAllowance"
    assert waiting.notes_left() == 0


def test_what_lost_its_nonce_to_another_transaction_is_told_at_depth(waiting: Waiting) -> None:
    token = waiting.chain.token.functions
    other = waiting.signed(token.approve(BEN.address, 7), ADA)
    call = waiting.begin(waiting.unbond)
    waiting.reorg(1, other)
    time.sleep(1.0)
    assert not call.done(), "it is lost in one block, and not in three"
    waiting.mine(DEPTH)
    error = call.exception(20)
    assert isinstance(error, ChainError)
    assert error.code == "nonce-taken"
    assert waiting.notes_left() == 0

    again = waiting.begin(waiting.unbond)
    waiting.mine(DEPTH)
    assert again.result(20)["status"] == 1
    assert len(waiting.chain.vault.unbondings(ADA.address)) == 1


def test_a_chain_that_makes_no_blocks_is_told_and_the_next_call_goes_on(
    waiting: Waiting, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = waiting.nonce()
    monkeypatch.setattr(connection, "CONFIRM_TIMEOUT", 1.0)
    error = waiting.begin(waiting.unbond).exception(20)
    assert isinstance(error, ChainError)
    assert (error.code, error.details) == ("not-confirmed", {"depth": 1, "confirmations": DEPTH})
    waiting.notes.close()

    call = waiting.begin(waiting.unbond)
    waiting.mine(DEPTH)
    transaction = call.result(20)["transactionHash"].to_0x_hex()
    assert waiting.notes.is_earlier(transaction)
    assert waiting.nonce() == before + 1


def test_what_is_not_mined_again_is_told(waiting: Waiting, monkeypatch: pytest.MonkeyPatch) -> None:
    before = waiting.nonce()
    monkeypatch.setattr(connection, "CONFIRM_TIMEOUT", 1.0)
    call = waiting.begin(waiting.unbond)
    waiting.anvil.call("evm_setAutomine", False)
    waiting.reorg(1)
    error = call.exception(20)
    assert isinstance(error, ChainError)
    assert error.code == "not-mined"
    waiting.notes.close()
    waiting.anvil.call("evm_setAutomine", True)
    waiting.mine(DEPTH)
    assert waiting.unbond()["status"] == 1
    assert waiting.nonce() == before + 1


def test_what_goes_before_is_sent_again_first_though_it_was_not_noted(waiting: Waiting) -> None:
    """Without the word that lets the vault take tokens, the stake after it could never be mined."""
    chain, before = waiting.chain, waiting.nonce()
    allow = chain.token.functions.approve(chain.vault.address, UNIT)
    connection.send(chain.w3, allow, ADA, notes=waiting.notes, harmless=True)
    assert waiting.notes_left() == 0
    call = waiting.begin(
        lambda: chain.send(chain.vault.functions.stake(ADA.address, UNIT), ADA, purpose="stake")
    )
    stake = chain.vault.stake_of(ADA.address)
    waiting.reorg(2)
    waiting.until(lambda: waiting.nonce() == before + 2, call)
    waiting.mine(DEPTH)
    assert call.result(20)["status"] == 1
    assert chain.vault.stake_of(ADA.address) == stake


def test_several_are_waited_for_at_once(waiting: Waiting) -> None:
    functions, before = waiting.chain.vault.functions, waiting.nonce()
    sent = [
        waiting.chain.send(functions.requestUnbond(amount), ADA, wait=False) for amount in (UNIT, 2 * UNIT)
    ]
    assert waiting.said == []
    call = waiting.begin(lambda: waiting.chain.settle(*sent))
    waiting.reorg(2)
    waiting.until(lambda: waiting.nonce() == before + 2, call)
    waiting.mine(DEPTH - 1)
    settled = call.result(20)
    assert [receipt["transactionHash"] for receipt in settled] == [
        receipt["transactionHash"] for receipt in sent
    ]
    assert {receipt["status"] for receipt in settled} == {1}


def test_an_endpoint_that_is_away_for_a_while_ends_nothing(
    waiting: Waiting, monkeypatch: pytest.MonkeyPatch
) -> None:
    with RpcProxy(waiting.anvil.url) as proxy:
        chain = Chain.connect(proxy.url, waiting.federation.deployment)
        chain.notes = waiting.notes
        unbond = chain.vault.functions.requestUnbond(UNIT)
        call = waiting.begin(lambda: chain.send(unbond, ADA))
        proxy.become(Trouble.AWAY)
        waiting.until(lambda: proxy.hits[Trouble.AWAY] > 2, call)
        waiting.mine(DEPTH)
        proxy.become(Trouble.NONE)
        assert call.result(20)["status"] == 1
        waiting.notes.acknowledge()

        monkeypatch.setattr(connection, "CONFIRM_TIMEOUT", 0.5)
        call = waiting.begin(lambda: chain.send(unbond, ADA))
        proxy.become(Trouble.AWAY)
        error = call.exception(20)
        assert isinstance(error, ChainError)
        assert error.code == "rpc-unreachable"
        assert waiting.notes_left() == 1
        chain.close()

# SPDX-License-Identifier: Apache-2.0
"""The outbox against a real node whose fees rise, whose pool forgets and whose newest blocks go away."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from folkmoot.chain.fees import offered
from folkmoot.devnet.anvil import Anvil
from folkmoot.rpc.client import Rpc
from folkmoot.rpc.local_chain import LOCAL_CHAIN_ID
from server.chain import outbox
from server.chain.outbox import Outbox
from server.db import schema
from server.db.engine import Database
from server.db.models import SentTransaction, Transaction
from tests.factories import account

ACCOUNT = account("sender")


@dataclass
class _World:
    anvil: Anvil
    database: Database
    rpc: Rpc

    def outbox(self, **limits: Any) -> Outbox:
        """An outbox as after a start: nothing is remembered but the database."""
        return Outbox(self.database, self.rpc, ACCOUNT, LOCAL_CHAIN_ID, confirmations=2, **limits)

    def want(self) -> None:
        with self.database.write() as session:
            outbox.enqueue(session, "one", 1, ACCOUNT.address, b"")

    def row(self) -> Transaction:
        with self.database.read() as session:
            found = outbox.find(session, "one")
            assert found is not None
            session.expunge_all()
            return found

    def forms(self) -> list[str]:
        """Hashes of all that was signed, the oldest first."""
        with self.database.read() as session:
            return list(session.scalars(select(SentTransaction.hash).order_by(SentTransaction.id)))

    def mine(self, blocks: int = 1) -> None:
        self.anvil.call("anvil_mine", hex(blocks), hex(12))

    def nonces_used(self) -> int:
        return self.rpc.transaction_count(ACCOUNT.address, "latest")


@pytest.fixture
def world(anvil: Anvil, tmp_path: Path) -> Iterator[_World]:
    database = Database.open(f"sqlite:///{tmp_path / 'test.sqlite3'}")
    schema.upgrade(database.engine)
    anvil.fund(ACCOUNT.address)
    base_fee = anvil.call("eth_getBlockByNumber", "pending", False)["baseFeePerGas"]
    anvil.call("evm_setAutomine", False)
    try:
        with Rpc(anvil.url) as rpc:
            yield _World(anvil, database, rpc)
    finally:
        anvil.call("evm_setAutomine", True)
        anvil.call("anvil_setNextBlockBaseFeePerGas", base_fee)  # a snapshot does not hold it
        database.close()


def test_what_fees_have_left_behind_is_replaced_and_mined_once(world: _World) -> None:
    world.want()
    world.outbox().tick()
    first = world.row()
    assert first.raw is not None
    world.anvil.call("anvil_setNextBlockBaseFeePerGas", hex(50 * offered(first.raw).cap))
    world.mine(4)
    assert world.nonces_used() == 0, "it offers too little for these blocks"

    poor = world.outbox(max_fee=offered(first.raw).cap)
    poor.tick()
    assert world.forms() == [first.hash]
    assert "max_fee_gwei" in poor.warnings[0]

    world.outbox().tick()
    second = world.row()
    assert second.raw is not None
    assert (second.nonce, world.forms()) == (first.nonce, [first.hash, second.hash])
    assert offered(second.raw).cap > offered(first.raw).cap
    world.mine()
    world.outbox().tick()
    assert world.row().state == "mined"
    world.mine()
    world.outbox().tick()
    assert (world.row().state, world.row().hash, world.nonces_used()) == ("confirmed", second.hash, 1)
    assert world.rpc.receipt(first.hash or "") is None


def test_what_the_pool_forgot_is_sent_again_unchanged(world: _World) -> None:
    world.want()
    world.outbox().tick()
    sent = world.row().hash
    world.anvil.call("anvil_dropTransaction", sent)
    world.mine()
    assert world.nonces_used() == 0
    world.outbox().tick()
    world.mine(2)
    world.outbox().tick()
    assert (world.row().state, world.row().hash, world.forms()) == ("confirmed", sent, [sent])


def test_what_a_reorg_took_is_sent_again_unchanged(world: _World) -> None:
    world.want()
    world.outbox().tick()
    world.mine()
    world.outbox().tick()
    assert world.row().state == "mined"
    sent = world.row().hash
    world.anvil.call("anvil_reorg", 1, [])
    world.anvil.call("anvil_dropAllTransactions")
    assert world.nonces_used() == 0
    world.outbox().tick()
    assert world.row().state == "signed"
    world.mine(2)
    world.outbox().tick()
    assert (world.row().state, world.row().hash, world.forms()) == ("confirmed", sent, [sent])

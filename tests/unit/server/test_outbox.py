# SPDX-License-Identifier: Apache-2.0
"""Transactions leave once, whatever the chain and the process do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from folkmoot.errors import ContractRefused, RpcError
from server.chain import outbox
from server.chain.node import Receipt
from server.chain.outbox import Outbox
from server.db import schema
from server.db.engine import Database
from server.db.models import Transaction
from tests.unit.server.scripted_node import ACCOUNT, ScriptedNode

TO = "0x" + "ab" * 20


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = Database.open(f"sqlite:///{tmp_path / 'test.sqlite3'}")
    schema.upgrade(made.engine)
    yield made
    made.close()


@pytest.fixture
def node() -> ScriptedNode:
    return ScriptedNode()


@pytest.fixture
def box(database: Database, node: ScriptedNode) -> Outbox:
    return Outbox(database, node, ACCOUNT, 31337, confirmations=2)


def want(database: Database, purpose: str) -> bool:
    with database.write() as session:
        return outbox.enqueue(session, purpose, 1, TO, b"\x01\x02")


def row(database: Database, purpose: str) -> Transaction:
    with database.read() as session:
        found = outbox.find(session, purpose)
        assert found is not None
        session.expunge_all()
        return found


def test_transaction_is_confirmed_at_depth(database: Database, node: ScriptedNode, box: Outbox) -> None:
    assert want(database, "open:1")
    assert not want(database, "open:1"), "one purpose is one transaction"
    assert box.tick()
    assert row(database, "open:1").state == "signed"
    node.mine()
    box.tick()
    assert row(database, "open:1").state == "mined"
    node.mine()
    box.tick()
    assert row(database, "open:1").state == "confirmed"
    assert not box.tick()
    assert len(node.sent) == 1
    assert not want(database, "open:1")


def test_a_receipt_that_comes_late_is_not_a_lost_nonce(database: Database) -> None:
    """Some nodes count a transaction before they show its receipt."""

    class Late(ScriptedNode):
        hidden = 0

        def receipt(self, transaction_hash: str) -> Receipt | None:
            if self.hidden:
                self.hidden -= 1
                return None
            return super().receipt(transaction_hash)

    node = Late()
    box = Outbox(database, node, ACCOUNT, 31337, confirmations=1)
    want(database, "anchor:1")
    box.tick()
    node.mine()
    node.hidden = 1
    box.tick()
    assert row(database, "anchor:1").state == "confirmed"
    assert len(node.sent) == 1


def test_same_bytes_are_sent_until_they_are_mined(
    database: Database, node: ScriptedNode, box: Outbox
) -> None:
    want(database, "open:1")
    box.tick()
    for _ in range(3):
        node.pool.clear()
        box.tick()
    assert len(set(node.sent)) == 1
    assert len(node.sent) == 4


@pytest.mark.parametrize("dies_at", ["estimate", "send"])
def test_death_before_or_after_signing_loses_nothing(
    database: Database, node: ScriptedNode, box: Outbox, dies_at: str
) -> None:
    class KilledError(BaseException):
        pass

    def die(method: str) -> None:
        if method == dies_at:
            raise KilledError

    want(database, "open:1")
    node.before_answer = die
    with pytest.raises(KilledError):
        box.tick()
    stored = row(database, "open:1").raw
    node.before_answer = lambda _method: None
    for _ in range(3):
        Outbox(database, node, ACCOUNT, 31337, confirmations=2).tick()
        node.mine()
    Outbox(database, node, ACCOUNT, 31337, confirmations=2).tick()
    found = row(database, "open:1")
    assert found.state == "confirmed"
    assert found.nonce == 0
    assert len(set(node.sent)) == 1
    if dies_at == "send":
        assert found.raw == stored


def test_reorg_takes_it_out_and_it_is_sent_again(database: Database, node: ScriptedNode, box: Outbox) -> None:
    want(database, "open:1")
    box.tick()
    node.mine()
    box.tick()
    assert row(database, "open:1").state == "mined"
    node.reorganise(1)
    box.tick()
    assert row(database, "open:1").state == "signed"
    node.mine()
    node.mine()
    box.tick()
    found = row(database, "open:1")
    assert found.state == "confirmed"
    assert found.block_hash is not None
    assert found.block_hash.startswith("0xblock-1-")
    assert len(set(node.sent)) == 1


def test_nonces_follow_each_other(database: Database, node: ScriptedNode, box: Outbox) -> None:
    for purpose in ("a", "b", "c"):
        want(database, purpose)
    box.tick()
    assert [row(database, purpose).nonce for purpose in ("a", "b", "c")] == [0, 1, 2]


def test_nonce_that_another_transaction_took_is_replaced(
    database: Database, node: ScriptedNode, box: Outbox
) -> None:
    want(database, "open:1")
    box.tick()
    node.pool.clear()
    node.foreign = 1
    node.mine()
    node.mine()
    box.tick()
    assert row(database, "open:1").nonce == 1
    assert len(set(node.sent)) == 2


def test_refused_transaction_fails_without_a_nonce_and_may_be_wanted_again(
    database: Database, node: ScriptedNode, box: Outbox
) -> None:
    node.refusal = ContractRefused("too early", remedy="wait", details={"error": "RoundLedgerTooEarly"})
    want(database, "finalize:1")
    box.tick()
    found = row(database, "finalize:1")
    assert (found.state, found.nonce, found.gas_used) == ("failed", None, None)
    assert found.error is not None
    assert found.error["details"]["error"] == "RoundLedgerTooEarly"
    assert node.sent == []
    node.refusal = None
    assert want(database, "finalize:1")
    box.tick()
    assert row(database, "finalize:1").state == "signed"


def test_revert_on_chain_is_kept_with_reason_and_gas(
    database: Database, node: ScriptedNode, box: Outbox
) -> None:
    want(database, "anchor:1")
    box.tick()
    node.reverting = True
    node.refusal = ContractRefused("too late", details={"error": "RoundLedgerTooLate"})
    node.mine()
    node.mine()
    box.tick()
    found = row(database, "anchor:1")
    assert (found.state, found.gas_used) == ("failed", 21_000)
    assert found.error is not None
    assert found.error["message"] == "too late"


def test_chain_that_is_away_changes_nothing(database: Database, node: ScriptedNode, box: Outbox) -> None:
    want(database, "open:1")
    node.failing = 1
    with pytest.raises(RpcError):
        box.tick()
    assert row(database, "open:1").state == "queued"
    box.tick()
    assert row(database, "open:1").state == "signed"

# SPDX-License-Identifier: Apache-2.0
"""Transactions leave once, whatever the chain and the process do."""

from __future__ import annotations

from typing import Any

import pytest
from eth_account.typed_transactions.typed_transaction import TypedTransaction
from eth_utils.address import to_checksum_address
from hexbytes import HexBytes

from folkmoot.chain import fees
from folkmoot.chain.fees import offered
from folkmoot.chain.transactions.sender import LOOKS
from folkmoot.errors import RpcError
from server.chain import outbox
from server.chain.outbox import Outbox
from server.db.engine import Database
from server.db.models import Transaction
from tests.unit.server.scripted_node import ACCOUNT, ScriptedNode, block_hash, nonce_of, reverted

TO = "0x" + "ab" * 20


@pytest.fixture
def node() -> ScriptedNode:
    return ScriptedNode()


@pytest.fixture
def box(database: Database, node: ScriptedNode) -> Outbox:
    return Outbox(database, node, ACCOUNT, 31337, confirmations=2)


def signed_elsewhere(nonce: int, tip: int, cap: int) -> bytes:
    """A transaction of the same account that the outbox knows nothing of."""
    fields = {
        "type": 2,
        "chainId": 31337,
        "nonce": nonce,
        "to": to_checksum_address(TO),
        "value": 0,
        "gas": 21_000,
    }
    signed = ACCOUNT.sign_transaction({**fields, "maxPriorityFeePerGas": tip, "maxFeePerGas": cap})
    return bytes(signed.raw_transaction)


def want(database: Database, purpose: str) -> bool:
    with database.write() as session:
        return outbox.enqueue(session, purpose, 1, TO, purpose.encode())


def lose(database: Database, purpose: str) -> None:
    """What a rewind does with a transaction whose block the chain has lost."""
    with database.write() as session:
        found = outbox.find(session, purpose)
        assert found is not None
        outbox.requeue(session, found)


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
        late = 0

        def call(self, method: str, params: list[Any] | None = None) -> Any:
            answer = super().call(method, params)
            if method == "eth_getTransactionReceipt" and self.late:
                self.late -= 1
                return None
            return answer

    node = Late()
    box = Outbox(database, node, ACCOUNT, 31337, confirmations=1)
    want(database, "anchor:1")
    box.tick()
    node.mine()
    node.late = 1
    box.tick()
    assert row(database, "anchor:1").state == "confirmed"
    assert len(node.sent) == 1


def test_a_call_of_a_limited_function_gets_no_more_gas(database: Database, node: ScriptedNode) -> None:
    limits = {b"comm": 50_000}
    box = Outbox(database, node, ACCOUNT, 31337, confirmations=1, gas_limits=limits)
    want(database, "commit:1")
    want(database, "open:2")
    box.tick()
    gas = [TypedTransaction.from_bytes(HexBytes(raw)).as_dict()["gas"] for raw in node.sent]
    assert gas == [50_000, 21_000 * fees.GAS_MARGIN_PERCENT // 100 + fees.GAS_RESERVE]
    assert node.limits == [50_000, None], "an estimate is for that much, too"


def test_a_receipt_says_that_its_block_is_there(database: Database) -> None:
    """A block may come between the look at the newest one and the receipt."""

    class Between(ScriptedNode):
        def call(self, method: str, params: list[Any] | None = None) -> Any:
            if params and params[0] == "latest" and self.sent:
                params = [hex(len(self.blocks) - 2), *params[1:]]
            return super().call(method, params)

    node = Between()
    box = Outbox(database, node, ACCOUNT, 31337, confirmations=1)
    want(database, "anchor:1")
    box.tick()
    node.mine()
    box.tick()
    assert row(database, "anchor:1").state == "confirmed"


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


@pytest.mark.parametrize("dies_at", ["eth_estimateGas", "eth_sendRawTransaction"])
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
    if dies_at == "eth_sendRawTransaction":
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
    assert found.block_hash in (block_hash(1, number) for number in range(9))
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
    for _ in range(LOOKS):
        assert row(database, "open:1").nonce == 0, "one look is not enough to give a nonce up"
        box.tick()
    assert row(database, "open:1").nonce == 1
    assert len(set(node.sent)) == 2


def wait_and_raise(node: ScriptedNode, base_fee: int) -> None:
    """The base fee rises, and nothing of ours is mined for a while."""
    node.base_fee = base_fee
    for _ in range(4):
        node.mine()


def test_fees_follow_the_market_with_the_same_nonce(
    database: Database, node: ScriptedNode, box: Outbox
) -> None:
    want(database, "open:1")
    box.tick()
    node.base_fee = 100
    box.tick()
    assert len(node.sent) == 2, "it has not waited yet"
    wait_and_raise(node, 100)
    box.tick()
    found = row(database, "open:1")
    assert (found.state, found.nonce, found.attempts) == ("signed", 0, 2)
    assert [offered(raw).cap for raw in dict.fromkeys(node.sent)] == [41, 402]
    node.mine()
    node.mine()
    box.tick()
    assert row(database, "open:1").state == "confirmed"
    assert list(node.mined.values()) == [found.raw]


def test_a_calm_market_replaces_nothing(database: Database, node: ScriptedNode, box: Outbox) -> None:
    want(database, "open:1")
    box.tick()
    for _ in range(fees.PASSED_OVER_BLOCKS - 1):
        node.pool.clear()
        node.mine()
        box.tick()
    assert len(set(node.sent)) == 1


def test_a_tip_that_the_node_refuses_rises_until_it_takes_it(
    database: Database, node: ScriptedNode, box: Outbox
) -> None:
    node.least_tip = 25 * 10**9
    want(database, "open:1")
    box.tick()
    assert "minimum needed" in box.warnings[0]
    looks = 0
    while not node.pool:
        box.tick()
        looks += 1
    assert looks < 15
    assert node.least_tip <= offered(row(database, "open:1").raw or b"").tip <= fees.MOST_TIP
    box.tick()
    assert box.warnings == ()
    node.mine()
    node.mine()
    box.tick()
    assert row(database, "open:1").state == "confirmed"


def test_a_tip_that_blocks_pass_over_rises(database: Database, node: ScriptedNode, box: Outbox) -> None:
    """The pool takes it, and whoever makes the blocks wants more than the node says."""
    node.wanted_tip = 3 * fees.LEAST_TIP
    for purpose in ("a", "b"):
        want(database, purpose)
    for _ in range(8 * fees.PASSED_OVER_BLOCKS):
        box.tick()
        node.mine()
    box.tick()
    assert row(database, "a").state == "confirmed"
    tips = [offered(raw).tip for raw in dict.fromkeys(node.sent) if nonce_of(raw) == 0]
    assert tips == [1, fees.LEAST_TIP, 2 * fees.LEAST_TIP, 4 * fees.LEAST_TIP]
    assert row(database, "b").state == "confirmed"


@pytest.mark.parametrize("max_fee", [10**9, fees.NO_CEILING])
def test_a_tip_that_nobody_takes_does_not_rise_for_ever(
    database: Database, node: ScriptedNode, max_fee: int
) -> None:
    box = Outbox(database, node, ACCOUNT, 31337, confirmations=2, max_fee=max_fee)
    node.wanted_tip = 10**12
    want(database, "open:1")
    for _ in range(20 * fees.PASSED_OVER_BLOCKS):
        box.tick()
        node.mine()
    paid = [offered(raw) for raw in node.sent]
    assert max(one.tip for one in paid) <= min(max_fee, fees.MOST_TIP)
    assert max(one.cap for one in paid) <= max_fee
    assert len(box.warnings) == 1


@pytest.mark.parametrize("dies_at", ["eth_estimateGas", "eth_maxPriorityFeePerGas", "eth_sendRawTransaction"])
def test_death_while_fees_are_raised_loses_no_form(
    database: Database, node: ScriptedNode, box: Outbox, dies_at: str
) -> None:
    class KilledError(BaseException):
        pass

    def die(method: str) -> None:
        if method == dies_at:
            raise KilledError

    want(database, "open:1")
    box.tick()
    first = row(database, "open:1").raw
    wait_and_raise(node, 100)
    node.before_answer = die
    if dies_at == "eth_estimateGas":
        box.tick()  # gas is that of the first form: nothing is estimated again
    else:
        with pytest.raises(KilledError):
            box.tick()
    node.before_answer = lambda _method: None
    stored = row(database, "open:1").raw
    assert (stored == first) is (dies_at == "eth_maxPriorityFeePerGas")
    Outbox(database, node, ACCOUNT, 31337, confirmations=2).tick()
    assert len(node.pool) == 1
    assert set(node.sent) == {first, row(database, "open:1").raw}
    node.mine()
    node.mine()
    Outbox(database, node, ACCOUNT, 31337, confirmations=2).tick()
    assert row(database, "open:1").state == "confirmed"


@pytest.mark.parametrize("depth", [1, 2])
def test_a_reorg_may_bring_an_older_form_back(
    database: Database, node: ScriptedNode, box: Outbox, depth: int
) -> None:
    want(database, "open:1")
    box.tick()
    first = row(database, "open:1").raw
    assert first is not None
    wait_and_raise(node, 100)
    box.tick()
    for _ in range(depth):
        node.mine()
        box.tick()
    newer = row(database, "open:1")
    assert newer.state == ("mined" if depth == 1 else "confirmed")
    node.reorganise(depth)
    node.base_fee = 10
    node.bring_back(first)
    node.mine()
    if depth == 2:
        lose(database, "open:1")
    box.tick()
    found = row(database, "open:1")
    assert (found.state, found.raw) == ("confirmed", first)
    assert found.hash != newer.hash


def test_the_operators_ceiling_holds_and_says_so(database: Database, node: ScriptedNode) -> None:
    box = Outbox(database, node, ACCOUNT, 31337, confirmations=2, max_fee=50)
    want(database, "open:1")
    box.tick()
    wait_and_raise(node, 100)
    box.tick()
    assert len(set(node.sent)) == 1, "no offer of 50 gets in at a base fee of 100"
    want(database, "open:2")
    box.tick()
    assert row(database, "open:2").state == "queued"
    assert "max_fee_gwei" in box.warnings[0]
    assert len(box.warnings) == 2
    node.base_fee = 10
    node.mine()
    box.tick()
    assert box.warnings == ()
    assert row(database, "open:2").state == "signed"
    assert max(offered(raw).cap for raw in node.sent) <= 50


def test_a_pool_that_wants_more_does_not_hold_up_the_rest(
    database: Database, node: ScriptedNode, box: Outbox
) -> None:
    """Somebody else's transaction with the same key and nonce is in the pool, with higher fees."""
    foreign = signed_elsewhere(nonce=0, tip=50, cap=90)
    node.pool["0xforeign"] = foreign
    node.hidden = {"0xforeign"}
    for purpose in ("a", "b"):
        want(database, purpose)
    box.tick()
    assert [row(database, purpose).state for purpose in ("a", "b")] == ["signed", "signed"]
    assert "underpriced" in box.warnings[0]
    node.base_fee = 1000  # nothing is mined meanwhile
    for _ in range(4):
        node.mine()
    node.base_fee, node.tip = 10, 60
    box.tick()
    assert "0xforeign" not in node.pool, "it was outbid"
    node.mine()
    node.mine()
    box.tick()
    assert [row(database, purpose).state for purpose in ("a", "b")] == ["confirmed", "confirmed"]


def test_a_nonce_that_nobody_uses_any_more_is_filled(
    database: Database, node: ScriptedNode, box: Outbox
) -> None:
    """The operator's own transaction was in the pool when ours was signed, and is dropped."""
    node.pool["0xforeign"] = signed_elsewhere(nonce=0, tip=1, cap=41)
    want(database, "open:1")
    box.tick()
    assert row(database, "open:1").nonce == 1
    node.pool.clear()
    for _ in range(4):
        node.mine()
    for _ in range(LOOKS):
        box.tick()
    filler = row(database, "fill:0")
    assert (filler.to, filler.data, filler.nonce) == (ACCOUNT.address, b"", 0)
    node.mine()
    node.mine()
    box.tick()
    assert row(database, "open:1").state == "confirmed"
    assert row(database, "fill:0").state == "confirmed"


def test_d3_what_a_rollback_took_is_sent_again_unchanged(
    database: Database, node: ScriptedNode, box: Outbox
) -> None:
    confirm_two(database, node, box)
    node.reorganise(2)
    node.mine()
    for purpose in ("a", "b"):
        lose(database, purpose)
    box.tick()
    assert [row(database, purpose).state for purpose in ("a", "b")] == ["signed", "signed"]
    node.mine()
    node.mine()
    box.tick()
    assert [row(database, purpose).state for purpose in ("a", "b")] == ["confirmed", "confirmed"]
    assert len(set(node.sent)) == 2


def test_d3_what_a_rollback_took_and_the_chain_refuses_now_is_not_sent(
    database: Database, node: ScriptedNode, box: Outbox
) -> None:
    confirm_two(database, node, box)
    node.reorganise(2)
    node.mine()
    lose(database, "a")
    lose(database, "b")
    node.refusal = reverted("RoundLedgerTooLate")
    sent = len(node.sent)
    box.tick()
    assert [row(database, purpose).state for purpose in ("a", "b")] == ["failed", "failed"]
    assert len(node.sent) == sent
    node.refusal = None
    assert want(database, "b"), "whoever still wants it asks again"
    box.tick()
    node.mine()
    node.mine()
    box.tick()
    assert (row(database, "b").state, row(database, "b").nonce) == ("confirmed", 0)


def test_d3_what_a_rollback_took_gets_another_nonce_if_its_own_is_used(
    database: Database, node: ScriptedNode, box: Outbox
) -> None:
    confirm_two(database, node, box)
    node.reorganise(2)
    node.bring_back(signed_elsewhere(nonce=0, tip=1, cap=41))
    lose(database, "a")
    box.tick()
    assert (row(database, "a").state, row(database, "a").nonce) == ("signed", 1)
    node.mine()
    node.mine()
    box.tick()
    assert row(database, "a").state == "confirmed"


def confirm_two(database: Database, node: ScriptedNode, box: Outbox) -> None:
    for purpose in ("a", "b"):
        want(database, purpose)
    box.tick()
    node.mine()
    node.mine()
    box.tick()
    assert [row(database, purpose).state for purpose in ("a", "b")] == ["confirmed", "confirmed"]


def test_an_old_head_confirms_nothing_and_gives_nothing_up(
    database: Database, node: ScriptedNode, box: Outbox
) -> None:
    want(database, "open:1")
    box.tick()
    node.mine()
    behind = ScriptedNode(blocks=node.blocks[:1])
    Outbox(database, behind, ACCOUNT, 31337, confirmations=2).tick()
    assert row(database, "open:1").state == "signed"
    node.mine()
    box.tick()
    assert row(database, "open:1").state == "confirmed"
    Outbox(database, behind, ACCOUNT, 31337, confirmations=2).tick()
    assert row(database, "open:1").state == "confirmed"
    assert len(set(node.sent)) == 1


def test_refused_transaction_fails_without_a_nonce_and_may_be_wanted_again(
    database: Database, node: ScriptedNode, box: Outbox
) -> None:
    node.refusal = reverted("RoundLedgerTooEarly")
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
    node.refusal = reverted("RoundLedgerTooLate")
    node.mine()
    node.mine()
    box.tick()
    found = row(database, "anchor:1")
    assert (found.state, found.gas_used) == ("failed", 21_000)
    assert found.error is not None
    assert found.error["details"]["error"] == "RoundLedgerTooLate"


def test_chain_that_is_away_changes_nothing(database: Database, node: ScriptedNode, box: Outbox) -> None:
    want(database, "open:1")
    node.failing = 1
    with pytest.raises(RpcError):
        box.tick()
    assert row(database, "open:1").state == "queued"
    box.tick()
    assert row(database, "open:1").state == "signed"

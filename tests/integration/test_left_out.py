# SPDX-License-Identifier: Apache-2.0
"""A coordinator that accepts updates and records only those of its friends, and nodes that record theirs themselves."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from eth_utils.crypto import keccak
from sqlalchemy import select

from client.cli.join import _say_if_without_coins
from client.keeper.delivery import ACKNOWLEDGEMENTS, Delivery
from client.keeper.left_out import ASK_PAUSE, PAUSE, LeftOut, due
from client.keeper.transfers import Transfers
from client.signer.agent import SignerAgent
from client.signer.checks import SigningRules
from client.signer.committing import OwnCommitments
from client.signer.keys import LocalKey
from folkmoot.artifacts.sources import FolderSource
from folkmoot.audit.audit import audit
from folkmoot.chain.transactions.journal import TransactionJournal
from folkmoot.coordinator_api import CoordinatorApi
from folkmoot.flower.contributor import Contributor
from folkmoot.flower.signing import AgentSigner, SignerError, record_by_agent
from folkmoot.flower.updates import KeptUpdate, keep_update
from folkmoot.protocol.batch import pack_batch
from folkmoot.rpc.client import Phase, RoundView
from folkmoot.rpc.local_chain import advance
from server.db.models import Update
from tests import factories, fixed_values
from tests.integration.coordinator_world import MANIFEST, Running, Signed, open_round, running, train, until
from tests.rpc_proxy import RpcProxy, Trouble

WINDOW = 600
FEDERATION = {"commit_window": WINDOW}
FRIENDS = ("ada", "ben")
OTHERS = ("cleo", "dora", "emil")
GWEI = 10**9


@pytest.fixture
def hostile(world: factories.Federation, tmp_path: Path) -> Iterator[Running]:
    """A coordinator that records its friends only."""
    friends = ",".join(world[name].address for name in FRIENDS)
    with running(tmp_path / "home", world, lie=f"left-out@1:{friends}", time_travel=False) as found:
        found.api.start_run(1, 5, world.coordinator, found.domain)
        yield found


@pytest.fixture
def honest(world: factories.Federation, tmp_path: Path) -> Iterator[Running]:
    """A coordinator that does not move the clock."""
    with running(tmp_path / "home", world, time_travel=False) as found:
        found.api.start_run(1, 5, world.coordinator, found.domain)
        yield found


@dataclass
class Node:
    """A node with an update of round 1: the signer agent, its folder, and what watches the commitment."""

    agent: SignerAgent
    contributor: Contributor
    here: Running
    update: Signed
    said: list[dict[str, Any]]

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        """Start the keeper's part, as a new process would."""
        node = self.contributor
        delivery = Delivery(
            node.home,
            node.account,
            self.here.world.deployment,
            node.rpc,
            node.coordinator,
            Transfers(self.tell, bar=False),
            MANIFEST,
        )
        self.left_out = LeftOut(node, delivery, self.tell)
        self.delivery = delivery

    def tell(self, event: dict[str, Any]) -> None:
        """Note an event that is not a transfer."""
        if event["event"] != "transferred":
            self.said.append(event)

    def record(self, **changes: Any) -> Any:
        """Ask the signer as the training code could."""
        commitment = replace(self.update.commitment, **changes)
        return record_by_agent(self.agent.path, commitment, self.update.signature, self.here.domain)


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Any]:
    """Make nodes, which are stopped at the end."""
    with ExitStack() as stack:

        def made(here: Running, name: str, *, rpc: str = "", fee: float = 50.0, deliver: bool = True) -> Node:
            who, deployment = factories.account(name), here.world.deployment
            url = rpc or here.world.anvil.url
            home = tmp_path / name
            home.mkdir()
            contributor = Contributor(
                home, url, here.api.url, deployment.to_json(), who.address, "tests", 0, 1
            )
            own = OwnCommitments(deployment, url, who, fee)
            rules = SigningRules(deployment, MANIFEST)
            agent = SignerAgent(LocalKey(who), rules, url, contributor.socket, home / "signer", own=own)
            stack.enter_context(agent)
            _, header, state = open_round(here.api, 1)
            update = train(here.world, name, header, state)
            AgentSigner(agent.path, who.address).sign(update.commitment, here.domain, update.data)
            keep_update(home, 1, KeptUpdate(header.hash.hex(), update.wire, update.data))
            node = Node(agent, contributor, here, update, [])
            if deliver:
                node.delivery.deliver(1)
            assert node.left_out.look() > 0
            return node

        yield made


def go_to(here: Running, percent: float) -> None:
    """Move the clock to a part of the window of round 1."""
    chain = here.world.chain
    view = chain.ledger.round(1)
    wanted = view.opened_at + int(WINDOW * percent / 100) + 1
    if (step := wanted - chain.rpc.latest().timestamp) > 0:
        advance(chain.rpc, step)


def recorded(here: Running, *names: str) -> list[bool]:
    ledger = here.world.chain.ledger
    return [ledger.has_committed(1, here.world[name].address) for name in names]


@pytest.mark.parametrize(
    ("window", "since", "expected"),
    [
        (3600, 60, 2880),  # An early update: four fifths of the window.
        (3600, 2700, 3060),  # A late one: a tenth of the window for the coordinator.
        (3600, 3560, 3590),  # One that was trained by the clock, after which the coordinator sends at once.
        (120, 86, 98),
        (120, 118, 120),
    ],
)
def test_the_coordinator_has_time_for_a_late_update(window: int, since: int, expected: int) -> None:
    view = RoundView(1, Phase.OPEN, 0, 0, window, 0, 0, "", 0, 0, b"", b"", b"", b"")
    assert due(view, since) == expected


def test_n1_who_is_left_out_records_its_own_commitment(hostile: Running, nodes: Any, tmp_path: Path) -> None:
    world = hostile.world
    friends, others = [nodes(hostile, name) for name in FRIENDS], [nodes(hostile, name) for name in OTHERS]
    until(lambda: all(recorded(hostile, *FRIENDS)), what="the batch of friends")
    go_to(hostile, 78)
    for node in (*friends, *others):
        assert node.left_out.look() > 0
        assert not node.said, "nothing is sent before four fifths of the window"
    assert recorded(hostile, *OTHERS) == [False] * 3
    go_to(hostile, 81)
    until(lambda: world.chain.ledger.round(1).entries == 2, what="the friends' entries")
    coins = [world.chain.rpc.balance(world[name].address) for name in (*FRIENDS, *OTHERS)]
    for node in (*friends, *others):
        assert node.left_out.look() == ASK_PAUSE
    assert all(recorded(hostile, *OTHERS))
    assert [node.said for node in friends] == [[], []], "what is recorded costs nothing"
    (event,) = others[0].said
    assert event["event"] == "own-commitment"
    assert 60_000 < event["gas"] < 110_000
    assert event["detail"].startswith(
        "Round 1: the coordinator had not recorded the update, so this node did, for "
    )
    paid = [
        before - world.chain.rpc.balance(world[name].address)
        for before, name in zip(coins, (*FRIENDS, *OTHERS), strict=True)
    ]
    assert paid[:2] == [0, 0]
    assert paid[2:] == [int(node.said[0]["wei"]) for node in others]
    # All five have committed: the window ends early, and the files, which arrived before, count.
    until(lambda: world.chain.ledger.round(1).phase is Phase.ANCHORED, what="the anchor")
    assert world.chain.ledger.round(1).entries == 5
    for node in others:
        assert node.left_out.look() > 0, "after the window the note of the transaction is ended"
    assert others[0].left_out.look() == PAUSE, "and nothing is asked of the chain any more"
    source = FolderSource(hostile.coordinator.settings.home / "artifacts")
    assert audit([world.anvil.url], world.deployment, source).recomputed == 1


def test_a_coordinator_that_records_what_it_has_by_three_quarters_is_not_disturbed(
    honest: Running, nodes: Any
) -> None:
    """Two of five have not answered, so it waits; a late one goes into another batch."""
    ledger = honest.world.chain.ledger
    early = [nodes(honest, name) for name in FRIENDS]
    assert ledger.round(1).entries == 0
    go_to(honest, 76)
    until(lambda: all(recorded(honest, *FRIENDS)), what="the batch")
    late = nodes(honest, "cleo")
    go_to(honest, 81)
    for node in (*early, late):
        assert node.left_out.look() > 0
    assert recorded(honest, "cleo") == [False], "the coordinator has a tenth of the window for a late one"
    go_to(honest, 96)
    until(lambda: all(recorded(honest, "cleo")), what="the batch at the end")
    for node in (*early, late):
        assert node.left_out.look() == ASK_PAUSE
        assert not node.said


def test_an_update_that_the_coordinator_does_not_take_is_recorded(hostile: Running, nodes: Any) -> None:
    """It may refuse the file, or not answer: the signature is enough."""
    node = nodes(hostile, "cleo", deliver=False)
    go_to(hostile, 81)
    assert node.left_out.look() == ASK_PAUSE
    assert recorded(hostile, "cleo") == [True]


def test_the_last_second(hostile: Running, nodes: Any) -> None:
    """The coordinator's transaction and the node's are in one block, the coordinator's first."""
    node, world, rpc = nodes(hostile, "cleo"), hostile.world, hostile.world.chain.rpc
    go_to(hostile, 81)
    batch = pack_batch([node.update.commitment], [node.update.signature])
    theirs = world.chain.ledger.functions.commitUpdates(1, node.update.commitment.bundle_hash, batch)
    rpc.call("evm_setAutomine", [False])
    try:
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(node.left_out.look)
            ours = until(lambda: rpc.call("txpool_content")["pending"], what="the node's transaction")
            fees = {"maxPriorityFeePerGas": 50 * GWEI, "maxFeePerGas": 90 * GWEI}
            fields = factories.fields_of(world.chain, theirs, world["emil"], **fees)
            rpc.call(
                "eth_sendRawTransaction", [world["emil"].sign_transaction(fields).raw_transaction.to_0x_hex()]
            )
            rpc.call("evm_mine")
            assert asked.result() == ASK_PAUSE
    finally:
        rpc.call("evm_setAutomine", [True])
    ((_, pooled),) = ours.items()
    ((_, transaction),) = pooled.items()
    receipt = rpc.receipt(transaction["hash"])
    assert receipt is not None
    assert not receipt.succeeded
    assert receipt.gas_used < 60_000
    assert not node.said
    assert recorded(hostile, "cleo") == [True]


def test_training_code_gets_no_transaction_that_it_should_not(hostile: Running, nodes: Any) -> None:
    node, rpc = nodes(hostile, "cleo"), hostile.world.chain.rpc
    before = rpc.transaction_count(node.contributor.account)

    def refused(**changes: Any) -> str:
        with pytest.raises(SignerError) as caught:
            node.record(**changes)
        assert caught.value.remedy
        return caught.value.code

    assert refused() == "too-early"
    assert refused(update_root=bytes(32)) == "unsigned-commitment"
    assert refused(round=2) == "unsigned-commitment"
    assert refused(contributor=hostile.world["dora"].address) == "wrong-account"
    assert rpc.transaction_count(node.contributor.account) == before


def test_without_coins_it_is_said_once_and_the_node_goes_on(
    hostile: Running, nodes: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    node, rpc = nodes(hostile, "cleo"), hostile.world.chain.rpc
    rpc.call("anvil_setBalance", [node.contributor.account, "0x0"])
    go_to(hostile, 81)
    pauses = [node.left_out.look() for _ in range(2)]
    assert pauses == [ASK_PAUSE, ASK_PAUSE]
    assert [event["code"] for event in node.said] == ["no-gas-money"]
    assert node.said[0]["detail"] == (
        "Round 1: the coordinator has not recorded the update near the end of the commit window, and this node can't "
        f"either. The account {node.contributor.account} can't pay the gas to record its update of round 1. Send it "
        "some of the chain's native coin. It is tried again until the commit window ends."
    )
    monkeypatch.setenv("FOLKMOOT_RPC", hostile.world.anvil.url)
    _say_if_without_coins(node.contributor.account, 0)
    assert not capsys.readouterr().err, "it is turned off"
    _say_if_without_coins(node.contributor.account, 50)
    assert "none of the chain's native coin" in capsys.readouterr().err
    rpc.call("anvil_setBalance", [node.contributor.account, hex(10**18)])
    _say_if_without_coins(node.contributor.account, 50)
    assert not capsys.readouterr().err
    assert node.left_out.look() == ASK_PAUSE
    assert recorded(hostile, "cleo") == [True]


def test_a_price_above_the_limit_is_waited_for(hostile: Running, nodes: Any) -> None:
    node, rpc = nodes(hostile, "cleo", fee=3.0), hostile.world.chain.rpc
    go_to(hostile, 81)
    rpc.call("anvil_setNextBlockBaseFeePerGas", [hex(40 * GWEI)])
    rpc.call("evm_mine")
    node.left_out.look()
    assert node.said[0]["code"] == "fee-limit"
    assert "the limit is 3 gwei. It is tried again until the commit window ends." in node.said[0]["detail"]
    rpc.call("anvil_setNextBlockBaseFeePerGas", [hex(GWEI)])
    rpc.call("evm_mine")
    assert node.left_out.look() == ASK_PAUSE
    assert recorded(hostile, "cleo") == [True]


def test_a_reorg_that_takes_it_is_answered_with_the_same_transaction(hostile: Running, nodes: Any) -> None:
    node, rpc = nodes(hostile, "cleo"), hostile.world.chain.rpc
    go_to(hostile, 81)
    until(lambda: hostile.world.chain.ledger.round(1).phase is Phase.OPEN, what="the round")
    before = rpc.transaction_count(node.contributor.account)
    assert node.left_out.look() == ASK_PAUSE
    mined = rpc.receipt(node.said[0]["transaction"])
    assert mined is not None
    depth = rpc.block_number() - mined.block_number + 1
    rpc.call("anvil_reorg", [depth, []])
    rpc.call("anvil_dropAllTransactions", [])
    assert recorded(hostile, "cleo") == [False]
    assert node.left_out.look() == ASK_PAUSE
    assert recorded(hostile, "cleo") == [True]
    assert rpc.transaction_count(node.contributor.account) == before + 1


def test_a_node_that_is_restarted_in_the_window_goes_on(hostile: Running, nodes: Any) -> None:
    node = nodes(hostile, "cleo")
    go_to(hostile, 70)
    node.start()
    assert node.left_out.look() > 0
    go_to(hostile, 81)
    assert node.left_out.look() == ASK_PAUSE
    node.start()
    assert node.left_out.look() > 0
    go_to(hostile, 96)
    assert node.left_out.look() == ASK_PAUSE
    assert len(node.said) == 2, "a new process tells it again, with the same transaction"
    assert node.said[0] == node.said[1]


def test_two_nodes_of_one_account_send_one_transaction(hostile: Running, nodes: Any, tmp_path: Path) -> None:
    node = nodes(hostile, "cleo")
    second = replace(node, said=[])
    assert second.left_out.look() > 0
    go_to(hostile, 81)
    before = hostile.world.chain.rpc.transaction_count(node.contributor.account)
    with ThreadPoolExecutor(2) as pool:
        looks = [pool.submit(one.look) for one in (node.left_out, second.left_out)]
    assert [one.result() for one in looks] == [ASK_PAUSE] * 2
    assert recorded(hostile, "cleo") == [True]
    assert hostile.world.chain.rpc.transaction_count(node.contributor.account) == before + 1


def test_an_endpoint_that_loses_transactions_costs_nothing_twice(hostile: Running, nodes: Any) -> None:
    with RpcProxy(hostile.world.anvil.url) as proxy:
        node = nodes(hostile, "cleo", rpc=proxy.url)
        go_to(hostile, 81)
        proxy.become(Trouble.FORGETFUL)
        with fixed_values.other_values({"client.signer.committing.SEND_SECONDS": 1.0}):
            node.left_out.look()
        assert node.said[0]["code"] == "not-mined"
        proxy.become(Trouble.NONE)
        assert node.left_out.look() == ASK_PAUSE
    assert recorded(hostile, "cleo") == [True]


def test_an_endpoint_that_lies_about_what_is_recorded(hostile: Running, nodes: Any) -> None:
    """A single one is believed, as the threat page says; two honest ones beside it outvote it."""
    url = hostile.world.anvil.url
    asks = "0x" + keccak(text="hasCommitted(uint64,address)")[:4].hex()
    yes = "0x" + f"{1:064x}"
    with RpcProxy(url) as liar, RpcProxy(url) as honest:
        alone = nodes(hostile, "cleo", rpc=liar.url)
        among = nodes(hostile, "dora", rpc=f"{liar.url},{honest.url},{url}")
        # Before they have signed, it would stop them: the signer would see a commitment that it has not signed.
        liar.change("eth_call", lambda params: yes if params[0]["data"].startswith(asks) else None)
        go_to(hostile, 81)
        for node in (alone, among):
            assert node.left_out.look() == ASK_PAUSE
        assert recorded(hostile, "cleo", "dora") == [False, True]
        assert not alone.said


def test_the_coordinator_signs_what_it_has_in_time(
    hostile: Running, nodes: Any, folkmoot: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    friend, node = nodes(hostile, "ada"), nodes(hostile, "cleo")
    for name in ("dora", "emil", "ben"):
        nodes(hostile, name)
    files = [one.contributor.home / ACKNOWLEDGEMENTS / "1.json" for one in (friend, node)]
    said = [folkmoot("receipt", "--check", str(file)) for file in files]
    assert said[1]["state"] == "waits"
    api, update = hostile.api, node.update
    first = json.loads(files[1].read_bytes())["signature"]
    assert api.submit_update(1, update.wire, update.data) == bytes.fromhex(first[2:]), "again gives the same"
    altered = tmp_path / "altered.json"
    altered.write_text(files[1].read_text().replace('"round": "1"', '"round": "2"'))
    assert folkmoot("receipt", "--check", str(altered), fails=1)["error"]["code"] == "false-acknowledgement"
    altered.write_text(files[1].read_text().replace("acknowledgement/1", "acknowledgement/2"))
    assert folkmoot("receipt", "--check", str(altered), fails=1)["error"]["code"] == "invalid-receipt"
    lost = folkmoot("receipt", "--check", str(files[0]), "--deployment", str(tmp_path / "none.json"), fails=1)
    lost = lost["error"]
    assert "no receipt" not in lost["message"], "the file is not at fault"
    assert "none.json" in lost["message"]
    until(lambda: all(recorded(hostile, *FRIENDS)), what="the batch")
    go_to(hostile, 101)
    until(lambda: hostile.world.chain.ledger.round(1).phase is Phase.ANCHORED, what="the anchor")
    states = [folkmoot("receipt", "--check", str(file))["state"] for file in files]
    assert states == ["kept", "left-out"]


def test_who_denies_what_it_has_signed_is_contradicted(
    honest: Running, nodes: Any, folkmoot: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An anchor that says that a file did not arrive, whatever the coordinator signed."""
    node, others = nodes(honest, "cleo"), [nodes(honest, name) for name in FRIENDS]
    go_to(honest, 76)
    until(lambda: all(recorded(honest, "cleo", *FRIENDS)), what="the batch")
    with honest.coordinator.storage.database.write("outcome-recorded") as session:
        query = select(Update).where(Update.contributor == node.contributor.account)
        session.delete(session.scalars(query).one())
    go_to(honest, 101)
    until(lambda: honest.api.get("/v1/rounds/1")["step"] == "delivery", what="the wait for late files")
    advance(honest.world.chain.rpc, honest.world.chain.ledger.policy(1).anchor_window // 2)
    until(lambda: honest.world.chain.ledger.round(1).phase is Phase.ANCHORED, what="the anchor")
    files = [one.contributor.home / ACKNOWLEDGEMENTS / "1.json" for one in (node, others[0])]
    assert [folkmoot("receipt", "--check", str(file))["state"] for file in files] == ["denied", "kept"]


def test_a_coordinator_that_signs_nothing_or_something_false_is_named(
    honest: Running, nodes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = nodes(honest, "cleo", deliver=False)
    node.start()
    for wrong in (None, b"", bytes(65), node.update.signature):
        monkeypatch.setattr(CoordinatorApi, "submit_update", lambda *_, signature=wrong, **__: signature)
        node.start()
        node.delivery.deliver(1)
    assert not (node.contributor.home / ACKNOWLEDGEMENTS).exists()
    assert [event["event"] for event in node.said] == ["not-acknowledged"] * 4


def test_a_signer_that_starts_late_ends_the_note_of_its_transaction(hostile: Running, nodes: Any) -> None:
    """Nobody asked for it at the end of the window, as the node was away."""
    node, world = nodes(hostile, "cleo"), hostile.world
    go_to(hostile, 81)
    assert node.left_out.look() == ASK_PAUSE
    node.agent.__exit__()

    def restarted() -> list[str]:
        own = OwnCommitments(world.deployment, world.anvil.url, world["cleo"])
        rules, place = SigningRules(world.deployment, MANIFEST), node.contributor.home / "signer"
        with SignerAgent(
            LocalKey(world["cleo"]), rules, world.anvil.url, node.contributor.socket, place, own=own
        ):
            left = [one.note for one in TransactionJournal.of_user().left() if one.note is not None]
        return [note.intent.purpose for note in left if note.intent.sender == world["cleo"].address]

    assert restarted() == ["commit to round 1"], "a reorg may take it yet"
    go_to(hostile, 101)
    until(lambda: world.chain.ledger.round(1).phase is not Phase.OPEN, what="the end of the window")
    assert restarted() == []

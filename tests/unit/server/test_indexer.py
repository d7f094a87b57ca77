# SPDX-License-Identifier: Apache-2.0
"""The indexer follows the canonical chain, and tells the same thing once."""

from __future__ import annotations

from dataclasses import replace

import pytest
from eth_abi.abi import encode
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak
from sqlalchemy import select

from folkmoot.errors import RpcError
from folkmoot.ledger import packaged
from folkmoot.ledger.deployment import CONTRACTS, Deployment
from server.chain.indexer import DeepRollback, Fork, Indexer, by_name, forget
from server.db import events
from server.db.engine import Database
from server.db.models import Account
from tests.unit.server.scripted_node import ScriptedNode

ADDRESSES = {name: to_checksum_address(f"{number:02x}" * 20) for number, name in enumerate(CONTRACTS, 1)}
DEPLOYMENT = Deployment(chain_id=1, block=1, genesis_hash="0x" + "00" * 32, **ADDRESSES)


def activated(version: int) -> dict[str, object]:
    signature = keccak(text="VersionActivated(uint64,bytes32)")
    topics = [signature, encode(["uint64"], [version]), b"\x22" * 32]
    return {
        "address": ADDRESSES["registry"],
        "topics": ["0x" + topic.hex() for topic in topics],
        "data": "0x",
    }


def versions(database: Database) -> list[int]:
    with database.read() as session:
        return [event.arguments["version"] for event in by_name(session, "VersionActivated")]


def told(database: Database) -> list[str]:
    with database.read() as session:
        return [entry.type for entry in events.after(session, 0)]


def test_events_are_read_once_and_in_order(database: Database) -> None:
    node = ScriptedNode()
    indexer = Indexer(database, node, DEPLOYMENT)
    for version in (1, 2):
        node.mine()
        node.logs_of[node.blocks[-1][0]] = [activated(version)]
    assert indexer.poll() == 2
    assert indexer.poll() == 2
    assert Indexer(database, node, DEPLOYMENT).poll() == 2
    assert versions(database) == [1, 2]
    assert told(database) == ["version-activated"] * 2


def test_reorg_drops_what_is_gone_and_tells_nothing_twice(database: Database) -> None:
    node = ScriptedNode()
    indexer = Indexer(database, node, DEPLOYMENT)
    node.mine()
    indexer.poll()
    for version in (1, 2):
        node.mine()
        node.logs_of[node.blocks[-1][0]] = [activated(version)]
    indexer.poll()
    node.reorganise(2)
    node.mine()
    node.logs_of[node.blocks[-1][0]] = [activated(2)]
    indexer.poll()
    assert versions(database) == [2]
    assert told(database) == ["version-activated"] * 2


def two_versions(database: Database) -> tuple[ScriptedNode, Indexer]:
    """A chain of three blocks that were read, with an event in each but the first."""
    node = ScriptedNode()
    indexer = Indexer(database, node, DEPLOYMENT)
    for version in (1, 2):
        node.mine()
        node.logs_of[node.blocks[-1][0]] = [activated(version)]
        indexer.poll()
    return node, indexer


def test_a_head_that_went_back_drops_nothing(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    node, indexer = two_versions(database)
    newest = node.blocks.pop()
    for _ in range(3):
        assert indexer.poll() == 2
    assert versions(database) == [1, 2]
    assert indexer.warning is not None
    assert "block 2" in indexer.warning
    assert len([record for record in caplog.records if "no longer" in record.message]) == 1
    node.blocks.append(newest)
    node.mine()
    assert indexer.poll() == 3
    assert (versions(database), indexer.warning) == ([1, 2], None)


def test_another_block_below_a_lower_head_is_a_reorg_at_once(database: Database) -> None:
    node, indexer = two_versions(database)
    node.reorganise(2)
    node.mine()
    assert indexer.poll() == 1
    assert versions(database) == []
    assert indexer.warning is None


def test_a_node_that_stays_behind_is_believed_after_a_while(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    node, indexer = two_versions(database)
    node.blocks.pop()
    assert indexer.poll() == 2
    monkeypatch.setattr("server.chain.indexer.BEHIND_SECONDS", 0.0)
    assert indexer.poll() == 1
    assert versions(database) == [1]
    assert indexer.warning is None


def test_d3_a_rollback_beyond_the_confirmations_drops_nothing_by_itself(database: Database) -> None:
    node, _ = two_versions(database)
    indexer = Indexer(database, node, DEPLOYMENT, confirmations=2)
    indexer.check()
    node.reorganise(1)
    node.mine()
    indexer.check()
    assert indexer.poll() == 2, "one block was not settled"
    node.reorganise(2)
    node.mine()
    for look in (indexer.check, indexer.poll):
        with pytest.raises(DeepRollback) as caught:
            look()
        assert (caught.value.code, caught.value.fork) == ("chain-rolled-back", Fork(2, 0))
    assert versions(database) == [1]
    with database.write() as session:
        forget(session, 0)
    assert indexer.poll() == 1
    assert versions(database) == []


def test_a_lost_block_is_not_taken_for_all_that_were_read_with_it(database: Database) -> None:
    """A coordinator that was away reads many blocks at once, and remembers the newest."""
    node, _ = two_versions(database)
    indexer = Indexer(database, node, DEPLOYMENT, confirmations=4)
    for _ in range(6):
        node.mine()
    assert indexer.poll() == 8
    node.reorganise(1)
    node.mine()
    indexer.check()
    assert indexer.poll() == 8
    assert versions(database) == [1, 2]
    node.reorganise(4)
    for _ in range(4):
        node.mine()
    node.logs_of[node.blocks[5][0]] = [activated(3)]
    indexer.check()  # nothing that anybody could rely on was lost
    indexer.poll()
    assert versions(database) == [1, 2, 3], "what came in the place of the others is read"
    node.reorganise(4)
    node.mine()
    with pytest.raises(DeepRollback):
        indexer.check()


@pytest.mark.parametrize(("chain_id", "patience"), [(1, "BEHIND_SECONDS"), (31337, "LOCAL_BEHIND_SECONDS")])
def test_d3_a_head_that_went_back_beyond_the_confirmations_gets_its_time(
    database: Database, monkeypatch: pytest.MonkeyPatch, chain_id: int, patience: str
) -> None:
    node, _ = two_versions(database)
    indexer = Indexer(database, node, replace(DEPLOYMENT, chain_id=chain_id), confirmations=1)
    newest = node.blocks.pop()
    with pytest.raises(RpcError) as caught:
        indexer.check()
    assert caught.value.code == "node-behind"
    node.blocks.append(newest)
    indexer.check()
    assert indexer.warning is None
    node.blocks.pop()
    monkeypatch.setattr(f"server.chain.indexer.{patience}", 0.0)
    with pytest.raises(DeepRollback) as deep:
        indexer.check()
    assert deep.value.fork == Fork(2, 1, proven=False)


@pytest.mark.parametrize("lost", [1, 2, 3, 37, 150, 299, 300])
def test_d3_where_the_chain_leaves_what_was_read_is_found_with_few_questions(
    database: Database, lost: int
) -> None:
    """All but the newest 256 blocks are known by their events alone."""
    node = ScriptedNode()
    indexer = Indexer(database, node, DEPLOYMENT, confirmations=1)
    for version in range(1, 301):
        node.mine()
        node.logs_of[node.blocks[-1][0]] = [activated(version)]
        indexer.poll()
    node.reorganise(lost)
    for _ in range(lost):
        node.mine()
    asked: list[str] = []
    node.before_answer = asked.append
    with pytest.raises(DeepRollback) as caught:
        indexer.check()
    assert caught.value.fork == Fork(300, 300 - lost)
    assert len(asked) <= 20
    with database.write() as session:
        forget(session, 300 - lost)
    assert indexer.poll() == 300
    assert versions(database) == list(range(1, 301 - lost))


def test_chain_that_changes_while_it_is_read_is_read_again(database: Database) -> None:
    node = ScriptedNode()
    indexer = Indexer(database, node, DEPLOYMENT)
    node.mine()
    node.logs_of[node.blocks[-1][0]] = [activated(1)]

    def reorganise(method: str) -> None:
        if method == "eth_getLogs":
            node.before_answer = lambda _method: None
            node.reorganise(1)
            node.mine()

    node.before_answer = reorganise
    indexer.poll()
    indexer.poll()
    assert versions(database) == []


def log_of(role: str, name: str, values: dict[str, object]) -> dict[str, object]:
    """A log of a contract's event with these arguments."""
    entry = next(e for e in packaged.contract(role).abi if e["type"] == "event" and e["name"] == name)
    indexed = [p for p in entry["inputs"] if p["indexed"]]
    plain = [p for p in entry["inputs"] if not p["indexed"]]
    topics = [encode([packaged.type_of(p)], [values[p["name"]]]) for p in indexed]
    data = encode([packaged.type_of(p) for p in plain], [values[p["name"]] for p in plain])
    return {
        "address": ADDRESSES[role],
        "topics": ["0x" + topic.hex() for topic in (keccak(text=packaged.signature_of(entry)), *topics)],
        "data": "0x" + data.hex(),
    }


WHO = "0x" + "77" * 20


@pytest.mark.parametrize(
    ("role", "name", "values", "kind", "data"),
    [
        (
            "ledger",
            "ContributorSlashed",
            {"round": 3, "contributor": WHO, "challenger": WHO, "taken": 10**18},
            "contributor-slashed",
            {"round": 3, "taken": str(10**18)},
        ),
        (
            "ledger",
            "RoundPostponed",
            {"round": 3, "challengeDeadline": 99},
            "round-postponed",
            {"challengeDeadline": 99},
        ),
        (
            "disputes",
            "DisputeOpened",
            {"round": 3, "challenger": WHO, "decideBy": 99, "reason": "odd"},
            "dispute-opened",
            {"decideBy": 99, "reason": "odd"},
        ),
        (
            "disputes",
            "DisputeUpheld",
            {"round": 3, "challenger": WHO},
            "dispute-decided",
            {"round": 3, "upheld": True},
        ),
        (
            "disputes",
            "DisputeDismissed",
            {"round": 3, "challenger": WHO, "burnt": 1},
            "dispute-decided",
            {"round": 3, "upheld": False},
        ),
    ],
)
def test_what_judges_do_is_told(
    database: Database,
    role: str,
    name: str,
    values: dict[str, object],
    kind: str,
    data: dict[str, object],
) -> None:
    node = ScriptedNode()
    node.mine()
    node.logs_of[node.blocks[-1][0]] = [log_of(role, name, values)]
    Indexer(database, node, DEPLOYMENT).poll()
    with database.read() as session:
        (entry,) = events.after(session, 0)
    assert entry.type == kind
    assert {key: entry.data[key] for key in data} == data


def test_sums_of_accounts_follow_a_reorg(database: Database) -> None:
    other = "0x" + "78" * 20
    staked, credited = "Staked", "RewardCredited"

    def stakes(who: str, member: int) -> dict[str, object]:
        return log_of("vault", staked, {"account": who, "payer": who, "member": member, "amount": 10**20})

    def credit(number: int, who: str, amount: int) -> dict[str, object]:
        return log_of("rewards", credited, {"round": number, "contributor": who, "amount": amount})

    node = ScriptedNode()
    indexer = Indexer(database, node, DEPLOYMENT)
    large = 10**30  # beyond every integer of a database
    for logs in ([stakes(WHO, 1)], [credit(1, WHO, large)], [stakes(other, 2), credit(2, WHO, 5)]):
        node.mine()
        node.logs_of[node.blocks[-1][0]] = logs
        indexer.poll()

    def sums() -> dict[str, tuple[bool, str]]:
        with database.read() as session:
            return {
                row.address.lower(): (row.staked, row.rewards) for row in session.scalars(select(Account))
            }

    assert sums() == {WHO: (True, str(large + 5)), other: (True, "0")}
    node.reorganise(1)
    node.mine()
    node.logs_of[node.blocks[-1][0]] = [credit(2, WHO, 6), credit(2, other, 7)]
    indexer.poll()
    assert sums() == {WHO: (True, str(large + 6)), other: (False, "7")}
    indexer.poll()
    assert sums() == {WHO: (True, str(large + 6)), other: (False, "7")}, "an event counts once"

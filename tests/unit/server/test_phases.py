# SPDX-License-Identifier: Apache-2.0
"""What rounds do when the chain takes back what it said, or an endpoint answers from an older block.

The ledger is a script: what it says of a round at the newest block, and what at the confirmed depth.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from sqlalchemy import delete, select

from folkmoot.artifacts.federation import Federation
from folkmoot.errors import ContractRefused, FolkmootError, RpcError
from folkmoot.ledger.admission import NOBODY
from folkmoot.ledger.deployment import CONTRACTS, Deployment
from folkmoot.protocol.anchor import Anchor
from folkmoot.protocol.batch import pack_entry
from folkmoot.protocol.commitment import Commitment
from folkmoot.protocol.policy import Policy
from folkmoot.rpc.abi import encode_call
from folkmoot.rpc.client import Block, Draw, Head, Member, Phase, RoundView, Rpc
from server.api.routes.health import clock_warning
from server.chain import outbox
from server.chain.view import ChainView
from server.coordinator import Coordinator
from server.db import schema
from server.db.engine import Database
from server.db.models import (
    Artifact,
    ChainBlock,
    ChainEvent,
    LogEntry,
    Refusal,
    Round,
    Run,
    SentTransaction,
    Transaction,
    Update,
)
from server.db.steps import OPEN, UNSETTLED, Step
from server.rounds import runs
from server.rounds.engine import Engine
from server.rounds.runs import stopping
from server.settings import Settings
from server.storage import Storage
from server.waiting import DONE, Why
from server.worker import IDLE_FACTOR
from tests import factories
from tests.unit import worlds
from tests.unit.server.scripted_node import ACCOUNT, ScriptedNode

ADDRESSES = {name: "0x" + f"{number:02x}" * 20 for number, name in enumerate(CONTRACTS, 1)}
DEPLOYMENT = Deployment(chain_id=1, block=1, genesis_hash="0x" + "00" * 32, parent=None, **ADDRESSES)
HEADER = b"\x05" * 32
ADA, BEN, DORA = ("0x" + digit * 40 for digit in "789")
DEADLINE = 1_000
VIEW = RoundView(
    policy=1,
    phase=Phase.OPEN,
    entries=0,
    opened_at=100,
    commit_deadline=DEADLINE,
    anchor_deadline=2_000,
    challenge_deadline=3_000,
    coordinator=ACCOUNT.address,
    base=0,
    position=0,
    header_hash=HEADER,
    entries_hash=bytes(32),
    state_root=bytes(32),
    anchor_hash=bytes(32),
)
NOTHING = replace(VIEW, phase=Phase.NONE, opened_at=0, commit_deadline=0, header_hash=bytes(32))


@dataclass
class _Ledger:
    """A ledger with one round."""

    address: str = ADDRESSES["ledger"]
    role: str = "ledger"
    newest: RoundView = VIEW
    deep: RoundView = VIEW
    asked: int | None = None
    """Block at which it was asked last, if not the newest."""
    failure: Exception | None = None
    rules: Policy = field(default_factory=factories.policy)
    """Its only policy."""
    voted_at: int = 0
    """Block that added it."""
    policies_asked: int = 0
    drawn: Draw = field(default_factory=lambda: Draw(0, 0, 0))
    without_place: set[str] = field(default_factory=set)
    """Accounts that have no place in the round."""
    closable: bool = False
    """Whether the commit window may end early."""
    absent: set[str] = field(default_factory=set)
    """Whom anybody may remove."""
    rpc: Rpc = field(default_factory=lambda: Rpc("http://127.0.0.1:9"))
    """Never asked; one endpoint has nothing to warn of."""

    def round(self, _number: int, block: int | None = None) -> RoundView:
        if block is None:
            return self.newest
        self.asked = block
        return self.deep

    def policy(self, number: int, block: int | None = None) -> Policy:
        self.policies_asked += 1
        if block is not None and block < self.voted_at:
            raise ContractRefused(f"There is no policy {number}.")
        return self.rules

    def can_close(self, _number: int) -> bool:
        return self.closable

    def admission(self) -> str:
        return NOBODY

    def can_remove(self, account: str) -> bool:
        return account in self.absent

    def draw(self, _number: int) -> Draw:
        return self.drawn

    def has_place(self, _number: int, account: str) -> bool:
        return account not in self.without_place

    def next_round(self) -> int:
        if self.failure is not None:
            raise self.failure
        raise AssertionError("not part of the script")


@dataclass
class _Rewards:
    """Whether its only round is settled."""

    address: str = ADDRESSES["rewards"]
    role: str = "rewards"
    newest: bool = False
    deep: bool = False

    def is_settled(self, _number: int, block: int | None = None) -> bool:
        return self.newest if block is None else self.deep


@dataclass
class _Scene:
    database: Database
    node: ScriptedNode
    ledger: _Ledger
    rewards: _Rewards
    coordinator: Coordinator

    def tick(self) -> bool:
        engine = self.coordinator.make_engine(lambda: None)
        try:
            return engine.tick()
        finally:
            engine.close()

    def round(self) -> Round:
        with self.database.read() as session:
            found = session.get_one(Round, 1)
            session.expunge_all()
            return found

    def transaction(self, purpose: str) -> Transaction | None:
        with self.database.read() as session:
            found = outbox.find(session, purpose)
            session.expunge_all()
            return found

    def add(self, *rows: Any) -> None:
        with self.database.write() as session:
            for row in rows:
                session.add(row)
                session.flush()


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[_Scene]:
    database = Database.open(f"sqlite:///{tmp_path / 'test.sqlite3'}")
    schema.upgrade(database.engine)
    node = ScriptedNode()
    ledger, rewards = _Ledger(rpc=node), _Rewards()
    coordinator = Coordinator(
        settings=Settings(home=tmp_path, rpc_url="http://node.invalid", keystore=Path("key.json")),
        account=ACCOUNT,
        federation=Federation(DEPLOYMENT, cast(Any, None), worlds.MANIFEST, ACCOUNT.address),
        chain=ChainView(1, cast(Any, ledger), cast(Any, rewards), cast(Any, None), confirmations=3),
        storage=Storage(database, cast(Any, None)),
    )
    for _ in range(9):
        node.mine()
    yield _Scene(database, node, ledger, rewards, coordinator)
    database.close()


def round_at(step: Step, **values: Any) -> Round:
    hashes = ("base_state_root", "base_momentum_root")
    return Round(
        **{
            "number": 1,
            "step": step,
            "policy_id": 1,
            "base": 0,
            "base_state_sha256": "00" * 32,
            "header": b"",
            "header_hash": "0x" + HEADER.hex(),
            "exponents": [],
            "opened_at": 100,
            "commit_deadline": DEADLINE,
            "challenge_deadline": VIEW.challenge_deadline,
            "recomputed": 0,
            **dict.fromkeys(hashes, "0x" + "00" * 32),
            **values,
        }
    )


def transaction(purpose: str, state: str, **values: Any) -> Transaction:
    created = datetime.now(UTC)
    to = DEPLOYMENT.ledger
    return Transaction(
        purpose=purpose, state=state, round=1, to=to, data=b"", created_at=created, attempts=1, **values
    )


def run() -> Run:
    created = datetime.now(UTC)
    return Run(id="run", state="running", rounds=2, expect=1, created_at=created, signature="0x")


def run_state(scene: _Scene) -> str:
    with scene.database.read() as session:
        return session.get_one(Run, "run").state


def test_an_opening_waits_for_an_endpoint_that_lags(scene: _Scene) -> None:
    scene.add(round_at(Step.OPENING, commit_deadline=None), transaction("open:1", "confirmed"))
    scene.ledger.newest = NOTHING
    assert not scene.tick()
    assert (scene.round().step, scene.round().commit_deadline) == (Step.OPENING, None)
    scene.ledger.newest = VIEW
    assert scene.tick()
    assert (scene.round().step, scene.round().commit_deadline) == (Step.COLLECTING, DEADLINE)


@pytest.mark.parametrize("code", ["rpc-unreachable", "rpc-error", "wrong-contract"])
def test_no_answer_of_an_endpoint_ends_a_run(scene: _Scene, code: str) -> None:
    scene.add(run())
    scene.ledger.failure = RpcError("It answers nonsense.", code=code)
    with pytest.raises(RpcError):
        scene.tick()
    assert run_state(scene) == "running"
    scene.ledger.failure = ContractRefused("The contract says no.")
    assert scene.tick()
    assert run_state(scene) == "failed"


@pytest.mark.parametrize("phase", [Phase.SLASHED, Phase.CANCELLED])
def test_a_round_ends_when_no_reorg_can_take_its_end(scene: _Scene, phase: Phase) -> None:
    scene.add(round_at(Step.ANCHORED))
    scene.ledger.newest = replace(VIEW, phase=phase)
    scene.ledger.deep = replace(VIEW, phase=Phase.ANCHORED)
    assert not scene.tick()
    assert scene.round().step == Step.ANCHORED
    assert scene.ledger.asked == 7, "three confirmations, that of block 9 included"
    scene.ledger.deep = scene.ledger.newest
    assert scene.tick()
    assert scene.round().step == phase.name.lower()


@pytest.mark.parametrize(("phase", "state"), [(Phase.SLASHED, "failed"), (Phase.CANCELLED, "running")])
def test_patience_is_for_cancelled_rounds_and_not_for_slashed_ones(
    scene: _Scene, phase: Phase, state: str
) -> None:
    patient = run()
    patient.patience, patient.cancelled = 3600, 5
    scene.add(patient, round_at(Step.ANCHORED, run_id="run"))
    scene.ledger.newest = scene.ledger.deep = replace(VIEW, phase=phase)
    assert scene.tick()
    assert run_state(scene) == state
    if state == "running":  # a plan would ask the ledger, which has no script for it
        assert not scene.tick(), "it waits"


def test_a_final_word_that_a_reorg_took_is_said_again(scene: _Scene) -> None:
    """A stranger's `finalize` came first; our `settle` was refused once a reorg had taken it."""
    scene.node.step = 1_000
    scene.add(round_at(Step.SETTLING), transaction("settle:1", "failed", error={"message": "Not final."}))
    scene.ledger.newest = replace(VIEW, phase=Phase.ANCHORED)
    scene.tick()
    assert scene.round().step == Step.ANCHORED
    scene.ledger.newest = replace(VIEW, phase=Phase.ANCHORED, challenge_deadline=3_000, base=1)
    scene.tick()
    assert scene.round().step == Step.ANCHORED, "its base is not final"
    scene.ledger.newest = replace(VIEW, phase=Phase.FINAL)
    scene.tick()
    assert scene.round().step == Step.FINALIZING


def test_a_strangers_settlement_counts_at_depth(scene: _Scene) -> None:
    final = replace(VIEW, phase=Phase.FINAL)
    scene.add(
        round_at(Step.SETTLING), transaction("settle:1", "failed", gas_used=1, error={"message": "Done."})
    )
    scene.ledger.newest, scene.ledger.deep = final, final
    scene.rewards.newest, scene.rewards.deep = True, False
    assert not scene.tick()
    assert scene.round().step == Step.SETTLING
    scene.rewards.deep = True
    assert scene.tick()
    assert scene.round().step == Step.SETTLED


def _commitment(contributor: str) -> Commitment:
    return Commitment(contributor, 1, bytes(32), b"\x02" * 32, 10)


def _update(contributor: str) -> Update:
    """An update that stands."""
    commitment = _commitment(contributor)
    return Update(
        round=1,
        contributor=commitment.contributor,
        commitment=commitment.to_json(),
        commitment_hash="0x" + commitment.struct_hash.hex(),
        signature="0x" + "11" * 64 + "1b",
        sha256="00" * 32,
        size=1,
        received_at=datetime.now(UTC),
    )


def _recorded(scene: _Scene, contributor: str, place: int = 0) -> ChainEvent:
    """The event of a commitment on the chain."""
    commitment = _commitment(contributor)
    return ChainEvent(
        block_number=9,
        block_hash="0x" + "22" * 32,
        log_index=place,
        transaction_hash="0x" + "11" * 32,
        name="UpdatesCommitted",
        subject="1",
        arguments={
            "round": 1,
            "first": place,
            "bundleHash": "0x" + commitment.bundle_hash.hex(),
            "entries": "0x" + pack_entry(commitment).hex(),
        },
    )


def test_a_restored_update_without_a_signature_is_dropped_when_a_reorg_takes_it(scene: _Scene) -> None:
    lost, other = _update(ADA), _update(BEN)
    lost.signature, lost.batch = "0x", "own"
    scene.add(round_at(Step.COLLECTING, expect=2), lost, other)
    assert scene.tick()
    with scene.database.read() as session:
        rows = {row.contributor: (row.dropped, row.batch) for row in session.scalars(select(Update))}
    assert rows[ADA] == ("invalid-signature", "own")
    assert str(rows[BEN][1]).startswith("commit:1:")


def test_commitments_of_different_bundles_go_in_different_batches(scene: _Scene) -> None:
    ada, ben = _update(ADA), _update(BEN)
    ben.commitment = {**ben.commitment, "bundleHash": "0x" + "22" * 32}
    scene.add(round_at(Step.COLLECTING, expect=2), ada, ben)
    assert scene.tick()
    with scene.database.read() as session:
        purposes = {row.batch for row in session.scalars(select(Update))}
    assert len(purposes) == 2
    assert all(scene.transaction(str(purpose)) is not None for purpose in purposes)


def test_a_contributors_own_transaction_that_a_reorg_took_is_replaced_by_ours(scene: _Scene) -> None:
    update, recorded = _update(ADA), _recorded(scene, ADA)
    scene.add(round_at(Step.COLLECTING, expect=1), update, recorded)
    scene.tick()
    assert _batch(scene) == "own"
    assert not scene.tick()
    with scene.database.write() as session:
        session.delete(session.get_one(ChainEvent, 1))
    assert scene.tick()
    purpose = _batch(scene)
    assert purpose is not None
    sent = scene.transaction(purpose)
    assert sent is not None
    assert sent.state == "queued"


def _batch(scene: _Scene, update: int = 1) -> str | None:
    with scene.database.read() as session:
        return session.get_one(Update, update).batch


def test_a_place_that_a_reorg_gives_back_goes_to_who_was_outdone(scene: _Scene) -> None:
    scene.ledger.rules = factories.policy(max_contributors=2, min_contributors=1)
    scene.ledger.newest = scene.ledger.deep = replace(VIEW, entries=1)
    ours = [_update(ADA), _update(BEN)]
    scene.add(round_at(Step.COLLECTING, expect=2), *ours, _recorded(scene, DORA))
    assert scene.tick()
    first = _batch(scene, 1)
    assert first is not None
    assert _dropped(scene, 2) == "round-full"
    with scene.database.write() as session:
        sent = session.scalars(select(Transaction)).one()
        sent.state = "confirmed"
        session.add(_recorded(scene, ADA, 1))
    scene.ledger.newest = scene.ledger.deep = replace(VIEW, entries=2)
    scene.tick()
    assert (_dropped(scene, 2), _batch(scene, 2)) == ("round-full", None), "the round is full"
    with scene.database.write() as session:
        session.delete(session.get_one(ChainEvent, 1))
    scene.tick()
    assert _batch(scene, 2) is None, "the ledger says that it is full, so events are missing here"
    scene.ledger.newest = scene.ledger.deep = replace(VIEW, entries=1)
    assert scene.tick()
    assert _dropped(scene, 2) is None
    purpose = _batch(scene, 2)
    assert purpose is not None
    assert purpose != first
    second = scene.transaction(purpose)
    assert second is not None
    assert second.state == "queued"


@pytest.mark.parametrize(
    ("member", "drawn", "without_place", "entries", "code"),
    [
        (Member(0, 0, 1, 50), Draw(0, 0, 0), {ADA}, 1, "stake-too-low"),
        (Member(100, 0, 1, 50), Draw(0, 0, 0), {ADA}, 1, "not-enrolled"),
        (Member(100, 100, 1, 150), Draw(0, 0, 0), {ADA}, 1, "not-enrolled"),
        (Member(100, 100, 1, 50), Draw(1_000, 80, 1), {ADA}, 1, "no-place"),
        (Member(100, 100, 1, 50), Draw(0, 0, 0), set(), 5, "round-full"),
        (Member(100, 100, 1, 50), Draw(0, 0, 0), set(), 1, "no-place"),
    ],
)
def test_n4_who_is_passed_over_in_a_batch_hears_why(
    scene: _Scene, member: Member, drawn: Draw, without_place: set[str], entries: int, code: str
) -> None:
    """An account left before the batch; the others are recorded, and nobody waits for it."""
    scene.ledger.rules = factories.policy(max_contributors=5, min_contributors=1, min_stake=100)
    scene.ledger.newest = scene.ledger.deep = replace(VIEW, entries=entries)
    scene.ledger.without_place, scene.ledger.drawn = without_place, drawn
    vault = SimpleNamespace(members=lambda accounts: dict.fromkeys(accounts, member))
    object.__setattr__(scene.coordinator.chain, "vault", vault)
    ada, ben = _update(ADA), _update(BEN)
    ada.batch = ben.batch = "commit:1:both"
    batch = transaction("commit:1:both", "confirmed", block_number=9)
    scene.add(round_at(Step.COLLECTING, expect=2), ada, ben, batch, _recorded(scene, BEN))
    scene.tick()
    assert _dropped(scene, 1) is None, "the events of the block are not read yet"
    scene.add(ChainBlock(number=9, hash="0x" + "22" * 32))
    assert scene.tick()
    assert (_dropped(scene, 1), _dropped(scene, 2)) == (code, None)
    scene.tick()
    with scene.database.read() as session:
        refused = [
            (row.contributor, row.reason, row.authenticated) for row in session.scalars(select(Refusal))
        ]
        told = [
            row.data["contributors"]
            for row in session.scalars(select(LogEntry))
            if row.type == "updates-committed"
        ]
    assert refused == [(ADA, code, True)]
    assert told == [[BEN]]


def _dropped(scene: _Scene, update: int) -> str | None:
    with scene.database.read() as session:
        return session.get_one(Update, update).dropped


def test_a_policy_is_remembered_once_no_reorg_can_take_its_number(scene: _Scene) -> None:
    newest = scene.node.latest().number
    scene.ledger.voted_at = newest
    first = scene.coordinator.chain.policy(1)
    scene.ledger.rules = factories.policy(reward=first.reward + 1)
    assert scene.coordinator.chain.policy(1) == scene.ledger.rules, "another vote took its number"
    for _ in range(scene.coordinator.chain.confirmations):
        scene.node.mine()
    assert scene.coordinator.chain.policy(1) == scene.ledger.rules
    asked = scene.ledger.policies_asked
    assert scene.coordinator.chain.policy(1) == scene.ledger.rules
    assert scene.ledger.policies_asked == asked, "from memory"


def test_a_transaction_at_the_ceiling_of_fees_is_a_warning(scene: _Scene) -> None:
    scene.node.base_fee = 501 * 10**9
    scene.add(transaction("anchor:1", "queued"))
    worker = scene.coordinator.make_worker()
    try:
        worker.step()
        (warning,) = worker.warnings
        assert "anchor:1" in warning
        assert "max_fee_gwei allows 500" in warning
        scene.node.base_fee = 499 * 10**9
        worker.step()
        assert worker.warnings == []
    finally:
        worker.stop()


@pytest.mark.parametrize(
    ("rows", "idle"),
    [
        ((), True),
        ((round_at(Step.COLLECTING),), False),
        ((round_at(Step.ANCHORED),), True),
        ((transaction("anchor:1", "mined"),), False),
        ((transaction("anchor:1", "confirmed"),), True),
    ],
)
def test_an_idle_worker_looks_less_often(scene: _Scene, rows: tuple[Any, ...], idle: bool) -> None:
    scene.add(*rows)
    worker = scene.coordinator.make_worker()
    try:
        assert worker.pause == scene.coordinator.settings.poll_interval * (IDLE_FACTOR if idle else 1)
    finally:
        worker.stop()


@pytest.mark.parametrize(
    ("apart", "cause"), [(3_600, "clock is slow"), (-3_600, "clock is fast"), (0, None), (-300, None)]
)
def test_a_clock_that_is_an_hour_wrong_is_a_warning(apart: int, cause: str | None) -> None:
    said = clock_warning(1_000_000.0, Block(7, "0x", 1_000_000 + apart, 1))
    assert cause is None if said is None else cause is not None and cause in said


def test_each_part_of_the_worker_has_its_turn(scene: _Scene) -> None:
    """A node that takes no transaction keeps neither events nor rounds waiting."""
    scene.add(round_at(Step.OPENING), transaction("open:1", "confirmed"), transaction("else", "queued"))
    worker = scene.coordinator.make_worker()

    def refuse(method: str) -> None:
        if method == "eth_estimateGas":
            raise RpcError("No estimates here.")

    scene.node.before_answer = refuse
    try:
        with pytest.raises(RpcError, match="No estimates here"):
            worker.step()
    finally:
        worker.stop()
    assert worker.status.indexed_block == 9
    assert scene.round().step == Step.COLLECTING


def _confirmed(scene: _Scene, purpose: str) -> None:
    with scene.database.write() as session:
        found = outbox.find(session, purpose)
        assert found is not None
        found.state, found.hash, found.gas_used = "confirmed", "0x" + "11" * 32, 1


def test_a_window_ends_early_when_everyone_answered_and_the_ledger_allows_it(scene: _Scene) -> None:
    scene.node.step = 1
    update = _update(ADA)
    update.batch = "own"
    scene.add(round_at(Step.COLLECTING, expect=2, anchor_deadline=2_000), update, _recorded(scene, ADA))
    scene.ledger.closable = True
    scene.ledger.newest = scene.ledger.deep = replace(VIEW, entries=1)
    assert not scene.tick()
    assert scene.transaction("close:1") is None, "one of two has answered"
    own = _update(BEN)
    own.batch = "own"
    scene.ledger.newest = scene.ledger.deep = replace(VIEW, entries=2)
    scene.add(own, _recorded(scene, BEN, 1))
    assert scene.tick()
    queued = scene.transaction("close:1")
    assert queued is not None
    assert queued.data == encode_call("ledger", "closeCommits", 1)
    assert not scene.tick(), "it is on its way"


def test_a_window_does_not_end_early_if_the_ledger_says_no_or_nobody_was_expected(scene: _Scene) -> None:
    update = _update(ADA)
    update.batch = "own"
    scene.add(round_at(Step.COLLECTING, expect=1), update, _recorded(scene, ADA))
    scene.ledger.newest = scene.ledger.deep = replace(VIEW, entries=1)
    scene.tick()
    assert scene.transaction("close:1") is None, "somebody enrolled is missing"
    scene.ledger.closable = True
    with scene.database.write() as session:
        session.get_one(Round, 1).expect = 0
    scene.tick()
    assert scene.transaction("close:1") is None, "a restored round: nobody knows who was expected"
    full = replace(VIEW, entries=scene.ledger.rules.max_contributors)
    scene.ledger.newest = scene.ledger.deep = full
    scene.tick()
    assert scene.transaction("close:1") is not None, "a full round waits for nobody"


def test_nothing_is_sent_while_a_window_is_being_closed(scene: _Scene) -> None:
    scene.add(round_at(Step.COLLECTING, expect=1), transaction("close:1", "mined"), _update(ADA))
    assert not scene.tick()
    assert _batch(scene) is None
    with scene.database.write() as session:
        session.get_one(Transaction, 1).state = "failed"
    assert scene.tick()
    assert _batch(scene) is not None, "the chain refused to close it: the window goes on"


def test_a_deadline_moves_when_no_reorg_can_move_it_back(scene: _Scene) -> None:
    file = Artifact(sha256="00" * 32, kind="update", size=1, round=1, public_from=DEADLINE)
    scene.add(round_at(Step.COLLECTING, expect=9), transaction("close:1", "confirmed"), file)
    scene.ledger.newest = replace(VIEW, commit_deadline=500, anchor_deadline=1_500)
    assert not scene.tick()
    assert scene.round().commit_deadline == DEADLINE
    scene.ledger.deep = scene.ledger.newest
    assert scene.tick()
    assert (scene.round().commit_deadline, scene.round().anchor_deadline) == (500, 1_500)
    with scene.database.read() as session:
        assert session.get_one(Artifact, "00" * 32).public_from == 500
        told = [event.data for event in session.scalars(select(LogEntry)) if event.type == "window-closed"]
    assert [one["commitDeadline"] for one in told] == [500]


def test_absent_accounts_are_removed_before_the_next_round(scene: _Scene) -> None:
    def listed(name: str, account: str, place: int) -> ChainEvent:
        return ChainEvent(
            block_number=2,
            block_hash=scene.node.blocks[2][0],
            log_index=place,
            transaction_hash="0x" + "11" * 32,
            name=name,
            subject=account,
            account=account,
            arguments={"account": account},
        )

    scene.add(
        round_at(Step.ANCHORING, expect=1),
        transaction("anchor:1", "confirmed"),
        listed("Enrolled", ADA, 0),
        listed("Enrolled", BEN, 1),
        listed("Enrolled", DORA, 2),
        listed("Left", DORA, 3),
    )
    scene.ledger.newest = scene.ledger.deep = replace(VIEW, phase=Phase.ANCHORED)
    scene.ledger.absent = {BEN, DORA}
    scene.tick()
    assert scene.round().step == Step.ANCHORED
    removal = scene.transaction(f"remove:1:{BEN}")
    assert removal is not None
    assert removal.data == encode_call("ledger", "remove", BEN)
    assert scene.transaction(f"remove:1:{ADA}") is None
    assert scene.transaction(f"remove:1:{DORA}") is None, "it has left"


def test_an_empty_round_that_is_given_up_is_cancelled_at_once(scene: _Scene) -> None:
    scene.node.step = 1
    scene.add(round_at(Step.CANCELLING))
    scene.ledger.newest = scene.ledger.deep = replace(VIEW, coordinator=ADA)
    scene.tick()
    assert scene.transaction("cancel:1") is None, "another coordinator's: only its end may be waited for"
    scene.ledger.newest = scene.ledger.deep = replace(VIEW, entries=1)
    scene.tick()
    assert scene.transaction("cancel:1") is None, "somebody committed: the window goes on"
    scene.ledger.newest = scene.ledger.deep = VIEW
    assert scene.tick()
    queued = scene.transaction("cancel:1")
    assert queued is not None
    assert queued.data == encode_call("ledger", "cancelEmpty", 1)
    _confirmed(scene, "cancel:1")
    scene.ledger.newest = scene.ledger.deep = replace(VIEW, phase=Phase.CANCELLED)
    assert scene.tick()
    assert scene.round().step == Step.CANCELLED


TRANSACTIONS = ("none", "queued", "mined", "confirmed", "failed", "reverted")
PURPOSES = {
    Step.OPENING: "open",
    Step.COLLECTING: "close",
    Step.ANCHORING: "anchor",
    Step.FINALIZING: "finalize",
    Step.SETTLING: "settle",
    Step.CANCELLING: "cancel",
}
"""The transaction that a step waits for. A round at another step has none."""
TIMES = (10, 1_500, 3_500)
"""In the commit, anchor and challenge windows of the script, and after them."""
OUTCOME = {"anchor": Anchor((), (), 0, *[bytes(32)] * 6).to_json(), "entries_hash": "0x" + "00" * 32}
"""Of a round that was computed."""


@pytest.mark.parametrize("step", [step for step in (*OPEN, *UNSETTLED) if step is not Step.COMPUTING])
def test_no_state_of_a_round_is_silent(scene: _Scene, step: Step) -> None:
    """Every state of its transaction, phase on the chain, time, and an endpoint that lags or not.

    What `computing` waits for, `test_coordinator_round.py` meets with real updates.
    """
    silent, reasons = [], set()
    engine = _engine(scene)
    states = TRANSACTIONS if step in PURPOSES else ("none",)
    try:
        for state, phase, now, lags in product(states, Phase, TIMES, (False, True)):
            if lags and now != TIMES[-1]:
                continue
            _set(scene, step, state, now)
            view = replace(VIEW, phase=phase) if phase is not Phase.NONE else NOTHING
            scene.ledger.newest, scene.ledger.deep = view, VIEW if lags else view
            try:
                if engine.tick():
                    continue
            except (FolkmootError, AssertionError):  # said in health
                continue
            said = [one for one in engine.waiting if one.round == 1]
            reasons |= {one.why for one in said}
            if not said or not all(one.message for one in said):
                silent.append((state, phase.name, now, lags))
    finally:
        engine.close()
    assert not silent
    assert reasons


def _engine(scene: _Scene) -> Engine:
    return scene.coordinator.make_engine(lambda: None)


def _set(scene: _Scene, step: Step, state: str, now: int) -> None:
    """Put one round at a step, and nothing else, into the database."""
    scene.node.step = -(-now // (len(scene.node.blocks) - 1))
    _clear(scene)
    with scene.database.write() as session:
        session.add(round_at(step, expect=1, anchor_deadline=2_000, **OUTCOME))
        if state != "none":
            spent = {"gas_used": 1, "error": {"message": "No."}} if state == "reverted" else {}
            if state == "failed":
                spent = {"error": {"message": "No.", "details": {"error": "StakeVaultInsufficientStake"}}}
            stored = "failed" if state == "reverted" else state
            session.add(transaction(f"{PURPOSES[step]}:1", stored, **spent))


def _clear(scene: _Scene) -> None:
    with scene.database.write() as session:
        for table in (SentTransaction, Transaction, LogEntry, Round, Run):
            session.execute(delete(table))


BEFORE = (None, Step.COLLECTING, Step.ANCHORED, Step.SETTLED)
"""The step of the round before: none, one that takes updates, one that holds a bond, one that is over."""


class _Opens(Exception):
    """The run has passed everything that could keep its next round from opening."""


@dataclass
class _Stakes:
    """A vault and what else the ledger says before a round opens."""

    stake: int
    locked: int
    pending: int
    appointed: str

    def put(self, scene: _Scene) -> None:
        ledger = cast(Any, scene.ledger)
        ledger.current_policy = ledger.next_round = lambda: 1
        ledger.coordinator, ledger.pending_rounds = lambda: self.appointed, lambda: self.pending
        ledger.head = lambda: Head(0, bytes(32))
        ledger.rules = factories.policy(bond=500)
        vault = SimpleNamespace(stake_of=lambda _: self.stake, bond_of=lambda _: self.locked)
        object.__setattr__(scene.coordinator.chain, "vault", vault)


def test_no_run_stands_still_in_silence(scene: _Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every stake, locked bond, number of pending rounds, appointment, pause, and round before it."""

    def opens(*_: Any) -> None:
        raise _Opens

    monkeypatch.setattr(runs, "read_base", opens)
    engine, found = _engine(scene), dict[tuple[Any, ...], str]()
    stakes = ((1_000, 500), (500, 500), (499, 0), (0, 0))
    space = product(stakes, (0, 256), (ACCOUNT.address, ADA), (0, 5), BEFORE, (False, True))
    try:
        for case in space:
            (stake, locked), pending, appointed, cancelled, before, travels = case
            _Stakes(stake, locked, pending, appointed).put(scene)
            object.__setattr__(scene.coordinator.chain, "time_travel", travels)
            _clear(scene)
            waiting = run()
            if cancelled:
                waiting.patience, waiting.cancelled = 3_600, cancelled
                waiting.next_round_at = datetime.now(UTC) + timedelta(seconds=60)
            scene.add(waiting, *([round_at(before)] if before else []))
            try:
                result: Any = engine._runs.advance()
            except _Opens:
                found[case] = "opens"
                continue
            with scene.database.read() as session:
                said = [] if result is DONE else stopping(session, [result])
            assert result is DONE or said, case
            found[case] = said[0].why if said else "failed"
    finally:
        engine.close()
    assert set(found.values()) == {
        *("opens", "failed", "not-anchored", "clock-to-move", "cancelled-rounds"),
        *("bond-locked", "bond-of-void", "bond-too-low", "too-many-pending"),
    }
    assert all(case[2] == ADA for case, what in found.items() if what == "failed")


@pytest.mark.parametrize("travels", [False, True])
def test_a_run_waits_for_the_policys_interval_and_says_until_when(
    scene: _Scene, monkeypatch: pytest.MonkeyPatch, travels: bool
) -> None:
    def opens(*_: Any) -> None:
        raise _Opens

    monkeypatch.setattr(runs, "read_base", opens)
    engine, moved = _engine(scene), list[int]()
    ledger, chain = cast(Any, scene.ledger), scene.coordinator.chain
    now = chain.now()
    monkeypatch.setattr(ChainView, "move_clock", lambda _, time: moved.append(time))
    object.__setattr__(chain, "time_travel", travels)
    _Stakes(1_000, 0, 1, ACCOUNT.address).put(scene)
    scene.add(run())
    try:
        for base, opened_at, interval, waits in (
            (1, now, 0, False),
            (1, now - 600, 600, False),
            (0, now, 600, False),  # nobody opened the genesis
            (1, now - 599, 600, True),
        ):
            ledger.head = lambda base=base: Head(base, bytes(32))
            ledger.newest = replace(VIEW, opened_at=opened_at)
            ledger.rules = factories.policy(bond=500, interval=interval)
            chain.forget()
            if not waits:
                with pytest.raises(_Opens):
                    engine._runs.advance()
                continue
            found: Any = engine._runs.advance()
            if travels:
                assert (found, moved) == (DONE, [now + 1])
                continue
            assert (found.why, found.until, found.normal, moved) == (Why.INTERVAL, now + 1, False, [])
            assert (
                "the policy's interval from one opening to the next is 10m, and round 1 was opened"
                in found.message
            )
            with scene.database.read() as session:
                assert stopping(session, [found]) == [found]
    finally:
        engine.close()

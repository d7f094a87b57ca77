# SPDX-License-Identifier: Apache-2.0
"""A private training is counted before it draws its noise, whatever becomes of it.

With a real signer agent, and an app whose failures are scripted. Its training stands for one that has drawn noise: what
it trained, or that it failed, may depend on the noise and on the records.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Message

from client.signer.agent import SignerAgent, linked_signer
from client.signer.checks import SigningRules
from client.signer.keys import LocalKey, SigningKey
from client.signer.record import RECORD_FILE, SignedRounds, SigningRecord
from client.signer.wallet import WalletKey
from folkmoot.coordinator_api import commitment_from_wire
from folkmoot.flower import records
from folkmoot.flower.contributor import SOCKET_FILE, Contributor
from folkmoot.flower.mod import folkmoot_mod
from folkmoot.flower.signing import CHARGE_TYPE, AgentSigner, Charged, LocalSigner, SignerError
from folkmoot.flower.updates import drafted_update
from folkmoot.ledger.deployment import Deployment
from folkmoot.privacy.settings import floor_of
from folkmoot.protocol.arrays import F32
from folkmoot.protocol.commitment import Commitment, Domain
from folkmoot.protocol.manifest import Manifest
from folkmoot.rpc.client import Phase
from folkmoot.runtime import fault_points
from tests.unit.flower.grid import context
from tests.unit.flower.test_mod import App, reason, train_message
from tests.unit.flower.world import World, account
from tests.unit.privacy.test_settings import GOOD

ADA = account("ada")
MODEL = {"weight": np.linspace(-1, 1, 300, dtype=np.float32)}
PRIVATE = Manifest.from_arrays("scripted", MODEL, {"privacy": GOOD, "learning_rate": 1.0})
FLOOR = floor_of(PRIVATE, [-9]).least
ROUNDS = 4
"""Trainings that the budget is enough for."""
REFUSED = 6
"""Rounds whose updates are all refused after the noise."""


@dataclass
class Node:
    """A contributor's node with its signer agent. Each training has a new context, as after a restart."""

    world: World
    contributor: Contributor
    app: App = field(default_factory=App)
    bundle: bytes | None = None

    def agent(self, kind: type[SignerAgent] = SignerAgent, key: SigningKey | None = None) -> SignerAgent:
        rules = SigningRules(Deployment.from_json(self.world.deployment), self.world.manifest, self.bundle)
        home = self.contributor.home
        return kind(key or LocalKey(ADA), rules, self.world.url, self.contributor.socket, home / "signer")

    def train(self) -> Message:
        return folkmoot_mod()(train_message(self.world), context(self.contributor), self.app)

    @property
    def record(self) -> SignedRounds:
        data = (self.contributor.home / "signer" / RECORD_FILE).read_bytes()
        return SigningRecord.from_json(data, "it").of(self.world.domain)

    @property
    def trainings(self) -> float:
        """How often the signing record has counted a training."""
        return self.record.spent / self.world.policy.cost

    def die(self, point: str, mark: Path, work: Callable[[], object]) -> None:
        """Work in a process of its own, which is killed at a fault point."""
        child = os.fork()
        if not child:
            fault_points._wanted.update(fault_points._parse(f"{point}@{mark}"))
            fault_points._passes[point] = 0
            with contextlib.suppress(BaseException):
                work()
            os._exit(1)
        assert os.waitpid(child, 0)[1] == signal.SIGKILL
        assert mark.exists()


@pytest.fixture
def node(join: Callable[..., Contributor]) -> Iterator[Node]:
    with World(PRIVATE, dict(MODEL), expect=9) as world:
        asked = {"noise1024": GOOD["noise1024"], "steps": GOOD["steps"], "min_sum_squares": FLOOR}
        policy = replace(world.policy, **asked, privacy_cap=2**60)
        world.policy = replace(policy, privacy_cap=ROUNDS * policy.cost)
        yield Node(world, join(world, private=True))


def test_a_training_is_charged_once_until_its_update_is_signed(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    with node.agent():
        for _ in range(2):
            assert not node.train().has_error()
            assert (node.trainings, list(node.record.signed)) == (1, [1])
    assert len(node.app.seen) == 1
    assert node.record.cap == node.world.policy.privacy_cap
    assert "Round 1: training is charged 0.0129 rho; 0.0129 of at most 0.0517 rho are spent" in caplog.text


def test_without_room_for_the_charge_nothing_is_trained(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with node.agent():
        with monkeypatch.context() as patch:
            patch.setattr("client.signer.record.write_whole", full)
            assert reason(node.train()).startswith("record-unusable")
        assert not node.app.seen
        assert not node.train().has_error()
        assert node.trainings == 1


def test_a_signature_without_a_charge_is_charged(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bundle of an earlier release requests no charge."""
    monkeypatch.setattr(AgentSigner, "charge", lambda *_: Charged(0, 0, 0))
    with node.agent():
        assert not node.train().has_error()
    assert node.trainings == 1


def test_rounds_that_are_refused_after_the_noise_end_at_the_cap(node: Node) -> None:
    """Each refusal says something about the noisy update: here that it is below the floor."""
    node.app.shift = 0
    codes = []
    with node.agent():
        for _ in range(REFUSED):
            codes.append(reason(node.train()).partition(":")[0])
            node.world.cancel_round()
    assert codes == ["norm-too-small"] * ROUNDS + ["own-cap"] * (REFUSED - ROUNDS)
    assert len(node.app.seen) == node.trainings == ROUNDS
    assert not node.record.signed


def test_a_refused_draft_is_sent_again_without_new_noise(node: Node) -> None:
    node.app.shift = 0
    with node.agent():
        for _ in range(3):
            assert reason(node.train()).startswith("norm-too-small")
    assert len(node.app.seen) == node.trainings == 1


def test_each_training_of_a_round_counts_and_there_is_no_third(node: Node) -> None:
    cost = node.world.policy.cost
    node.app.error = ValueError("row 17")
    with node.agent():
        for number in (1, 2):
            assert reason(node.train()) == "training-failed: training raised ValueError."
            assert node.trainings == number
        assert reason(node.train()).startswith("trained-before")
        node.world.cancel_round()
        node.app.error = None
        assert not node.train().has_error()
        assert node.record.costs == {1: 2 * cost, 2: cost}
    assert (node.trainings, len(node.app.seen)) == (3, 3)


def test_a_round_that_closes_while_the_node_trains(node: Node) -> None:
    node.app.spoil = lambda arrays: node.world.cancel_round()
    with node.agent():
        assert reason(node.train()).startswith("round-closed")
    assert node.trainings == 1


@pytest.mark.parametrize(
    ("point", "drawn"),
    [("node.trained", 2), ("node.memory-drafted", 2), ("node.drafted", 1), ("node.signed", 1)],
)
def test_a_node_that_is_killed_between_its_training_and_its_signature(
    node: Node, point: str, drawn: int, tmp_path: Path
) -> None:
    """A draft that is on disk is signed without new noise. Without one, the node trains and is charged again."""
    with node.agent():
        node.die(point, tmp_path / "died", node.train)
        assert node.trainings == 1
        assert not node.train().has_error()
        assert (node.trainings, list(node.record.signed)) == (drawn, [1])


def test_a_signer_that_is_killed_after_a_charge_has_counted_it(node: Node, tmp_path: Path) -> None:
    def serve_and_ask() -> None:
        with node.agent():
            node.train()

    node.die("node.charged", tmp_path / "died", serve_and_ask)
    assert node.trainings == 1
    with node.agent():
        assert not node.train().has_error()
    assert node.trainings == 2


class OldAgent(SignerAgent):
    """An agent of a release that charges signatures only."""

    def _handle(self, request: bytes, connection: Any) -> dict[str, Any]:
        if CHARGE_TYPE.encode() in request:
            raise SignerError("The signer signs only commitments, not 'Charge'.", code="wrong-type")
        return super()._handle(request, connection)


def test_a_node_does_not_train_privately_with_an_agent_that_charges_signatures_only(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    with node.agent(OldAgent):
        assert reason(node.train()).startswith("signer-outdated: ")
    assert not node.app.seen
    assert "Update Folkmoot where the signer runs, and start it again." in caplog.text


def test_a_signer_that_can_not_count_trains_nothing_private(node: Node) -> None:
    mod = folkmoot_mod(signer=LocalSigner(ADA))
    reply = mod(train_message(node.world), context(node.contributor), node.app)
    assert reason(reply).startswith("no-record: ")
    assert not node.app.seen


class NeverCharging(LocalSigner):
    def charge(self, commitment: Commitment, domain: Domain) -> Charged:
        raise AssertionError("A federation without privacy charges nothing.")


def test_a_federation_without_privacy_is_not_charged(world: World, join: Callable[..., Contributor]) -> None:
    mod = folkmoot_mod(signer=NeverCharging(ADA))
    assert not mod(train_message(world), context(join(world)), App()).has_error()


def low_cap(node: Node) -> None:
    node.world.policy = replace(node.world.policy, privacy_cap=node.world.policy.cost)
    node.world.spent = 1


def high_spent(node: Node) -> None:
    """The contributor has a higher cap of its own than the policy, which the ledger enforces."""
    with node.agent() as agent:
        rounds = SignedRounds(cap=2**60)
        agent._record.store(agent._record.record.with_rounds(node.world.domain, rounds))
    low_cap(node)


def policy(**changes: Any) -> Callable[[Node], None]:
    def change(node: Node) -> None:
        node.world.policy = replace(node.world.policy, **changes)

    return change


def no_place(node: Node) -> None:
    node.world.place = False


def closed(node: Node) -> None:
    node.world.rounds[-1].phase = Phase.CANCELLED


def other_bundle(node: Node) -> None:
    node.bundle = b"\1" * 32


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (low_cap, "own-cap"),
        (high_spent, "budget-spent"),
        (policy(noise1024=1), "wrong-privacy"),
        (policy(min_sum_squares=FLOOR + 1), "floor-too-high"),
        (policy(max_sum_squares=4 * FLOOR - 1), "cap-too-small"),
        (policy(bundle_hash=b"\1" * 32), "wrong-bundle"),
        (other_bundle, "wrong-bundle"),
        (no_place, "no-place"),
        (closed, "round-closed"),
    ],
)
def test_what_can_be_refused_without_the_records_is_refused_before_it_is_charged(
    node: Node, change: Callable[[Node], None], code: str
) -> None:
    change(node)
    with node.agent():
        assert reason(node.train()).startswith(f"{code}: ")
    assert not node.app.seen
    assert node.record.spent == 0


@pytest.mark.parametrize(
    ("settings", "weights", "code"),
    [
        ({}, MODEL["weight"] * np.float32(2**20), "weights-too-large"),
        (
            {"learning_rate": 1e308, "privacy": {**GOOD, "clip": 1e6, "B0": 1, "grid": 0}},
            MODEL["weight"],
            "task",
        ),
        ({"privacy": {**GOOD, "noise1024": 1, "grid": 16}}, np.zeros(2**11, np.float32), "grid-too-fine"),
    ],
)
def test_what_the_mechanism_could_not_train_is_refused_before_it_is_charged(
    join: Callable[..., Contributor], settings: dict[str, Any], weights: F32, code: str
) -> None:
    model = {"weight": weights}
    manifest = Manifest.from_arrays("scripted", model, {"privacy": GOOD, "learning_rate": 1.0, **settings})
    noise = manifest.training["privacy"]["noise1024"]
    with World(manifest, dict(model)) as world:
        least = FLOOR if code == "weights-too-large" else 0
        asked = {"noise1024": noise, "steps": GOOD["steps"], "min_sum_squares": least}
        world.policy = replace(world.policy, **asked, privacy_cap=2**60)
        node = Node(world, join(world, private=True))
        with node.agent():
            assert reason(node.train()).startswith(f"{code}: ")
        assert not node.app.seen
        assert node.record.spent == 0


def test_the_agent_of_a_contract_and_a_linked_one_charge(node: Node, tmp_path: Path) -> None:
    """The contract is asked for nothing before there is a signature."""
    key = WalletKey("0x" + "33" * 20, [LocalKey(ADA)], node.world.url)
    base = node.world.rounds[-1].header.base_state_root
    untrained = Commitment(key.address, 1, base, bytes(32), 0)
    (tmp_path / "linked").mkdir()
    with node.agent(key=key) as agent, linked_signer(agent.path, tmp_path / "linked"):
        cost, cap = node.world.policy.cost, node.world.policy.privacy_cap
        charged = AgentSigner(tmp_path / "linked" / SOCKET_FILE, key.address).charge(
            untrained, node.world.domain
        )
        assert charged == Charged(cost, cost, cap)


def test_a_round_that_has_a_signature_is_not_trained_in_vain(node: Node) -> None:
    """Its draft and its update are lost, and the signer would sign no other."""
    with node.agent():
        wire = node.train().content.config_records[records.COMMITMENT]["commitment"]
        for path in (node.contributor.home / "updates").iterdir():
            path.unlink()
        assert reason(node.train()).startswith("already-signed: ")
    assert commitment_from_wire(str(wire))[0].round in node.record.signed
    assert (len(node.app.seen), node.trainings) == (1, 1)
    assert drafted_update(node.contributor.home, 1, LocalKey(ADA).draft_key) is None


def test_a_new_record_goes_on_from_the_chains_count(node: Node) -> None:
    """The record is ahead of the chain by what was trained and never recorded."""
    cost = node.world.policy.cost
    node.world.spent = 2 * cost
    node.app.error = ValueError()
    with node.agent():
        node.train()
        assert node.trainings == 3
        node.train()
        assert node.trainings == 4

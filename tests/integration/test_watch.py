# SPDX-License-Identifier: Apache-2.0
"""Watcher and challenges on Anvil with the real contracts: every lie is found and punished, and no honest round is."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from folkmoot.aggregation.trajectory import WINDOW
from folkmoot.artifacts.sources import ArtifactSource, CoordinatorSource, FolderSource
from folkmoot.cli.main import run
from folkmoot.devnet.anvil import Anvil
from folkmoot.errors import ArtifactError
from folkmoot.fraud.contracts.challenge import transact
from folkmoot.fraud.contracts.follower import Follower
from folkmoot.fraud.contracts.judges import demand, find_judges, stored_demand
from folkmoot.fraud.proofs.availability import DataKind, Files, answer_call, demand_call
from folkmoot.fraud.proofs.descent import list_of
from folkmoot.fraud.watcher.watch import run as watch
from folkmoot.ledger.follower import REORG_DEPTH
from folkmoot.protocol import merkle
from folkmoot.protocol.hashing import keccak
from folkmoot.protocol.verdict import Artifacts
from folkmoot.rpc.client import Contract, Phase, Rpc
from tests import factories
from tests.contract_accounts import Unlocked
from tests.http_servers import serving_folder
from tests.integration import audit_world
from tests.integration import fraud_world as lies
from tests.integration.audit_world import Folder, World, lying_endpoint
from tests.integration.fraud_world import ANSWER_WINDOW, CHALLENGER, DEPOSIT, judged
from tests.integration.watched import NAMES, QUARTER, Watched, phase, play_lie, won

pytestmark = pytest.mark.usefixtures("watchers_closed")


@pytest.fixture
def world(judged_world: World) -> World:
    """A federation with judges and an honest first round, for one test to go on with."""
    return judged_world


PROVABLE = {
    "mean": (play_lie(lies.lie_mean), "mean", 8),
    "entries": (play_lie(lies.lie_entries), "entries", 0),
    "behind-the-last-leaf": (play_lie(lies.lie_behind_the_last_leaf), "mean", 10),
    "theta": (play_lie(lies.lie_theta), "outer-step", 3),
    "momentum": (play_lie(lies.lie_momentum), "outer-step", 9),
    "padding": (play_lie(lies.lie_padding), "outer-step", 9),
    "weight": (play_lie(lies.lie_weight), "weight", 1),
    "left-out": (play_lie(lies.lie_left_out), "rule", 1),
    "copy": (lambda world: lies.play_copy(world, NAMES, lies.lie_root), "weight", 2),
    "left-out-beside-a-copy": (lambda world: lies.play_copy(world, NAMES, lies.lie_left_out), "rule", 1),
    "own": (lambda world: world.play([*NAMES, "coordinator"], lies.lie_root), "weight", 3),
    "false-norm": (lambda world: lies.play_false_norm(world, NAMES), "update", 2),
    "bad-padding": (lambda world: lies.play_bad_padding(world, NAMES), "update", 2),
    "header": (lambda world: lies.play_wrong_header(world, NAMES), "header", 0),
    "no-header": (lambda world: lies.play_no_header(world, NAMES), "header", 0),
}


@pytest.mark.parametrize("name", PROVABLE)
def test_every_lie_that_a_leaf_refutes_is_punished(world: World, tmp_path: Path, name: str) -> None:
    play, kind, place = PROVABLE[name]
    number = play(world)
    seen = Watched(world, tmp_path / "watch")
    assert seen.look() == 3
    assert [(line["round"], line["kind"]) for line in seen.said("wrong")] == [(number, kind)]
    assert [(line["kind"], line["place"]) for line in seen.said("proven")] == [(kind, place)], seen.lines
    assert [line["round"] for line in seen.said("right")] == [1]
    assert phase(world, number) == Phase.SLASHED
    of_contributor = factories.policy().min_stake // 4 if kind == "update" else 0
    assert len(seen.said("fault-proven")) == (kind == "update")
    assert won(world) == QUARTER + of_contributor
    assert world.federation.chain.ledger.head().round == 1


def test_an_honest_run_is_never_challenged(world: World, tmp_path: Path) -> None:
    for _ in range(2):
        world.play(NAMES)
    seen = Watched(world, tmp_path / "watch")
    assert seen.look() == 0
    assert [line["round"] for line in seen.said("right")] == [1, 2, 3]
    assert {line["event"] for line in seen.lines} == {"right"}
    assert won(world) == 0


def test_copies_that_are_left_out_are_right(world: World, tmp_path: Path) -> None:
    number = lies.play_copy(world, NAMES)
    outcome = world.rounds[number].outcome
    assert outcome is not None
    assert outcome.weights == (1, 1, 0)
    seen = Watched(world, tmp_path / "watch")
    assert seen.look() == 0
    assert [line["round"] for line in seen.said("right")] == [1, number]
    assert won(world) == 0


def test_a_coordinator_that_refuses_a_false_update_and_holds_a_root_set_is_right(
    world: World, tmp_path: Path
) -> None:
    lies.play_false_norm(world, NAMES, count=False)
    world.play([*NAMES, "coordinator"])
    seen = Watched(world, tmp_path / "watch")
    assert seen.look() == 0
    assert [line["round"] for line in seen.said("right")] == [1, 2, 3]


def test_a_lie_below_the_newest_round_voids_both(world: World, tmp_path: Path) -> None:
    second = world.play(NAMES, lies.lie_mean)
    third = world.play(NAMES)
    seen = Watched(world, tmp_path / "watch")
    assert seen.look() == 3
    assert phase(world, second) == Phase.SLASHED
    assert phase(world, third) == Phase.CANCELLED


def test_of_several_lies_the_newest_is_proven_first(chain: Anvil, tmp_path: Path) -> None:
    """A proof of the oldest would give the bonds of the others back to the coordinator."""
    snapshot = chain.snapshot()
    window = 4 * factories.policy().challenge_window
    world = judged(chain, tmp_path / "artifacts", challenge_window=window)
    lied = [world.play(NAMES, lies.lie_mean) for _ in range(2)]
    seen = Watched(world, tmp_path / "watch")
    assert seen.look() == 3
    assert [line["round"] for line in seen.said("proven")] == lied[::-1]
    assert [phase(world, number) for number in lied] == [Phase.SLASHED] * 2
    assert won(world) == 2 * QUARTER
    world.federation.chain.close()
    chain.revert(snapshot)


def test_a_lie_near_its_deadline_waits_for_no_other(world: World, tmp_path: Path) -> None:
    first = world.play(NAMES, lies.lie_mean)
    world.federation.anvil.advance(factories.policy().challenge_window * 3 // 4)
    world.play(NAMES, lies.lie_mean)
    seen = Watched(world, tmp_path / "watch")
    assert seen.look() == 3
    assert [line["round"] for line in seen.said("proven")] == [first]


# What no leaf shows


def test_weights_that_a_rule_does_not_give_are_disputed(chain: Anvil, tmp_path: Path) -> None:
    """Under a rule that no contract can evaluate."""
    snapshot = chain.snapshot()
    world = judged(chain, tmp_path / "artifacts", rule="clamped_mean")
    number = world.play([*NAMES, "dora", "emil"], lies.lie_left_out)
    seen = Watched(world, tmp_path / "watch")
    assert seen.look() == 3
    said = seen.said("disputed")
    assert [(one["round"], one["what"], one["entry"]) for one in said] == [(number, "weight", 1)]
    assert [what for what, _ in said[0]["places"]][-1] == "artifacts"
    assert "Expected: 47334 (accepted). Anchored: 0." in said[0]["text"]
    assert phase(world, number) == Phase.ANCHORED
    world.federation.chain.close()
    chain.revert(snapshot)


def test_exponents_of_the_coordinators_choice_are_disputed(world: World, tmp_path: Path) -> None:
    lies.play_wrong_exponents(world, NAMES)
    seen = Watched(world, tmp_path / "watch")
    assert seen.look() == 3
    assert [line["what"] for line in seen.said("disputed")] == ["exponents"]


@pytest.mark.parametrize("lie", [lies.lie_withheld, lies.lie_withheld_state, lies.lie_withheld_artifacts])
def test_what_is_withheld_is_demanded_and_silence_is_punished(world: World, tmp_path: Path, lie: Any) -> None:
    number = world.play(NAMES, lie)
    seen = Watched(world, tmp_path / "watch")
    assert seen.watcher.look()
    what = [line["what"] for line in seen.said("withheld")]
    assert len(what) == 1
    assert seen.said("demanded") == []  # mirrors have a while first
    world.advance(factories.policy().challenge_window // 4)
    seen.now += 1_000
    assert seen.watcher.look()
    assert [(line["round"], line["what"]) for line in seen.said("demanded")] == [(number, what[0])]
    assert won(world) == -DEPOSIT
    world.advance(ANSWER_WINDOW)
    again = Watched(world, tmp_path / "watch")  # a restart forgets no demand
    assert again.look() == 3
    assert [line["kind"] for line in again.said("proven")] == ["withheld"]
    assert phase(world, number) == Phase.SLASHED
    assert won(world) == QUARTER


def test_an_answer_on_the_chain_is_read(world: World, tmp_path: Path) -> None:
    kept: dict[str, bytes] = {}
    number = world.play(NAMES, lies.lie_mean_and_hide(kept))
    world.advance(factories.policy().challenge_window // 4)
    seen = Watched(world, tmp_path / "watch")
    assert seen.watcher.look()
    demand = seen.said("demanded")[0]
    assert demand["what"] == "artifacts"
    with Rpc(world.federation.anvil.url) as rpc:
        judge = find_judges(rpc, world.policies[0])
    assert judge.availability is not None
    availability = Contract(world.federation.anvil.rpc, judge.availability, "data_availability")
    show = availability.functions.show(demand["demand"], kept["artifacts"], bytes(32))
    transact(world.federation.anvil.rpc, world.federation.coordinator, show)
    assert seen.look() == 3
    assert len(seen.said("answered")) == 1
    assert [line["kind"] for line in seen.said("proven")] == ["mean"]
    assert phase(world, number) == Phase.SLASHED


HIDDEN = {
    "mean": (lies.lie_mean, "mean", 8, 1),
    "behind-the-last-leaf": (lies.lie_behind_the_last_leaf, "mean", 10, 1),
    "theta": (lies.lie_theta, "outer-step", 3, 1),
    "momentum": (lies.lie_momentum, "outer-step", 9, 2),
}
"""Lies in files that nobody publishes: the lie, the proof's kind and place, and how many demands lead there."""


@pytest.mark.parametrize("what", HIDDEN)
def test_H4_a_hidden_lie_is_walked_down_to_and_proven(world: World, tmp_path: Path, what: str) -> None:
    """The coordinator answers all that is demanded and publishes nothing: its own lists lead to the lie."""
    lie, kind, place, demands = HIDDEN[what]
    hidden: list[Artifacts] = []
    store = Folder(tmp_path / "hidden")

    def hide(world: World, outcome: Any) -> Any:
        anchor = lie(world, outcome)
        artifacts = Artifacts.from_json(world.folder.document(anchor.artifacts_hash).read_bytes())
        file = world.folder.place(artifacts.mean if kind == "mean" else artifacts.state)
        store.put(file.read_bytes())
        file.unlink()
        hidden.append(artifacts)
        return anchor

    def show(demand: int) -> None:
        about = stored_demand(world.federation.anvil.rpc, judge, demand).about
        if kind == "mean":
            rows = np.frombuffer(store.place(hidden[0].mean).read_bytes(), np.uint8).reshape(-1, 256)
            tree = merkle.tree(merkle.MEAN, merkle.leaf_hashes(merkle.MEAN, rows))
            arguments: tuple[Any, ...] = (demand, list_of(tree, about.level, about.index), bytes(32))
        else:
            arguments = answer_call(
                demand, about, Files(hidden[0], store.place), audit_world.MANIFEST
            ).arguments
        rpc = world.federation.anvil.rpc
        call = Contract(rpc, judge, "data_availability").functions.show(*arguments)
        transact(rpc, world.federation.coordinator, call)

    number = world.play(NAMES, hide)
    world.advance(factories.policy().challenge_window // 4)
    seen = Watched(world, tmp_path / "watch")
    judge = find_judges(world.federation.anvil.rpc, world.policies[0]).availability or ""
    for step in range(1, demands + 1):
        assert seen.watcher.look()
        assert [line["demand"] for line in seen.said("demanded")] == list(range(1, step + 1))
        show(step)
        seen.now += 1_000
    assert seen.look() == 3
    assert [(line["kind"], line["place"]) for line in seen.said("proven")] == [(kind, place)]
    assert phase(world, number) == Phase.SLASHED
    assert won(world) == QUARTER - demands * DEPOSIT


def test_H4_what_somebody_else_demanded_serves_the_watcher(world: World, tmp_path: Path) -> None:
    """A puppet asks first. The watcher waits for that answer, and proves that there was none."""
    number = world.play(NAMES, lies.lie_withheld)
    case = Follower(world.federation.deployment).read(world.federation.anvil.rpc).cases[number]
    judge = find_judges(world.federation.anvil.rpc, world.policies[0]).availability or ""
    call, puppet = demand_call(case, audit_world.MANIFEST, DataKind.MEAN), factories.account("newcomer")
    world.send("token", "approve", judge, DEPOSIT, by=puppet)
    made = demand(world.federation.anvil.rpc, world.federation.deployment, judge, call, puppet).demand
    world.advance(factories.policy().challenge_window // 4)
    seen = Watched(world, tmp_path / "watch")
    assert seen.watcher.look()
    assert [line["demand"] for line in seen.said("demanded-by-other")] == [made]
    assert seen.said("demanded") == []
    world.advance(ANSWER_WINDOW)
    seen.now += 1_000
    assert seen.look() == 3
    assert [line["kind"] for line in seen.said("proven")] == ["withheld"]
    assert phase(world, number) == Phase.SLASHED
    assert won(world) == 0, "the puppet is paid, and the bond is gone"


def uphold(world: World, number: int) -> None:
    """Decide as the timelock does after a vote."""
    place = world.federation.deployment
    judge = find_judges(world.federation.anvil.rpc, world.policies[0]).disputes
    data = bytes(world.federation.chain.disputes.functions.uphold(number).data)
    Unlocked(world.federation.anvil).send(place.timelock, judge, data)


def test_a_dispute_is_opened_once_and_can_be_upheld(world: World, tmp_path: Path) -> None:
    number = world.play(NAMES, lies.lie_verdicts)
    assert Watched(world, tmp_path / "without", deposits=False).look() == 3
    assert won(world) == 0
    seen = Watched(world, tmp_path / "watch")
    assert seen.look() == 3
    (opened,) = seen.said("dispute-opened")
    assert opened["command"] == f"folkmoot propose --uphold {number}"
    assert opened["command"] in opened["text"]
    assert won(world) == -QUARTER
    again = Watched(world, tmp_path / "watch")
    assert again.look() == 3
    assert again.said("dispute-opened") == []
    other = Watched(world, tmp_path / "other")
    assert other.look() == 3  # somebody opened it just now
    assert other.said("dispute-opened") == []
    (told,) = other.said("dispute-seen")
    assert told["command"] == f"folkmoot propose --uphold {number}"
    assert phase(world, number) == Phase.ANCHORED
    bonded = world.federation.chain.vault.stake_of(world.federation.coordinator.address)
    uphold(world, number)
    assert phase(world, number) == Phase.SLASHED
    taken = bonded - world.federation.chain.vault.stake_of(world.federation.coordinator.address)
    assert taken == factories.policy().bond
    assert again.look() == 3
    assert won(world) == 0  # the deposit is back, and nobody is paid
    assert ["a vote upheld the dispute" in line["text"] for line in again.said("void")] == [True]


def test_M6_a_dispute_that_began_earlier_is_joined(world: World, tmp_path: Path) -> None:
    """A sham dispute starts the clock. The watcher that comes later gives the vote its whole time."""
    number = world.play(NAMES, lies.lie_verdicts)
    rpc, sham = world.federation.anvil.rpc, factories.account("newcomer")
    judge = find_judges(rpc, world.policies[0]).disputes or ""
    world.send("token", "approve", judge, QUARTER, by=sham)
    call = Contract(rpc, judge, "disputes").functions.open(number, "nothing in particular")
    transact(rpc, sham, call)
    window = factories.GOVERNANCE.unbonding
    world.advance(window // 10)
    deadline = world.federation.chain.ledger.round(number).challenge_deadline
    seen = Watched(world, tmp_path / "watch")
    assert seen.look() == 3
    assert len(seen.said("dispute-opened")) == 1
    assert world.federation.chain.ledger.round(number).challenge_deadline >= deadline + window // 10
    assert seen.watcher.journal.rounds[number].deposit
    uphold(world, number)
    seen.now += 1_000
    assert seen.look() == 3
    assert won(world) == 0, "the deposit is back"
    assert not seen.watcher.journal.rounds[number].deposit


def test_N3_the_watcher_says_how_to_decide_a_sham_dispute(world: World, tmp_path: Path) -> None:
    number = world.play(NAMES)
    seen = Watched(world, tmp_path / "watch")
    assert seen.look() == 0
    assert seen.said("dispute-seen") == []
    rpc, sham = world.federation.anvil.rpc, factories.account("newcomer")
    judge = find_judges(rpc, world.policies[0]).disputes or ""
    world.send("token", "approve", judge, QUARTER, by=sham)
    transact(rpc, sham, Contract(rpc, judge, "disputes").functions.open(number, "nothing in particular"))
    for _ in range(2):  # and says so once
        assert seen.look() == 0
    (told,) = seen.said("dispute-seen")
    assert told["text"] == (
        f"Round {number} is right, and waits for a vote: somebody disputes it. To decide it, type `folkmoot propose "
        f"--dismiss {number}`; if `folkmoot proposals --open` has that proposal already, vote for it."
    )


def test_a_replayed_update_costs_its_sender_stake_once(world: World, tmp_path: Path) -> None:
    number = lies.play_replay(world, NAMES)
    seen = Watched(world, tmp_path / "watch")
    assert seen.look() == 0  # the coordinator did nothing wrong
    ben = factories.account("ben").address
    assert [(line["round"], line["account"]) for line in seen.said("replay")] == [(number, ben)]
    assert len(seen.said("fault-proven")) == 1
    assert won(world) == factories.policy().min_stake // 4
    assert world.federation.chain.vault.stake_of(ben) == factories.STAKE - factories.policy().min_stake
    assert Watched(world, tmp_path / "watch").look() == 0
    other = Watched(world, tmp_path / "other")
    assert other.look() == 0
    assert len(other.said("fault-failed")) == 1  # it was reported already


def test_a_censored_delivery_is_proven(world: World, tmp_path: Path) -> None:
    """A contributor delivered all of its update on the chain, and is anchored as if it had not."""
    number = lies.play_censored(world, NAMES)
    seen = Watched(world, tmp_path / "watch")
    assert seen.look() == 3
    assert [(line["kind"], line["place"]) for line in seen.said("proven")] == [("censored", 1)]
    assert phase(world, number) == Phase.SLASHED
    assert won(world) == 0  # a quarter of the bond is the contributor's


# Mirrors


class Hanging(FolderSource):
    """A mirror that gives no answer."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.asked = 0

    def fetch(self, sha256: str, limit: int) -> Path:
        self.asked += 1
        raise ArtifactError("It gave no answer.", code="artifact-unreachable")

    def document(self, keccak256: str) -> bytes:
        return self.fetch(keccak256, 0).read_bytes()


def test_the_next_mirror_is_asked_where_one_lies_lacks_files_or_hangs(world: World, tmp_path: Path) -> None:
    number = world.play(NAMES, lies.lie_theta)
    outcome = world.rounds[number].outcome
    assert outcome is not None
    lying, half = (Folder(shutil.copytree(world.folder.path, tmp_path / name)) for name in ("lying", "half"))
    names = [name for name in outcome.artifacts.updates if name is not None]
    lying.place(names[0]).write_bytes(b"\x81" * 2560)
    for name in names[1:]:
        half.place(name).unlink()
    hanging = Hanging(tmp_path)
    mirrors: dict[str, ArtifactSource] = {
        "hanging": hanging,
        "lying": FolderSource(lying.path),
        "half": FolderSource(half.path),
    }
    seen = Watched(world, tmp_path / "watch", mirrors=mirrors)
    assert seen.look() == 3
    assert phase(world, number) == Phase.SLASHED
    failed = {(line["mirror"], line["code"]) for line in seen.said("mirror-failed")}
    assert failed == {("hanging", "artifact-unreachable"), ("lying", "artifact-damaged")}
    assert hanging.asked == 1  # who hangs is not asked for every file


def test_a_step_is_proven_wrong_without_the_updates(world: World, tmp_path: Path) -> None:
    """It takes the anchored mean for granted, so half of the files are enough."""
    number = world.play(NAMES, lies.lie_theta)
    outcome = world.rounds[number].outcome
    assert outcome is not None
    world.folder.place(outcome.artifacts.updates[1] or "").unlink()
    seen = Watched(world, tmp_path / "watch")
    assert seen.look() == 3
    assert [line["what"] for line in seen.said("withheld")] == ["update"]
    assert phase(world, number) == Phase.SLASHED


def test_mirrors_over_http_that_hang_or_serve_a_folder(world: World, tmp_path: Path) -> None:
    """Real sockets: one accepts and says nothing, the other serves the files; copies are not left behind."""
    world.play(NAMES)
    number = world.play(NAMES, lies.lie_momentum)
    with socket.create_server(("127.0.0.1", 0)) as silent, serving_folder(world.folder.path) as url:
        hanging = CoordinatorSource(f"http://127.0.0.1:{silent.getsockname()[1]}", 0.3, retry_timeout=0)
        serving = CoordinatorSource(url, 2, retry_timeout=0)
        seen = Watched(world, tmp_path / "watch", mirrors={"hanging": hanging, "serving": serving})
        assert seen.look() == 3
        assert [line["round"] for line in seen.said("right")] == [1, 2]
        assert [line["mirror"] for line in seen.said("mirror-failed")] == ["hanging"]
        assert phase(world, number) == Phase.SLASHED
        assert seen.look() == 3  # what is over is let go
        left = {path.name for path in serving._store.root.glob("??/*")}
        outcome = world.rounds[1].outcome
        assert outcome is not None
        assert not left & set(filter(None, outcome.artifacts.updates))
        assert len(left) <= 4


def test_a_file_that_no_mirror_has_is_tried_again_until_it_is_there(world: World, tmp_path: Path) -> None:
    number = world.play(NAMES, lies.lie_consistent)
    outcome = world.rounds[number].outcome
    assert outcome is not None
    hidden = world.folder.place(outcome.artifacts.updates[1] or "")
    hidden.rename(tmp_path / "hidden")
    seen = Watched(world, tmp_path / "watch")
    assert seen.watcher.look()
    assert seen.watcher.verdict == 4
    assert [(line["what"], line["entry"]) for line in seen.said("withheld")] == [("update", 1)]
    (tmp_path / "hidden").rename(hidden)
    assert seen.watcher.look()  # too early: nothing is asked again yet
    assert seen.said("proven") == []
    seen.now += 6
    assert seen.look() == 3
    assert [line["round"] for line in seen.said("proven")] == [number]


# Restarts, windows, others


def test_a_restarted_watcher_goes_on_and_recomputes_nothing_twice(world: World, tmp_path: Path) -> None:
    first = Watched(world, tmp_path / "watch")
    assert first.look() == 0
    assert len(first.said("right")) == 1
    second = world.play(NAMES)
    outcome = world.rounds[1].outcome
    assert outcome is not None
    world.folder.place(outcome.artifacts.state).unlink()  # the watcher kept the last good state itself
    again = Watched(world, tmp_path / "watch")
    assert again.look() == 0
    assert [line["round"] for line in again.said("right")] == [second]
    assert Watched(world, tmp_path / "watch").look() == 0


def test_a_watcher_without_a_key_reports_and_one_with_a_key_takes_it_up(world: World, tmp_path: Path) -> None:
    number = world.play(NAMES, lies.lie_mean)
    only = Watched(world, tmp_path / "watch", challenges=False)
    assert only.look() == 3
    assert phase(world, number) == Phase.ANCHORED
    again = Watched(world, tmp_path / "watch", challenges=False)
    assert again.look() == 3  # remembered, not computed
    assert again.said("wrong") == []
    assert Watched(world, tmp_path / "watch").look() == 3
    assert phase(world, number) == Phase.SLASHED


def test_a_watcher_takes_it_well_that_somebody_else_was_faster(world: World, tmp_path: Path) -> None:
    number = world.play(NAMES, lies.lie_mean)
    slow = Watched(world, tmp_path / "slow", challenges=False)
    assert slow.watcher.look()
    assert Watched(world, tmp_path / "fast").look() == 3
    assert slow.look() == 3
    who = factories.account(CHALLENGER).address
    assert [(line["round"], line["challenger"]) for line in slow.said("void")] == [(number, who)]


def test_a_lie_that_is_reorganised_away_is_forgotten(world: World, chain: Anvil, tmp_path: Path) -> None:
    before = chain.snapshot()
    honest = world.copied(tmp_path / "honest")
    number = world.play(NAMES, lies.lie_mean)
    mirrors: dict[str, ArtifactSource] = {
        name: FolderSource(one.folder.path) for name, one in (("lie", world), ("honest", honest))
    }
    seen = Watched(world, tmp_path / "watch", challenges=False, mirrors=mirrors)
    assert seen.watcher.look()
    assert [line["round"] for line in seen.said("wrong")] == [number]
    chain.revert(before)
    assert honest.play(NAMES) == number
    seen.look()
    assert [line["round"] for line in seen.said("right")] == [1, number]
    assert seen.watcher.journal.rounds[number].result == "right"
    assert number not in seen.watcher._examiner.findings


def test_another_lie_after_a_reorg_is_told_as_well(world: World, chain: Anvil, tmp_path: Path) -> None:
    before = chain.snapshot()
    other = world.copied(tmp_path / "other")
    number = world.play(NAMES, lies.lie_mean)
    mirrors: dict[str, ArtifactSource] = {
        name: FolderSource(one.folder.path) for name, one in (("first", world), ("other", other))
    }
    seen = Watched(world, tmp_path / "watch", token_value=1e-9, mirrors=mirrors)  # it would cost too much
    assert seen.look() == 3
    chain.revert(before)
    assert other.play(NAMES, lies.lie_theta) == number
    seen.now += 10
    assert seen.look() == 3
    assert [line["kind"] for line in seen.said("wrong")] == ["mean", "outer-step"]
    anchor = other.rounds[number].anchor
    assert anchor is not None
    assert seen.watcher.journal.rounds[number].anchor == anchor.hash.hex()


def test_a_challenge_that_costs_more_than_it_wins_is_left_out(world: World, tmp_path: Path) -> None:
    number = world.play(NAMES, lies.lie_mean)
    seen = Watched(world, tmp_path / "watch", token_value=1e-9)
    assert seen.look() == 3
    assert len(seen.said("too-dear")) == 1
    assert phase(world, number) == Phase.ANCHORED
    assert Watched(world, tmp_path / "watch", token_value=1e-9, always=True).look() == 3
    assert phase(world, number) == Phase.SLASHED


def test_what_was_let_go_of_is_missed_by_nothing(chain: Anvil, tmp_path: Path) -> None:
    """A restarted watcher that holds the last rounds only checks the next one by what came before, and knows a replay
    of an update of the first round."""
    snapshot = chain.snapshot()
    world = judged(chain, tmp_path / "artifacts", rule="clamped_mean")
    for _ in range(WINDOW + 4):
        world.finalize(world.play(NAMES))
    newest = max(world.rounds)
    chain.call("anvil_mine", hex(REORG_DEPTH + 1))
    seen = Watched(world, tmp_path / "watch")
    assert seen.look() == 0
    assert seen.watcher.metrics.registry.get_sample_value("folkmoot_watch_held_entries") == (WINDOW + 2) * (
        1 + len(NAMES)
    )
    number = lies.play_replay(world, NAMES)
    again = Watched(world, tmp_path / "watch")
    assert again.look() == 0
    assert [line["round"] for line in again.said("right")] == [number] == [newest + 1]
    assert [(line["round"], line["account"]) for line in again.said("replay")] == [
        (number, factories.account("ben").address)
    ]
    assert len(again.said("fault-proven")) == 1
    assert won(world) == factories.policy().min_stake // 4
    world.federation.chain.close()
    chain.revert(snapshot)


# Endpoints


def test_the_next_endpoint_is_read_where_one_is_dead_or_lies(world: World, tmp_path: Path) -> None:
    number = world.play(NAMES, lies.lie_mean)
    chain = world.federation.chain
    topic = "0x" + keccak(b"x").hex()

    def garble(method: str, params: list[Any], result: Any) -> Any:
        """Another anchor in the logs than in the storage."""
        if method != "eth_getLogs":
            return result
        honest = world.rounds[number].anchor
        assert honest is not None
        return json.loads(json.dumps(result).replace(honest.mean_root.hex(), topic[2:]))

    with lying_endpoint(world.federation.anvil.url, garble) as liar:
        urls = ["http://127.0.0.1:9", liar, world.federation.anvil.url]
        seen = Watched(world, tmp_path / "watch", urls=urls)
        assert seen.look() == 3
    assert len(seen.said("rpc-no-quorum")) == 1
    failed = [line["endpoint"] for line in seen.said("endpoint-failed")]
    assert failed[:2] == urls[:2]
    assert chain.ledger.round(number).phase == Phase.SLASHED


def test_an_endpoint_that_hides_a_round_is_outvoted_and_named(world: World, tmp_path: Path) -> None:
    number = world.play(NAMES, lies.lie_mean)
    honest = world.federation.anvil.url

    def hide(method: str, params: list[Any], result: Any) -> Any:
        return [] if method == "eth_getLogs" else result

    with lying_endpoint(honest, hide) as liar:
        seen = Watched(world, tmp_path / "watch", urls=[liar, honest, f"{honest}/?another"])
        assert seen.look() == 3
    assert [line["endpoints"] for line in seen.said("endpoints-differ")] == [[liar]]
    assert not seen.said("endpoint-failed")
    assert phase(world, number) == Phase.SLASHED


def test_no_endpoint_at_all_is_no_end(world: World, tmp_path: Path) -> None:
    seen = Watched(world, tmp_path / "watch", urls=["http://127.0.0.1:9"])
    assert not seen.watcher.look()
    assert not seen.watcher.look()  # the same failure is not told at each look
    assert [line["event"] for line in seen.lines] == ["endpoint-failed"]
    seen.now += 601
    assert not seen.watcher.look()
    assert len(seen.lines) == 2


def test_a_full_disk_ends_no_watch(world: World, tmp_path: Path) -> None:
    seen = Watched(world, tmp_path / "watch")
    (tmp_path / "in the way").write_text("")
    seen.watcher.journal.folder = tmp_path / "in the way"
    waits: list[float] = []

    def wait(seconds: float) -> bool:
        waits.append(seconds)
        seen.watcher.journal.folder = tmp_path / "watch"
        seen.now += 10
        return len(waits) == 2

    assert watch(seen.watcher, once=False, every=3, wait=wait) == 0
    assert waits == [3, 3]
    assert len(seen.said("unchecked")) == 1
    assert [line["round"] for line in seen.said("right")] == [1]
    assert seen.watcher.journal.rounds[1].result == "right"


def test_a_defect_is_told_and_does_not_end_a_watch(world: World, tmp_path: Path) -> None:
    seen = Watched(world, tmp_path / "watch")
    seen.watcher._examiner._round_files = "none"
    assert watch(seen.watcher, once=False, every=3, wait=lambda seconds: True) == 4
    assert [(line["round"], line["code"]) for line in seen.said("unchecked")] == [(1, "defect")]


# The commands


@pytest.fixture
def command(world: World, tmp_path: Path) -> list[str]:
    world.federation.deployment.save(tmp_path / "deployment.json")
    return [
        "--rpc",
        world.federation.anvil.url,
        "--deployment",
        str(tmp_path / "deployment.json"),
        "--artifacts",
        str(world.folder.path),
    ]


def code_of(capsys: pytest.CaptureFixture[str]) -> str:
    return str(json.loads(capsys.readouterr().out)["error"]["code"])


def test_a_challenge_by_hand(
    world: World,
    command: list[str],
    keystore: Callable[[str], Path],
    password_file: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    number = world.play(NAMES, lies.lie_mean)
    assert run(["watch", "--round", "1", *command, "--json"]) == 1
    assert code_of(capsys) == "nothing-to-prove"
    assert run(["watch", "--round", "9", *command, "--json"]) == 1
    assert code_of(capsys) == "nothing-to-prove"
    assert run(["watch", "--round", str(number), *command, "--dry-run"]) == 0
    shown = capsys.readouterr()
    assert "Leaf 8 of the mean of round 2 is not what the anchored weights make" in shown.err
    assert "gas" in shown.out
    assert "12.5 MOOT, a quarter of the bond" in shown.out
    assert run(["watch", "--round", str(number), *command, "--dry-run", "--place", "3", "--json"]) == 1
    assert code_of(capsys) == "not-provable"
    key = ["--keystore", str(keystore(CHALLENGER)), "--password-file", str(password_file)]
    assert run(["watch", "--round", str(number), *command, *key, "--json"]) == 1
    assert code_of(capsys) == "not-confirmed"
    assert phase(world, number) == Phase.ANCHORED
    assert run(["watch", "--round", str(number), *command, *key, "--yes", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["proof"]["kind"] == "mean"
    assert document["transaction"].startswith("0x")
    assert phase(world, number) == Phase.SLASHED
    assert run(["watch", "--round", str(number), *command, *key, "--yes", "--json"]) == 1
    assert code_of(capsys) == "already-void"


def test_a_challenge_after_the_window(
    world: World, command: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    number = world.play(NAMES, lies.lie_theta)
    world.finalize(1)
    world.send("ledger", "finalize", number)
    assert run(["watch", "--round", str(number), *command, "--dry-run", "--json"]) == 1
    assert code_of(capsys) == "window-over"
    seen = Watched(world, tmp_path / "watch")
    assert seen.look() == 0  # nothing waits any more
    assert seen.lines == []


@pytest.mark.parametrize(
    ("lie", "code"), [(lies.lie_verdicts, "not-provable"), (lies.lie_withheld, "withheld")]
)
def test_what_can_not_be_challenged_is_said(
    world: World, command: list[str], capsys: pytest.CaptureFixture[str], lie: Any, code: str
) -> None:
    number = world.play(NAMES, lie)
    assert run(["watch", "--round", str(number), *command, "--dry-run", "--json"]) == 1
    assert code_of(capsys) == code


def test_watching_once_by_the_command(
    world: World, command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = ["--state", str(tmp_path / "watch"), "--once"]
    assert run(["watch", *command, *state, "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["event"] for line in lines] == ["started", "right", "stopped"]
    world.play(NAMES, lies.lie_momentum)
    assert run(["watch", *command, *state]) == 3
    text = capsys.readouterr().out
    assert (
        "wrong: Leaf 9 of the state after round 2 is not the outer step of its base (in the momentum)."
        in text
    )
    assert "not-challenged: Round 2 is left to others: no key was given." in text
    other = ["watch", *command, "--state", str(tmp_path / "other"), "--once", "--rpc", "http://127.0.0.1:9"]
    assert run([*other[:1], *other[3:]]) == 1


def test_a_daemon_follows_serves_numbers_and_stops_when_told(
    world: World, command: list[str], tmp_path: Path, keystore: Callable[[str], Path], password_file: Path
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["watch", *command, "--state", str(tmp_path / "watch"), "--every", "0.2", "--json"]
    words += ["--keystore", str(keystore(CHALLENGER)), "--password-file", str(password_file)]
    process = subprocess.Popen(
        [sys.executable, "-m", "folkmoot", *words, "--metrics", str(port)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        events = (json.loads(line) for line in process.stdout)
        assert next(event for event in events if event["event"] == "right")["round"] == 1
        number = world.play(NAMES, lies.lie_mean)
        assert next(event for event in events if event["event"] == "proven")["round"] == number
        numbers = httpx.get(f"http://127.0.0.1:{port}/metrics").text
        assert 'folkmoot_watch_challenges_total{result="proven"} 1' in numbers
        assert httpx.get(f"http://127.0.0.1:{port}/").status_code == 404
        process.terminate()
        assert next(event for event in events if event["event"] == "stopped")["status"] == 3
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.communicate()
    assert phase(world, number) == Phase.SLASHED

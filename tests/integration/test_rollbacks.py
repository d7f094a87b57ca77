# SPDX-License-Identifier: Apache-2.0
"""A chain that loses blocks which counted as settled, and a coordinator that goes back with it, on a real Anvil."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from web3.exceptions import TransactionNotFound

from folkmoot.artifacts.inventory import Commitments
from folkmoot.artifacts.sources import FolderSource
from folkmoot.audit.audit import audit
from folkmoot.chain import governance
from folkmoot.coordinator_api import CoordinatorApi
from folkmoot.devnet.anvil import Anvil
from folkmoot.doctor.coordinator import api_checks
from folkmoot.errors import CoordinatorError, UpdateRefused
from folkmoot.fraud.contracts.follower import Follower
from folkmoot.ledger.follower import REORG_DEPTH
from folkmoot.ledger.pruned import PrunedRounds
from folkmoot.rpc.client import Phase
from folkmoot.runtime.fault_points import VARIABLE
from folkmoot.runtime.processes import free_port
from folkmoot.runtime.units import UNIT
from server.db.models import Artifact, LogEntry, Round, Transaction
from server.settings import load
from tests import factories
from tests.chaos.shelves import FolderShelf
from tests.integration.coordinator_world import (
    Process,
    Running,
    Signed,
    federation,
    open_round,
    report,
    running,
    serving,
    train,
    until,
)

NAMES = ("ada", "ben", "cleo")
PHASES = {
    Phase.OPEN: "open",
    Phase.COMMITTED: "committed",
    Phase.ANCHORED: "anchored",
    Phase.FINAL: "final",
    Phase.CANCELLED: "cancelled",
    Phase.SLASHED: "slashed",
}


@pytest.fixture
def anvil(tmp_path: Path) -> Iterator[Anvil]:
    """A chain of the test's own, which keeps its state in a file and may be killed."""
    with Anvil(free_port(), state=tmp_path / "chain.json") as made:
        yield made


@pytest.fixture
def world(anvil: Anvil) -> Iterator[factories.Federation]:
    made = federation(anvil)
    yield made
    made.chain.close()


def play(here: Running, number: int, seed: int = 0) -> list[Signed]:
    _, header, state = open_round(here.api, number)
    made = [train(here.world, name, header, state, seed=seed) for name in NAMES]
    for one in made:
        here.api.submit_update(number, one.wire, one.data)
    return made


def settled(api: CoordinatorApi, number: int) -> dict[str, Any]:
    """Wait until a round is settled."""

    def look() -> dict[str, Any] | None:
        try:
            view = api.get(f"/v1/rounds/{number}")
        except CoordinatorError:
            return None
        return view if view["step"] == "settled" else None

    found: dict[str, Any] = until(look, 60, f"the settlement of round {number}")
    return found


def health(url: str) -> tuple[int, dict[str, Any]]:
    answer = httpx.get(f"{url}/v1/health", timeout=10)
    return answer.status_code, answer.json()


def healthy(url: str) -> bool:
    status, said = health(url)
    return status == 200 and not said["error"] and said["chainLag"] == 0


def told_by(here: Running) -> list[str]:
    """Kinds of all events that the coordinator told."""
    with here.coordinator.storage.database.read() as session:
        return list(session.scalars(select(LogEntry.type).order_by(LogEntry.id)))


def require_agreement(api: CoordinatorApi, world: factories.Federation) -> None:
    """Compare what the coordinator says with what the chain has."""
    ledger = world.chain.ledger
    views = {view["round"]: view for view in api.items("/v1/rounds")}
    assert sorted(views) == list(range(1, ledger.next_round()))
    for number, view in views.items():
        assert view["phase"] == PHASES[ledger.round(number).phase]
        if ledger.round(number).phase is Phase.FINAL:
            stored = ledger.round(number)
            assert view["stateRoot"] == "0x" + stored.state_root.hex()
            times = (
                stored.opened_at,
                stored.commit_deadline,
                stored.anchor_deadline,
                stored.challenge_deadline,
            )
            named = ("openedAt", "commitDeadline", "anchorDeadline", "challengeDeadline")
            assert tuple(view[name] for name in named) == times
    current = [view["id"] for view in api.get("/v1/policies")["items"] if view["current"]]
    assert current == [ledger.current_policy()]


def require_hidden(here: Running, number: int) -> None:
    """Check that nobody gets an update of an open round, who could copy it: the window has another end now."""
    with here.coordinator.storage.database.read() as session:
        names = list(
            session.scalars(
                select(Artifact.sha256).where(Artifact.kind == "update", Artifact.round == number)
            )
        )
        deadline = session.get_one(Round, number).commit_deadline
        assert {session.get_one(Artifact, name).public_from for name in names} == {deadline}
    for name in names:
        answer = httpx.get(f"{here.api.url}/v1/artifacts/{name}", timeout=10)
        assert answer.json()["code"] == "artifact-embargoed"


@pytest.mark.long
def test_d3_a_chain_that_went_back_is_followed_and_the_lost_round_is_made_again(
    world: factories.Federation, tmp_path: Path
) -> None:
    """Rounds 2 and 3 are lost when all is over. The updates of round 2 are there: it is made again without anybody."""
    with running(tmp_path / "home", world) as here:
        here.api.start_run(3, len(NAMES), world.coordinator, here.domain)
        play(here, 1)
        settled(here.api, 1)
        until(lambda: open_round(here.api, 2), what="round 2")
        snapshot = world.anvil.snapshot()
        play(here, 2)
        second = settled(here.api, 2)
        play(here, 3)
        third = settled(here.api, 3)
        until(lambda: (run := here.api.run()) and run.state == "done", what="the run's end")

        world.anvil.revert(snapshot)
        world.anvil.call("evm_mine")
        until(lambda: health(here.api.url)[1]["code"] == "chain-rolled-back", what="red health")
        until(lambda: healthy(here.api.url), what="green health")
        again = settled(here.api, 2)
        assert again["stateRoot"] == second["stateRoot"]
        run = here.api.run()
        assert run is not None
        assert (run.state, run.completed) == ("failed", 2)
        assert "lost" in (run.error or "")
        with pytest.raises(UpdateRefused) as caught:
            here.api.get("/v1/rounds/3")
        assert caught.value.code == "round-unknown"
        require_agreement(here.api, world)

        here.api.start_run(1, len(NAMES), world.coordinator, here.domain)
        play(here, 3)
        assert settled(here.api, 3)["stateRoot"] == third["stateRoot"]
        require_agreement(here.api, world)
        told = told_by(here)
        assert told.count("chain-rewound") == 1
        assert told.count("rewards-settled") == 5, "what happened again was told again"
        store = FolderSource(Path(here.coordinator.storage.store.location))
        assert audit([world.anvil.url], world.deployment, store).recomputed == 3


@pytest.mark.long
def test_d3_a_round_whose_opening_is_lost_is_opened_again_with_the_updates_that_it_had(
    world: factories.Federation, tmp_path: Path
) -> None:
    with running(tmp_path / "home", world) as here:
        snapshot = world.anvil.snapshot()
        here.api.start_run(2, len(NAMES), world.coordinator, here.domain)
        _, header, state = open_round(here.api, 1)
        made = [train(world, name, header, state) for name in NAMES]
        for one in made[:2]:
            here.api.submit_update(1, one.wire, one.data)

        world.anvil.revert(snapshot)
        world.anvil.call("evm_mine")
        until(lambda: health(here.api.url)[0] == 503, what="red health")
        until(lambda: healthy(here.api.url), what="green health")
        current, again, _ = open_round(here.api, 1)
        assert (again, current.received) == (header, 2), "nobody has to hand in anything twice"
        require_hidden(here, 1)
        here.api.submit_update(1, made[2].wire, made[2].data)
        assert all(settled(here.api, 1)["weights"])
        play(here, 2)
        settled(here.api, 2)
        until(lambda: (run := here.api.run()) and run.state == "done", what="the run's end")
        require_agreement(here.api, world)
        with here.coordinator.storage.database.read() as session:
            states = set(session.scalars(select(Transaction.state)))
        assert states == {"confirmed"}


@pytest.mark.long
def test_d3_an_anvil_that_is_killed_comes_back_with_an_older_state(
    world: factories.Federation, anvil: Anvil, tmp_path: Path
) -> None:
    state = tmp_path / "chain.json"
    with running(tmp_path / "home", world) as here:
        here.api.start_run(2, len(NAMES), world.coordinator, here.domain)
        play(here, 1)
        first = settled(here.api, 1)
        anvil.stop()  # it keeps its state
        shutil.copy(state, tmp_path / "older.json")
        anvil.start()
        play(here, 2)
        second = settled(here.api, 2)

        kill(anvil)
        shutil.copy(tmp_path / "older.json", state)
        anvil.start()
        anvil.call("evm_mine")
        until(lambda: "chain-rewound" in told_by(here), 60, "the way back")
        assert settled(here.api, 2)["stateRoot"] == second["stateRoot"]
        assert here.api.get("/v1/rounds/1") | {"waiting": None} == first | {"waiting": None}
        until(lambda: healthy(here.api.url), what="green health")
        require_agreement(here.api, world)
        store = FolderSource(Path(here.coordinator.storage.store.location))
        assert audit([anvil.url], world.deployment, store).recomputed == 2


def kill(anvil: Anvil) -> None:
    """SIGKILL: nothing is saved."""
    assert anvil.pid is not None
    os.kill(anvil.pid, signal.SIGKILL)
    anvil.stop()


@pytest.mark.long
def test_d3_a_chain_without_the_contracts_is_told_and_forgiven(
    world: factories.Federation, anvil: Anvil, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with running(tmp_path / "home", world) as here:
        here.api.start_run(1, len(NAMES), world.coordinator, here.domain)
        play(here, 1)
        first = settled(here.api, 1)
        anvil.stop()
        kept, anvil.state = anvil.state, None
        anvil.start()  # the same endpoint, and an empty chain
        anvil.call("anvil_mine", hex(world.chain.rpc.block_number() + 80))

        def is_told() -> bool:
            status, said = health(here.api.url)
            return (status, said["code"]) == (503, "deployment-lost") and "deploy" in said["error"]

        until(is_told, what="the alarm")
        told = len(caplog.records)
        until(lambda: here.worker.status.succeeded_time < time.time() - 2, what="two seconds")
        assert len(caplog.records) - told <= 2
        assert not any(record.exc_info for record in caplog.records), "there is no traceback"
        assert here.api.get("/v1/rounds/1") | {"waiting": None} == first | {"waiting": None}, (
            "nothing was forgotten"
        )

        anvil.stop()
        anvil.state = kept
        anvil.start()
        until(lambda: healthy(here.api.url), 60, "green health")
        require_agreement(here.api, world)


@pytest.mark.long
@pytest.mark.parametrize("when", ["before", "after"])
def test_d3_a_coordinator_that_is_killed_while_it_goes_back_goes_back_again(
    world: factories.Federation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    home, died = tmp_path / "home", tmp_path / "died"
    with running(home, world) as here:
        here.api.start_run(1, len(NAMES), world.coordinator, here.domain)
        _, header, state = open_round(here.api, 1)
        snapshot = world.anvil.snapshot()
        for name in NAMES:
            signed = train(world, name, header, state)
            here.api.submit_update(1, signed.wire, signed.data)
        first = settled(here.api, 1)
    world.anvil.revert(snapshot)
    world.anvil.call("evm_mine")
    monkeypatch.setenv(VARIABLE, f"coordinator.chain-rewound.{when}@{died}")
    process = Process(home, free_port())
    process.start()
    try:
        until(died.exists, 60, "its death")
        process.kill()
        process.start()
        with CoordinatorApi(process.url) as api:

            def is_settled() -> bool:
                try:
                    return healthy(process.url) and api.get("/v1/rounds/1")["step"] == "settled"
                except (httpx.HTTPError, CoordinatorError):
                    return False

            until(is_settled, 60, "the settlement")
            assert api.get("/v1/rounds/1")["stateRoot"] == first["stateRoot"]
            require_agreement(api, world)
    finally:
        process.kill()


@pytest.mark.long
def test_d3_a_round_that_was_settled_waits_again_for_its_final_word(
    world: factories.Federation, tmp_path: Path
) -> None:
    with running(tmp_path / "home", world, time_travel=False) as here:
        here.api.start_run(1, len(NAMES), world.coordinator, here.domain)
        play(here, 1)
        until(lambda: world.chain.ledger.round(1).entries == 3, what="the commitments")
        world.anvil.advance(601)
        until(lambda: here.api.get("/v1/rounds/1")["step"] == "anchored", what="the anchor")
        snapshot = world.anvil.snapshot()
        world.anvil.advance(601)
        first = settled(here.api, 1)

        world.anvil.revert(snapshot)
        world.anvil.call("evm_mine")
        until(lambda: health(here.api.url)[0] == 503, what="red health")
        until(lambda: healthy(here.api.url), what="green health")
        assert here.api.get("/v1/rounds/1")["phase"] == "anchored"
        require_agreement(here.api, world)
        world.anvil.advance(601)
        assert settled(here.api, 1)["stateRoot"] == first["stateRoot"]
        run = here.api.run()
        assert run is not None
        assert (run.state, run.completed) == ("done", 1), "nothing of the run was lost"


@pytest.mark.long
def test_d3_a_round_with_another_anchor_is_written_anew_from_its_files(
    world: factories.Federation, tmp_path: Path
) -> None:
    """Another process with the same key led the round on the chain that took the place of the first."""
    snapshot = world.anvil.snapshot()
    with running(tmp_path / "first", world) as here:
        here.api.start_run(1, len(NAMES), world.coordinator, here.domain)
        play(here, 1)
        lost = settled(here.api, 1)
    world.anvil.revert(snapshot)
    with running(tmp_path / "second", world) as other:
        other.api.start_run(1, len(NAMES), world.coordinator, other.domain)
        play(other, 1, seed=1)
        there = settled(other.api, 1)
        assert there["stateRoot"] != lost["stateRoot"]
    with serving(load(tmp_path / "first"), world) as here:

        def is_told() -> bool:
            status, said = health(here.api.url)
            return status == 503 and "rebuild" in (said["error"] or "") and there["artifacts"] is not None

        until(is_told, what="that files are missing")
        assert here.api.get("/v1/rounds/1")["stateRoot"] == lost["stateRoot"], "nothing was changed"
        shutil.copytree(
            tmp_path / "second" / "artifacts", tmp_path / "first" / "artifacts", dirs_exist_ok=True
        )
        until(lambda: healthy(here.api.url), 60, "green health")
        assert here.api.get("/v1/rounds/1")["stateRoot"] == there["stateRoot"]
        require_agreement(here.api, world)
        here.api.start_run(1, len(NAMES), world.coordinator, here.domain)
        play(here, 2)
        assert settled(here.api, 2)["base"] == 1


@pytest.mark.long
def test_d3_votes_policies_and_versions_that_are_lost_are_no_longer_told(
    world: factories.Federation, tmp_path: Path
) -> None:
    chain, ada = world.chain, world["ada"]
    with running(tmp_path / "home", world) as here:
        here.api.start_run(1, len(NAMES), world.coordinator, here.domain)
        play(here, 1)
        settled(here.api, 1)
        snapshot = world.anvil.snapshot()
        actions = [
            governance.activation(chain, 1),
            governance.policy_change(chain, factories.policy(reward=UNIT)),
        ]
        number, _ = governance.propose(chain, ada, actions, "Another policy, and version 1")
        world.anvil.advance(11)
        for name in NAMES:
            governance.vote(chain, world[name], governance.find(chain, str(number)), "for")
        for act in (governance.queue, governance.execute):
            world.anvil.advance(600)
            act(chain, ada, governance.find(chain, str(number)))
        until(lambda: "version-activated" in told_by(here), what="the version")
        assert here.api.get("/v1/models/active")["version"] == 1
        assert len(here.api.get("/v1/policies")["items"]) == 2
        here.api.start_run(1, len(NAMES), world.coordinator, here.domain)
        play(here, 2)
        assert settled(here.api, 2)["policy"] == 2

        world.anvil.revert(snapshot)
        world.anvil.call("evm_mine")
        until(lambda: health(here.api.url)[0] == 503, what="red health")
        until(lambda: healthy(here.api.url), what="green health")
        assert here.api.get("/v1/proposals")["items"] == []
        assert [policy["reward"] for policy in here.api.get("/v1/policies")["items"]] == [str(10 * UNIT)]
        with pytest.raises(CoordinatorError) as caught:
            here.api.get("/v1/models/active")
        assert caught.value.code == "no-active-version"
        require_agreement(here.api, world)  # round 2 had another policy, and is not opened again

        here.api.start_run(1, len(NAMES), world.coordinator, here.domain)
        play(here, 2)
        assert settled(here.api, 2)["policy"] == 1
        require_agreement(here.api, world)


@pytest.mark.long
def test_d3_a_mirror_and_a_watcher_follow_a_chain_that_lost_more_than_they_read_again(
    world: factories.Federation, tmp_path: Path
) -> None:
    anvil, rpc = world.anvil, world.chain.rpc
    mirrored = Commitments(rpc, world.deployment)
    past = PrunedRounds.open(tmp_path / "past.sqlite", "tests")
    follower = Follower(world.deployment, past)
    with running(tmp_path / "home", world) as here:
        snapshot = anvil.snapshot()
        here.api.start_run(1, len(NAMES), world.coordinator, here.domain)
        play(here, 1)
        settled(here.api, 1)
    anvil.call("anvil_mine", hex(3 * REORG_DEPTH))
    mirrored.look()
    assert list(mirrored.rounds) == [1]
    assert list(follower.read(rpc).cases) == [1]

    anvil.revert(snapshot)
    anvil.call("anvil_mine", hex(6 * REORG_DEPTH))  # longer than before when they look again
    mirrored.look()
    assert mirrored.rounds == {}
    assert follower.read(rpc).rounds == {}
    past.close()


@pytest.mark.long
def test_a_file_of_a_round_that_the_chain_still_has_keeps_nobody_from_going_back(
    world: factories.Federation, tmp_path: Path
) -> None:
    with running(tmp_path / "home", world) as here:
        here.api.start_run(2, len(NAMES), world.coordinator, here.domain)
        made = play(here, 1)
        settled(here.api, 1)
        until(lambda: open_round(here.api, 2), what="round 2")
        snapshot = world.anvil.snapshot()
        play(here, 2)
        second = settled(here.api, 2)
        shelf, names = FolderShelf(Path(here.coordinator.storage.store.location)), []
        with here.coordinator.storage.database.write() as session:
            for signed in made:
                name = hashlib.sha256(signed.data).hexdigest()
                session.get_one(Artifact, name).deleted = "expired"
                names.append(name)
            row = session.get_one(Round, 1)
            row.anchor = {**(row.anchor or {}), "meanRoot": row.base_state_root}
        for name in names:
            shelf.replace(name, None)
        world.anvil.revert(snapshot)
        world.anvil.call("evm_mine")
        until(lambda: "chain-rewound" in told_by(here), 30, "the way back")
        assert settled(here.api, 2)["stateRoot"] == second["stateRoot"]


@pytest.fixture
def patient(anvil: Anvil) -> Iterator[factories.Federation]:
    """A federation whose commit window outlasts what a test advances the chain's clock while it waits."""
    made = federation(
        anvil, governance=replace(factories.GOVERNANCE, unbonding=604_800), commit_window=36_000
    )
    yield made
    made.chain.close()


@pytest.mark.long
def test_a_transaction_that_stays_pending_is_replaced_before_the_way_back(
    patient: factories.Federation, tmp_path: Path
) -> None:
    """Nobody mines it: it does not fit into the blocks."""
    world = patient
    anvil, node = world.anvil, world.chain.w3.eth
    with running(tmp_path / "home", world) as here:
        here.api.start_run(1, len(NAMES), world.coordinator, here.domain)
        open_round(here.api, 1)
        snapshot = anvil.snapshot()
        play(here, 1)
        first = settled(here.api, 1)
    anvil.revert(snapshot)
    anvil.call("evm_setAutomine", False)
    nonce = node.get_transaction_count(world.coordinator.address)
    limit = node.get_block("latest")["gasLimit"]
    large: Any = {
        "to": world["outsider"].address,
        "value": 0,
        "gas": 200_000,
        "nonce": nonce,
        "chainId": node.chain_id,
        "maxFeePerGas": 3 * 10**9,
        "maxPriorityFeePerGas": 1,
    }
    pending = node.send_raw_transaction(world.coordinator.sign_transaction(large).raw_transaction)

    def block() -> bool:
        anvil.advance(11)
        return node.get_transaction_count(world.coordinator.address) > nonce

    anvil.call("evm_setBlockGasLimit", hex(100_000))
    for _ in range(4):
        block()
    with serving(load(tmp_path / "home"), world) as here:
        said = until(
            lambda: (
                "Pending transactions" in str(health(here.api.url)[1]["error"]) and health(here.api.url)[1]
            )
        )
        assert (said["status"], said["code"]) == ("degraded", "chain-rolled-back")
        assert [step["step"] for step in said["failing"]] == ["chain"]
        until(block, what="the replacement in a block")
        with pytest.raises(TransactionNotFound):
            node.get_transaction_receipt(pending)
        anvil.call("evm_setBlockGasLimit", hex(limit))
        anvil.call("evm_setAutomine", True)
        until(lambda: healthy(here.api.url), what="green health")
        assert settled(here.api, 1)["stateRoot"] == first["stateRoot"], "nobody had to hand in anything twice"
        require_agreement(here.api, world)


@pytest.mark.long
@pytest.mark.parametrize("part", ["_outbox.tick", "_index", "_engine.tick", "_look_back"])
def test_a_defect_of_any_step_makes_health_red_and_says_what_to_do(
    world: factories.Federation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    names = {
        "_outbox.tick": "transactions",
        "_index": "events",
        "_engine.tick": "rounds",
        "_look_back": "chain",
    }
    with running(tmp_path / "home", world) as here:
        until(lambda: healthy(here.api.url), what="green health")
        owner: Any = here.worker
        *parents, name = part.split(".")
        for parent in parents:
            owner = getattr(owner, parent)

        def fail() -> bool:
            raise IntegrityError("DELETE FROM rounds", {}, Exception("FOREIGN KEY constraint failed"))

        with monkeypatch.context() as broken:
            broken.setattr(owner, name, fail)
            here.worker.wake()
            status, said = until(
                lambda: (found := health(here.api.url))[0] == 503 and found, what="red health"
            )
            assert (status, said["status"], said["chain"]) == (503, "degraded", True)
            step = said["failing"][0]
            assert (step["step"], step["error"]) == (names[part], "A defect stopped it: IntegrityError.")
            assert "FOREIGN KEY" not in json.dumps(said), (
                "everybody reads it, and a text may have a key in it"
            )
            assert step["since"] <= time.time()
            assert "report the defect" in step["remedy"]
            assert step["remedy"] in said["error"]
            checks = api_checks(here.api, tmp_path / "home" / "deployment.json")
            finding = next(check for check in checks if check.name == "coordinator's health").run()
            assert (finding.state.value, names[part] in finding.text, finding.remedy) == (
                "failed",
                True,
                step["remedy"],
            )
        here.worker.wake()
        until(lambda: healthy(here.api.url), what="green health")


@pytest.mark.long
def test_a_round_that_nodes_have_signed_for_before_is_cancelled_early_and_does_not_end_the_run(
    world: factories.Federation, tmp_path: Path
) -> None:
    """Its opening was lost, with the base that they had trained from: they may not sign another update."""
    with running(tmp_path / "home", world, values={"server.rounds.patience.CANCELLED_LIMIT": 1}) as here:
        snapshot = world.anvil.snapshot()
        here.api.start_run(1, len(NAMES), world.coordinator, here.domain)
        first, _, _ = open_round(here.api, 1)
        report(here, 1, {}, complete=False)
        world.anvil.revert(snapshot)
        world.anvil.advance(60)
        until(lambda: "chain-rewound" in told_by(here), what="the way back")
        again, _, _ = open_round(here.api, 1)
        assert again.opening != first.opening
        assert here.api.round_report(1) is None, "the nodes are asked once more"
        node = {"node": "1", "account": None, "state": "failed", "seconds": None}
        node |= {"code": "already-signed", "detail": "Another commitment of round 1 was signed already."}
        report(here, 1, {}, nodes=[node])
        open_round(here.api, 2)
        ended, run = here.api.get("/v1/rounds/1"), here.api.run()
        assert (ended["phase"], run is not None and (run.state, run.cancelled)) == (
            "cancelled",
            ("running", 0),
        )
        assert "1 node failed (already-signed)" in ended["error"]
        assert "takes part in the next one" in ended["error"]

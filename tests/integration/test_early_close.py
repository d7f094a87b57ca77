# SPDX-License-Identifier: Apache-2.0
"""Commit windows that end early, with a coordinator that does not move the chain's clock."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from eth_abi.abi import encode

from client.node.enrolment import Reenrolment, enrol
from folkmoot.artifacts.sources import FolderSource
from folkmoot.audit.audit import audit
from folkmoot.errors import AuditFailure, ContractRefused, UpdateRefused
from folkmoot.fraud.contracts.follower import Follower
from folkmoot.ledger.events import CommitsClosed, Event, Left
from folkmoot.ledger.replay import read_state
from folkmoot.ledger.scan import scan
from folkmoot.protocol.hashing import keccak, sha256_hex
from folkmoot.rpc.client import Phase
from tests import factories
from tests.integration.coordinator_world import Running, Signed, open_round, running, train, until

E = TypeVar("E", bound=Event)
WINDOW = 600
FEDERATION = {"commit_window": WINDOW}
ENROLLED_SLOT = 7
"""Of `_roll.enrolled` in the ledger: contracts/snapshots/storage/RoundLedger.txt."""


@pytest.fixture
def patient(world: factories.Federation, tmp_path: Path) -> Iterator[Running]:
    """A coordinator that does not move the clock."""
    with running(tmp_path / "home", world, time_travel=False) as found:
        yield found


def only(world: factories.Federation, *names: str) -> None:
    """Let everybody else leave: all are enrolled."""
    for name in factories.CONTRIBUTORS:
        if name not in names:
            world.chain.send(world.chain.ledger.functions.leave(), world[name])


def submit(here: Running, *names: str, number: int = 1) -> list[Signed]:
    _, header, state = open_round(here.api, number)
    made = [train(here.world, name, header, state) for name in names]
    for signed in made:
        here.api.submit_update(number, signed.wire, signed.data)
    return made


def events(world: factories.Federation, kind: type[E]) -> list[E]:
    found = scan(world.chain, world.deployment.block, world.chain.rpc.block_number())
    return [event for event in found if isinstance(event, kind)]


def kinds(here: Running) -> list[str]:
    newest, found = here.api.newest_event(), list[str]()
    for event in here.api.events(0):
        found.append(event.type)
        if event.id >= newest:
            break
    return found


def anchored(here: Running, number: int) -> None:
    until(
        lambda: here.world.chain.ledger.round(number).phase is Phase.ANCHORED,
        what=f"the anchor of round {number}",
    )


def check(here: Running) -> int:
    """Audit everything; return how many rounds were recomputed."""
    source = FolderSource(here.coordinator.settings.home / "artifacts")
    return audit([here.world.anvil.url], here.world.deployment, source).recomputed


def test_a_round_ends_within_seconds_when_all_enrolled_have_committed(patient: Running) -> None:
    world, chain = patient.world, patient.world.chain
    only(world, "ada", "ben", "cleo")
    patient.api.start_run(2, 3, world.coordinator, patient.domain)
    signed = submit(patient, "ada", "ben", "cleo")
    anchored(patient, 1)
    view = chain.ledger.round(1)
    assert view.commit_deadline < view.opened_at + WINDOW
    assert patient.api.get("/v1/rounds/1")["commitDeadline"] == view.commit_deadline
    assert patient.api.files.read(sha256_hex(signed[0].data)) == signed[0].data, "public since the early end"
    assert kinds(patient).count("window-closed") == 1
    assert read_state(chain).rounds[1].anchor_deadline == view.anchor_deadline
    record = Follower(world.deployment).read(chain.rpc)
    case = record.cases[1]
    assert record.opened_at(case) == view.opened_at
    assert record.asking_until(case) == min(
        view.challenge_deadline, view.anchor_deadline + case.policy.challenge_window
    )
    told = record.rounds[1].closed
    assert told is not None
    assert (told.commit_deadline, told.anchor_deadline) == (view.commit_deadline, view.anchor_deadline)

    _, header, state = open_round(patient.api, 2)
    late = train(world, "dora", header, state)
    submit(patient, "ada", "ben", "cleo", number=2)
    anchored(patient, 2)
    with pytest.raises(UpdateRefused) as refused:
        patient.api.submit_update(2, late.wire, late.data)
    assert refused.value.code == "round-closed"
    assert [event.round for event in events(world, CommitsClosed)] == [1, 2]
    assert check(patient) == 2


def test_a_round_stays_open_while_an_enrolled_account_is_missing(patient: Running) -> None:
    world, chain = patient.world, patient.world.chain
    only(world, "ada", "ben", "cleo")
    patient.api.start_run(1, 2, world.coordinator, patient.domain)
    submit(patient, "ada", "ben")
    until(lambda: chain.ledger.round(1).entries == 2, what="the commitments")
    with pytest.raises(ContractRefused) as refused:
        chain.send(chain.ledger.functions.closeCommits(1), world.coordinator)
    assert refused.value.details["error"] == "RoundLedgerMembersMissing"
    assert not chain.ledger.can_close(1)
    assert chain.ledger.round(1).commit_deadline == chain.ledger.round(1).opened_at + WINDOW
    chain.send(chain.ledger.functions.leave(), world["cleo"])
    anchored(patient, 1)
    assert chain.ledger.round(1).commit_deadline < chain.ledger.round(1).opened_at + WINDOW
    assert check(patient) == 1


@pytest.mark.long
def test_an_absent_account_slows_three_rounds_and_no_more(
    patient: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its node enrols it again as soon as it is back, but not if it left by itself."""
    world, chain = patient.world, patient.world.chain
    only(world, "ada", "ben", "cleo")
    nodes = {
        name: Reenrolment(
            [world.anvil.url], world.deployment, world[name].address, world[name], start, pause=0
        )
        for start in (chain.rpc.block_number(),)
        for name in ("ada", "ben", "cleo")
    }
    patient.api.start_run(4, 2, world.coordinator, patient.domain)
    for number in (1, 2, 3):
        submit(patient, "ada", "ben", number=number)
        until(lambda number=number: chain.ledger.round(number).entries == 2, what="the commitments")
        world.anvil.advance(chain.ledger.round(number).commit_deadline - chain.now())
        anchored(patient, number)
    submit(patient, "ada", "ben", number=4)
    anchored(patient, 4)
    assert chain.ledger.round(4).commit_deadline < chain.ledger.round(4).opened_at + WINDOW
    assert [event.account for event in events(world, Left)][2:] == [world["cleo"].address], (
        "after those who left"
    )
    chain.send(chain.ledger.functions.leave(), world["ben"])
    there = Reenrolment(
        [world.anvil.url], world.deployment, world["cleo"].address, None, nodes["cleo"].read, pause=0
    )
    there.look()
    assert "To enrol, run `folkmoot enrol`." in capsys.readouterr().err, "another process has the key"
    for node in nodes.values():
        node.look()
    said = capsys.readouterr().err
    assert said.count("was removed from the enrolled accounts") == 1
    assert f"{world['cleo'].address} is now enrolled, from the next round on," in said
    enrolled = [chain.ledger.enrolled(world[name].address) for name in nodes]
    assert enrolled == [True, False, True]
    assert check(patient) == 4


def test_a_node_without_the_chain_says_so_and_does_not_ask_all_the_time(
    world: factories.Federation, capsys: pytest.CaptureFixture[str]
) -> None:
    node = Reenrolment(["http://127.0.0.1:1"], world.deployment, world["ada"].address, world["ada"], 0)
    node.look()
    node.look()
    assert capsys.readouterr().err.count("is still enrolled can't be read") == 1


def test_an_early_end_against_the_rule_fails_the_audit(patient: Running) -> None:
    """The ledger's own memory is falsified, so it lets the coordinator end the window without one who is enrolled."""
    world, chain = patient.world, patient.world.chain
    only(world, "ada", "ben", "cleo")
    patient.api.start_run(1, 2, world.coordinator, patient.domain)
    submit(patient, "ada", "ben")
    until(lambda: chain.ledger.round(1).entries == 2, what="the commitments")
    member = chain.vault.members([world["cleo"].address])[world["cleo"].address].number
    slot = "0x" + keccak(encode(["uint256", "uint256"], [0, ENROLLED_SLOT])).hex()
    word = int(world.anvil.call("eth_getStorageAt", world.deployment.ledger, slot, "latest"), 16)
    assert word & 1 << member
    world.anvil.call("anvil_setStorageAt", world.deployment.ledger, slot, f"0x{word & ~(1 << member):064x}")
    anchored(patient, 1)
    with pytest.raises(AuditFailure) as found:
        check(patient)
    assert "the enrolled accounts without a commitment" in found.value.message
    assert world["cleo"].address in found.value.message


def test_join_enrols_who_can_pay_and_says_what_it_means(
    world: factories.Federation, capsys: pytest.CaptureFixture[str]
) -> None:
    def joins(name: str, *, wanted: bool = True) -> str:
        enrol([world.anvil.url], world.deployment, world[name].address, world[name] if wanted else None)
        return capsys.readouterr().err

    chain, newcomer = world.chain, world["newcomer"]
    assert "is enrolled with 100 MOOT. Each round waits" in joins("ada")
    nonce = chain.w3.eth.get_transaction_count(world["ada"].address)
    assert "folkmoot leave" in joins("ada", wanted=False), "it is enrolled already"
    assert chain.w3.eth.get_transaction_count(world["ada"].address) == nonce

    said = joins("newcomer")
    assert "Enrolment failed" in said, "it has no stake"
    assert "folkmoot enrol --stake" in said
    factories.stake(chain, newcomer, factories.STAKE)
    assert "is not enrolled: no round takes an update of it" in joins("newcomer", wanted=False)
    assert not chain.ledger.enrolled(newcomer.address)
    assert "is now enrolled, from the next round on, with 100 MOOT." in joins("newcomer")
    assert chain.ledger.enrolled(newcomer.address)

    least = chain.ledger.policy(1).min_stake
    chain.send(chain.vault.functions.requestUnbond(factories.STAKE - least + 1), world["cleo"])
    assert "and the policy asks for 50 MOOT: no round takes" in joins("cleo", wanted=False)
    chain.send(chain.ledger.functions.leave(), world["ben"])
    world.anvil.call("anvil_setBalance", world["ben"].address, "0x0")
    assert "native coin" in joins("ben")

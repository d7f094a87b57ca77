# SPDX-License-Identifier: Apache-2.0
"""The audit of histories in which the deployment's own judges spoke: proofs, faults, demands and disputes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from folkmoot.artifacts.sources import FolderSource
from folkmoot.audit.audit import Summary, audit
from folkmoot.chain import governance, waiting
from folkmoot.chain.deploy import creation_of
from folkmoot.cli.main import run
from folkmoot.devnet.anvil import Anvil
from folkmoot.errors import AuditFailure
from folkmoot.ledger import packaged
from folkmoot.ledger.deployment import JUDGES
from folkmoot.protocol.anchor import Anchor
from folkmoot.protocol.hashing import keccak
from folkmoot.protocol.policy import ARBITER
from folkmoot.round import RoundOutcome
from tests import factories
from tests.integration.audit_world import MANIFEST, World, lying_endpoint

NEWCOMER = factories.account("newcomer")
"""Has tokens and no stake: a stranger who looks."""
HEADER = 4
"""`IDataAvailability.What`."""


@pytest.fixture(scope="module")
def origin(chain: Anvil, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One anchored round and an open one with two commitments, under a policy with the arbiter. Never changed."""
    policy = factories.policy(momentum=922, verifier=ARBITER)
    world = World.create(chain, tmp_path_factory.mktemp("origin") / "artifacts", policy)
    world.play(["ada", "ben", "cleo"])
    second = world.open()
    world.commit(second, ["ada", "ben"])
    yield world
    world.federation.chain.close()


@pytest.fixture
def world(origin: World, chain: Anvil, tmp_path: Path) -> Iterator[World]:
    """The same history, for one test to go on with."""
    snapshot = chain.snapshot()
    yield origin.copied(tmp_path / "artifacts")
    chain.revert(snapshot)


def audited(world: World, url: str | None = None) -> Summary:
    source = FolderSource(world.folder.path)
    return audit([url or world.federation.anvil.url], world.federation.deployment, source)


def case_of(world: World, number: int) -> tuple[Any, ...]:
    anchor = world.rounds[number].anchor
    assert anchor is not None
    return (number, anchor.abi_tuple(), MANIFEST.layout, keccak(MANIFEST.to_json()))


def entries_of(world: World, number: int) -> list[tuple[Any, ...]]:
    return [
        (c.contributor, c.update_root, c.sum_squares, c.memory_hash, c.bundle_hash, b"", 0, 0, b"")
        for c in world.rounds[number].commitments
    ]


def too_heavy(world: World, outcome: RoundOutcome) -> Anchor:
    return replace(outcome.anchor, weights=(1, 2))


def demand_header(world: World, number: int) -> int:
    """Demand the header of a round as a stranger; return the demand's number."""
    anchor = world.rounds[number].anchor
    assert anchor is not None
    deposit = factories.GOVERNANCE.demand_deposit
    place = world.federation.deployment.data_availability
    world.send("token", "approve", place, deposit, by=NEWCOMER)
    world.send("data_availability", "demandFile", number, anchor.abi_tuple(), HEADER, by=NEWCOMER)
    return int(world.federation.chain.data_availability.read("demandCount"))


def test_a_history_under_the_arbiter_has_nothing_to_remark(origin: World) -> None:
    assert audited(origin).notes == []


def test_a_round_that_a_proof_struck_is_void_and_the_history_stays_clean(world: World) -> None:
    world.anchor(2, too_heavy)
    with pytest.raises(AuditFailure):
        audited(world)
    outsider = factories.account("outsider")
    world.send("fraud_proofs", "proveWeight", case_of(world, 2), entries_of(world, 2), 1, by=outsider)
    found = audited(world)
    assert found.rounds == {"anchored": 1, "slashed": 1}
    assert found.model_head == 1
    assert found.notes[0].startswith("Round 2 was slashed; recomputing it fails as well.")
    assert len(found.notes) == 1
    assert world.federation.chain.token.balance_of(outsider.address) == world.policies[0].bond // 4


def test_a_contributors_fault_costs_its_stake_and_changes_no_round(world: World) -> None:
    first = world.rounds[2].commitments[0]
    second = replace(first, update_root=keccak(b"another update"))
    ada = factories.account("ada")
    signed = [part for one in (first, second) for part in (one.abi_tuple(), one.sign(ada, world.domain))]
    world.send("contributor_faults", "proveTwoCommitments", *signed, by=factories.account("outsider"))
    stake = world.federation.chain.vault.stake_of(ada.address)
    assert stake == factories.STAKE - factories.policy().min_stake
    world.anchor(2)
    found = audited(world)
    assert found.rounds == {"anchored": 2}
    assert found.notes == []


def status(world: World, path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[dict[str, Any], str]:
    """Return what `folkmoot status` says, with and without --json."""
    world.federation.deployment.save(path)
    words = ["status", "--rpc", world.federation.anvil.url, "--deployment", str(path)]
    capsys.readouterr()
    assert run([*words, "--json"]) == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert run(words) == 0
    return document, " ".join(capsys.readouterr().out.split())


def test_a_demand_holds_a_round_and_its_bond_until_it_is_answered(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chain, coordinator = world.federation.chain, world.federation.coordinator
    before = chain.ledger.round(1).challenge_deadline
    world.advance(before - chain.rpc.latest_timestamp() - 60)
    demand = demand_header(world, 1)
    deadline = chain.ledger.round(1).challenge_deadline
    assert deadline > before
    assert chain.vault.bond_of(coordinator.address) == 2 * world.policies[0].bond
    audited(world)
    document, text = status(world, tmp_path / "deployment.json", capsys)
    (shown,) = document["demands"]
    assert (shown["demand"], shown["round"], shown["what"]) == (demand, 1, "header")
    assert f"{demand}: header, round 1" in text
    header = world.rounds[1].header.encoded
    world.send("data_availability", "show", demand, header, bytes(32))
    assert waiting.open_demands(chain) == []
    world.advance(deadline - chain.rpc.latest_timestamp())
    world.send("ledger", "finalize", 1)
    assert audited(world).rounds["final"] == 1


def test_a_round_whose_data_nobody_shows_is_void(world: World) -> None:
    demand = demand_header(world, 1)
    world.advance(factories.policy().challenge_window + 1)
    world.send("data_availability", "proveWithheld", demand, by=NEWCOMER)
    found = audited(world)
    assert found.rounds == {"slashed": 1, "cancelled": 1}
    assert found.notes[0] == (
        "Round 1 was slashed: what it had anchored was demanded, and nobody showed it in time."
    )


@pytest.mark.parametrize(("decision", "phase"), [("uphold", "slashed"), ("dismiss", "anchored")])
def test_a_dispute_is_decided_by_a_vote_and_by_nothing_else(
    world: World, decision: str, phase: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chain = world.federation.chain
    deposit = chain.read(chain.disputes.functions.deposit(1))
    world.send("token", "approve", world.federation.deployment.disputes, deposit, by=NEWCOMER)
    world.send("disputes", "open", 1, "the weights are odd", by=NEWCOMER)
    audited(world)
    document, text = status(world, tmp_path / "deployment.json", capsys)
    assert [each["challenger"] for each in document["disputes"]] == [NEWCOMER.address]
    assert re.search(r"disputes round 1, .{2,8} to decide", text)
    call = world.call("disputes", decision, 1)
    assert governance.describe(world.federation.chain, call)["kind"] == f"{decision}-dispute"
    world.decide([call], "Decide", {"ada": "for", "ben": "for", "cleo": "for"})
    assert waiting.open_disputes(world.federation.chain) == []
    found = audited(world)
    assert found.rounds[phase] == 1
    unfair = [note for note in found.notes if "voters took an honest bond" in note]
    assert len(unfair) == (decision == "uphold")


def test_a_judge_that_the_arbiter_does_not_know_is_found(world: World) -> None:
    """Whoever adds a judge of its own to the list could take bonds at will."""
    deployment = world.federation.deployment
    mixed = replace(deployment, fraud_proofs=deployment.contributor_faults)
    with pytest.raises(AuditFailure, match="The code of the fraud_proofs"):
        audit([world.federation.anvil.url], mixed, FolderSource(world.folder.path))


def test_an_arbiter_with_another_list_is_found(world: World) -> None:
    other = factories.federation(world.federation.anvil)
    other.chain.close()
    mixed = replace(world.federation.deployment, arbiter=other.deployment.arbiter)
    with pytest.raises(AuditFailure) as caught:
        audit([world.federation.anvil.url], mixed, FolderSource(world.folder.path))
    assert caught.value.details["check"] == "contracts"


def test_an_arbiter_that_somebody_else_made_is_found(world: World) -> None:
    """Its list may look right, and its creation code may have put another judge into its storage."""
    outsider, place = factories.account("outsider"), world.federation.deployment
    judges = [getattr(place, judge) for judge in JUDGES]
    receipt = world.federation.chain.send(
        creation_of(packaged.contract("arbiter"), place.ledger, judges), outsider
    )
    made = receipt["contractAddress"]
    assert made is not None
    mixed = replace(place, arbiter=made)
    with pytest.raises(AuditFailure, match="The transaction that created the arbiter"):
        audit([world.federation.anvil.url], mixed, FolderSource(world.folder.path))


def test_an_endpoint_that_hides_what_the_judge_said_is_found(world: World) -> None:
    world.anchor(2, too_heavy)
    outsider = factories.account("outsider")
    world.send("fraud_proofs", "proveWeight", case_of(world, 2), entries_of(world, 2), 1, by=outsider)
    judge = world.federation.deployment.fraud_proofs.lower()

    def alter(method: str, params: list[Any], result: Any) -> Any:
        if method == "eth_getLogs":
            return [log for log in result if log["address"].lower() != judge]
        return result

    with lying_endpoint(world.federation.anvil.url, alter) as url, pytest.raises(AuditFailure) as caught:
        audited(world, url)
    assert caught.value.details["what"] == "what a judge said"

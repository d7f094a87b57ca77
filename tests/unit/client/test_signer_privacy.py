# SPDX-License-Identifier: Apache-2.0
"""No signature spends more of the privacy budget than the account's own cap, whatever is voted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from client.signer.agent import SignerAgent
from client.signer.checks import Charge, RoundOnChain, SigningRules
from client.signer.keys import LocalKey
from client.signer.record import RECORD_FILE, SignedRounds, SigningRecord, adopt_cap
from folkmoot.cli.main import run
from folkmoot.flower.signing import AgentSigner, SignerError, budget_of_agent
from folkmoot.ledger.deployment import Deployment
from folkmoot.privacy.accountant import rho_for
from folkmoot.protocol.budget import UNITS_OF_RHO
from folkmoot.protocol.commitment import Commitment
from folkmoot.protocol.manifest import Manifest
from folkmoot.protocol.merkle import update_tree
from folkmoot.protocol.policy import Policy
from tests.unit.flower.world import World, account
from tests.unit.privacy.test_settings import GOOD

MODEL = {"weight": np.zeros((2, 100), np.float32)}
PRIVATE = Manifest.from_arrays("scripted", MODEL, {"privacy": GOOD})
PLAIN = Manifest.from_arrays("scripted", MODEL)
OPEN = Policy("mean", (), 10**6, 1, 8, 8, 1024, 0, 600, 600, 600, 0, 0, 0)
VOTED = replace(OPEN, noise1024=GOOD["noise1024"], steps=GOOD["steps"], privacy_cap=10**9)
COST = VOTED.cost
ADA = account("ada")


def rules(manifest: Manifest = PRIVATE) -> SigningRules:
    other = "0x" + "b2" * 20
    addresses: dict[str, Any] = dict.fromkeys(("ledger", "vault", "token", "registry"), other)
    with World(manifest, dict(MODEL)) as world:
        deployment = Deployment.from_json({**world.deployment, **addresses})
    return SigningRules(deployment, manifest)


def refusal(policy: Policy, rounds: SignedRounds, spent: int = 0, manifest: Manifest = PRIVATE) -> str:
    with pytest.raises(SignerError) as refused:
        rules(manifest).charge(RoundOnChain(policy, spent), 9, rounds)
    assert refused.value.remedy.startswith("Nothing was ")
    return refused.value.code


def test_the_first_policys_cap_becomes_the_accounts_own() -> None:
    assert rules().charge(RoundOnChain(VOTED, 0), 9, SignedRounds()) == Charge(COST, VOTED.privacy_cap, 0)


def test_a_federation_without_noise_costs_nothing() -> None:
    assert rules(PLAIN).charge(RoundOnChain(OPEN, 0), 9, SignedRounds()) == Charge(0, None)


def test_no_vote_raises_the_accounts_own_cap() -> None:
    rounds = SignedRounds(0, {8: "ab"}, {8: {"a": COST}}, 0, 2 * COST)
    assert rules().charge(RoundOnChain(VOTED, 0), 9, rounds).cost == COST
    rounds = replace(rounds, other_costs=1)
    assert refusal(replace(VOTED, privacy_cap=2**64 - 1), rounds) == "own-cap"


def test_what_the_chain_counts_is_spent_although_the_record_is_new() -> None:
    assert refusal(VOTED, SignedRounds(), VOTED.privacy_cap - COST + 1) == "own-cap"
    assert rules().charge(RoundOnChain(VOTED, VOTED.privacy_cap - COST), 9, SignedRounds()).cost == COST


def test_the_signature_of_a_charged_round_passes_no_cap() -> None:
    """Not even one that was lowered since: what the training cost is spent already."""
    rounds = SignedRounds(0, {}, {9: {"a": COST}}, 0, COST - 1)
    assert rules().charge(RoundOnChain(VOTED, 0), 9, rounds) == Charge(COST, COST - 1, COST)
    with pytest.raises(SignerError, match="at most") as refused:
        rules().charge(RoundOnChain(VOTED, 0), 9, replace(rounds, cap=2 * COST - 1), training=True)
    assert (refused.value.code, refused.value.remedy[:20]) == ("own-cap", "Nothing was trained.")


def test_what_the_ledger_would_refuse_is_refused() -> None:
    assert refusal(VOTED, SignedRounds(cap=2**60), VOTED.privacy_cap - COST + 1) == "budget-spent"


def test_the_same_update_is_signed_again_without_a_charge() -> None:
    rounds = SignedRounds(0, {9: "ab"}, {9: {"a": COST}}, 0, COST)
    assert rules().charge(RoundOnChain(VOTED, COST), 9, rounds).cost == COST


@pytest.mark.parametrize(
    "changes", [{"noise1024": 1}, {"steps": 2}, {"noise1024": 0, "steps": 0, "privacy_cap": 0}]
)
def test_a_policy_with_less_noise_than_the_manifest_declares_is_refused(changes: dict[str, Any]) -> None:
    assert refusal(replace(VOTED, **changes), SignedRounds()) == "wrong-privacy"


def test_an_account_with_a_cap_signs_nothing_without_noise() -> None:
    assert refusal(OPEN, SignedRounds(cap=COST), manifest=PLAIN) == "no-noise"


def test_a_private_training_keeps_nothing() -> None:
    kept = Commitment(ADA.address, 9, bytes(32), bytes(32), 0, b"\1" * 32)
    rules(PLAIN).check_memory(kept, OPEN)
    rules().check_memory(replace(kept, memory_hash=bytes(32)), VOTED)
    with pytest.raises(SignerError, match="names a memory, and round 9 is private") as refused:
        rules().check_memory(kept, VOTED)
    assert refused.value.code == "private-memory"


@pytest.fixture
def world() -> Iterator[World]:
    with World(PRIVATE, dict(MODEL)) as running:
        running.policy = VOTED
        yield running


def request(world: World, folder: Path) -> None:
    """Have an agent of Ada's sign an update of the open round."""
    data = np.full(PRIVATE.size, 128, np.uint8)
    data[:200] = 140
    tree = update_tree(data)
    base = world.rounds[-1].header.base_state_root
    commitment = Commitment(ADA.address, 1, base, tree.root, tree.sum_squares)
    the_rules = SigningRules(Deployment.from_json(world.deployment), PRIVATE)
    with SignerAgent(LocalKey(ADA), the_rules, world.url, folder / "signer.sock", folder) as agent:
        AgentSigner(agent.path, ADA.address).sign(commitment, world.domain, data.tobytes())


def record_of(world: World, folder: Path) -> SignedRounds:
    return SigningRecord.from_json((folder / RECORD_FILE).read_bytes(), "it").of(world.domain)


def test_an_agent_records_what_a_signature_costs(world: World, tmp_path: Path) -> None:
    for _ in range(2):
        request(world, tmp_path)
    record = record_of(world, tmp_path)
    assert (record.spent, record.cap) == (COST, VOTED.privacy_cap)


def test_the_cap_that_join_shows_is_stored_before_anything_is_trained(world: World, tmp_path: Path) -> None:
    """A vote between the start of the node and its first training raises nothing."""
    shown = adopt_cap(tmp_path, ADA.address, world.domain, COST - 1)
    world.policy = replace(VOTED, privacy_cap=2**60)
    with pytest.raises(SignerError) as refused:
        request(world, tmp_path)
    assert refused.value.code == "own-cap"
    assert adopt_cap(tmp_path, ADA.address, world.domain, 2**60) == shown == record_of(world, tmp_path)


def test_an_agent_says_what_its_account_may_spend(world: World, tmp_path: Path) -> None:
    the_rules = SigningRules(Deployment.from_json(world.deployment), PRIVATE)
    for budget in ((0, None), (0, 7)):
        with SignerAgent(LocalKey(ADA), the_rules, world.url, tmp_path / "signer.sock", tmp_path) as agent:
            assert budget_of_agent(agent.path) == budget
        adopt_cap(tmp_path, ADA.address, world.domain, 7)


def test_a_new_record_adds_to_what_the_chain_counts(world: World, tmp_path: Path) -> None:
    """The chain's count stays where it is while rounds are cancelled, and the record must not begin at zero."""
    world.spent = 3 * COST
    request(world, tmp_path)
    assert record_of(world, tmp_path).spent == 4 * COST


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"min_sum_squares": 200 * 144 + 1}, "norm-too-small"),
        ({"bundle_hash": b"\1" * 32}, "wrong-bundle"),
        ({"noise1024": 1}, "wrong-privacy"),
    ],
)
def test_an_agent_signs_nothing_that_the_policy_forbids(
    world: World, tmp_path: Path, changes: dict[str, Any], code: str
) -> None:
    world.policy = replace(VOTED, **changes)
    with pytest.raises(SignerError) as refused:
        request(world, tmp_path)
    assert refused.value.code == code


def test_the_accounts_owner_sets_its_cap(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    deployment = tmp_path / "deployment.json"
    deployment.write_text(json.dumps(world.deployment))
    words = ["--record", str(tmp_path / "record"), "--account", ADA.address, "--deployment", str(deployment)]

    def cap(text: str) -> int:
        return run(["signer", "record", "--cap", text, *words])

    assert cap("0.01") == 0
    with pytest.raises(SignerError) as refused:
        request(world, tmp_path / "record")
    assert refused.value.code == "own-cap"
    assert cap("3") == 0
    assert (
        "spends at most epsilon 3.00 (6.71 for what a record says; 0.2586 rho) at delta 1e-05"
        in capsys.readouterr().out
    )
    request(world, tmp_path / "record")
    assert record_of(world, tmp_path / "record").spent == COST
    for wrong in ("1e300", "nan", "0", "much"):
        assert cap(wrong) == 1
        assert "error: " in capsys.readouterr().err
    assert record_of(world, tmp_path / "record").cap == int(rho_for(3, 1e-5) * UNITS_OF_RHO)
    assert run(["signer", "record", "--cap", "3", "--content", *words]) == 0
    assert "epsilon 1.38 (3.00 for what a record says" in capsys.readouterr().out
    assert cap("none") == 0
    assert record_of(world, tmp_path / "record").cap is None

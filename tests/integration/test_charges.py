# SPDX-License-Identifier: Apache-2.0
"""The signing record counts private trainings on a real chain, and is ahead of the ledger where none was recorded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from client.signer.agent import SignerAgent
from client.signer.checks import SigningRules
from client.signer.keys import LocalKey
from folkmoot.cli.main import run
from folkmoot.devnet.anvil import Anvil
from folkmoot.flower.signing import AgentSigner, Charged, SignerError
from folkmoot.protocol.budget import cost_of
from folkmoot.protocol.commitment import Commitment
from tests import factories
from tests.integration import audit_world
from tests.integration.audit_world import World
from tests.unit.privacy.test_settings import GOOD

ADA = factories.account("ada")
PRIVATE = replace(audit_world.MANIFEST, training={"privacy": GOOD, "learning_rate": 1.0})
COST = cost_of(GOOD["noise1024"], GOOD["steps"])
CAP = 3 * COST


@pytest.fixture
def world(anvil: Anvil, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A private federation whose budget is enough for three trainings."""
    monkeypatch.setattr(audit_world, "MANIFEST", PRIVATE)
    policy = factories.policy(noise1024=GOOD["noise1024"], steps=GOOD["steps"], privacy_cap=CAP)
    made = World.create(anvil, tmp_path / "artifacts", policy)
    made.open()
    yield made
    made.federation.chain.close()


def agent_of(world: World, record: Path) -> SignerAgent:
    rules = SigningRules(world.federation.deployment, PRIVATE)
    return SignerAgent(
        LocalKey(ADA), rules, world.federation.anvil.url, record.parent / "signer.sock", record
    )


def charge(world: World, agent: SignerAgent, **changes: Any) -> Charged:
    number = max(world.rounds)
    base = world.rounds[number].header.base_state_root
    untrained = replace(Commitment(ADA.address, number, base, bytes(32), 0), **changes)
    return AgentSigner(agent.path, ADA.address).charge(untrained, world.domain)


def refused(world: World, agent: SignerAgent, **changes: Any) -> str:
    with pytest.raises(SignerError) as caught:
        charge(world, agent, **changes)
    return caught.value.code


def spent_by_ledger(world: World) -> int:
    return world.federation.chain.ledger.spent(ADA.address)


def shown(record: Path, capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    capsys.readouterr()
    assert run(["signer", "record", "--record", str(record), *words]) == 0
    out = capsys.readouterr().out
    return json.loads(out) if words else out


def test_the_record_counts_what_the_ledger_never_saw(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record, copy = tmp_path / "signer", tmp_path / "copy"
    with agent_of(world, record) as agent:
        assert charge(world, agent) == Charged(COST, COST, CAP)
        commitment, data = world.train(1, "ada")
        AgentSigner(agent.path, ADA.address).sign(commitment, world.domain, data)
        world.send("ledger", "commitUpdate", commitment.abi_tuple(), by=ADA)
        world.cancel(1)
        world.open()
        assert charge(world, agent) == Charged(COST, 2 * COST, CAP)
        world.cancel(2)
        world.open()
        assert refused(world, agent, round=2) == "round-closed"
        assert refused(world, agent, round=4) == "round-ahead"
        assert refused(world, agent, base_state_root=b"\1" * 32) == "wrong-base"
        assert refused(world, agent, contributor=factories.account("ben").address) == "wrong-account"
        assert refused(world, agent, memory_hash=b"\1" * 32) == "private-memory"
        assert spent_by_ledger(world) == COST
        (ledger,) = shown(record, capsys, "--json")["ledgers"]
        assert ledger | {"ledger": ""} == {
            "chainId": world.domain.chain_id,
            "ledger": "",
            "lowWaterMark": 0,
            "signed": [1],
            "spent": str(2 * COST),
            "cap": str(CAP),
            "unsigned": [2],
            "lost": [],
        }
    text = shown(record, capsys)
    assert "Spent epsilon " in text
    assert "Charged and not signed: rounds 2." in text

    exported = tmp_path / "record.json"
    words = ["--account", ADA.address, "--record"]
    assert run(["signer", "record", "--out", str(exported), *words, str(record)]) == 0
    import_it = ["signer", "restore", str(exported), *words, str(copy)]
    assert run(import_it) == 0
    with agent_of(world, copy) as agent:
        assert charge(world, agent) == Charged(COST, 3 * COST, CAP)
    assert run(import_it) == 0, "the file is older now than the record, and lowers nothing"
    with agent_of(world, copy) as agent:
        assert refused(world, agent) == "own-cap"
    assert shown(copy, capsys, "--json")["ledgers"][0]["unsigned"] == [2, 3]


def test_what_a_lost_record_may_have_charged_is_counted(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with agent_of(world, tmp_path / "signer") as agent:
        charge(world, agent)
        commitment, data = world.train(1, "ada")
        AgentSigner(agent.path, ADA.address).sign(commitment, world.domain, data)
        world.send("ledger", "commitUpdate", commitment.abi_tuple(), by=ADA)
        world.cancel(1)
        world.open()
        charge(world, agent)
    with pytest.raises(SignerError) as behind, agent_of(world, tmp_path / "new" / "signer"):
        pass
    assert behind.value.code == "record-behind"
    file = tmp_path / "deployment.json"
    file.write_text(json.dumps(world.federation.deployment.to_json()))
    words = [
        "--account",
        ADA.address,
        "--record",
        str(tmp_path / "new" / "signer"),
        "--deployment",
        str(file),
    ]
    raise_it = ["signer", "restore", "--raise", "2", *words, "--rpc", world.federation.anvil.url]
    assert run(raise_it) == 1
    assert "Use --since 1 if nobody knows, and --since 3 if you know that nothing was lost." in flat(capsys)
    world.cancel(2)
    world.open()
    assert run([*raise_it, "--since", "3"]) == 0
    assert "as a lost record may have charged them: rounds 1." in flat(capsys), (
        "the ledger has an update in round 1"
    )
    assert run([*raise_it, "--since", "1"]) == 0
    (ledger,) = shown(tmp_path / "new" / "signer", capsys, "--json")["ledgers"]
    assert (ledger["lost"], ledger["spent"], ledger["lowWaterMark"]) == ([1, 2], str(4 * COST), 2)
    assert "Counted because a lost record may have charged them: rounds 1, 2." in shown(
        tmp_path / "new" / "signer", capsys
    )
    with agent_of(world, tmp_path / "new" / "signer") as agent:
        assert refused(world, agent) == "own-cap", "it may count too much"
    exported = tmp_path / "found.json"
    old = ["--account", ADA.address, "--record", str(tmp_path / "signer")]
    assert run(["signer", "record", "--out", str(exported), *old]) == 0
    assert run(["signer", "restore", str(exported), *words]) == 0
    assert "folkmoot signer restore --raise ROUND --since 2 # for the ledger 0x" in flat(capsys)
    (ledger,) = shown(tmp_path / "new" / "signer", capsys, "--json")["ledgers"]
    assert (ledger["lost"], ledger["spent"]) == ([], str(4 * COST)), "what is found may be a backup, too"


def flat(capsys: pytest.CaptureFixture[str]) -> str:
    """What was printed on either stream, in one line."""
    printed = capsys.readouterr()
    return " ".join((printed.out + printed.err).split())


def test_show_needs_a_record_that_can_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["signer", "record", "--record", str(tmp_path)]) == 1
    assert "There is no signing record" in capsys.readouterr().err
    (tmp_path / "signing-record.json").mkdir()
    assert run(["signer", "record", "--record", str(tmp_path)]) == 1
    assert "can't be read" in capsys.readouterr().err

# SPDX-License-Identifier: Apache-2.0
"""Somebody leaves with a released version: the child starts from it to the last bit, and both audits show the link."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from folkmoot.artifacts.federation import Federation, Start, write
from folkmoot.artifacts.sources import FolderSource
from folkmoot.audit.audit import audit
from folkmoot.audit.parent import check_child, check_first_state, check_parent
from folkmoot.chain import governance
from folkmoot.chain.client import Chain
from folkmoot.chain.terms import DAY, GenesisRoots
from folkmoot.cli.main import run
from folkmoot.devnet.anvil import Anvil
from folkmoot.errors import ArtifactError, AuditFailure
from folkmoot.ledger.deployment import Deployment
from folkmoot.protocol.genesis import Genesis
from folkmoot.protocol.manifest import MAX_CONTENT_POLICY, Manifest
from folkmoot.protocol.state import State
from folkmoot.runtime.units import UNIT
from tests import carried, factories
from tests.integration.audit_world import MANIFEST, Folder, World

Command = Callable[..., dict[str, Any]]
FOR = dict.fromkeys(("ada", "ben", "cleo", "dora"), "for")
TRAINERS = ["ada", "ben", "cleo"]


@pytest.fixture(scope="module")
def origin(chain: Anvil, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A parent: version 1 is released, round 2 is anchored and not final. Never changed."""
    policy = factories.policy(challenge_window=60, momentum=922, verifier="arbiter")
    made = World.create(chain, tmp_path_factory.mktemp("parent") / "artifacts", policy)
    made.play(TRAINERS)
    made.finalize(1)
    made.decide([governance.activation(made.federation.chain, 1)], "Release version 1", FOR)
    made.play(TRAINERS)
    yield made
    made.federation.chain.close()


@pytest.fixture
def world(origin: World, chain: Anvil, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """The same parent, for one test to go on with."""
    snapshot = chain.snapshot()
    made = origin.copied(tmp_path / "parent")
    monkeypatch.setenv("FOLKMOOT_ARTIFACTS", str(made.folder.path))
    yield made
    chain.revert(snapshot)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Folder of the child."""
    return tmp_path / "child"


def files_of(folder: Path) -> tuple[Genesis, Manifest, State]:
    genesis = Genesis.from_json((folder / "genesis.json").read_bytes())
    source = FolderSource(folder)
    manifest = Manifest.from_json(source.fetch(genesis.manifest, 1 << 20).read_bytes())
    return genesis, manifest, State.open(source.fetch(genesis.state, 1 << 20), manifest)


def deployed(folder: Path, command: str, folkmoot: Command, anvil: Anvil) -> World:
    """Deploy a child by the command that `folkmoot model --fork` printed; people of the parent stake in it."""
    people = [factories.account(name) for name in ("coordinator", *TRAINERS)]
    words = shlex.split(command.replace("COORDINATOR", people[0].address))
    allocations = [
        word for who in people for word in ("--allocate", f"{who.address}={factories.ALLOCATION // UNIT}")
    ]
    folkmoot(*words[1 : words.index("--allocate")], *allocations, by="deployer")
    deployment = Deployment.load(folder / "deployment.json")
    chain = Chain.connect(anvil.url, deployment)
    factories.stake(chain, people[0], factories.BOND)
    for who in people[1:]:
        factories.stake(chain, who, factories.STAKE)
        factories.enrol(chain, who, factories.STAKE)
    anvil.advance(1)
    genesis, manifest, state = files_of(folder)
    made = factories.Federation(anvil, chain, deployment, factories.account("deployer"), people[0], {})
    return World(
        made,
        Folder(folder),
        {0: state},
        {0: genesis.exponents},
        [chain.ledger.policy(1)],
        manifest=manifest,
    )


def test_a_child_and_its_child_start_from_a_version_and_train_on(
    world: World, folkmoot: Command, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fork, deploy by the printed command, train a round, audit from both sides, and fork again."""
    rules, anvil, ada = tmp_path / "rules.txt", world.federation.anvil, factories.account("ada").address
    rules.write_text("No filter but the law's. CC-BY-4.0.\n")
    made = folkmoot("model", "active", "--fork", str(out), "--content-policy", str(rules), "--account", ada)
    parent, place = made["parent"], world.federation.deployment
    assert (parent["version"], parent["standing"], parent["ledger"]) == (1, "released", place.ledger)
    assert parent["stateRoot"] == "0x" + world.states[1].root(MANIFEST.hash).hex()
    assert made["own"]["stake"] == str(factories.STAKE)
    assert int(made["own"]["rewards"]) > 0
    assert made["policy"]["verifier"] == "arbiter"
    genesis, manifest, state = files_of(out)
    assert state.sha256() == world.states[1].sha256()
    assert state.momentum.any()
    assert genesis.exponents == world.exponents[1]
    assert manifest.content_policy == "No filter but the law's. CC-BY-4.0."
    assert (manifest.task, manifest.arrays) == (MANIFEST.task, MANIFEST.arrays)
    assert Folder(out).place(carried.TABLE.sha256).read_bytes() == carried.DATA
    alone = folkmoot("audit", "--child", str(out))["children"]
    assert [(one["version"], one["standing"]) for one in alone] == [(1, "released")]

    child = deployed(out, made["deploy"], folkmoot, anvil)
    assert child.federation.deployment.parent == manifest.parent
    assert child.policies[0].verifier == child.federation.deployment.arbiter
    child.play(TRAINERS)
    child.finalize(1)
    monkeypatch.setenv("FOLKMOOT_DEPLOYMENT", str(out / "deployment.json"))
    monkeypatch.setenv("FOLKMOOT_ARTIFACTS", str(out))
    audited = folkmoot("audit")
    assert (audited["recomputed"], audited["parent"]["standing"]) == (1, None)
    audited = folkmoot("audit", "--parent-rpc", anvil.url)
    assert audited["parent"] == parent
    assert manifest.parent is not None
    assert folkmoot("model", "1")["parentFederation"] == manifest.parent.to_json()
    assert "parentFederation" in folkmoot("model", "1", "--to", str(tmp_path / "model.safetensors"))

    second = tmp_path / "grandchild"
    again = folkmoot("model", "1", "--fork", str(second))
    assert (again["parent"]["ledger"], again["parent"]["standing"]) == (
        child.federation.deployment.ledger,
        "candidate",
    )
    assert again["contentPolicy"] == manifest.content_policy
    last = deployed(second, again["deploy"], folkmoot, anvil)
    found = audit([anvil.url], last.federation.deployment, FolderSource(second), parent_rpc=anvil.url)
    assert str(found.parent) == (
        f"version 1 of the ledger {child.federation.deployment.ledger} on chain {place.chain_id}"
    )
    for one in (child, last):
        one.federation.chain.close()


def test_people_are_told_what_to_do_next(
    world: World, folkmoot: Command, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folkmoot("status")  # The settings of the command are in the environment from here on.
    address = factories.account("coordinator").address
    assert run(["model", "0", "--fork", str(out), "--account", address]) == 0
    printed = capsys.readouterr().out
    assert "and nobody else's" in printed
    assert f"{address} has 500 MOOT at stake and 0 MOOT of rewards. 50 MOOT are locked" in printed
    assert "folkmoot withdraw        after" in printed
    assert f"--genesis {out / 'genesis.json'}" in printed
    assert (out / "policy.json").exists()
    assert "guardian" not in printed
    assert files_of(out)[0].exponents == world.exponents[0]
    assert run(["audit", "--child", str(out), "--parent-rpc", world.federation.anvil.url]) == 0
    printed = capsys.readouterr().out
    assert "starts from version 0, candidate here" in " ".join(printed.split())
    assert "names no parent" in printed


def test_a_guardian_stays_in_the_parent(
    world: World, folkmoot: Command, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    guardian = factories.account("outsider").address
    made = World.create(
        world.federation.anvil, tmp_path / "guarded", factories.policy(), guardian=guardian, guardian_term=DAY
    )
    made.federation.deployment.save(tmp_path / "guarded.json")
    monkeypatch.setenv("FOLKMOOT_DEPLOYMENT", str(tmp_path / "guarded.json"))
    monkeypatch.setenv("FOLKMOOT_ARTIFACTS", str(made.folder.path))
    assert any(guardian in warning for warning in folkmoot("model", "0", "--fork", str(out))["warnings"])
    made.federation.chain.close()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"state_root": bytes(32)}, "root of the parent's version 1"),
        ({"version": 0}, "root of the parent's version 0"),
        ({"version": 2}, "unknown version (version 2)"),
        ({"manifest_hash": bytes(32)}, "he hash of the parent's manifest"),
        ({"block_hash": bytes(32)}, "of the parent's chain is not"),
        ({"block": 10**9}, "Found: nothing"),
        ({"chain_id": 1}, "The parent's chain is not"),
        ({"ledger": "0x" + "11" * 20}, "does not answer manifestHash"),
    ],
)
def test_a_false_parent_is_named(
    world: World, folkmoot: Command, out: Path, changes: dict[str, Any], words: str
) -> None:
    """A manifest names another version, chain or root than the child started from."""
    folkmoot("model", "1", "--fork", str(out))
    _, manifest, state = files_of(out)
    assert manifest.parent is not None
    rpc, place = world.federation.chain.rpc, world.federation.deployment
    assert check_parent(rpc, manifest.parent) == "released"
    assert check_child(rpc, place, manifest, state) == (manifest.parent, "released")
    false = replace(manifest.parent, **changes)
    with pytest.raises(AuditFailure) as caught:
        check_parent(rpc, false)
    assert words in caught.value.message
    assert caught.value.details["check"] == "parent"
    with pytest.raises(AuditFailure):
        check_child(rpc, place, replace(manifest, parent=false), state)


def test_an_altered_first_state_is_found_without_the_parents_chain(
    world: World, folkmoot: Command, out: Path
) -> None:
    folkmoot("model", "1", "--fork", str(out))
    genesis, manifest, state = files_of(out)
    assert manifest.parent is not None
    altered = State(state.theta.copy(), state.momentum.copy())
    altered.theta[0] += 1
    with pytest.raises(AuditFailure, match="first state's root with the manifest of its parent"):
        check_first_state(manifest.parent, altered)

    shutil.rmtree(out)
    forged = Genesis.of(manifest, altered, genesis.exponents)
    write(Start(manifest, altered, forged, altered.root(manifest.hash), "", carried.files), out)
    refused = folkmoot("audit", "--child", str(out), fails=1)["error"]
    assert refused["details"]["check"] == "parent"

    made = factories.federation(
        world.federation.anvil,
        genesis=GenesisRoots.of(forged, manifest, altered),
        first_policy=factories.policy(),
    )
    with pytest.raises(AuditFailure) as caught:
        audit([made.anvil.url], made.deployment, FolderSource(out))
    assert caught.value.details["check"] == "parent"
    hidden = replace(made.deployment, parent=None)
    with pytest.raises(AuditFailure, match="The parent in the deployment file"):
        audit([made.anvil.url], hidden, FolderSource(out))
    with pytest.raises(ArtifactError, match="starts from no other one") as refusal:
        Federation.open(hidden, FolderSource(out))
    assert refusal.value.code == "artifact-contradicts"
    made.chain.close()


def test_a_recalled_parent_is_refused_and_later_a_warning(
    world: World, folkmoot: Command, out: Path, tmp_path: Path
) -> None:
    folkmoot("model", "1", "--fork", str(out))
    world.decide(governance.recall(world.federation.chain, 1), "It fails group 3", FOR)
    again = str(tmp_path / "again")
    assert folkmoot("model", "1", "--fork", again, fails=1)["error"]["code"] == "version-recalled"
    assert folkmoot("model", "active", "--fork", again, fails=1)["error"]["code"] == "no-active-version"
    taken = folkmoot("model", "1", "--fork", again, "--recalled")
    assert taken["parent"]["standing"] == "recalled"
    assert "It fails group 3" in taken["warnings"][0]
    genesis, manifest, state = files_of(out)
    made = factories.federation(
        world.federation.anvil,
        genesis=GenesisRoots.of(genesis, manifest, state),
        first_policy=factories.policy(),
    )
    found = audit([made.anvil.url], made.deployment, FolderSource(out), parent_rpc=made.anvil.url)
    assert found.parent_standing == "recalled"
    assert any(
        one.startswith("Warning: this federation starts from version 1") and "recalled" in one
        for one in found.notes
    )
    made.chain.close()


def test_what_can_not_be_taken_is_refused_and_nothing_is_written(
    world: World, folkmoot: Command, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*words: str) -> dict[str, Any]:
        error: dict[str, Any] = folkmoot("model", *words, "--fork", str(out), fails=1)["error"]
        assert error["remedy"]
        assert not out.exists()
        return error

    assert refused("9")["code"] == "unknown-version"
    assert refused("two")["code"] == "invalid-input"
    assert refused("2")["code"] == "version-not-final"
    assert refused("1", "--content-policy", str(tmp_path / "none"))["code"] == "content-policy-missing"
    text = tmp_path / "text"
    text.write_bytes(b"\xff")
    assert "no text in UTF-8" in refused("1", "--content-policy", str(text))["message"]
    text.write_text("x" * (MAX_CONTENT_POLICY + 1))
    assert refused("1", "--content-policy", str(text))["code"] == "content-policy-too-long"

    table = world.folder.place(carried.TABLE.sha256)
    table.unlink()  # The last file that a child gets: all others are written by then.
    assert refused("1")["code"] == "artifact-missing"
    assert [one for one in out.parent.iterdir() if out.name in one.name] == []
    table.write_bytes(carried.DATA)

    state = world.states[1].sha256()
    world.folder.place(state).unlink()
    outcome = world.rounds[1].outcome
    assert outcome is not None
    world.folder.place(outcome.artifacts.mean).unlink()
    gone = refused("1")
    assert (gone["code"], state in gone["message"]) == ("artifact-missing", True)
    assert str(world.folder.path) in gone["message"]

    monkeypatch.setenv("FOLKMOOT_ARTIFACTS", str(world.folder.path))
    kept = tmp_path / "home"
    kept.mkdir()
    (kept / "genesis.json").write_text("mine")
    taken = folkmoot("model", "0", "--fork", str(kept), fails=1)["error"]
    assert (taken["code"], (kept / "genesis.json").read_text()) == ("file-exists", "mine")

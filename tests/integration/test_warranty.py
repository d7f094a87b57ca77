# SPDX-License-Identifier: Apache-2.0
"""Somebody answers for a release: tokens stand behind a version, and a vote takes them if it does harm."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from folkmoot.artifacts.sources import FolderSource
from folkmoot.audit.audit import audit
from folkmoot.chain import governance
from folkmoot.cli.main import run
from folkmoot.devnet.anvil import Anvil
from folkmoot.errors import AuditFailure
from folkmoot.runtime.units import UNIT
from tests import factories
from tests.integration.audit_world import World

Command = Callable[..., dict[str, Any]]

FOR = {"ada": "for", "ben": "for", "cleo": "for", "dora": "for", "emil": "against"}
PERIOD = 3_600
LEAST = 100 * UNIT


@pytest.fixture
def world(anvil: Anvil, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """Two final rounds, in a federation that asks for 100 tokens behind a release."""
    policy = factories.policy(challenge_window=60)
    world = World.create(anvil, tmp_path / "world", policy, warranty_period=PERIOD, min_warranty=LEAST)
    monkeypatch.setenv("FOLKMOOT_ARTIFACTS", str(world.folder.path))
    for _ in range(2):
        world.finalize(world.play(["ada", "ben", "cleo"]))
    return world


def audited(world: World) -> dict[str, Any]:
    made = world.federation
    return audit([made.anvil.url], made.deployment, FolderSource(world.folder.path)).to_json()


def release(world: World, version: int) -> None:
    world.decide([governance.activation(world.federation.chain, version)], f"Release {version}", FOR)


def tokens(world: World, name: str) -> int:
    return world.federation.chain.token.balance_of(factories.account(name).address)


def test_a_vote_takes_what_answers_for_a_harmful_version(
    world: World, folkmoot: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two answer for a version; it is released, recalled and paid for; the record and the audit name everybody."""
    ada, ben, dora = (factories.account(name).address for name in ("ada", "ben", "dora"))
    proposed = folkmoot("propose", "--version", "2")
    assert "0 MOOT are behind version 2, and it needs 100 MOOT" in proposed["warning"]
    posted = folkmoot("model", "2", "--warranty", "70")
    assert (posted["warranty"], posted["total"]) == (str(70 * UNIT), str(70 * UNIT))
    posted = folkmoot("model", "2", "--warranty", "30", by="ben")
    assert (posted["warranty"], posted["total"]) == (str(30 * UNIT), str(LEAST))
    release(world, 2)

    record = folkmoot("model", "2")["warranty"]
    assert {one["account"]: one["amount"] for one in record["accounts"]} == {
        ada: str(70 * UNIT),
        ben: str(30 * UNIT),
    }
    activated = max(one["releaseAt"] for one in record["accounts"])
    early = folkmoot("withdraw", "--warranty", "2", fails=1)["error"]
    assert (early["code"], early["details"]["releaseAt"]) == ("warranty-held", activated)

    supply = world.federation.chain.read(world.federation.chain.token.functions.totalSupply())
    before = tokens(world, "dora")
    made = folkmoot("propose", "--recall", "2", "--pay", dora, "--text", "It fails group 3.")
    recall, forfeiture = made["proposal"]["actions"]
    assert (recall["kind"], forfeiture["kind"]) == ("recall", "forfeit-warranties")
    assert f"half goes to {dora}, half is burnt" in forfeiture["text"]
    number = int(made["proposal"]["id"])
    world.advance(factories.GOVERNANCE.voting_delay + 1)
    for name, choice in FOR.items():
        world.vote(number, name, choice)
    world.carry_out(number)

    assert tokens(world, "dora") == before + 50 * UNIT
    left = world.federation.chain.read(world.federation.chain.token.functions.totalSupply())
    assert left == supply - 50 * UNIT
    record = folkmoot("model", "2")
    assert record["standing"] == "recalled"
    assert record["warranty"]["forfeited"] == {
        "beneficiary": dora,
        "reward": str(50 * UNIT),
        "burnt": str(50 * UNIT),
    }
    run(["model", "2"])
    assert "a vote took what was behind it: 50 MOOT went to" in capsys.readouterr().out
    refused = folkmoot("withdraw", "--warranty", "2", fails=1)["error"]
    assert refused["details"]["error"] == "ModelRegistryNoWarranty"
    assert folkmoot("model", "2", "--warranty", "1", fails=1)["error"]["code"] == "version-recalled"
    found = audited(world)
    assert found["recalled"] == [2]


def test_a_recall_that_leaves_the_warranty_is_followed_by_a_vote_that_takes_it(
    world: World, folkmoot: Command
) -> None:
    """Who answers for a version might propose such a recall from another program, before anybody else does."""
    folkmoot("model", "2", "--warranty", "100")
    release(world, 2)
    own = folkmoot("propose", "--recall", "2")["proposal"]["actions"][1]["text"]
    assert own.endswith("half is burnt; this account answers for the version itself")
    recall, _ = governance.recall(world.federation.chain, 2)
    world.decide([recall], "It fails group 3.", FOR)
    assert folkmoot("model", "2")["warranty"]["total"] == str(LEAST)

    made = folkmoot("propose", "--recall", "2", "--pay", "none")["proposal"]
    (taking,) = made["actions"]
    assert (taking["kind"], made["title"]) == (
        "forfeit-warranties",
        "Take the tokens that answer for version 2: all is burnt",
    )
    number = int(made["id"])
    world.advance(factories.GOVERNANCE.voting_delay + 1)
    for name, choice in FOR.items():
        world.vote(number, name, choice)
    world.carry_out(number)
    assert folkmoot("model", "2")["warranty"]["forfeited"]["burnt"] == str(LEAST)
    assert folkmoot("propose", "--recall", "2", fails=1)["error"]["code"] == "version-recalled"
    audited(world)


def test_a_warranty_comes_back_after_its_period(world: World, folkmoot: Command) -> None:
    """Also that of a version that nobody released; and no other's with it."""
    before = tokens(world, "ada")
    folkmoot("model", "1", "--warranty", "5")
    folkmoot("model", "2", "--warranty", "7")
    folkmoot("model", "2", "--warranty", "1", by="ben")
    assert tokens(world, "ada") == before - 12 * UNIT
    world.advance(PERIOD)
    assert folkmoot("withdraw", "--warranty", "2")["withdrawn"] == str(7 * UNIT)
    assert tokens(world, "ada") == before - 5 * UNIT
    record = folkmoot("model", "2")["warranty"]
    assert [one["account"] for one in record["accounts"]] == [factories.account("ben").address]
    assert folkmoot("model", "1")["warranty"]["total"] == str(5 * UNIT)
    audited(world)


def test_a_vote_for_a_version_without_its_warranty_does_nothing(world: World, folkmoot: Command) -> None:
    """The vote stays: once somebody answers for the version, the same proposal is executed."""
    call = governance.activation(world.federation.chain, 2)
    number = world.propose([call], "Release 2")
    world.advance(factories.GOVERNANCE.voting_delay + 1)
    for name, choice in FOR.items():
        world.vote(number, name, choice)
    world.advance(factories.GOVERNANCE.voting_period + 60)
    folkmoot("execute", str(number))
    world.advance(factories.GOVERNANCE.timelock_delay)
    refused = folkmoot("execute", str(number), fails=1)["error"]
    assert refused["details"]["error"] == "ModelRegistryWarrantyTooSmall"
    assert "folkmoot model VERSION --warranty TOKENS" in refused["remedy"]
    folkmoot("model", "2", "--warranty", "100", by="newcomer")
    folkmoot("execute", str(number))
    assert folkmoot("status")["active"]["version"] == 2


def test_votes_change_what_must_be_behind_a_release(world: World, folkmoot: Command) -> None:
    made = folkmoot("propose", "--min-warranty", "0")
    action = made["proposal"]["actions"][0]
    assert (action["kind"], action["amount"]) == ("min-warranty", "0")
    number = int(made["proposal"]["id"])
    world.advance(factories.GOVERNANCE.voting_delay + 1)
    for name, choice in FOR.items():
        world.vote(number, name, choice)
    world.carry_out(number)
    assert folkmoot("propose", "--version", "1")["warning"] is None
    release(world, 1)
    assert audited(world)["activeVersion"] == 1


def test_the_audit_finds_a_registry_that_lies(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not believe what an endpoint says of tokens behind a version."""
    from folkmoot.audit import history
    from folkmoot.rpc.client import RegistryReader

    registry = world.federation.deployment.registry
    account = factories.account("ada")
    world.send("token", "approve", registry, UNIT, by=account)
    world.send("registry", "postWarranty", 1, UNIT, by=account)
    audited(world)

    class Lying(RegistryReader):
        def warranties(self, number: int) -> tuple[int, bool]:
            total, forfeited = super().warranties(number)
            return total + number, forfeited

    monkeypatch.setattr(history, "RegistryReader", Lying)
    with pytest.raises(AuditFailure, match="the stored version"):
        audited(world)


MISTAKES = (
    ("model 2 --warranty 0", "out of range"),
    ("model active --warranty 5", "needs the number of the version"),
    ("model 2 --warranty 5 --to model", "--to, --fork or --warranty"),
    ("model 99 --warranty 5", "unknown version"),
    ("model 2 --warranty 5000", "balance"),
    ("withdraw 5 --warranty 2", "--warranty takes no AMOUNT"),
    ("withdraw --warranty 2", "no warranty"),
    ("propose --version 2 --pay none", "--pay goes with --recall"),
)


def test_bad_input_is_refused_and_costs_nothing(
    world: World, folkmoot: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    folkmoot("status")  # says where everything is
    before, held = world.federation.chain.rpc.block_number(), tokens(world, "ada")
    for words, said in MISTAKES:
        assert run(words.split()) in (1, 2), words
        printed = capsys.readouterr().err
        assert said in " ".join(printed.split()), words
        assert "Traceback" not in printed
    assert (world.federation.chain.rpc.block_number(), tokens(world, "ada")) == (before, held)


def test_a_warranty_shorter_than_a_vote_is_refused(anvil: Anvil) -> None:
    from folkmoot.chain.terms import check_terms
    from folkmoot.errors import InputError

    terms = replace(factories.GOVERNANCE, warranty_period=factories.GOVERNANCE.deciding - 1)
    who = factories.account("ada").address
    with pytest.raises(InputError, match="before voters have recalled its version") as refused:
        check_terms(factories.policy(), who, {who: 10_000 * UNIT}, terms)
    assert refused.value.code == "invalid-governance"

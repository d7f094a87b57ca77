# SPDX-License-Identifier: Apache-2.0
"""A guardian, who may cancel proposals until its term ends, and do nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from folkmoot.artifacts.sources import FolderSource
from folkmoot.audit.audit import Summary, audit
from folkmoot.chain import governance
from folkmoot.chain.deploy import deploy_and_report
from folkmoot.chain.terms import DAY, MAX_GUARDIAN_TERM
from folkmoot.chain.transactions.connection import connect_web3
from folkmoot.cli.main import run
from folkmoot.devnet.anvil import Anvil
from folkmoot.errors import AuditFailure, ContractRefused, InputError
from tests import factories
from tests.integration.audit_world import Alter, World, lying_endpoint
from tests.integration.test_audit import alter_call, drop_log

GUARDIAN = factories.account("outsider").address
TERM = 3 * DAY
WITH_GUARDIAN = replace(factories.GOVERNANCE, guardian=GUARDIAN, guardian_term=TERM)
FEDERATION = {"governance": WITH_GUARDIAN}

Command = Callable[..., dict[str, Any]]


def accepted(world: factories.Federation, folkmoot: Command, *words: str) -> str:
    """Propose, vote for it and queue it; return its number."""
    number: str = folkmoot("propose", *words)["proposal"]["id"]
    world.anvil.advance(factories.GOVERNANCE.voting_delay + 1)
    for name in ("ada", "ben", "cleo"):
        folkmoot("vote", number, "for", by=name)
    world.anvil.advance(factories.GOVERNANCE.voting_period + 1)
    folkmoot("execute", number)
    return number


def carried_out(world: factories.Federation, folkmoot: Command, *words: str) -> dict[str, Any]:
    number = accepted(world, folkmoot, *words)
    world.anvil.advance(factories.GOVERNANCE.timelock_delay + 1)
    action: dict[str, Any] = folkmoot("execute", number)["proposal"]["actions"][0]
    return action


def test_the_guardian_cancels_what_was_queued(
    world: factories.Federation, folkmoot: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    until = folkmoot("status")["guardian"]["until"]
    assert folkmoot("status")["guardian"] == {"address": GUARDIAN, "until": until}
    assert world.chain.now() < until <= world.chain.now() + TERM
    number = accepted(world, folkmoot, "--appoint", world["newcomer"].address)
    for name in ("ada", "coordinator"):
        refused = folkmoot("vote", number, "veto", by=name, fails=1)["error"]
        assert refused["code"] == "not-guardian"
        assert f"the guardian is {GUARDIAN}" in refused["message"]
    assert folkmoot("vote", number, "veto", by="outsider")["proposal"]["state"] == "canceled"
    over = folkmoot("vote", number, "veto", by="outsider", fails=1)["error"]
    assert over["code"] == "wrong-proposal-state"
    world.anvil.advance(factories.GOVERNANCE.timelock_delay + 1)
    assert folkmoot("execute", number, fails=1)["error"]["details"]["state"] == "canceled"
    assert world.chain.ledger.coordinator() == world.coordinator.address
    assert run(["status"]) == 0
    assert f"{GUARDIAN}, may cancel proposals until" in capsys.readouterr().out


def test_a_proposer_takes_back_a_proposal_before_the_vote(
    world: factories.Federation, folkmoot: Command
) -> None:
    number = folkmoot("propose", "--version", "0")["proposal"]["id"]
    assert folkmoot("vote", number, "veto", by="ben", fails=1)["error"]["code"] == "not-guardian"
    assert folkmoot("vote", number, "veto")["proposal"]["state"] == "canceled"
    number = folkmoot("propose", "--version", "0", "--title", "Again")["proposal"]["id"]
    world.anvil.advance(factories.GOVERNANCE.voting_delay + 1)
    assert folkmoot("vote", number, "veto", fails=1)["error"]["code"] == "not-guardian"


def test_the_term_ends(world: factories.Federation, folkmoot: Command) -> None:
    world.anvil.advance(TERM)
    assert folkmoot("status")["guardian"] is None
    number = folkmoot("propose", "--version", "0")["proposal"]["id"]
    refused = folkmoot("vote", number, "veto", by="outsider", fails=1)["error"]
    assert refused["code"] == "not-guardian"
    assert "there is no guardian" in refused["message"]
    proposal = governance.find(world.chain, number)
    with pytest.raises(ContractRefused, match="unable to cancel"):
        governance.cancel(world.chain, world["outsider"], proposal)
    assert folkmoot("propose", "--remove-guardian", fails=1)["error"]["code"] == "no-guardian"


def test_a_vote_removes_the_guardian(world: factories.Federation, folkmoot: Command) -> None:
    action = carried_out(world, folkmoot, "--remove-guardian")
    assert action == {"kind": "remove-guardian", "text": "remove the guardian"}
    assert folkmoot("status")["guardian"] is None


def test_the_coordinator_is_never_the_guardian(world: factories.Federation, folkmoot: Command) -> None:
    carried_out(world, folkmoot, "--appoint", GUARDIAN)
    assert folkmoot("status")["guardian"] is None
    number = folkmoot("propose", "--version", "0")["proposal"]["id"]
    assert folkmoot("vote", number, "veto", by="outsider", fails=1)["error"]["code"] == "not-guardian"


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"guardian": GUARDIAN}, "A guardian needs a term"),
        ({"guardian_term": DAY}, "a term needs a guardian"),
        ({"guardian": GUARDIAN, "guardian_term": MAX_GUARDIAN_TERM + 1}, "guardian term must be from 0 to"),
    ],
)
def test_a_guardian_and_its_term_go_together(given: dict[str, Any], why: str) -> None:
    with pytest.raises(InputError, match=why) as caught:
        replace(factories.GOVERNANCE, **given)
    assert caught.value.code == "invalid-governance"


def test_a_coordinator_as_guardian_is_refused_before_anything_is_sent(anvil: Anvil) -> None:
    before = anvil.rpc.block_number()
    with pytest.raises(InputError, match="could cancel its own dismissal"):
        deploy_and_report(
            connect_web3(anvil.url),
            factories.account("deployer"),
            factories.genesis_roots(),
            factories.policy(),
            GUARDIAN,
            {GUARDIAN: 1},
            WITH_GUARDIAN,
        )
    assert anvil.rpc.block_number() == before


# The audit


@pytest.fixture(scope="module")
def played(chain: Anvil, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A federation whose guardian cancelled what was voted for, and was removed by a vote."""
    policy = factories.policy(verifier=factories.account("verifier").address)
    folder = tmp_path_factory.mktemp("guarded") / "artifacts"
    world = World.create(chain, folder, policy, guardian=GUARDIAN, guardian_term=TERM)
    votes = dict.fromkeys(("ada", "ben", "cleo"), "for")
    world.play(["ada", "ben"])
    federation = world.federation
    ben = factories.account("ben").address
    number = world.decide([world.call("ledger", "appointCoordinator", ben)], "Hurry", votes, wins=False)
    found = governance.find(federation.chain, str(number))
    world.advance(found.deadline - federation.chain.rpc.latest_timestamp() + 1)
    governance.queue(federation.chain, factories.account("outsider"), found)
    governance.cancel(federation.chain, factories.account("outsider"), found)
    world.decide([governance.guardian_removal(federation.chain)], "No guardian", votes)
    yield world
    federation.chain.close()


def audited(world: World, url: str = "") -> Summary:
    source = FolderSource(world.folder.path)
    return audit([url or world.federation.anvil.url], world.federation.deployment, source)


def test_what_a_guardian_did_passes_the_audit(played: World) -> None:
    assert audited(played).recomputed == 1


@pytest.mark.parametrize(
    ("alter", "what"),
    [
        (drop_log("governor", "ProposalGuardianSet"), "the guardian"),
        (alter_call("governor", "proposalGuardian()", 0, 1), "the guardian"),
        (alter_call("governor", "guardianUntil()", 0, 1), "the time of the withdrawal"),
    ],
)
def test_a_lie_about_the_guardian_is_found(played: World, alter: Alter, what: str) -> None:
    with lying_endpoint(played.federation.anvil.url, alter) as url, pytest.raises(AuditFailure) as caught:
        audited(played, url)
    assert caught.value.details["check"] == "governance"
    assert caught.value.details["what"] == what

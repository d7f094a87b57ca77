# SPDX-License-Identifier: Apache-2.0
"""From a lie that only a vote can judge to its end, with the commands that people type."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from folkmoot.chain import governance
from folkmoot.devnet.anvil import Anvil
from folkmoot.errors import ContractRefused
from folkmoot.protocol.policy import ARBITER
from folkmoot.rpc.client import Phase
from tests import factories
from tests.integration import fraud_world as lies
from tests.integration.anchored import prove_wrong
from tests.integration.audit_world import SEASONING, Cheat, World
from tests.integration.fraud_world import CHALLENGER, TOKENS
from tests.integration.watched import NAMES, QUARTER, Watched, phase, won

Command = Callable[..., dict[str, Any]]

pytestmark = [pytest.mark.usefixtures("watchers_closed"), pytest.mark.timeout(300)]


@pytest.fixture
def world(chain: Anvil, tmp_path: Path) -> Iterator[World]:
    """A federation under the rule of the default policy, which only a vote can judge."""
    snapshot = chain.snapshot()
    policy = factories.policy(rule="clamped_mean", momentum=922, verifier=ARBITER)
    world = World.create(chain, tmp_path / "artifacts", policy)
    watcher = factories.account(CHALLENGER).address
    chain.fund(watcher)
    world.send("token", "transfer", watcher, TOKENS)
    world.advance(SEASONING)  # The stakes can vote.
    yield world
    world.federation.chain.close()
    chain.revert(snapshot)


@pytest.fixture
def folkmoot(folkmoot: Command) -> Command:
    """Run a command line as somebody; return what it prints, or the error that it ends with."""

    def command(line: str, *, by: str = "ada", fails: int = 0) -> dict[str, Any]:
        document: dict[str, Any] = folkmoot(*shlex.split(line)[1:], by=by, fails=fails)
        return document["error"] if fails else document

    return command


def vote_through(world: World, folkmoot: Command, short: str) -> None:
    """Vote for a proposal, and carry it out."""
    world.advance(factories.GOVERNANCE.voting_delay + 1)
    for name in NAMES:
        folkmoot(f"folkmoot vote {short} for", by=name)
    world.advance(factories.GOVERNANCE.voting_period)
    folkmoot(f"folkmoot execute {short}")
    world.advance(factories.GOVERNANCE.timelock_delay)
    folkmoot(f"folkmoot execute {short}")


@pytest.mark.parametrize(("lie", "what"), [(lies.lie_left_out, "weight"), (lies.lie_pay, "pay")])
def test_N3_the_command_of_the_watcher_leads_to_the_slashing(
    world: World, folkmoot: Command, tmp_path: Path, lie: Cheat, what: str
) -> None:
    number = world.play(NAMES, lie)
    seen = Watched(world, tmp_path / "watch")
    assert seen.look() == 3
    assert seen.said("disputed")[0]["what"] == what
    (opened,) = seen.said("dispute-opened")
    assert opened["command"] in opened["text"]
    assert won(world) == -QUARTER

    made = folkmoot(opened["command"], by="ben")
    assert made["proposal"]["actions"][0]["kind"] == "uphold-dispute"
    assert made["warning"] is None
    coordinator = world.federation.coordinator.address
    bonded = world.federation.chain.vault.stake_of(coordinator)
    vote_through(world, folkmoot, made["proposal"]["short"])
    assert phase(world, number) == Phase.SLASHED
    assert bonded - world.federation.chain.vault.stake_of(coordinator) == factories.policy().bond
    seen.now += 1_000
    assert seen.look() == 3
    assert won(world) == 0, "the deposit is back"

    decided = folkmoot(opened["command"], fails=1)
    assert decided["code"] == "dispute-over"
    assert decided["message"] == f"The dispute about round {number} is upheld."


def test_N3_a_sham_dispute_is_dismissed_by_the_command_of_the_watcher(
    world: World, folkmoot: Command, tmp_path: Path
) -> None:
    number = world.play(NAMES)
    chain, sham = world.federation.chain, factories.account("newcomer")
    world.send("token", "approve", world.federation.deployment.disputes, QUARTER, by=sham)
    world.send("disputes", "open", number, "nothing in particular", by=sham)
    seen = Watched(world, tmp_path / "watch")
    assert seen.look() == 0
    (told,) = seen.said("dispute-seen")
    made = folkmoot(told["command"])
    assert made["proposal"]["actions"][0]["kind"] == "dismiss-dispute"
    vote_through(world, folkmoot, made["proposal"]["short"])
    assert chain.ledger.round(number).phase == Phase.ANCHORED
    world.send("ledger", "finalize", number)
    assert phase(world, number) == Phase.FINAL
    assert folkmoot(told["command"], fails=1)["message"] == f"The dispute about round {number} is dismissed."


def test_N3_what_can_not_be_decided_is_refused(world: World, folkmoot: Command) -> None:
    absent = folkmoot("folkmoot propose --uphold 7", fails=1)
    assert (absent["code"], absent["message"]) == ("no-dispute", "There is no round 7.")
    number = world.play(NAMES)
    for word in ("uphold", "dismiss"):
        calm = folkmoot(f"folkmoot propose --{word} {number}", fails=1)
        assert (calm["code"], "Nobody disputes round" in calm["message"]) == ("no-dispute", True)
        assert "folkmoot status" in calm["remedy"]
    poor = factories.account("newcomer")
    world.send("token", "approve", world.federation.deployment.disputes, QUARTER, by=poor)
    world.send("disputes", "open", number, "odd", by=poor)
    refused = folkmoot(f"folkmoot propose --uphold {number}", by="newcomer", fails=1)
    assert refused["details"]["error"] == "GovernorInsufficientProposerVotes"
    assert "folkmoot enrol --stake" in refused["remedy"]
    # Somebody proves the round false meanwhile: a vote would come to nothing.
    prove_wrong(world.federation, number, poor.address)
    assert phase(world, number) == Phase.SLASHED
    for word in ("uphold", "dismiss"):
        void = folkmoot(f"folkmoot propose --{word} {number}", fails=1)
        assert (void["code"], void["message"]) == ("dispute-over", f"Round {number} is void already.")


def test_N3_a_vote_that_comes_too_late_is_warned_of(world: World, folkmoot: Command) -> None:
    number = world.play(NAMES)
    late = factories.account("newcomer")
    world.send("token", "approve", world.federation.deployment.disputes, QUARTER, by=late)
    world.send("disputes", "open", number, "odd", by=late)
    takes = (
        factories.GOVERNANCE.voting_delay
        + factories.GOVERNANCE.voting_period
        + factories.GOVERNANCE.timelock_delay
    )
    world.advance(factories.GOVERNANCE.unbonding - takes + 1)
    warning = folkmoot(f"folkmoot propose --uphold {number}")["warning"]
    assert warning.startswith(f"round {number} waits until ")


def test_N3_nobody_burns_the_proposal_of_another(world: World, folkmoot: Command) -> None:
    """The attacker has the threshold, sees the proposal before it is mined, and makes and cancels it first."""
    chain, ada, ben = world.federation.chain, factories.account("ada"), factories.account("ben")
    line = f"folkmoot propose --appoint {ben.address} --title 'Another coordinator'"
    made = folkmoot(line)["proposal"]
    copied = governance.find(chain, made["id"])
    assert copied.description.endswith(f"#proposer={ada.address}")
    world.advance(1)
    arguments = [[getattr(call, name) for call in copied.calls] for name in ("target", "value", "data")]
    with pytest.raises(ContractRefused) as caught:
        chain.send(chain.governor.functions.propose(*arguments, copied.description), ben)
    assert caught.value.details["error"] == "GovernorRestrictedProposer"
    assert "folkmoot propose" in str(caught.value.remedy)
    text = shlex.quote(copied.description)
    mark = folkmoot(f"folkmoot propose --appoint {ben.address} --title Mine --text {text}", by="ben", fails=1)
    assert (mark["code"], "written for you" in mark["remedy"]) == ("reserved-text", True)
    # The same words of somebody else are another proposal.
    assert folkmoot(line, by="ben")["proposal"]["id"] != made["id"]


def test_N3_a_cancelled_text_can_be_proposed_again(world: World, folkmoot: Command) -> None:
    ben = factories.account("ben").address
    line = f"folkmoot propose --appoint {ben} --title 'Another coordinator'"
    first = folkmoot(line)["proposal"]
    twice = folkmoot(line, fails=1)
    assert twice["message"] == f"You have made this proposal already: {first['short']} is pending."
    assert folkmoot(f"folkmoot vote {first['short']} veto")["proposal"]["state"] == "canceled"
    second = folkmoot(line)["proposal"]
    assert (second["state"], second["title"]) == ("pending", first["title"])
    vote_through(world, folkmoot, second["short"])
    assert world.federation.chain.ledger.coordinator() == ben
    assert folkmoot(line)["proposal"]["id"] not in (first["id"], second["id"])

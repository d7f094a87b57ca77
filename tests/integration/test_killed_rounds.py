# SPDX-License-Identifier: Apache-2.0
"""What people do about rounds, killed at every step: commands, a watcher, a mirror, a delivery on the chain."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from folkmoot.coordinator_api import commitment_to_wire
from folkmoot.devnet.anvil import Anvil
from folkmoot.flower.updates import KeptUpdate, keep_update
from folkmoot.fraud.contracts.judges import demands_of, find_judges
from folkmoot.protocol.manifest import Manifest, Tensor
from folkmoot.protocol.policy import ARBITER
from folkmoot.rpc.client import Contract, Phase
from tests import factories
from tests.http_servers import serving_folder
from tests.integration import audit_world
from tests.integration import fraud_world as lies
from tests.integration.audit_world import World
from tests.integration.fraud_world import ANSWER_WINDOW, CHALLENGER, DEPOSIT, TOKENS
from tests.killed import Mortal, blocks

pytestmark = pytest.mark.long

NAMES = ["ada", "ben", "cleo"]
WATCHER = factories.account(CHALLENGER)
QUARTER = factories.policy().bond // 4


@pytest.fixture
def world(judged_world: World) -> World:
    """A federation with judges and an honest first round, for one test to go on with."""
    return judged_world


@pytest.fixture
def arbitrated(chain: Anvil, tmp_path: Path) -> Iterator[Callable[[], World]]:
    """Make a federation whose policy names the deployment's own arbiter; the chain is put back."""
    snapshot, made = chain.snapshot(), []

    def make() -> World:
        policy = factories.policy(momentum=922, verifier=ARBITER)
        made.append(World.create(chain, tmp_path / "artifacts", policy))
        return made[-1]

    yield make
    for world in made:
        world.federation.chain.close()
    chain.revert(snapshot)


@pytest.fixture
def mortal(
    world: World,
    keystore: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Mortal:
    """Commands of somebody who watches and has tokens for deposits."""
    made = Mortal(tmp_path, capsys, monkeypatch)
    settle_in(made, world, keystore(CHALLENGER))
    return made


def settle_in(mortal: Mortal, world: World, key: Path) -> None:
    world.federation.deployment.save(mortal.home / "deployment.json")
    mortal.set(
        {
            "FOLKMOOT_RPC": world.federation.anvil.url,
            "FOLKMOOT_DEPLOYMENT": str(mortal.home / "deployment.json"),
            "FOLKMOOT_PASSWORD": factories.PASSWORD,
            "FOLKMOOT_KEYSTORE": str(key),
        }
    )


def sent_by(world: World, who: Any = WATCHER) -> int:
    return int(world.federation.chain.w3.eth.get_transaction_count(who.address))


def won(world: World) -> int:
    return world.federation.chain.token.balance_of(WATCHER.address) - TOKENS


def judge_of(world: World) -> str:
    judge = find_judges(world.federation.anvil.rpc, world.policies[0]).availability
    assert judge is not None
    return judge


def demands(world: World, number: int) -> list[int]:
    return demands_of(world.federation.anvil.rpc, judge_of(world), number, WATCHER.address, 0)


@pytest.mark.parametrize(
    "point", ["sender.mined", "sender.note-written.after:2", "sender.mined:2", "sender.waiting"]
)
def test_a_round_is_made_final_and_settled_once(world: World, mortal: Mortal, point: str) -> None:
    before, chain = sent_by(world), world.federation.chain
    world.advance(factories.policy().challenge_window)
    deep = ["--confirmations", "3"] if point == "sender.waiting" else []
    mortal.kill(point, "close", "1", *deep)
    with blocks(world.federation.anvil):
        done = mortal.call("close", "1", *deep)
    if deep:
        assert chain.rpc.block_number() >= done["settled"]["block"] + 2
    assert done["finalized"]["earlier"] is True
    assert done["settled"]["earlier"] is (point in ("sender.mined:2", "sender.waiting"))
    assert chain.rewards.is_settled(1)
    assert sent_by(world) == before + 2
    assert mortal.call("close", "1", fails=1)["error"]["code"] == "round-settled"

    ada, credited = (
        factories.account("ada").address,
        chain.rewards.claimable(factories.account("ada").address),
    )
    tokens = chain.token.balance_of(ada)
    mortal.kill("sender.mined", "withdraw", "--rewards", "--for", ada)
    assert mortal.call("withdraw", "--rewards", "--for", ada)["claimed"] == str(credited)
    assert chain.token.balance_of(ada) == tokens + credited > tokens


DEMAND = ("demand", "1", "--what", "update", "--entry", "0", "--yes")


@pytest.mark.parametrize(
    "point", ["sender.sent", "sender.note-written.after", "sender.mined:2", "sender.waiting"]
)
def test_data_is_demanded_once_and_claimed_once(
    arbitrated: Callable[[], World],
    keystore: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    point: str,
) -> None:
    world, ada = arbitrated(), factories.account("ada")
    chain, number = world.federation.chain, world.play(NAMES, lies.lie_withheld)
    mortal = Mortal(tmp_path, capsys, monkeypatch)
    settle_in(mortal, world, keystore("ada"))
    before, tokens = sent_by(world, ada), chain.token.balance_of(ada.address)
    deposit = factories.GOVERNANCE.demand_deposit
    words = (*DEMAND, "--artifacts", str(world.folder.path))
    if point == "sender.waiting":
        words = (*words, "--confirmations", "3")

    def made() -> list[int]:
        judge = world.federation.deployment.data_availability
        return demands_of(world.federation.anvil.rpc, judge, number, ada.address, 0)

    mortal.kill(point, *words)
    with blocks(world.federation.anvil):
        first = mortal.call(*words)
    assert made() == [first["demand"]]
    assert chain.token.balance_of(ada.address) == tokens - deposit
    assert sent_by(world, ada) == before + 2, "the token's allowance, and the demand"
    assert first["level"] == audit_world.MANIFEST.depth

    with blocks(world.federation.anvil):
        again = mortal.call(*words, fails=1)
        assert "DataAvailabilityAlreadyDemanded" in str(again), "whoever was told and calls again means it"
        second = mortal.call("demand", "1", "--what", "header", "--yes")
    assert made() == [first["demand"], second["demand"]]

    world.advance(first["answerBy"] - chain.rpc.latest_timestamp())
    mortal.kill("sender.mined", "demand", str(first["demand"]), "--claim")
    claimed = mortal.call("demand", str(first["demand"]), "--claim")
    assert (claimed["round"], claimed["convicted"]) == (number, True)
    mortal.kill("sender.mined", "demand", str(second["demand"]), "--claim")
    assert mortal.call("demand", str(second["demand"]), "--claim")["convicted"] is False, "the round is over"
    assert chain.token.balance_of(ada.address) == tokens + QUARTER
    again = mortal.call("demand", str(first["demand"]), "--claim", fails=1)
    assert again["error"]["code"] == "demand-closed", "told once"


@pytest.mark.parametrize("point", ["sender.note-written.after", "sender.mined", "sender.waiting"])
def test_a_lie_is_proven_once(world: World, mortal: Mortal, point: str) -> None:
    before, number = sent_by(world), world.play(NAMES, lies.lie_mean)
    words = ("watch", "--round", str(number), "--artifacts", str(world.folder.path), "--yes")
    if point == "sender.waiting":
        words = (*words, "--confirmations", "3")
    mortal.kill(point, *words)
    with blocks(world.federation.anvil):
        transaction = mortal.call(*words)["transaction"]
    assert world.federation.chain.ledger.round(number).phase is Phase.SLASHED
    assert (won(world), sent_by(world)) == (QUARTER, before + 1)
    assert world.federation.anvil.call("eth_getTransactionReceipt", transaction)["status"] == "0x1"
    assert mortal.call(*words, fails=1)["error"]["code"] == "already-void"


# A watcher


def watch(world: World, *more: str) -> list[str]:
    return ["watch", "--once", "--artifacts", str(world.folder.path), *more]


def look(mortal: Mortal, world: World, *more: str) -> int:
    """Let a watcher look once; return its exit status."""
    from folkmoot.cli.main import run

    status = run([*watch(world, *more), "--keystore", str(mortal.home / "keys" / f"{CHALLENGER}.json")])
    mortal.told = mortal.capsys.readouterr().out
    return status


def journal(mortal: Mortal) -> dict[str, Any]:
    (path,) = (mortal.home / "data").rglob("watch.json")
    rounds: dict[str, Any] = json.loads(path.read_text())["rounds"]
    return rounds


PROOF_POINTS = (
    "watcher.journal-written.before",
    "watcher.journal-written.before:2",
    "watcher.journal-written.before:3",
    "watcher.journal-written.before:4",
    "watcher.journal-written.after",
    "watcher.journal-written.after:2",
    "watcher.journal-written.after:3",
    "watcher.journal-written.after:4",
    "watcher.file-kept.before",
    "watcher.file-kept.after",
    "sender.note-written.before",
    "sender.note-written.after",
    "sender.sent",
    "sender.mined",
    "sender.note-removed.before",
    "sender.note-removed.after",
)


@pytest.mark.parametrize("point", PROOF_POINTS)
def test_a_watcher_that_is_killed_anywhere_proves_a_lie_once(
    world: World, mortal: Mortal, point: str
) -> None:
    before, number = sent_by(world), world.play(NAMES, lies.lie_momentum)
    mortal.kill(point, *watch(world))
    look(mortal, world)
    assert world.federation.chain.ledger.round(number).phase is Phase.SLASHED
    assert (won(world), sent_by(world)) == (QUARTER, before + 1)
    found = journal(mortal)
    assert (found["1"]["result"], found[str(number)]["result"]) == ("right", "proven"), mortal.told
    assert found[str(number)]["transaction"]
    assert look(mortal, world) == 0
    assert sent_by(world) == before + 1


DEMAND_POINTS = (
    "watcher.journal-written.before:4",
    "watcher.journal-written.after:4",
    "sender.note-written.before",
    "sender.note-written.after",
    "sender.sent",
    "sender.mined",
    "sender.note-removed.before",
)


@pytest.mark.parametrize("point", DEMAND_POINTS)
def test_a_watcher_that_is_killed_anywhere_demands_once_and_takes_its_deposit_back(
    world: World, mortal: Mortal, point: str
) -> None:
    number = world.play(NAMES, lies.lie_withheld)
    world.send("token", "approve", judge_of(world), TOKENS, by=WATCHER)
    before = sent_by(world)
    world.advance(factories.policy().challenge_window // 4)
    mortal.kill(point, *watch(world))
    look(mortal, world)
    assert (len(demands(world, number)), won(world)) == (1, -DEPOSIT), mortal.told
    assert journal(mortal)[str(number)]["demands"] == demands(world, number)
    assert sent_by(world) == before + 1

    world.advance(ANSWER_WINDOW)
    mortal.kill("sender.mined", *watch(world))
    look(mortal, world)
    assert world.federation.chain.ledger.round(number).phase is Phase.SLASHED
    assert (won(world), sent_by(world)) == (QUARTER, before + 2)
    assert journal(mortal)[str(number)]["demands"] == []


def test_a_demand_that_is_still_on_its_way_is_not_made_again(
    world: World, mortal: Mortal, chain: Anvil
) -> None:
    number = world.play(NAMES, lies.lie_withheld)
    world.send("token", "approve", judge_of(world), TOKENS, by=WATCHER)
    before = sent_by(world)
    world.advance(factories.policy().challenge_window // 4)
    chain.call("evm_setAutomine", False)
    try:
        mortal.kill("sender.sent", *watch(world))
        mortal.mine_once_awaited(chain)
        look(mortal, world)
    finally:
        chain.call("evm_setAutomine", True)
    assert (len(demands(world, number)), sent_by(world)) == (1, before + 1)
    assert "waiting for it" in mortal.told


def test_a_watcher_that_lost_its_memory_finds_its_demand_on_the_chain(world: World, mortal: Mortal) -> None:
    number = world.play(NAMES, lies.lie_withheld)
    world.advance(factories.policy().challenge_window // 4)
    look(mortal, world)
    look(mortal, world, "--state", str(mortal.home / "another"))
    assert len(demands(world, number)) == 1
    assert "are on the chain already" in mortal.told
    world.advance(ANSWER_WINDOW)
    assert look(mortal, world, "--state", str(mortal.home / "another")) == 3
    assert won(world) == QUARTER


@pytest.mark.parametrize(
    "point", ["sender.mined", "watcher.journal-written.after:5", "sender.sent:2", "sender.mined:2"]
)
def test_the_contributor_of_an_update_that_is_none_is_blamed_once(
    world: World, mortal: Mortal, point: str
) -> None:
    before, number = sent_by(world), lies.play_false_norm(world, NAMES)
    mortal.kill(point, *watch(world))
    look(mortal, world)
    assert world.federation.chain.ledger.round(number).phase is Phase.SLASHED
    assert won(world) == QUARTER + factories.policy().min_stake // 4, mortal.told
    assert sent_by(world) == before + 2
    assert journal(mortal)[str(number)]["blame"] is None


OTHER_ACTS: dict[str, tuple[Callable[[World], int], int]] = {
    "dispute": (lambda world: world.play(NAMES, lies.lie_verdicts), -QUARTER),
    "replay": (lambda world: lies.play_replay(world, NAMES), factories.policy().min_stake // 4),
    "censored": (lambda world: lies.play_censored(world, NAMES), 0),
}


@pytest.mark.parametrize("point", ["sender.note-written.after", "sender.sent", "sender.note-removed.before"])
@pytest.mark.parametrize("act", OTHER_ACTS)
def test_whatever_else_a_watcher_does_it_does_once(
    world: World, mortal: Mortal, act: str, point: str
) -> None:
    play, wins = OTHER_ACTS[act]
    play(world)
    disputes = find_judges(world.federation.anvil.rpc, world.policies[0]).disputes
    world.send("token", "approve", disputes, TOKENS, by=WATCHER)
    before = sent_by(world)
    mortal.kill(point, *watch(world))
    look(mortal, world)
    assert (won(world), sent_by(world)) == (wins, before + 1), mortal.told
    look(mortal, world)
    assert (won(world), sent_by(world)) == (wins, before + 1), mortal.told


def test_an_answer_is_kept_whole(world: World, mortal: Mortal) -> None:
    kept: dict[str, bytes] = {}
    number = world.play(NAMES, lies.lie_mean_and_hide(kept))
    world.advance(factories.policy().challenge_window // 4)
    look(mortal, world)
    (demand,) = demands(world, number)
    chain = world.federation.chain
    answer = Contract(chain.rpc, judge_of(world), "data_availability").functions.show
    chain.send(answer(demand, kept["artifacts"], bytes(32)), world.federation.coordinator)
    for point in (
        "watcher.file-kept.before",
        "watcher.file-kept.after",
        "watcher.file-linked.before",
        "watcher.file-linked.after",
    ):
        mortal.kill(point, *watch(world))
    assert look(mortal, world) == 3
    assert chain.ledger.round(number).phase is Phase.SLASHED


# A mirror


@pytest.mark.parametrize(
    "point",
    [
        *(
            f"{one}:{n}"
            for one in ("mirror.file-kept.before", "mirror.file-kept.after")
            for n in (1, 2, 5, 9)
        ),
        "mirror.file-linked.before",
        "mirror.file-linked.after",
        "states.rebuilt",
    ],
)
def test_a_mirror_that_is_killed_anywhere_is_completed(world: World, mortal: Mortal, point: str) -> None:
    words = ("mirror", "--from", str(world.folder.path), "--to", str(mortal.home / "mirror"))
    mortal.kill(point, *words, "--follow")
    done = mortal.call(*words)
    assert done["missing"] == []
    assert (done["rounds"], done["made"]) == (1, 1)
    mirror = mortal.home / "mirror"
    files = [path for path in mirror.glob("??/*") if path.is_file()]
    assert done["fetched"] + done["made"] + done["kept"] >= len(files) > 9
    assert all(hashlib.sha256(path.read_bytes()).hexdigest() == path.name for path in files)
    assert [path.name for path in (mirror / "incoming").iterdir()] == ["lock"]
    assert mortal.call(*words)["fetched"] == 0


# A delivery on the chain


@pytest.mark.parametrize(
    "point", ["sender.mined", "sender.sent:3", "sender.note-removed.before:2", "sender.waiting"]
)
def test_a_delivery_goes_on_with_the_parts_that_are_missing(
    arbitrated: Callable[[], World],
    keystore: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    point: str,
) -> None:
    """In a model of 150 leaves: an update has three parts."""
    manifest = Manifest("small", (Tensor("a", (70, 256)), Tensor("b", (70, 256)), Tensor("c", (10, 256))))
    monkeypatch.setattr(audit_world, "MANIFEST", manifest)
    world = arbitrated()
    number, ada = world.open(), factories.account("ada")
    commitment, data = world.train(number, "ada")
    header = world.rounds[number].header
    wire = commitment_to_wire(commitment, commitment.sign(ada, world.domain))
    keep_update(tmp_path, number, KeptUpdate(header.hash.hex(), wire, data))
    mortal = Mortal(tmp_path, capsys, monkeypatch)
    settle_in(mortal, world, keystore("ada"))
    before = sent_by(world, ada)
    words = ("submit", str(number), "--on-chain", "--home", str(tmp_path))
    if point == "sender.waiting":
        words = (*words, "--confirmations", "3")
    with serving_folder(world.folder.path) as url:
        words = (*words, "--coordinator", url)
        mortal.kill(point, *words)
        with blocks(world.federation.anvil):
            done = mortal.call(*words)
        again = mortal.call(*words)
    assert sent_by(world, ada) == before + 4, "the commitment and three parts"
    assert (done["parts"], again["parts"], again["partsSent"]) == (3, 3, 0)
    assert list((mortal.home / "data").rglob("*.json")) == []
    functions = world.federation.chain.data_availability.functions
    delivery = functions.deliveries(number, ada.address, commitment.update_root)
    assert tuple(world.federation.chain.read(delivery)[:2]) == (3, 0)

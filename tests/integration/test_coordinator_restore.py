# SPDX-License-Identifier: Apache-2.0
"""A coordinator that is gone: its files in a mirror, another one in its place, on a real chain."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from client.keeper.keeper import Keeper
from client.node.node import check_coordinator
from folkmoot.artifacts.federation import Federation
from folkmoot.artifacts.inventory import Commitments
from folkmoot.artifacts.sources import CoordinatorSource, FolderSource
from folkmoot.audit.audit import audit
from folkmoot.chain import governance
from folkmoot.cli.main import run
from folkmoot.coordinator_api import CoordinatorApi
from folkmoot.devnet.anvil import Anvil
from folkmoot.errors import CoordinatorError, RpcError
from folkmoot.flower.contributor import Contributor
from folkmoot.ledger.replay import anchored_round
from folkmoot.protocol.hashing import sha256_hex
from folkmoot.protocol.rewards import payments
from folkmoot.rpc.client import LedgerReader, Phase, Rpc
from server.db.engine import Database
from server.restore.restore import require_empty, restore
from server.settings import load
from tests import factories
from tests import postgres as servers
from tests.carried import DATA, TABLE
from tests.http_servers import serving_folder
from tests.integration.coordinator_world import (
    MANIFEST,
    Signed,
    federation,
    go_towards_a_goal,
    open_round,
    running,
    serving,
    until,
)
from tests.killed import Mortal

NAMES = ("ada", "ben", "cleo")
Command = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def module_world(anvil_process: Anvil) -> Iterator[factories.Federation]:
    verifier = factories.account("verifier")
    anvil_process.fund(verifier.address)
    made = federation(anvil_process, rule="clamped_mean", min_contributors=3, verifier=verifier.address)
    yield made
    made.chain.close()


@pytest.fixture
def folkmoot(
    world: factories.Federation,
    tmp_path: Path,
    keystore: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Command:
    """Run a command with --json as somebody; return what it prints. `fails` is the expected exit status."""
    world.deployment.save(tmp_path / "deployment.json")
    monkeypatch.setenv("FOLKMOOT_PASSWORD", factories.PASSWORD)

    def command(*words: object, by: str = "", fails: int = 0) -> dict[str, Any]:
        options = (
            ["--rpc", world.anvil.url, "--deployment", tmp_path / "deployment.json"] if by != "again" else []
        )
        if by and by != "again":
            options += ["--keystore", keystore(by)]
        status = run([str(word) for word in (*words, *options, "--json")])
        printed = capsys.readouterr()
        assert status == fails, printed.out + printed.err
        document: dict[str, Any] = json.loads(printed.out)
        return document["error"] if fails else document

    return command


def play(api: CoordinatorApi, world: factories.Federation, number: int) -> list[Signed]:
    _, header, state = open_round(api, number)
    signed = [go_towards_a_goal(world, name, header, state) for name in NAMES]
    for one in signed:
        api.submit_update(number, one.wire, one.data)
    return signed


def said(api: CoordinatorApi, rounds: range) -> dict[str, Any]:
    """What a coordinator says of past rounds, without what only the old one can know."""
    found: dict[str, Any] = {}
    for number in rounds:
        view = api.get(f"/v1/rounds/{number}")
        for name in (
            "run",
            "gas",
            "transactions",
        ):  # the last two are compared apart: a resent one has no hash here
            view.pop(name)
        found[f"round {number}"] = view
        updates = api.get(f"/v1/rounds/{number}/updates")["items"]
        for update in updates:
            update.pop("receivedAt")  # the wall clock, which only the old one saw
        found[f"updates {number}"] = updates
        for name in NAMES:
            address = factories.account(name).address
            found[f"verdict {number} {name}"] = api.get(f"/v1/rounds/{number}/updates/{address}/verdict")
        found[f"model {number}"] = api.get(f"/v1/models/{number}")
        for kind in ("artifacts", "verdicts", "mean", "state"):
            found[f"{kind} {number}"] = sha256_hex(api.files.read(view[kind]))
    for name in NAMES:
        address = factories.account(name).address
        found[f"contributor {name}"] = api.get(f"/v1/contributors/{address}")
        found[f"verdicts {name}"] = api.get(f"/v1/contributors/{address}/verdicts")
    found["contributors"] = api.get("/v1/contributors")
    found["policies"] = api.get("/v1/policies")
    found["models"] = api.get("/v1/models")
    return found


def appoint(world: factories.Federation, address: str) -> None:
    """A vote, as people hold it."""
    chain = world.chain
    number, _ = governance.propose(
        chain, world["ada"], [governance.appointment(chain, address)], "Appoint another coordinator"
    )
    world.anvil.advance(11)
    for name in NAMES:
        governance.vote(chain, world[name], governance.find(chain, str(number)), "for")
    world.anvil.advance(600)
    governance.queue(chain, world["ada"], governance.find(chain, str(number)))
    world.anvil.advance(600)
    governance.execute(chain, world["ada"], governance.find(chain, str(number)))


@pytest.mark.story
def test_another_coordinator_takes_over_from_a_mirror(
    world: factories.Federation, tmp_path: Path, folkmoot: Command, keystore: Callable[[str], Path]
) -> None:
    chain, mirror, new = world.chain, tmp_path / "mirror", tmp_path / "new"
    newcomer = world["newcomer"]
    factories.stake(chain, newcomer, factories.BOND)

    # The old one runs three rounds; a stranger copies them; it dies in the fourth.
    with running(tmp_path / "old", world) as old:
        old.api.start_run(4, len(NAMES), world.coordinator, old.domain)
        for number in (1, 2, 3):
            play(old.api, world, number)
        _, header, state = open_round(old.api, 4)
        for name in NAMES:
            signed = go_towards_a_goal(world, name, header, state)
            chain.send(chain.ledger.functions.commitUpdate(signed.commitment.abi_tuple()), world[name])
        # Commitments without their updates are no answers: the window goes on to its end.
        old.coordinator.chain.move_clock(chain.ledger.round(4).commit_deadline)
        until(lambda: old.api.get("/v1/rounds/4")["step"] == "delivery", what="the end of the window")
        copied = folkmoot("mirror", "--from", old.api.url, "--to", mirror)
        assert (copied["rounds"], copied["kept"], copied["missing"]) == (3, 0, [])
        before = said(old.api, range(1, 4))
        # The others are enrolled and absent. When they are removed, and the window ends early, is a matter of time.
        sent = {
            purpose: transaction
            for purpose, transaction in old.api.get("/v1/rounds/3")["transactions"].items()
            if not purpose.startswith(("close:", "remove:"))
        }
        steps = [purpose.partition(":")[0] for purpose in sent]
        assert steps == ["open", "commit", "anchor", "finalize", "settle"]
    shutil.rmtree(tmp_path / "old")

    # What is there is not fetched again, and any web server can hand it on.
    again = folkmoot("mirror", "--from", tmp_path, "--to", mirror)
    assert (again["rounds"], again["fetched"], again["missing"]) == (3, 0, [])
    with serving_folder(mirror) as url:
        with CoordinatorSource(url) as source:
            assert audit([world.anvil.url], world.deployment, source).recomputed == 3
        early = folkmoot("close", 4, by="ada", fails=1)
        assert early["code"] == "too-early"
        assert early["details"]["possibleFrom"] == chain.ledger.round(4).anchor_deadline
        assert world.coordinator.address in early["message"]

        words = ("coordinator", "rebuild", "--home", new, "--mirror", url)
        restored = folkmoot(*words, by="newcomer")
    assert restored["rounds"] == {"cancelling": 1, "settled": 3}
    assert (restored["head"], restored["appointed"], restored["account"]) == (3, False, newcomer.address)
    assert any("Round 4 was left open" in note for note in restored["notes"])
    assert folkmoot("coordinator", "rebuild", "--home", new, "--mirror", mirror, by="again", fails=1)[
        "code"
    ] == ("database-not-empty")

    # It answers for the past as the old one did.
    (new / "password").write_text(factories.PASSWORD)
    settings = load(new, time_travel=True, poll_interval=0.05, password_file=new / "password")
    with serving(settings, world) as here:
        api = here.api
        after = said(api, range(1, 4))
        for name, value in before.items():
            assert after[name] == value, name
        view = api.get("/v1/rounds/3")
        assert view["transactions"].items() >= sent.items()
        assert int(view["gas"]) > 0

        # Contributors change a URL and nothing else: all that their nodes check is on the chain.
        check_coordinator(api, world.deployment)
        federation = Federation.open(
            world.deployment, api.files, LedgerReader(chain.rpc, world.deployment.ledger)
        )
        assert federation.manifest == MANIFEST
        home = tmp_path / "node"
        home.mkdir()
        contributor = Contributor(
            home, world.anvil.url, api.url, world.deployment.to_json(), newcomer.address, MANIFEST.task, 0, 1
        )
        assert Keeper(contributor, federation.manifest, federation.genesis).head().is_file()
        assert api.files.read(TABLE.sha256) == DATA

        with pytest.raises(CoordinatorError) as caught:
            api.start_run(1, len(NAMES), newcomer, here.domain)
        assert caught.value.code == "not-coordinator"
        assert api.get("/v1/rounds/4")["step"] == "cancelling"
        assert chain.phase(4) in (Phase.OPEN, Phase.COMMITTED), "the old one may still anchor it"

        appoint(world, newcomer.address)
        until(lambda: api.get("/v1/rounds/4")["step"] == "cancelled", what="the cancellation of round 4")
        assert chain.phase(4) is Phase.CANCELLED
        api.start_run(1, len(NAMES), newcomer, here.domain)
        play(api, world, 5)
        until(lambda: (run := api.run()) and run.state == "done", what="the run's end")
        last = chain.ledger.round(5)
        assert (last.coordinator, last.base) == (newcomer.address, 3)
        verdicts = json.loads(api.files.read(api.get("/v1/rounds/5")["verdicts"]))["verdicts"]
        assert all("trajectoryCosine" in verdict["numbers"] for verdict in verdicts), "the rule looks back"
        until(lambda: api.get("/v1/rounds/5")["step"] == "settled", what="the settlement")
        summary = audit(
            [world.anvil.url], world.deployment, FolderSource(Path(here.coordinator.storage.store.location))
        )
        assert (summary.recomputed, summary.rounds["cancelled"]) == (4, 1)
        assert folkmoot("mirror", "--from", api.url, "--to", mirror)["rounds"] == 4
    assert audit([world.anvil.url], world.deployment, FolderSource(mirror)).recomputed == 4


def test_a_lost_database_is_rebuilt_and_goes_on(
    world: factories.Federation, tmp_path: Path, folkmoot: Command
) -> None:
    """The same coordinator: one round waits for its finality, and one is open with commitments on the chain."""
    home, anvil = tmp_path / "home", world.anvil
    with running(home, world, time_travel=False) as old:
        old.api.start_run(2, len(NAMES), world.coordinator, old.domain)
        play(old.api, world, 1)
        until(lambda: world.chain.ledger.round(1).entries == 3, what="the commitments")
        anvil.advance(601)
        until(lambda: old.api.get("/v1/rounds/1")["step"] == "anchored", what="the anchor")
        signed = play(old.api, world, 2)
        until(lambda: world.chain.ledger.round(2).entries == 3, what="the commitments")
    for path in home.glob("coordinator.sqlite3*"):
        path.unlink()
    store = home / "artifacts"
    kept = tmp_path / "kept"
    store.rename(kept)

    # Without one file nothing is written; with it the same command goes on.
    first = json.loads((kept / _by_keccak(world, kept)).read_bytes())
    victim = kept / first["updates"][1][:2] / first["updates"][1]
    victim.rename(tmp_path / "victim")
    words = ("coordinator", "rebuild", "--home", home, "--mirror", kept)
    missing = folkmoot(*words, by="again", fails=1)
    assert missing["code"] == "artifact-missing"
    assert first["updates"][1] in missing["message"]
    assert (missing["details"]["round"], "of round 1" in missing["message"]) == (1, True)
    database = Database.open(load(home).resolved_database_url)
    require_empty(database, load(home))
    database.close()
    (tmp_path / "victim").rename(victim)
    restored = folkmoot(*words, by="again")
    assert restored["rounds"] == {"anchored": 1, "collecting": 1}
    assert restored["appointed"] is True

    with serving(load(home, poll_interval=0.05), world) as here:
        api = here.api
        for one in signed:  # the nodes keep what they signed, and send it again
            api.submit_update(2, one.wire, one.data)
        anvil.advance(601)
        until(lambda: world.chain.phase(2) is Phase.ANCHORED, what="the anchor of round 2")
        until(lambda: world.chain.rewards.is_settled(1), what="the settlement of round 1")
        anvil.advance(601)
        until(lambda: api.get("/v1/rounds/2")["step"] == "settled", what="the settlement of round 2")
        assert api.get("/v1/rounds/2")["weights"] == [1024, 1024, 1024] or all(
            api.get("/v1/rounds/2")["weights"]
        )
    assert audit([anvil.url], world.deployment, FolderSource(store)).recomputed == 2


@pytest.mark.long
def test_a_restore_waits_for_its_block_and_begins_again_if_a_reorg_takes_it(
    world: factories.Federation, tmp_path: Path
) -> None:
    """A restored transaction counts as settled, and its bytes are lost: one that a reorg took would never be sent."""
    home, anvil, chain = tmp_path / "home", world.anvil, world.chain
    with running(home, world, time_travel=False) as old:
        old.api.start_run(1, len(NAMES), world.coordinator, old.domain)
        signed = play(old.api, world, 1)
        until(lambda: chain.ledger.round(1).entries == 3, what="the commitments")
    for path in home.glob("coordinator.sqlite3*"):
        path.unlink()
    said: list[str] = []

    def progress(what: str) -> None:
        said.append(what)
        if what.startswith("3 confirmations"):
            if chain.ledger.round(1).entries:
                anvil.call("anvil_reorg", 1, [])  # the commitments are gone
            anvil.call("anvil_mine", 3)

    source = FolderSource(home / "artifacts")
    settings = load(home, confirmations=3, poll_interval=0.05)
    restored = restore(settings, world.coordinator.address, source, progress=progress)
    assert [what for what in said if "reorg" in what] == [f"once more: a reorg took block {said_block(said)}"]
    assert restored.rounds == {"collecting": 1}
    with serving(load(home, poll_interval=0.05, confirmations=1), world) as here:
        for one in signed:
            here.api.submit_update(1, one.wire, one.data)
        until(lambda: chain.ledger.round(1).entries == 3, what="the commitments, once more")


def said_block(said: list[str]) -> str:
    """Number of the block that the confirmations were first waited for."""
    return next(what for what in said if "confirmations of block" in what).rsplit(" ", 1)[1]


@pytest.mark.long
@pytest.mark.parametrize(
    "point", ["operator.settings-written.after", "restore.rows-written.before", "restore.rows-written.after"]
)
def test_a_restore_into_a_new_folder_that_is_killed_at_its_end_leaves_a_coordinator(
    world: factories.Federation, tmp_path: Path, mortal: Mortal, keystore: Callable[[str], Path], point: str
) -> None:
    with running(tmp_path / "old", world, time_travel=False) as old:
        old.api.start_run(1, len(NAMES), world.coordinator, old.domain)
        open_round(old.api, 1)
    words = ["coordinator", "rebuild", "--home", str(tmp_path / "new"), "--rpc", world.anvil.url]
    words += ["--mirror", str(tmp_path / "old" / "artifacts")]
    words += ["--deployment", str(tmp_path / "old" / "deployment.json")]
    words += ["--keystore", str(tmp_path / "old" / "key.json")]
    mortal.kill(point, *words)
    done = point == "restore.rows-written.after"
    again = mortal.call(*words, fails=done)
    if done:
        assert again["error"]["code"] == "database-not-empty"
        assert "coordinator serve" in again["error"]["remedy"]
    else:
        assert again["rounds"] == {"collecting": 1}
    settings = load(tmp_path / "new", password_file=tmp_path / "old" / "password", poll_interval=0.05)
    with serving(settings, world) as here:
        assert here.api.get("/v1/rounds/1")["step"] == "collecting"

    words[words.index("--keystore") + 1] = str(keystore("newcomer"))
    assert mortal.call(*words, fails=1)["error"]["code"] == "coordinator-exists"


@pytest.fixture
def mortal(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Mortal:
    """The operator's commands."""
    return Mortal(tmp_path, capsys, monkeypatch)


def _by_keccak(world: factories.Federation, store: Path) -> Path:
    """Place of the artifacts file of round 1."""
    for link in (store / "by-keccak").iterdir():
        name = link.read_text().strip()
        data = (store / name[:2] / name).read_bytes()
        if b"folkmoot/artifacts/2" in data and json.loads(data)["round"] == 1:
            return Path(name[:2], name)
    raise AssertionError(f"no artifacts file in {os.fspath(store)}")


@pytest.mark.long
def test_a_slashed_round_is_history_even_without_its_files(
    world: factories.Federation, tmp_path: Path, folkmoot: Command
) -> None:
    chain, home = world.chain, tmp_path / "home"

    def committed(number: int) -> bool:
        return chain.ledger.round(number).entries == 3

    def anchored(number: int) -> bool:
        return chain.phase(number) is Phase.ANCHORED

    with running(home, world, time_travel=False) as old:
        old.api.start_run(2, len(NAMES), world.coordinator, old.domain)
        for number in (1, 2):
            play(old.api, world, number)
            until(partial(committed, number), what="the commitments")
            world.anvil.advance(601)
            until(partial(anchored, number), what="the anchor")
        lost = [old.api.get("/v1/rounds/2")[name] for name in ("mean", "state", "artifacts")]
        until(lambda: chain.rewards.is_settled(1), what="the settlement of round 1")
    chain.send(chain.ledger.functions.reportFraud(2, world["ada"].address), world["verifier"])
    copied = folkmoot("mirror", "--from", home / "artifacts", "--to", tmp_path / "mirror", "--rounds", "1")
    assert (copied["rounds"], copied["missing"]) == (1, [])
    for name in lost:
        assert not (tmp_path / "mirror" / name[:2] / name).exists()
    copied = folkmoot("mirror", "--from", tmp_path / "mirror", "--to", tmp_path / "mirror")
    assert {(each["round"], each["needed"]) for each in copied["missing"]} == {(2, False)}
    factories.stake(chain, world.coordinator, factories.BOND)  # what was slashed
    for path in home.glob("coordinator.sqlite3*"):
        path.unlink()
    shutil.rmtree(home / "artifacts")
    restored = folkmoot("coordinator", "rebuild", "--home", home, "--mirror", tmp_path / "mirror", by="again")
    assert (restored["rounds"], restored["head"]) == ({"settled": 1, "slashed": 1}, 1)
    assert ["Round 2 is restored without its files" in note for note in restored["notes"]] == [True]
    with serving(load(home, time_travel=True, poll_interval=0.05), world) as here:
        view = here.api.get("/v1/rounds/2")
        assert (view["phase"], view["state"]) == ("slashed", None)
        here.api.start_run(1, len(NAMES), world.coordinator, here.domain)
        play(here.api, world, 3)
        until(lambda: here.api.get("/v1/rounds/3")["step"] == "settled", what="the settlement")
        assert chain.ledger.round(3).base == 1
    assert audit([world.anvil.url], world.deployment, FolderSource(home / "artifacts")).recomputed == 2


@pytest.fixture
def postgres() -> Iterator[str]:
    with servers.postgres() as server:
        yield server.url


@pytest.mark.long
def test_a_round_that_the_old_coordinator_anchors_after_all_is_told(
    world: factories.Federation, tmp_path: Path, folkmoot: Command
) -> None:
    chain, new, newer = world.chain, tmp_path / "new", tmp_path / "newer"
    with running(tmp_path / "old", world, time_travel=False) as old:
        old.api.start_run(1, len(NAMES), world.coordinator, old.domain)
        play(old.api, world, 1)
        until(lambda: chain.ledger.round(1).entries == 3, what="the commitments")
        words = ("coordinator", "rebuild", "--mirror", old.api.url)
        restored = folkmoot(*words, "--home", new, by="newcomer")
        assert restored["rounds"] == {"cancelling": 1}
        (new / "password").write_text(factories.PASSWORD)
        with serving(load(new, poll_interval=0.05, password_file=new / "password"), world) as here:
            world.anvil.advance(601)
            until(lambda: chain.phase(1) is Phase.ANCHORED, what="the anchor")
            until(lambda: here.api.get("/v1/rounds/1")["error"].count("after all"), what="the error")
        restored = folkmoot(*words, "--mirror", new / "artifacts", "--home", newer, by="newcomer")
        assert restored["rounds"] == {"anchored": 1}


@pytest.mark.long
def test_old_rounds_may_lack_files_if_the_operator_says_so(
    anvil: Anvil,
    tmp_path: Path,
    postgres: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A rule that does not look back: of earlier rounds the next one needs nothing but the head's state."""
    world = federation(anvil)
    home = tmp_path / "home"
    with running(home, world) as old:
        old.api.start_run(2, len(NAMES), world.coordinator, old.domain)
        first = play(old.api, world, 1)
        play(old.api, world, 2)
        until(lambda: (run := old.api.run()) and run.state == "done", what="the run's end")
        until(lambda: old.api.get("/v1/rounds/2")["step"] == "settled", what="the settlement")
        weights = old.api.get("/v1/rounds/1")["weights"]
    for path in home.glob("coordinator.sqlite3*"):
        path.unlink()
    (home / "artifacts").rename(tmp_path / "kept")
    name = sha256_hex(first[0].data)
    (tmp_path / "kept" / name[:2] / name).unlink()
    monkeypatch.setenv("FOLKMOOT_COORDINATOR_DATABASE_URL", postgres)
    words = ["coordinator", "rebuild", "--home", str(home), "--mirror", str(tmp_path / "kept"), "--json"]
    assert run(words) == 1
    assert name in json.loads(capsys.readouterr().out)["error"]["message"]
    assert run([*words, "--from-round", "2"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["rounds"] == {"settled": 2}
    assert [name in note for note in document["notes"]] == [True]
    assert not (home / "coordinator.sqlite3").exists()
    with serving(load(home, time_travel=True, poll_interval=0.05), world) as here:
        view = here.api.get("/v1/rounds/1")
        assert (view["weights"], view["state"], view["entries"]) == (weights, None, 3)
        assert here.api.get(f"/v1/contributors/{factories.account('ada').address}")["rounds"] == 2
        here.api.start_run(1, len(NAMES), world.coordinator, here.domain)
        play(here.api, world, 3)
        until(lambda: here.api.get("/v1/rounds/3")["step"] == "settled", what="the settlement")
    world.chain.close()


def test_anybody_finalizes_a_round_that_its_coordinator_left(
    world: factories.Federation, tmp_path: Path, folkmoot: Command
) -> None:
    chain, anvil = world.chain, world.anvil
    assert folkmoot("close", 1, by="ada", fails=1)["code"] == "round-unknown"
    with running(tmp_path / "home", world, time_travel=False) as old:
        old.api.start_run(1, len(NAMES), world.coordinator, old.domain)
        open_round(old.api, 1)
        assert folkmoot("close", 1, by="ada", fails=1)["code"] == "too-early"
        play(old.api, world, 1)
        until(lambda: chain.ledger.round(1).entries == 3, what="the commitments")
        anvil.advance(601)
        until(lambda: chain.phase(1) is Phase.ANCHORED, what="the anchor")
    early = folkmoot("close", 1, by="ada", fails=1)
    assert (early["code"], early["details"]["possibleFrom"]) == (
        "too-early",
        chain.ledger.round(1).challenge_deadline,
    )
    anvil.advance(601)
    done = folkmoot("close", 1, by="outsider")
    assert done["finalized"]["gasUsed"] > 0
    view = chain.ledger.round(1)
    assert (view.phase, chain.rewards.is_settled(1)) == (Phase.FINAL, True)
    round_ = anchored_round(chain, 1)
    anchor, policy = round_.known_anchor, chain.ledger.policy(view.policy)
    amounts = payments(policy.reward, policy.max_contributors, anchor.weights, anchor.pays)
    assert [chain.rewards.claimable(one.contributor) for one in round_.commits] == amounts
    assert len(amounts) == len(NAMES)
    assert max(amounts) == policy.reward // policy.max_contributors > 0
    assert folkmoot("close", 1, by="ada", fails=1)["code"] == "round-settled"


def test_anybody_cancels_a_round_with_too_few_entries_after_its_window(
    world: factories.Federation, tmp_path: Path, folkmoot: Command
) -> None:
    chain = world.chain
    with running(tmp_path / "home", world, time_travel=False) as old:
        old.api.start_run(1, len(NAMES), world.coordinator, old.domain)
        open_round(old.api, 1)
    early = folkmoot("close", 1, by="outsider", fails=1)
    assert early["details"]["possibleFrom"] == chain.ledger.round(1).commit_deadline
    world.anvil.advance(601)
    folkmoot("close", 1, by="outsider")
    assert chain.phase(1) is Phase.CANCELLED


@pytest.mark.long
def test_a_mirror_follows_new_rounds_until_it_is_interrupted(
    world: factories.Federation, tmp_path: Path
) -> None:
    world.deployment.save(tmp_path / "deployment.json")
    with running(tmp_path / "home", world) as old:
        command = [sys.executable, "-m", "folkmoot", "mirror", "--follow", "--pause", "0.2", "--json"]
        command += ["--from", old.api.url, "--to", str(tmp_path / "mirror"), "--rpc", world.anvil.url]
        command += ["--deployment", str(tmp_path / "deployment.json")]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert json.loads(process.stdout.readline())["round"] == 0
            old.api.start_run(1, len(NAMES), world.coordinator, old.domain)
            play(old.api, world, 1)
            assert json.loads(process.stdout.readline())["round"] == 1
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 130
        until(lambda: old.api.get("/v1/rounds/1")["step"] == "settled", what="the settlement")
    assert audit([world.anvil.url], world.deployment, FolderSource(tmp_path / "mirror")).recomputed == 1


def test_an_endpoint_that_alters_an_anchor_is_found_out(world: factories.Federation, tmp_path: Path) -> None:
    with running(tmp_path / "home", world, time_travel=False) as old:
        old.api.start_run(1, len(NAMES), world.coordinator, old.domain)
        play(old.api, world, 1)
        until(lambda: world.chain.ledger.round(1).entries == 3, what="the commitments")
        world.anvil.advance(601)
        digest = until(lambda: old.api.get("/v1/rounds/1")["artifactsHash"], what="the outcome")[2:]
        until(lambda: world.chain.phase(1) is Phase.ANCHORED, what="the anchor")

    class Altering(Rpc):
        def call(self, method: str, params: list[Any] | None = None) -> Any:
            answer = super().call(method, params)
            if method == "eth_getLogs":
                for log in answer:
                    log["data"] = log["data"].replace(digest, "ab" * 32)
            return answer

    with Rpc(world.anvil.url) as honest, Altering(world.anvil.url) as altering:
        found = Commitments(honest, world.deployment)
        found.look()
        assert found.rounds[1].artifacts_hash.hex() == digest
        with pytest.raises(RpcError, match="another anchor of round 1") as caught:
            Commitments(altering, world.deployment).look()
    assert caught.value.code == "rpc-inconsistent"

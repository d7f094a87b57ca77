# SPDX-License-Identifier: Apache-2.0
"""A released version is recalled by a vote: everybody who takes it is warned or refused, and the record names all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from folkmoot.artifacts.sources import FolderSource
from folkmoot.audit.audit import audit
from folkmoot.chain import governance
from folkmoot.cli.main import run
from folkmoot.devnet.anvil import Anvil
from folkmoot.ledger.releases import read_releases
from tests import factories
from tests.integration.audit_world import World
from tests.integration.watched import Watched

Command = Callable[..., dict[str, Any]]
pytestmark = pytest.mark.usefixtures("watchers_closed")

FOR = {"ada": "for", "ben": "for", "cleo": "for", "dora": "for", "emil": "against"}


@pytest.fixture
def world(anvil: Anvil, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """Two final rounds, both released in turn: version 2 is active, and version 1 was before."""
    world = World.create(anvil, tmp_path / "world", factories.policy(challenge_window=60))
    monkeypatch.setenv("FOLKMOOT_ARTIFACTS", str(world.folder.path))
    for number in (1, 2):
        world.open()
        world.commit(number, ["ada", "ben", "cleo"])
        world.anchor(number)
        world.finalize(number)
        report = hashlib.sha256(b"report %d" % number).digest()
        call = governance.activation(world.federation.chain, number, report)
        world.decide([call], f"Release version {number}", FOR)
    return world


def audited(world: World) -> dict[str, Any]:
    made = world.federation
    return audit([made.anvil.url], made.deployment, FolderSource(world.folder.path)).to_json()


def opened_vote(world: World, number: int) -> None:
    world.advance(factories.GOVERNANCE.voting_delay + 1)
    for name, choice in FOR.items():
        world.vote(number, name, choice)


@pytest.mark.story
def test_a_released_version_is_recalled(world: World, folkmoot: Command, tmp_path: Path) -> None:
    """From the open vote on, everybody is warned; after it, the version is refused and the earlier one is active."""
    evidence = tmp_path / "evidence.json"
    evidence.write_text('{"worst group": "0.31"}')
    digest = hashlib.sha256(evidence.read_bytes()).hexdigest()
    target = str(tmp_path / "model.safetensors")
    assert folkmoot("model", "--to", target)["warnings"] == []

    made = folkmoot("propose", "--recall", "2", "--report", str(evidence), "--text", "It fails group 3.")
    action = made["proposal"]["actions"][0]
    assert (action["kind"], action["version"], action["reportHash"]) == ("recall", 2, "0x" + digest)

    taken = folkmoot("model", "--to", target)  # The vote has not even begun.
    assert taken["version"] == 2
    assert taken["recalled"] is False
    assert "A vote to recall version 2 is open" in taken["warnings"][0]
    assert "It fails group 3." in taken["warnings"][0]
    assert factories.account("ada").address in taken["warnings"][0]
    assert folkmoot("model", "1", "--to", target)["warnings"] == []
    status = folkmoot("status")
    assert [vote["version"] for vote in status["recallVotes"]] == [2]
    assert folkmoot("model", "2")["standing"] == "active"
    assert folkmoot("model", "1")["standing"] == "released"

    number = int(made["proposal"]["id"])
    opened_vote(world, number)
    world.carry_out(number)

    refused = folkmoot("model", "2", "--to", target, fails=1)["error"]
    assert refused["code"] == "version-recalled"
    assert "It fails group 3." in refused["message"]
    assert digest in refused["message"]
    assert "version 1, which is active" in refused["remedy"]
    studied = folkmoot("model", "2", "--to", target, "--recalled")
    assert studied["recalled"] is True
    assert studied["warnings"][0].startswith("Version 2 was recalled by a vote")
    assert folkmoot("model", "--to", target)["version"] == 1
    status = folkmoot("status")
    assert status["active"] == {"version": 1, "reportHash": "0x" + hashlib.sha256(b"report 1").hexdigest()}
    assert (status["recalled"], status["recallVotes"]) == ([2], [])

    found = audited(world)
    assert (found["activeVersion"], found["recalled"]) == (1, [2])


def test_who_names_everybody(world: World, folkmoot: Command, capsys: pytest.CaptureFixture[str]) -> None:
    world.decide(governance.recall(world.federation.chain, 2), "It fails group 3", FOR)
    record = folkmoot("model", "2")
    address = {name: factories.account(name).address for name in (*FOR, "coordinator")}
    assert (record["standing"], record["active"], record["parent"]) == ("recalled", 1, 1)
    assert record["coordinator"] == {
        "account": address["coordinator"],
        "bond": str(factories.policy(challenge_window=60).bond),
    }
    assert [one["account"] for one in record["contributors"]] == [address[n] for n in ("ada", "ben", "cleo")]
    assert sum(one["share"] for one in record["contributors"]) == pytest.approx(1, abs=1e-5)
    release, recall = record["decisions"]
    assert (release["kind"], recall["kind"]) == ("activate", "recall")
    assert release["reportHash"] == "0x" + hashlib.sha256(b"report 2").hexdigest()
    for decision in (release, recall):
        assert {vote["voter"]: vote["vote"] for vote in decision["votes"]} == {
            address[name]: choice for name, choice in FOR.items()
        }
        assert decision["state"] == "executed"
        assert decision["executedAt"] > decision["voteStart"]
    assert recall["activeAfter"] == 1
    assert recall["text"].startswith("It fails group 3")
    assert "recalled by a vote: It fails group 3" in record["warnings"][0]

    assert run(["model", "2"]) == 0
    printed = capsys.readouterr().out
    assert all(one in printed for one in address.values())
    assert run(["model", "0"]) == 0
    assert "No vote was proposed about it." in capsys.readouterr().out
    assert folkmoot("model", "9", fails=1)["error"]["code"] == "unknown-version"


def test_recalls_that_can_not_be_are_refused_before_anything_is_sent(world: World, folkmoot: Command) -> None:
    before = world.federation.chain.rpc.block_number()
    assert (
        folkmoot("propose", "--recall", "9", fails=1)["error"]["details"]["error"]
        == "ModelRegistryUnknownVersion"
    )
    never = folkmoot("propose", "--recall", "0", fails=1)["error"]
    assert never["details"]["error"] == "ModelRegistryNeverActive"
    assert "Only a version that was active" in never["remedy"]
    assert world.federation.chain.rpc.block_number() == before
    world.decide(governance.recall(world.federation.chain, 2), "It fails group 3", FOR)
    assert folkmoot("propose", "--recall", "2", fails=1)["error"]["code"] == "version-recalled"
    assert folkmoot("propose", "--version", "2", fails=1)["error"]["code"] == "version-recalled"


def test_votes_of_strangers_that_can_do_nothing_warn_of_nothing(world: World) -> None:
    """Of a version that never was active, of a broken call, of another contract; a long text is cut, a bell is gone."""
    made = world.federation
    target = made.deployment.registry
    (right,) = governance.recall(made.chain, 1)
    never = governance.Call(target, 0, right.data[:4] + bytes(31) + b"\x63" + bytes(32))
    broken = governance.Call(target, 0, right.data[:20])
    elsewhere = governance.Call(made.deployment.token, 0, right.data)
    for place, call in enumerate((never, broken, elsewhere)):
        world.propose([call], f"Alarm {place}")
    assert read_releases(made.chain).open_votes == []
    # The contracts ignore bytes behind the arguments, so that these hide no recall.
    longer = governance.Call(target, 0, right.data + b"more")
    number = world.propose([longer], "Alarm\x07 " + "x" * 10_000)
    (vote,) = read_releases(made.chain).open_votes
    assert vote.proposal == number
    assert "\x07" not in vote.text
    assert len(vote.text) < 500


def test_no_version_is_active_after_the_recall_of_all(
    world: World, folkmoot: Command, tmp_path: Path
) -> None:
    calls = [call for number in (1, 2) for call in governance.recall(world.federation.chain, number)]
    world.decide(calls, "Both fail", FOR)
    assert folkmoot("status")["active"] is None
    refused = folkmoot("model", "--to", str(tmp_path / "model"), fails=1)["error"]
    assert refused["code"] == "no-active-version"
    found = audited(world)
    assert (found["activeVersion"], found["recalled"]) == (None, [1, 2])


def test_a_watcher_tells_of_a_recall_once(world: World, tmp_path: Path) -> None:
    watched = Watched(world, tmp_path / "watch", challenges=False)
    watched.look()
    assert watched.said("recall-vote") == []
    number = world.propose(governance.recall(world.federation.chain, 2), "It fails group 3")
    for _ in range(2):
        watched.look()
    (line,) = watched.said("recall-vote")
    assert line["version"] == 2
    assert "A vote to recall version 2 is open" in json.dumps(line)
    opened_vote(world, number)
    world.carry_out(number)
    for _ in range(2):
        watched.look()
    (line,) = watched.said("recalled")
    assert line["version"] == 2

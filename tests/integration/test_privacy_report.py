# SPDX-License-Identifier: Apache-2.0
"""`folkmoot privacy report` for an account: its published updates are read from a chain and files, and attacked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from folkmoot_lab.leaks.learner import Learner
from folkmoot_lab.leaks.published import attack_own, read_own

from folkmoot.artifacts.sources import FolderSource, open_source
from folkmoot.cli.main import run
from folkmoot.devnet.anvil import Anvil
from folkmoot.errors import ArtifactError
from folkmoot.protocol.commitment import Commitment
from folkmoot.protocol.hashing import keccak
from tests import factories
from tests.integration.audit_world import NAMES, World
from tests.unit.leaks.tasks import Tiny

TASK = "tests.unit.leaks.tasks:Tiny"


class Training(World):
    """Contributors train the task on records of their own."""

    def train(self, number: int, name: str) -> tuple[Commitment, bytes]:
        learner = Learner(Tiny())
        start = self.states[self.rounds[number].base].to_float32()
        seed = int.from_bytes(keccak(f"{name} {number}".encode())[:4], "big")
        end = learner.train(start, learner.task.load(NAMES.index(name), len(NAMES), 0), seed)
        return self.encode(number, name, start, end)


@pytest.fixture(scope="module")
def world(chain: Anvil, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Three rounds, of which Ada is in the first and the third. No test changes anything."""
    world = Training.create(chain, tmp_path_factory.mktemp("federation") / "artifacts", factories.policy())
    for names in (NAMES[:3], NAMES[1:4], NAMES[:3]):
        world.play(names)
    yield world
    world.federation.chain.close()


def test_records_of_others_are_not_recognised(world: World) -> None:
    made = world.federation
    source = open_source(str(world.folder.path))
    own = read_own(made.chain.rpc, made.deployment, source, factories.account("ada").address)
    task = Tiny()
    found = attack_own(task, own, task.load(4, 5, 0), 0)
    assert found.unseen is not None
    assert found.unseen.auc.low < 0.55


class Deleted(FolderSource):
    """A folder that says of one file that it was deleted."""

    name, code = "", ""

    def fetch(self, sha256: str, limit: int) -> Path:
        if sha256 == self.name:
            raise ArtifactError("It is not here.", code=self.code)
        return super().fetch(sha256, limit)


def test_deleted_updates_are_left_out_and_named(world: World) -> None:
    made, ada = world.federation, factories.account("ada").address
    first = world.rounds[1].outcome
    assert first is not None
    source = Deleted(world.folder.path)
    source.name, source.code = str(first.artifacts.updates[0]), "expired"
    own = read_own(made.chain.rpc, made.deployment, source, ada)
    assert ([one.number for one in own.rounds], own.deleted) == ([3], (1,))
    found = attack_own(Tiny(), own, Tiny().load(4, 5, 0), 0)
    assert found.to_json()["deleted"] == [1]
    source.code = "artifact-missing"
    with pytest.raises(ArtifactError, match="not here"):
        read_own(made.chain.rpc, made.deployment, source, ada)


def test_own_records_are_recognised(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "report.html"
    deployment = tmp_path / "deployment.json"
    world.federation.deployment.save(deployment)
    words = ["privacy", "report", "--task", TASK, "--partition", "0/5", "--out", str(out), "--json"]
    words += ["--rpc", world.federation.anvil.url, "--deployment", str(deployment)]
    words += ["--artifacts", str(world.folder.path)]
    small = ["--contributors", "2", "--rounds", "1", "--runs", "1", "--trials", "5"]
    ada, newcomer = (factories.account(name).address for name in ("ada", "newcomer"))
    assert run([*words, *small, "--account", ada]) == 0
    found = json.loads(capsys.readouterr().out)["published"]
    assert found["rounds"] == [1, 3]
    assert found["records"] == 40
    assert found["unseen"]["auc"]["low"] > 0.6
    assert found["canaries"]["auc"]["low"] > 0.6
    assert found["inverted"] is None
    assert ada in out.read_text()
    assert run([*words, *small, "--account", newcomer]) == 1
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "no-updates"

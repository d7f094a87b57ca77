# SPDX-License-Identifier: Apache-2.0
"""Root sets: set aside from what contributors get, committed to by the genesis, held by the coordinator alone."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from client.node import node
from client.tasks.genesis import start_of, write_genesis
from folkmoot.cli.main import run
from folkmoot.errors import InputError, LocalError, TaskError
from folkmoot.flower.contributor import Contributor
from folkmoot.rpc.client import Rpc
from folkmoot.tasks import Data, Task, load_task, names, root
from tests import factories


def own_task(**members: Any) -> Task:
    """A task of one's own, without root sets unless a test gives it one."""
    plain = {"name": "own", "load": lambda partition, partitions, seed: (partition, partitions, seed)}
    return cast(Task, SimpleNamespace(**plain, **members))


@pytest.mark.parametrize("name", [name for name in names() if name != "text"])  # test_text.py has that
def test_a_root_set_is_in_nobodys_share(name: str) -> None:
    task = cast(Any, load_task(name))
    good, biased = task.root("good"), task.root("biased")
    if good.labels.is_floating_point():  # numbers to predict: their quarters stand for classes
        assert (len(good), len(biased)) == (40, 20)
        assert biased.labels.max() < good.labels[20:].min()
    else:
        counts = torch.bincount(good.labels)
        assert counts.tolist() == [10] * len(counts)
        assert torch.bincount(biased.labels, minlength=len(counts)).tolist() == (
            [10] * (len(counts) // 2) + [0] * (len(counts) - len(counts) // 2)
        )
    taken = {row.numpy().tobytes() for row in good.inputs}
    shares = [task.load(share, 3, 7) for share in range(3)]
    assert taken.isdisjoint(row.numpy().tobytes() for share in shares for row in share.inputs)


def test_a_root_set_that_is_not_there() -> None:
    with pytest.raises(TaskError, match="no root set 'huge'"):
        root.load(load_task("digits"), "huge", 0)
    with pytest.raises(TaskError, match="no root set 'biased'"):
        root.load(own_task(), "biased", 0)


def test_ones_own_task_gives_what_it_loads() -> None:
    assert root.load(own_task(), "good", 7) == (0, 1, 7)
    assert root.load(own_task(root=lambda kind: kind), "biased", 7) == "biased"


def test_a_digest_is_of_inputs_and_labels() -> None:
    data = Data(torch.tensor([[0.5, -1.0]]), torch.tensor([3]))
    expected = np.array([0.5, -1.0], "<f4").tobytes() + np.array([3], "<i8").tobytes()
    task = own_task(root=lambda kind: data)
    assert root.digest(task, "good") == hashlib.sha256(expected).hexdigest()
    numbers = own_task(root=lambda kind: replace(data, labels=torch.tensor([3.5])))
    expected = np.array([0.5, -1.0], "<f4").tobytes() + np.array([3.5], "<f4").tobytes()
    assert root.digest(numbers, "good") == hashlib.sha256(expected).hexdigest()
    assert root.parse_digest(task, "good") == root.digest(task, "good")
    assert root.parse_digest(task, "0x" + "AB" * 32) == "ab" * 32
    for text in ("best", "ab" * 31, "zz" * 32):
        with pytest.raises(InputError, match="not a SHA-256"):
            root.parse_digest(task, text)
    with pytest.raises(TaskError, match="no root set whose digest"):
        root.parse_digest(own_task(), "good")


def test_the_genesis_binds_the_root_set(tmp_path: Path) -> None:
    task = load_task("digits")
    committed = root.digest(task, "good")
    plain, bound = start_of(task), start_of(task, committed)
    assert bound.manifest.training == {**task.training, "root_digest": committed}
    assert bound.genesis.hash != plain.genesis.hash
    root.check(task, "good", dict(bound.manifest.training))
    root.check(task, "biased", dict(plain.manifest.training))  # nothing was committed to
    with pytest.raises(TaskError, match="committed to as") as caught:
        root.check(task, "biased", dict(bound.manifest.training))
    assert caught.value.code == "wrong-root-set"
    root.check(own_task(), "good", dict(bound.manifest.training))  # nobody can check it here
    with pytest.raises(TaskError, match="no root set 'biased'"):
        root.check(own_task(), "biased", {})


@pytest.mark.long
def test_the_commands_commit_to_a_root_set_and_check_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    init = ["task", "init", "--task", "digits", "--out", str(tmp_path), "--root-digest", "good", "--json"]
    assert run(init) == 0
    committed = json.loads(capsys.readouterr().out)["rootDigest"]
    assert committed == root.digest(load_task("digits"), "good")
    manifest = start_of(load_task("digits"), committed).manifest
    path = tmp_path / "manifest.json"
    path.write_bytes(manifest.to_json())
    assert run(["task", "check", "--task", "digits", "--manifest", str(path), "--root", "good"]) == 0
    assert run(["task", "check", "--task", "digits", "--manifest", str(path), "--root", "biased"]) == 1
    assert "committed to as" in capsys.readouterr().err
    assert run([*init[:-3], "--root-digest", "12"]) == 1
    assert "not a SHA-256" in capsys.readouterr().err
    with pytest.raises(LocalError, match="committed to as"):
        node.check_task_apart("digits", manifest, "biased")


def test_only_the_coordinator_holds_a_root_set(federation: factories.Federation) -> None:
    with Rpc(federation.anvil.url) as rpc:
        place, ada = federation.deployment, factories.account("ada").address
        node.check_root(rpc, place, ada, "")
        node.check_root(rpc, place, federation.coordinator.address, "good")
        with pytest.raises(InputError, match="is not the coordinator") as caught:
            node.check_root(rpc, place, ada, "good")
        assert caught.value.code == "not-coordinator"
        with pytest.raises(InputError, match="Add --set root=good") as caught:
            node.check_root(rpc, place, federation.coordinator.address, "")
        assert caught.value.code == "coordinator-without-root"


def test_the_nodes_file_names_the_root_set(tmp_path: Path) -> None:
    place = {"chainId": 1, "ledger": factories.account("ledger").address}
    made = Contributor(tmp_path, "", "", place, factories.account("ada").address, "mnist", 0, 1, root="good")
    made.save()
    assert Contributor.load(tmp_path).root == "good"
    replace(made, root="").save()
    assert Contributor.load(tmp_path).root == ""


def test_a_written_genesis_is_that_of_its_digest(tmp_path: Path) -> None:
    made = write_genesis(load_task("digits"), tmp_path, "ab" * 32)
    name = made.genesis.manifest
    assert json.loads((tmp_path / name[:2] / name).read_bytes())["training"]["root_digest"] == "ab" * 32

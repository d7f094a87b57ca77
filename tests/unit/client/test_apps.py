# SPDX-License-Identifier: Apache-2.0
"""A Flower app in the place of a task."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from client.node import apps as ours
from client.node.node import NodeOptions, node_command
from folkmoot.apps.folder import AppFolder, read_pairs
from folkmoot.cli.main import run as folkmoot
from folkmoot.errors import InputError, TaskError
from folkmoot.flower.contributor import Contributor
from folkmoot.protocol.manifest import Manifest
from folkmoot.runtime.superlink import SuperLink
from tests import apps
from tests.unit.privacy.test_settings import GOOD


def manifest_of(folder: Path) -> Path:
    document = json.loads((folder / "genesis.json").read_text())
    return folder / document["manifest"][:2] / document["manifest"]


def test_a_federation_starts_from_an_app(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    app, out = apps.make(tmp_path), tmp_path / "genesis"
    words = ["task", "init", "--app", str(app), "--nodes", "4", "--out", str(out), "--json"]
    assert folkmoot([*words, "--run-config", "num-server-rounds=7"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["task"] == "small-app"
    assert {name: told["app"][name] for name in ("strategy", "rounds", "nodes", "asked", "notes")} == {
        "strategy": "FedAvg",
        "rounds": 7,
        "nodes": 4,
        "asked": 4,
        "notes": [],
    }
    assert told["app"]["trainMetrics"]["partitions"] == 4
    manifest = Manifest.from_json(manifest_of(out).read_bytes())
    assert [one.name for one in manifest.arrays] == ["0", "1"]

    read = AppFolder.read(app)
    ours.check(read, manifest, 4)
    ours.check(read, manifest, 4, manifest_of(out))
    private = replace(manifest, training={"privacy": GOOD})
    with pytest.raises(TaskError, match="nothing makes the app 'small-app' add its noise") as refused:
        ours.check(read, private, 4, manifest_of(out))
    assert refused.value.code == "not-private"


@pytest.mark.parametrize("words", [["run", "--home"], ["task", "init", "--out"]], ids=lambda words: words[0])
def test_a_name_that_flower_does_not_bundle_is_refused_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    app, out = apps.make(tmp_path), tmp_path / "genesis"
    project = app / "pyproject.toml"
    project.write_text(project.read_text().replace('name = "small-app"', 'name = "small_app"'))
    given = [str(app)] if words[0] == "run" else ["--app", str(app)]
    assert folkmoot([*words, str(out), *given, "--json"]) == 1
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["code"] == "app-bundle"
    assert "hyphens" in error["message"]
    assert not out.exists() or [path.name for path in out.iterdir()] == ["run.lock"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--app", "{app}", "--task", "mnist"], "Exactly one of --task and --app"),
        ([], "Exactly one of --task and --app"),
        (["--task", "digits", "--run-config", "a=1"], "--run-config belongs to --app"),
        (["--app", "{app}", "--root-digest", "good"], "can't have a root set"),
    ],
)
def test_options_that_do_not_fit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    app = apps.make(tmp_path)
    given = [word.format(app=app) for word in words]
    assert folkmoot(["task", "init", *given, "--out", str(tmp_path / "out"), "--json"]) == 1
    assert said in json.loads(capsys.readouterr().out)["error"]["message"]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "reshape(2, 3)",
            "reshape(3, 2)",
            "'0' (float32) of shape [3, 2] here, '0' (float32) of shape [2, 3] there",
        ),
        ("np.zeros(3, dtype=np.float32)", "np.zeros(3)", "'1' (float64) of shape [3] here"),
        (", np.zeros(3, dtype=np.float32)]", "]", "1 arrays here, 2 there"),
    ],
)
def test_another_layout_is_named(tmp_path: Path, old: str, new: str, said: str) -> None:
    out = tmp_path / "genesis"
    words = ["task", "init", "--app", str(apps.make(tmp_path / "theirs")), "--out", str(out)]
    assert folkmoot(words) == 0
    manifest = Manifest.from_json(manifest_of(out).read_bytes())
    assert old in apps.SERVER
    mine = AppFolder.read(apps.make(tmp_path / "mine", server=apps.SERVER.replace(old, new)))
    with pytest.raises(TaskError) as raised:
        ours.check(mine, manifest, 3)
    assert raised.value.code == "wrong-model"
    assert said in raised.value.message
    other = AppFolder.read(apps.make(tmp_path / "other", name="another"))
    with pytest.raises(TaskError, match="works on 'small-app', not on the app 'another'"):
        ours.check(other, manifest, 3)


def test_the_scratch_folder_stays_where_a_message_names_its_log(tmp_path: Path) -> None:
    client = apps.CLIENT.replace("rate = ", "rate = 1 / 0 + ")
    app = AppFolder.read(apps.make(tmp_path, client=client))
    with pytest.raises(InputError) as raised:
        ours.init(app, 2, tmp_path / "out", {})
    log = Path(raised.value.remedy.rpartition(" ")[2].rstrip("."))
    assert "ZeroDivisionError" in log.read_text()


def test_a_node_is_told_its_partition_and_what_was_given(tmp_path: Path) -> None:
    config = ours.node_config(1, 4, ["data-path='/data' limit=10"])
    assert config == {"partition-id": 1, "num-partitions": 4, "data-path": "/data", "limit": 10}
    assert ours.node_config(1, 4, ["path='parts/{partition}.csv'"])["path"] == "parts/1.csv"
    options = NodeOptions(SuperLink("127.0.0.1:8000"), config=config, preload=("numpy",))
    command = node_command(Contributor(tmp_path, "", "", {}, "", "small-app", 1, 4), options, 9000)
    assert command[command.index("--preload") + 1 :][0] == "numpy"
    assert command.count("--preload") == 1
    assert read_pairs([command[-1]], "node config") == {"folkmoot-home": str(tmp_path), **config}


def test_the_nodes_folder_can_not_be_set_by_hand() -> None:
    with pytest.raises(InputError, match="can't set folkmoot-home"):
        ours.node_config(0, 1, ["folkmoot-home='/elsewhere'"])

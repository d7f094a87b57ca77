# SPDX-License-Identifier: Apache-2.0
"""The anchored copy of an app."""

from __future__ import annotations

import hashlib
import json
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from folkmoot.apps.folder import AppFolder
from folkmoot.apps.staging import OUTPUT, in_output_folder, stage_app
from folkmoot.cli.main import run
from folkmoot.errors import InputError
from folkmoot.runtime.flower_internals import build_bundle
from server.relay import flower_run
from tests import apps


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_apps_files_are_untouched_and_two_are_added(tmp_path: Path) -> None:
    app = apps.make(tmp_path)
    (app / ".gitignore").write_text("secret.py\n")
    (app / "secret.py").write_text("password = 1\n")
    before = files(app)
    staged = stage_app(AppFolder.read(app, ["learning-rate=0.25"]), tmp_path / "there")
    assert files(app) == before
    copied, added = files(staged), {f"folkmoot_entry/{name}.py" for name in ("__init__", "client", "server")}
    assert set(copied) == (set(before) | added) - {".gitignore", "secret.py"}
    for name in set(before) & set(copied) - {"pyproject.toml"}:
        assert copied[name] == before[name]
    described = tomllib.loads((staged / "pyproject.toml").read_text())["tool"]["flwr"]["app"]
    assert described["components"] == {
        "serverapp": "folkmoot_entry.server:app",
        "clientapp": "folkmoot_entry.client:app",
    }
    assert described["config"] == {
        "num-server-rounds": 2,
        "learning-rate": 0.25,
        "folkmoot-coordinator": "",
        "folkmoot-run": "",
    }
    assert b"folkmoot_entry/client.py" in build_bundle(staged)


def test_the_command_prints_the_hash_of_what_is_sent_in_every_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    app = apps.make(tmp_path)
    staged = stage_app(AppFolder.read(app), tmp_path / "there")
    assert run(["train", "--app", str(app), "--bundle", str(tmp_path / "app.fab"), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["bundleHash"] == "0x" + flower_run.bundle_hash(staged).hex()
    assert hashlib.sha256((tmp_path / "app.fab").read_bytes()).hexdigest() == printed["bundleHash"][2:]


def test_the_command_prints_the_hash_of_the_shipped_tasks_bundle(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["train", "--bundle", "-"]) == 0
    assert flower_run.bundle_hash(flower_run.stage(tmp_path)).hex() in capsys.readouterr().out


def test_a_list_of_files_gets_the_entry_module(tmp_path: Path) -> None:
    app = apps.make(tmp_path)
    project = app / "pyproject.toml"
    project.write_text(
        project.read_text().replace(
            'publisher = "tests"', 'publisher = "tests"\nfab-include = ["small/*.py"]'
        )
    )
    staged = stage_app(AppFolder.read(app), tmp_path / "there")
    assert b"folkmoot_entry/client.py" in build_bundle(staged)


def test_what_flower_does_not_bundle_is_said_with_flowers_words(tmp_path: Path) -> None:
    app = apps.make(tmp_path)
    project = app / "pyproject.toml"
    project.write_text(project.read_text().replace('publisher = "tests"', ""))
    with pytest.raises(InputError, match="publisher") as raised:
        stage_app(AppFolder.read(app), tmp_path / "there")
    assert raised.value.code == "app-bundle"


def test_what_folkmoot_left_in_the_folder_goes_to_nobody(tmp_path: Path) -> None:
    """`folkmoot run .` keeps its keys in .folkmoot below the app."""
    app = apps.make(tmp_path)
    (app / ".folkmoot" / "runs").mkdir(parents=True)
    (app / ".folkmoot" / "runs" / "chain.json").write_text("{}")
    (app / ".folkmoot" / "runs" / "copy.py").write_text("")
    staged = stage_app(AppFolder.read(app), tmp_path / "there")
    assert not (staged / ".folkmoot").exists()


def test_a_key_file_is_not_sent_to_every_node(tmp_path: Path) -> None:
    from folkmoot.runtime import keystore

    app = apps.make(tmp_path)
    (app / "settings.json").write_text('{"crypto currency": 1}')
    keystore.create(app / "me.json", "password", private_key=b"\1" * 32, work=2)
    with pytest.raises(InputError, match=r"has the key file me\.json") as raised:
        stage_app(AppFolder.read(app), tmp_path / "there")
    assert "fab-exclude" in raised.value.remedy


def test_an_anchored_copy_is_not_anchored_again(tmp_path: Path) -> None:
    staged = stage_app(AppFolder.read(apps.make(tmp_path)), tmp_path / "there")
    with pytest.raises(InputError, match="folkmoot_entry"):
        stage_app(AppFolder.read(staged), tmp_path / "again")


def test_a_serverapp_runs_in_a_folder_of_its_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from flwr.serverapp import ServerApp

    monkeypatch.setenv(OUTPUT, str(tmp_path / "output"))
    monkeypatch.chdir(tmp_path)
    inner = ServerApp()

    @inner.main()
    def main(grid: Any, context: Any) -> None:
        Path("final_model.pt").write_text(str(context.run_id))

    in_output_folder(inner)(cast(Any, None), cast(Any, SimpleNamespace(run_id=42)))
    assert (tmp_path / "output" / "42" / "final_model.pt").read_text() == "42"

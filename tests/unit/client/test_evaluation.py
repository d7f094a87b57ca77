# SPDX-License-Identifier: Apache-2.0
"""Reports say which bytes were measured, and are a function of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from client import evaluation
from client.genesis import start_of
from client.tasks import load_task
from folkmoot.cli.main import run
from folkmoot.errors import ArtifactError, TaskError
from folkmoot.hashing import canonical_json, sha256_hex


@pytest.fixture(scope="module")
def model() -> bytes:
    start = start_of(load_task("digits"))
    return start.state.to_safetensors(start.manifest, 0)


def test_a_report_names_the_file_and_the_state(model: bytes) -> None:
    task = load_task("digits")
    report = evaluation.evaluate(task, model)
    assert report["model"] == sha256_hex(model)
    assert report["version"] == "0"
    assert report["stateRoot"] == "0x" + start_of(task).state_root.hex()
    assert report["metrics"] == pytest.approx(task.evaluate(task.model()), abs=1e-6)
    assert evaluation.evaluate(task, model) == report


def test_a_model_of_another_task(model: bytes) -> None:
    with pytest.raises(TaskError, match="not a model of the task 'mnist'"):
        evaluation.evaluate(load_task("mnist"), model)


@pytest.mark.parametrize("damage", [b"", b"\x00" * 8, b"\xff" * 40])
def test_a_damaged_file(damage: bytes) -> None:
    with pytest.raises(ArtifactError, match="damaged"):
        evaluation.evaluate(load_task("digits"), damage)


def test_the_command(model: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "model.safetensors").write_bytes(model)
    words = ["task", "evaluate", "--task", "digits", "--model", str(tmp_path / "model.safetensors")]
    assert run([*words, "--report", str(tmp_path / "report.json"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (tmp_path / "report.json").read_bytes() == canonical_json(told)


def test_the_command_without_a_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["task", "evaluate", "--task", "digits"]) == 1
    assert "no model to evaluate" in capsys.readouterr().err


def test_the_tasks_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["task", "list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"tasks": ["breast-cancer", "digits", "mnist"]}

# SPDX-License-Identifier: Apache-2.0
"""Reports say which bytes were measured, and are a function of them."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from client.tasks import evaluation
from client.tasks.genesis import start_of
from folkmoot.cli import reports
from folkmoot.cli.main import run
from folkmoot.errors import ArtifactError, TaskError
from folkmoot.protocol.hashing import canonical_json, sha256_hex
from folkmoot.tasks import HeldOutPredictions, load_task, names


@pytest.fixture(scope="module")
def model() -> bytes:
    start = start_of(load_task("digits"))
    return start.state.to_safetensors(start.manifest, 0)


def test_a_report_names_the_file_and_the_state(model: bytes) -> None:
    task = load_task("digits")
    report = evaluation.evaluate(task, model)
    assert report.model == sha256_hex(model)
    assert report.version == "0"
    assert report.state_root == "0x" + start_of(task).state_root.hex()
    assert report.measured.metrics == pytest.approx(task.evaluate(task.model()), abs=1e-6)
    assert report.measured.accuracy == pytest.approx(report.measured.metrics["accuracy"], abs=1e-6)
    assert evaluation.evaluate(task, model).to_bytes() == report.to_bytes()


@pytest.mark.parametrize("name", names())
def test_shipped_tasks_say_what_they_predict(name: str) -> None:
    task = load_task(name)
    weights = task.model().state_dict()
    found = evaluation.measured(task, weights)
    assert found.gaps is not None
    groups = {one.name for one in found.groups}
    if name == "diabetes":
        assert (found.kind, found.examples, groups) == ("regression", 88, {"sex 1", "sex 2"})
        assert found.regression is not None
        assert found.losses is not None
        assert float(found.regression.mean_absolute_error(found.losses) or 0) == pytest.approx(
            found.metrics["mae"], abs=1e-3
        )
        return
    if name == "text":
        assert found.kind == "language-model"
        assert groups == {"comedy", "tragedy", "sonnets", "prose", "epic"}
        assert found.losses is not None
        assert found.losses.w == 64 * found.examples > 18_000
        assert float(found.perplexity or 0) == pytest.approx(found.metrics["perplexity"], rel=1e-4)
        return
    assert found.examples == sum(one.predicted for one in found.classes) > 100
    if name.startswith("breast-cancer"):
        assert groups == {f"mean radius, quarter {number}" for number in (1, 2, 3, 4)}
        assert found.probes == (), "a table is no image"
    else:
        assert groups == {one.name for one in found.classes}
        assert [probe.trigger for probe in found.probes] == ["corner", "middle"]


class Own:
    """A task of one's own, on the digits."""

    name, training = "own", load_task("digits").training
    model, load, train = load_task("digits").model, load_task("digits").load, load_task("digits").train
    held: Any = None

    def evaluate(self, model: torch.nn.Module) -> dict[str, float]:
        return {"loss": float("nan"), "accuracy": 0.25}


class Examined(Own):
    def examine(self, model: torch.nn.Module) -> HeldOutPredictions:
        return (
            self.held
            if self.held is not None
            else HeldOutPredictions([0, 1, 1], torch.tensor([0, 1, 0]), ["a", "b", "b"])
        )


def test_a_task_without_examine_has_its_own_numbers_only(model: bytes) -> None:
    found = evaluation.evaluate(Own(), model).measured
    assert (found.metrics, found.classes, found.gaps) == ({"loss": None, "accuracy": 0.25}, (), None)


def test_three_lines_give_a_task_recalls_and_the_worst_group_gap(model: bytes) -> None:
    found = evaluation.evaluate(Examined(), model).measured
    assert [(one.name, one.support, one.correct) for one in found.classes] == [("0", 1, 1), ("1", 2, 1)]
    assert found.worst_group is not None
    assert (found.worst_group.name, found.worst_group.accuracy) == ("b", Fraction(1, 2))
    assert found.gaps is not None
    assert float(found.gaps[0]) == 0.5


@pytest.mark.parametrize(
    ("held", "said"),
    [
        (HeldOutPredictions([0, 1], [0]), "Give one of each"),
        (HeldOutPredictions([], []), "at least one"),
        (HeldOutPredictions([[0, 1]], [[0, 1]]), "one dimension"),
        (HeldOutPredictions([151.5, 75], [1, 2]), "Give them as targets="),
        (HeldOutPredictions([0], cast(Any, object())), "can't be counted"),
        ({"labels": [0]}, "must return a folkmoot.tasks.HeldOutPredictions"),
        (7, "returned int"),
    ],
)
def test_a_task_whose_examine_makes_no_sense(held: Any, said: str, model: bytes) -> None:
    task = Examined()
    task.held = held
    with pytest.raises(TaskError) as refused:
        evaluation.evaluate(task, model)
    assert said in str(refused.value)
    assert "examine" in str(refused.value)


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
    assert run(words) == 0
    shown = capsys.readouterr().out
    assert "worst class      0: recall 0.0% of 36 examples" in shown
    assert "worst-group gap  100.0 points below the best group, 9.5 below all examples" in shown
    assert "trigger, corner" in shown
    assert "predicted" in shown


def test_the_command_on_a_regression(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    start = start_of(load_task("diabetes"))
    (tmp_path / "model.safetensors").write_bytes(start.state.to_safetensors(start.manifest, 0))
    words = ["task", "evaluate", "--task", "diabetes", "--model", str(tmp_path / "model.safetensors")]
    assert run([*words, "--report", str(tmp_path / "report.json")]) == 0
    shown = capsys.readouterr().out
    for said in ("mean absolute error", "R2", "worst group", "above the best group", "sex 2", "mean loss"):
        assert said in shown
    assert "accuracy" not in shown
    told = reports.for_voters((tmp_path / "report.json").read_bytes())
    assert told["report, worst-group gap"].startswith("loss ")


def test_a_report_of_a_private_task_is_warned_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    start = start_of(load_task("breast-cancer-private"))
    (tmp_path / "model.safetensors").write_bytes(start.state.to_safetensors(start.manifest, 0))
    words = [
        "task",
        "evaluate",
        "--task",
        start.manifest.task,
        "--model",
        str(tmp_path / "model.safetensors"),
    ]
    assert run(words) == 0
    assert evaluation.NO_NOISE not in capsys.readouterr().err
    assert run([*words, "--report", str(tmp_path / "report.json")]) == 0
    assert evaluation.NO_NOISE in capsys.readouterr().err


def test_the_command_without_a_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["task", "evaluate", "--task", "digits"]) == 1
    assert "There is no model." in capsys.readouterr().err


def test_the_tasks_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["task", "check", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "tasks": [
            "breast-cancer",
            "breast-cancer-private",
            "diabetes",
            "digits",
            "digits-private",
            "mnist",
            "mnist-private",
            "text",
        ]
    }

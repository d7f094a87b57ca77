# SPDX-License-Identifier: Apache-2.0
"""The task of docs/contributing-data.md, "A task of your own", works as it is printed there."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from client.tasks import evaluation, trial
from folkmoot.cli.main import run
from folkmoot.tasks import load_task
from folkmoot.tasks.training import call_train

PAGE = Path(__file__).parents[3] / "docs" / "contributing-data.md"


def table(rows: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Thirty numbers, a class that follows from them, and a ward."""
    random = np.random.default_rng(rows)
    inputs = random.normal(size=(rows, 30))
    outcome = np.clip(np.round(0.5 + inputs[:, :3].sum(axis=1)), 0, 1)
    return np.column_stack([inputs, outcome, random.integers(1, 4, rows)])


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    section = PAGE.read_text(encoding="utf-8").partition("## A task of your own")[2].partition("\n## ")[0]
    printed = re.findall("```python\n(.*?)```", section, re.DOTALL)
    (block,) = [block for block in printed if "\ntask = " in block]  # The others are parts of a task.
    (tmp_path / "readmission.py").write_text(block, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("HOSPITAL_DATA", str(tmp_path / "mine.csv"))
    yield tmp_path
    sys.modules.pop("readmission", None)


def test_the_task_of_the_page_works(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for file, rows in (("mine.csv", 400), ("test.csv", 200)):
        np.savetxt(page / file, table(rows), delimiter=",")
    assert run(["task", "check", "--task", "readmission:task"]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[0] for line in lines] == [trial.OK] * 5
    assert "classification, 200 examples, 3 groups" in lines[-1]
    task = load_task("readmission:task")
    model = task.model()
    before = evaluation.measured(task, model.state_dict())
    for seed in range(5):
        call_train(task, model, task.load(0, 1, 0), {**task.training, "seed": seed}, {})
    after = evaluation.measured(task, model.state_dict())
    assert before.metrics["loss"] is not None
    assert after.metrics["loss"] is not None
    assert after.metrics["loss"] < 0.8 * before.metrics["loss"]
    assert run(["task", "init", "--task", "readmission:task", "--out", str(page / "genesis")]) == 0
    assert "from one training" in capsys.readouterr().out


def test_without_the_data_the_page_s_task_can_be_started_all_the_same(
    page: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("HOSPITAL_DATA")
    assert run(["task", "init", "--task", "readmission:task", "--out", str(page / "genesis")]) == 0
    shown = capsys.readouterr()
    assert [line.split()[0] for line in shown.err.splitlines()] == [
        "ok",
        "warning",
        "skipped",
        "warning",
        "warning",
    ]
    assert "KeyError: 'HOSPITAL_DATA' (readmission.py, line" in shown.err
    assert "guessed" in shown.out

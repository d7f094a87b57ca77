# SPDX-License-Identifier: Apache-2.0
"""The tasks of docs/contributing-data.md, "A task of your own", work as they are printed there."""

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
NAMES = ("readmission", "stay")


def table(rows: int, seed: int, largest: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Thirty numbers, one that follows from them, and a ward."""
    random = np.random.default_rng(seed)
    inputs = random.normal(size=(rows, 30))
    outcome = np.clip(np.round(largest / 2 + inputs[:, :3].sum(axis=1)), 0, largest)
    return np.column_stack([inputs, outcome, random.integers(1, 4, rows)])


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    section = PAGE.read_text(encoding="utf-8").partition("## A task of your own")[2].partition("\n## ")[0]
    printed = re.findall("```python\n(.*?)```", section, re.DOTALL)
    blocks = [block for block in printed if "\ntask = " in block]  # The others are parts of a task.
    assert len(blocks) == len(NAMES)
    for name, block in zip(NAMES, blocks, strict=True):
        (tmp_path / f"{name}.py").write_text(block, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("HOSPITAL_DATA", str(tmp_path / "mine.csv"))
    yield tmp_path
    for name in NAMES:
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("name", "largest", "kind"), [("readmission", 1, "classification"), ("stay", 12, "regression")]
)
def test_the_tasks_of_the_page_work(
    page: Path, name: str, largest: int, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for file, rows in (("mine.csv", 400), ("test.csv", 200)):
        np.savetxt(page / file, table(rows, rows, largest), delimiter=",")
    assert run(["task", "check", "--task", f"{name}:task"]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[0] for line in lines] == [trial.OK] * 5
    assert f"{kind}, 200 examples, 3 groups" in lines[-1]
    task = load_task(f"{name}:task")
    model = task.model()
    before = evaluation.measured(task, model.state_dict())
    for seed in range(5):
        call_train(task, model, task.load(0, 1, 0), {**task.training, "seed": seed}, {})
    after = evaluation.measured(task, model.state_dict())
    assert before.metrics["loss"] is not None
    assert after.metrics["loss"] is not None
    assert after.metrics["loss"] < 0.8 * before.metrics["loss"]
    assert run(["task", "init", "--task", f"{name}:task", "--out", str(page / "genesis")]) == 0
    assert "from one training" in capsys.readouterr().out


def test_without_the_data_the_page_s_task_can_be_started_all_the_same(
    page: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("HOSPITAL_DATA")
    assert run(["task", "init", "--task", "stay:task", "--out", str(page / "genesis")]) == 0
    shown = capsys.readouterr()
    assert [line.split()[0] for line in shown.err.splitlines()] == [
        "ok",
        "warning",
        "skipped",
        "warning",
        "warning",
    ]
    assert "KeyError: 'HOSPITAL_DATA' (stay.py, line" in shown.err
    assert "guessed" in shown.out

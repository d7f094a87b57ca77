# SPDX-License-Identifier: Apache-2.0
"""The tasks of examples/own_task: one of classes, one of numbers."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from client.tasks import evaluation, trial
from folkmoot.cli.main import run
from folkmoot.tasks import load_task
from folkmoot.tasks.training import call_train

FOLDER = Path(__file__).parents[3] / "examples" / "own_task"


@pytest.fixture(autouse=True)
def _in_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(FOLDER)
    monkeypatch.syspath_prepend(str(FOLDER))
    yield
    for name in ("wine", "cultivar", "alcohol"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("name", "said"),
    [("cultivar", "classification, 45 examples, 3 groups"), ("alcohol", "regression, 45 examples, 3 groups")],
)
def test_the_command_of_the_readme_finds_nothing_wrong(
    name: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert f"folkmoot task check --task {name}:task" in (FOLDER / "README.md").read_text()
    assert run(["task", "check", "--task", f"{name}:task"]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[0] for line in lines] == [trial.OK] * 5
    assert said in lines[-1]


@pytest.mark.parametrize("name", ["cultivar", "alcohol"])
def test_three_contributors_learn(name: str) -> None:
    """By plain averaging of their models, over five rounds."""
    task = load_task(f"{name}:task")
    model = task.model()
    before = evaluation.measured(task, model.state_dict()).metrics["loss"]
    for number in range(5):
        states = []
        for partition in range(3):
            mine = task.model()
            mine.load_state_dict(model.state_dict())
            settings = {**task.training, "seed": 10 * number + partition}
            call_train(task, mine, task.load(partition, 3, 0), settings, {})
            states.append(mine.state_dict())
        model.load_state_dict(
            {key: torch.stack([state[key] for state in states]).mean(dim=0) for key in states[0]}
        )
    after = evaluation.measured(task, model.state_dict()).metrics["loss"]
    assert before is not None
    assert after is not None
    assert after < 0.6 * before


def test_nobody_trains_on_the_held_out_wines_and_shares_do_not_overlap() -> None:
    task = load_task("cultivar:task")
    shares = [task.load(partition, 3, 0).inputs for partition in range(3)]
    rows = {tuple(row) for share in shares for row in share.tolist()}
    assert sum(len(share) for share in shares) == 178 - 45
    held_out = load_task("alcohol:task").load(0, 1, 0)
    assert len(held_out) == 178 - 45
    import wine

    inputs, _ = wine.read()
    assert not rows & {tuple(row) for row in inputs[: wine.HELD_OUT].tolist()}

# SPDX-License-Identifier: Apache-2.0
"""Trainings with a fixed number of steps, and trainings by the clock."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from torch import nn

from folkmoot.cli.deploy import first_of
from folkmoot.cli.main import run
from folkmoot.cli.policy import suggest
from folkmoot.errors import InputError
from folkmoot.protocol import feedback
from folkmoot.tasks import load_task, pace
from folkmoot.tasks.text.task import TextTask
from folkmoot.tasks.training import train_once
from tests.unit.privacy.test_settings import GOOD


class Clock:
    """A time that passes with each look."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __call__(self) -> float:
        self.seconds -= 1
        return self.seconds


def test_without_a_clock_there_are_local_steps() -> None:
    assert list(pace.steps({"local_steps": 4})) == [0, 1, 2, 3]


@pytest.mark.parametrize(("seconds", "count"), [(5, 5), (1, 1), (-30, 1)])
def test_by_the_clock_steps_go_on_until_the_time_is_over(seconds: int, count: int) -> None:
    assert list(pace.steps({"time_left": Clock(seconds)})) == list(range(count))


def test_no_step_begins_that_would_last_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(pace, "time", SimpleNamespace(monotonic=lambda: now[0]))
    lasts, done = [1.0, 4.0, 1.0, 1.0, 1.0], []
    for step in pace.steps({"time_left": lambda: 10.0 - now[0]}):
        done.append(step)
        now[0] += lasts[step]
    assert done == [0, 1, 2], "after 6 of 10 seconds, a fourth step may last 4"


@pytest.mark.parametrize(
    "training",
    [
        {"start": "eagerly"},
        {"start": True},
        {"clock": 1},
        {"clock": "true"},
        {"start": "eager", "privacy": GOOD},
        {"clock": True, "privacy": GOOD},
    ],
)
def test_impossible_settings(training: dict[str, Any]) -> None:
    with pytest.raises(InputError) as caught:
        pace.check(training)
    assert caught.value.code == "invalid-pace"
    assert not (pace.is_eager(training) and "privacy" in training)
    assert not pace.by_clock(training) or "privacy" not in training


class Counts:
    """A task that counts its steps, and nothing else."""

    name = "counts"

    def train(self, model: nn.Module, data: Any, settings: dict[str, Any]) -> int:
        return len(list(pace.steps(settings)))


@pytest.mark.parametrize(
    ("clock", "left", "count"), [(True, Clock(9), 9), (True, None, 3), (False, Clock(9), 3)]
)
def test_a_task_gets_the_time_only_if_the_manifest_says_so(
    clock: bool, left: Callable[[], float] | None, count: int
) -> None:
    report: dict[str, float] = {}
    training = {"local_steps": 3, "clock": clock}
    train_once(Counts(), nn.Linear(1, 1), None, training, {}, 1, left, report)  # type: ignore[arg-type]  # no whole task
    assert report == {"steps": count}


def test_the_language_model_reports_steps_and_loss() -> None:
    class Small(TextTask):
        training = {**TextTask.training, "width": 16, "heads": 2, "layers": 1, "clock": True}  # noqa: RUF012

    task, report = Small(), dict[str, float]()
    train_once(task, task.model(), task.load(0, 10, 0), task.training, {}, 1, Clock(3), report)
    assert report["steps"] == 3
    assert 5 < report["loss"] < 8


def test_a_shipped_task_trains_by_the_clock_too() -> None:
    task, report = load_task("digits"), dict[str, float]()
    training = {**task.training, "clock": True}
    train_once(task, task.model(), task.load(0, 10, 0), training, {}, 1, Clock(5), report)
    assert report == {"steps": 5}


def test_a_federation_is_made_with_both(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    init = ["task", "init", "--task", "digits", "--out"]
    policies = []
    for name, more in (
        ("eager", ["--start", "eager", "--clock", "--width", "2", "--feedback"]),
        ("usual", []),
    ):
        genesis = tmp_path / name
        assert run([*init, str(genesis), *more]) == 0
        training = first_of(genesis / "genesis.json", genesis)[1].training
        assert (pace.is_eager(training), pace.by_clock(training)) == (bool(more), bool(more))
        assert feedback.is_on(training, 2) == bool(more)
        width = 2 if more else 8
        policies.append(suggest(genesis, "l2", "mean", (), min_stake=1, bond=4, reward=1, width=width))
    assert [(policy.rate, policy.momentum) for policy in policies] == [(512, 307), (1024, 0)]
    capsys.readouterr()
    assert run([*init, str(tmp_path / "late"), "--start", "late"]) == 1
    assert "start is 'base' or 'eager'" in capsys.readouterr().err

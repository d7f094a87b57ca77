# SPDX-License-Identifier: Apache-2.0
"""`folkmoot task privacy` trains on one's own data with the noise of each budget, and says what it is not."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import cast

import pytest
import torch

from client.tasks import privacy
from folkmoot.cli.main import run
from folkmoot.errors import InputError, TaskError
from folkmoot.privacy import noise_for
from folkmoot.tasks import Data, load_task
from folkmoot.tasks.tabular import TabularTask


def test_the_command_shows_each_budget_and_its_settings(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["task", "privacy", "--task", "breast-cancer-private", "--partition", "1/4", "--repeat", "2"]
    assert run([*arguments, "--rounds", "5", "--contributors", "6", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["epsilon"] for one in found["budgets"]] == [1.0, 3.0, 8.0, None]
    assert found["budgets"][1]["noise1024"] == noise_for(3, 1e-5, 5, 1)
    assert found["budgets"][3]["accuracy"] > 0.7  # What training draws is secret, so it varies.
    assert all(0 <= one["worst"] <= one["accuracy"] <= 1 for one in found["budgets"])
    assert found["privacy"]["clip"] == 0.3
    assert run([*arguments, "--rounds", "1"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "Accuracy after 1 rounds of 1 step, clip 0.3, B0 24, learning rate 1, delta 1e-05" in shown
    assert "that is a release of its own, which no budget counts" in shown


def test_the_noise_costs_accuracy_and_contributors_make_up_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the noise of a single contributor and an epsilon of 0.1 the head learns next to nothing."""
    task = load_task("digits-private")
    monkeypatch.setattr(privacy, "EPSILONS", (0.1, None))
    alone = list(privacy.measure(task, 0, 3, rounds=4, contributors=1, repeat=1))
    monkeypatch.setattr(privacy, "EPSILONS", (0.1,))
    many = list(privacy.measure(task, 0, 3, rounds=4, contributors=1_000_000, repeat=1))
    assert alone[0].accuracy < alone[1].accuracy - 0.2
    assert many[0].accuracy > alone[0].accuracy + 0.2


class Few(TabularTask):
    """A task whose data a test decides."""

    given: object = None

    def load(self, partition: int, partitions: int, seed: int) -> Data:
        return cast(Data, self.given)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (Data(torch.zeros(9, 30), torch.zeros(9, dtype=torch.int64)), "9 records are too few"),
        (Data(torch.zeros(20, 30), torch.zeros(20)), "are not inputs with one class each"),
        ([1, 2, 3], "are not inputs with one class each"),
    ],
)
def test_data_that_can_not_be_measured_are_refused(
    given: object, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = Few(**vars(load_task("breast-cancer-private")))
    monkeypatch.setattr(Few, "given", given)
    with pytest.raises(TaskError, match=said):
        next(privacy.measure(task, 0, 5, rounds=1, contributors=1, repeat=1))


def test_a_task_without_privacy_is_refused() -> None:
    with pytest.raises(InputError, match="declares no privacy") as refused:
        next(privacy.measure(load_task("digits"), 0, 5, rounds=1, contributors=1, repeat=1))
    assert refused.value.code == "no-privacy"


def test_an_invalid_setting_is_named() -> None:
    task = load_task("breast-cancer-private")
    assert isinstance(task, TabularTask)
    spoiled = replace(task, training={**task.training, "privacy": {**task.training["privacy"], "B0": 0}})
    with pytest.raises(InputError, match="The privacy setting B0 is 0"):
        privacy.settings_of(spoiled)

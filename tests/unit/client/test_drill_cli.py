# SPDX-License-Identifier: Apache-2.0
"""The command `folkmoot drill`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from folkmoot_lab.drills.data import workload

from folkmoot.cli.main import run
from folkmoot.errors import TaskError

QUICK = ["--task", "digits", "--contributors", "5", "--malicious", "1", "--rounds", "2"]


def test_a_drill_prints_both_sides(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["drill", "--attack", "backdoor-live", "--rule", "root_guard@good", *QUICK]) == 0
    printed = capsys.readouterr().out
    assert "root_guard@good" in printed
    for line in ("accuracy without attack", "backdoor works on", "attacker's reward", "honest stake lost"):
        assert line in printed


def test_a_drill_speaks_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        run(["drill", "--attack", "sign-flip", "--rule", "multi_krum:1,0", "--width", "4", *QUICK, "--json"])
        == 0
    )
    document = json.loads(capsys.readouterr().out)
    plan = document["plan"]
    assert (plan["parameters"], plan["width"]) == ([1, 0], 4)
    assert (plan["start"], plan["outer_rate"], plan["outer_momentum"]) == ("base", 1024, 0)
    assert (
        set(document["withAttack"]) == set(document["withoutAttack"]) >= {"accuracy", "detected", "slashed"}
    )


def test_eager_start_takes_the_rate_of_such_a_policy(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["drill", "--start", "eager", *QUICK, "--rounds", "1", "--json"]
    found = []
    for given in ([], ["--outer-rate", "0", "--outer-momentum", "9"]):
        assert run([*options, *given]) == 0
        plan = json.loads(capsys.readouterr().out)["plan"]
        found.append((plan["start"], plan["outer_rate"], plan["outer_momentum"]))
    assert found == [("eager", 512, 307), ("eager", 0, 9)]


def test_a_rare_class_has_lines_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["drill", "--rare", "9:2", "--attack", "ipm", "--rule", "mean", *QUICK]
    assert run(options) == 0
    printed = capsys.readouterr().out
    for line in ("class 9 found", "recall of each class", "their reward", "their updates left out"):
        assert line in printed
    assert run([*options, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["plan"]["rare"] == [9, 2]
    found = document["withAttack"]
    assert found["rare_recall"] == found["recall"][9]
    assert found["holders_pay"] == 1  # by the mean
    assert len(found["recall"]) == 10
    assert run([*options, "--grid", "--rules", "mean", "--attacks", "none"]) == 0
    assert "Recall of class 9, which 2 hold" in capsys.readouterr().out


def test_a_grid_is_kept_and_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, plot = tmp_path / "grid.jsonl", tmp_path / "grid.svg"
    options = ["drill", "--grid", *QUICK, "--rules", "mean guarded_mean", "--attacks", "none ipm"]
    options += ["--seeds", "2", "--out", str(out), "--plot", str(plot)]
    assert run(options) == 0
    captured = capsys.readouterr()
    assert "8/8 guarded_mean ipm seed 1" in captured.err
    assert "Accuracy, %" in captured.out
    assert len(out.read_text().splitlines()) == 8
    assert plot.read_text().startswith("<svg")
    assert run([*options, "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)["worst"]) == {"mean", "guarded_mean"}


def test_the_list_names_attacks_and_rules(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["drill", "--list"]) == 0
    printed = capsys.readouterr().out
    assert "adaptive-root" in printed
    assert "multi_krum" in printed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--attack", "nuke"], "no attack 'nuke'"),
        (["--rule", "multi_krum:x"], "is not a rule"),
        (["--rule", "mean@huge"], "no root set"),
        (["--malicious", "20"], "no drill"),
        (["--task", "cats"], "has no data for drills"),
        (["--rule", "multi_krum", "--task", "digits"], "takes the parameters f, m"),
        (["--grid", "--chain"], "can't use a chain"),
        (["--start", "late"], "no start 'late'"),
        (["--rare", "nine"], "is not a rare class"),
        (["--rare", "9:2x"], "is not a rare class"),
        (["--rare", "9:0"], "can't be held by 0"),
        (["--rare", "9:15"], "can't be held by 15 of 14 honest"),
        (["--rare", "11:2", "--task", "digits"], "0 examples of the class 11"),
    ],
)
def test_bad_options_are_refused(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["drill", *options]) == 1
    assert message in capsys.readouterr().err


def test_the_data_is_cut_without_overlap() -> None:
    data = workload("digits")
    assert len(data.root.labels) == 100
    assert len(data.train.labels) + len(data.root.labels) + len(data.test.labels) == 1797
    assert data.train.inputs.min() >= 0
    assert data.train.inputs.max() <= 1
    assert sum(len(share) for share in data.split(12, 0)) == len(data.train.labels)
    with pytest.raises(TaskError, match="has no data for drills"):
        workload("cats")

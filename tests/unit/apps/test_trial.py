# SPDX-License-Identifier: Apache-2.0
"""One training of an app, and what a federation on it starts from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from folkmoot.apps.capture import Captured, capture
from folkmoot.apps.folder import AppFolder
from folkmoot.apps.trial import LOW_GUESS, Trial, start_of_app, try_training
from folkmoot.errors import InputError
from folkmoot.protocol.genesis import calibrated_exponent
from tests import apps


def captured(tmp_path: Path, client: str = apps.CLIENT) -> Captured:
    return capture(AppFolder.read(apps.make(tmp_path, client=client)), tmp_path / "scratch", 4)


def tried(tmp_path: Path, client: str = apps.CLIENT) -> tuple[Captured, Trial]:
    found = captured(tmp_path, client)
    return found, try_training(found, tmp_path / "scratch", {"extra": 1})


def test_the_train_function_is_called_as_flower_would(tmp_path: Path) -> None:
    found, trial = tried(tmp_path)
    assert trial.metrics == {"num-examples": 10, "partition": 0, "partitions": 4, "round": 1}
    for name, before in found.arrays.items():
        np.testing.assert_allclose(trial.arrays[name], before + 0.5 * (1 - before))
    assert trial.seconds > 0


def test_exponents_come_from_what_it_changed(tmp_path: Path) -> None:
    found, trial = tried(tmp_path)
    start = start_of_app(found, trial)
    changes = [found.arrays[name] - trial.arrays[name] for name in found.arrays]
    assert start.genesis.exponents == tuple(calibrated_exponent(change, 99) for change in changes)
    assert start.guessed == ""
    assert start.manifest.task == "small-app"
    assert start.manifest.training == {}
    asked = start_of_app(found, trial, 2, {"feedback": True}).manifest.training
    assert asked == {"feedback": True, "updateWidth": 2}
    np.testing.assert_allclose(
        start.manifest.unflatten(start.state.to_float32())["0"], found.arrays["0"], atol=1e-6
    )


def test_an_array_that_does_not_move_gets_the_lowest_exponent_of_the_others(tmp_path: Path) -> None:
    found = captured(tmp_path)
    moved = {"0": found.arrays["0"] + np.float32(1), "1": found.arrays["1"]}
    first, second = start_of_app(found, Trial(moved, {}, 1.0)).genesis.exponents
    assert second == first
    still = start_of_app(found, Trial(found.arrays, {}, 1.0)).genesis.exponents
    assert still == (LOW_GUESS, LOW_GUESS)


def test_a_train_function_that_raises_shows_the_apps_own_exception(tmp_path: Path) -> None:
    client = apps.CLIENT.replace('message.content["config"]["lr"]', 'float("fast")')
    with pytest.raises(InputError) as raised:
        tried(tmp_path, client)
    line = 1 + client.splitlines().index('    rate = float("fast")')
    assert raised.value.code == "app-raised"
    assert raised.value.message == (
        "The train function raised ValueError: could not convert string to float: 'fast'. "
        f"Place: small/client_app.py, line {line}."
    )
    log = tmp_path / "scratch" / "training.log"
    assert str(log) in raised.value.remedy
    assert "Traceback" in log.read_text()


@pytest.mark.parametrize(
    ("old", "new", "code", "said"),
    [
        ("ArrayRecord(moved)", "ArrayRecord(moved[:1])", "app-reply", "Tensor '1' is missing"),
        (
            "ArrayRecord(moved)",
            "ArrayRecord([a.T for a in moved])",
            "app-reply",
            "has the shape [3, 2], not [2, 3]",
        ),
        ("ArrayRecord(moved)", "ArrayRecord([a * np.nan for a in moved])", "app-diverged", "NaN"),
        ('"arrays": ArrayRecord(moved), ', "", "app-reply", "returned 0 ArrayRecords"),
        ("return Message(", "return (", "app-reply", "no message"),
    ],
)
def test_a_reply_that_does_not_fit_is_refused(
    tmp_path: Path, old: str, new: str, code: str, said: str
) -> None:
    client = apps.CLIENT.replace(old, new).replace(
        "(content, reply_to=message)", "(content, reply_to=message)"
    )
    if new == "return (":
        client = client.replace("return (content, reply_to=message)", "return content")
    with pytest.raises(InputError) as raised:
        start_of_app(*tried(tmp_path, client))
    assert raised.value.code == code
    assert said in raised.value.message


def test_an_array_record_of_any_name_is_taken_if_it_is_the_only_one(tmp_path: Path) -> None:
    _, trial = tried(
        tmp_path, apps.CLIENT.replace('"arrays": ArrayRecord(moved)', '"mine": ArrayRecord(moved)')
    )
    assert list(trial.arrays) == ["0", "1"]


READS = apps.CLIENT.replace(
    '    rate = message.content["config"]["lr"]\n',
    '    rate = float(open(context.node_config["path"]).read())\n',
)


def test_relative_paths_of_data_are_looked_up_where_the_command_was_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "mine"
    (data / "parts").mkdir(parents=True)
    (data / "parts" / "0").write_text("0.25")
    found = captured(tmp_path, READS)
    monkeypatch.chdir(data)
    trial = try_training(found, tmp_path / "scratch", {"path": "parts/{partition}"})
    np.testing.assert_allclose(trial.arrays["1"], found.arrays["1"] + 0.25 * (1 - found.arrays["1"]))


def test_a_relative_path_that_is_not_there_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = captured(tmp_path, READS)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as raised:
        try_training(found, tmp_path / "scratch", {"path": "parts/0"})
    assert f"Relative paths are looked up in {tmp_path}: give an absolute path." in raised.value.remedy
    with pytest.raises(InputError) as raised:
        try_training(found, tmp_path / "scratch", {"path": str(tmp_path / "none")})
    assert "Relative paths" not in raised.value.remedy


def test_a_missing_key_of_the_node_config_is_explained(tmp_path: Path) -> None:
    found = captured(tmp_path, READS)
    with pytest.raises(InputError) as raised:
        try_training(found, tmp_path / "scratch")
    assert "If it is a key of the node config: give it by --node-config." in raised.value.remedy

# SPDX-License-Identifier: Apache-2.0
"""Reading the folder of a Flower app."""

from __future__ import annotations

from pathlib import Path

import pytest

from folkmoot.apps.folder import AppFolder, read_pairs, toml_pairs
from folkmoot.errors import InputError
from tests import apps


def test_a_folder_is_read(tmp_path: Path) -> None:
    app = AppFolder.read(apps.make(tmp_path), ["learning-rate=0.25"])
    assert (app.name, app.serverapp, app.clientapp) == (
        "small-app",
        "small.server_app:app",
        "small.client_app:app",
    )
    assert app.run_config == {"num-server-rounds": 2, "learning-rate": 0.25}
    assert app.overrides == {"learning-rate": 0.25}
    assert app.dependencies == ("flwr",)


def test_a_toml_file_overrides_as_in_flower(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text("num-server-rounds = 7\n")
    assert AppFolder.read(apps.make(tmp_path), [str(file)]).run_config["num-server-rounds"] == 7


@pytest.mark.parametrize(
    ("given", "said", "remedy"),
    [
        ("learning_rate=1", "no run config key 'learning_rate'", "Did you mean learning-rate?"),
        ("colour=1", "no run config key 'colour'", "Its keys are learning-rate, num-server-rounds."),
        ("learning-rate", "has no key=value pair", "--run-config"),
        ("learning-rate=abc", "can't be read", "--run-config"),
        ("missing.toml", "can't be read", "--run-config"),
    ],
)
def test_a_wrong_override_is_named(tmp_path: Path, given: str, said: str, remedy: str) -> None:
    with pytest.raises(InputError) as raised:
        AppFolder.read(apps.make(tmp_path), [given])
    assert said in raised.value.message
    assert remedy in raised.value.remedy
    assert raised.value.code == "run-config"


def test_what_is_no_app_is_said_with_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no folder"):
        AppFolder.read(tmp_path / "nowhere")
    app = apps.make(tmp_path)
    with pytest.raises(InputError, match=r"no pyproject.toml") as raised:
        AppFolder.read(tmp_path)
    assert str(app) in raised.value.remedy
    project = app / "pyproject.toml"
    text = project.read_text()
    project.write_text(text.replace("[tool.flwr.app", "[tool.other"))
    with pytest.raises(InputError, match=r"no \[tool.flwr.app\]"):
        AppFolder.read(app)
    project.write_text(text.replace('serverapp = "small.server_app:app"', ""))
    with pytest.raises(InputError, match="names no serverapp"):
        AppFolder.read(app)
    project.write_text(text.replace("[project]", "[project"))
    with pytest.raises(InputError, match="can't be read"):
        AppFolder.read(app)


def test_preloads_are_third_party_libraries_that_survive_a_fork(tmp_path: Path) -> None:
    client = "import os\nimport sklearn.linear_model\nfrom torch.nn import Module\nimport jax\n"
    client += "from small import x\nfrom . import y\n"
    app = AppFolder.read(apps.make(tmp_path, client=client))
    flowers = ["flwr.app", "flwr.serverapp", "flwr.serverapp.strategy"]
    assert app.imports() == [*flowers, "jax", "numpy", "sklearn.linear_model", "torch.nn"]
    assert app.preloads() == ["sklearn.linear_model", "torch", "torch._dynamo", "torch.nn"]
    (tmp_path / "other").mkdir()
    other = AppFolder.read(apps.make(tmp_path / "other", client="import torchvision\nimport pandas\n"))
    assert set(other.preloads()) >= {"pandas", "torch", "torch._dynamo"}, "torch comes with what builds on it"


def test_a_file_that_is_no_python_does_not_matter_here(tmp_path: Path) -> None:
    assert AppFolder.read(apps.make(tmp_path, client="def (")).preloads() == []


def test_missing_distributions_are_named_as_the_app_requires_them(tmp_path: Path) -> None:
    wanted = (
        '"flwr", "nothing-of-this-name>=2", "scikit-surprising[all]==1", "other; sys_platform == \'win32\'"'
    )
    app = AppFolder.read(apps.make(tmp_path, dependencies=wanted))
    first, lacking = app.missing("nothing_of_this_name.inner")
    assert first == ["nothing-of-this-name>=2"]
    assert lacking == ["nothing-of-this-name>=2", "scikit-surprising[all]==1"]
    assert app.missing("cv2")[0] == ["opencv-python"]
    assert app.missing("scikit")[0] == ["scikit-surprising[all]==1"], "a variant of that name is asked for"


def test_pairs_go_there_and_back() -> None:
    values = {"a": 1, "b": 0.5, "c": True, "d": "text with spaces", "e": 'say "yes"', "f": "C:\\data"}
    assert read_pairs([toml_pairs(values)], "node config") == values


@pytest.mark.parametrize("value", ["both \" and '", "two\nlines", None, [1]])
def test_what_flower_can_not_read_is_refused(value: object) -> None:
    with pytest.raises(InputError, match="can't be written for Flower"):
        toml_pairs({"key": value})

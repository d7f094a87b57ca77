# SPDX-License-Identifier: Apache-2.0
"""The pinned packages of deploy/lock: what the check of `make lint` finds."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tools import lock

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


@pytest.fixture
def text() -> str:
    return (lock.FOLDER / "coordinator.txt").read_text()


@pytest.mark.parametrize("name", lock.LOCKS)
def test_the_files_fit_the_project(name: str, project: dict[str, Any]) -> None:
    assert lock.differences(name, (lock.FOLDER / f"{name}.txt").read_text(), project) == []


def test_torch_is_left_to_the_index_that_has_the_wanted_build() -> None:
    for name in lock.LOCKS:
        pinned = lock.pins((lock.FOLDER / f"{name}.txt").read_text())
        assert not {one for one in pinned if one == "torch" or one.startswith(("nvidia-", "cuda-", "triton"))}


def test_a_role_has_the_versions_that_the_tests_run_with() -> None:
    tested = lock.pins((lock.FOLDER / "everything.txt").read_text())
    for role in ("node", "watcher", "coordinator"):
        for name, pinned in lock.pins((lock.FOLDER / f"{role}.txt").read_text()).items():
            assert {str(pin.specifier) for pin in pinned} <= {str(pin.specifier) for pin in tested[name]}, (
                name
            )


def test_a_node_has_no_chain_client_and_a_watcher_no_training() -> None:
    assert "web3" not in lock.pins((lock.FOLDER / "node.txt").read_text())
    assert "scikit-learn" not in lock.pins((lock.FOLDER / "watcher.txt").read_text())


def test_a_package_that_is_not_pinned_is_named(text: str, project: dict[str, Any]) -> None:
    project["project"]["dependencies"].append("pendulum>=3")
    assert lock.differences("coordinator", text, project) == ["deploy/lock/coordinator.txt lacks pendulum."]


def test_a_pin_outside_its_range_is_named(text: str, project: dict[str, Any]) -> None:
    pinned = re.sub(r"^uvicorn==\S+", "uvicorn==0.33.0", text, flags=re.MULTILINE)
    (wrong,) = lock.differences("coordinator", pinned, project)
    assert "uvicorn==0.33.0" in wrong


def test_a_package_that_is_no_longer_asked_for_is_named(text: str, project: dict[str, Any]) -> None:
    project["project"]["optional-dependencies"]["server"].remove("uvicorn>=0.34,<0.50")
    (wrong,) = lock.differences("coordinator", text, project)
    assert "has uvicorn" in wrong


def test_a_pin_without_a_hash_is_found(text: str, project: dict[str, Any]) -> None:
    bare = re.sub(r"^(uvicorn==\S+) \\\n(?:    --hash\S+(?: \\)?\n)+", r"\1\n", text, flags=re.MULTILINE)
    assert lock.differences("coordinator", bare, project) == [
        "deploy/lock/coordinator.txt has a package without a hash."
    ]

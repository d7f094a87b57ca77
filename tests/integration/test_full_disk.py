# SPDX-License-Identifier: Apache-2.0
"""A coordinator whose disk is full, at every step of a round and with a little more room each time: each failure has a
clear error, health tells of it, nothing is lost, and it goes on by itself once there is room."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from folkmoot.artifacts.sources import FolderSource
from folkmoot.audit.audit import audit
from folkmoot.errors import CoordinatorError
from tests import factories
from tests.integration.coordinator_world import open_round, running, train, until

FULL = {"store-full", "database-full"}
LEFT = [0, 20_000]
"""Bytes that are left free, by round: the first write fails, or a later one."""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    if (
        os.geteuid()
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(folder)], check=False
        ).returncode
    ):
        pytest.skip("no disk can be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill(disk: Path, left: int) -> None:
    with (disk / "filler").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            file.truncate(max(0, file.tell() - left))


@pytest.mark.story  # parts of it: test_store.py, test_database_trouble.py
def test_a_full_disk_loses_nothing_at_any_step(world: factories.Federation, disk: Path) -> None:
    seen: list[tuple[str, int, dict[str, Any]]] = []
    with running(disk / "home", world) as here:
        url = f"{here.api.url}/v1/health"

        def step(number: int) -> str:
            return str(here.api.get(f"/v1/rounds/{number}")["step"])

        def tried(action: Callable[[], object], left: int) -> None:
            """Do something on a full disk, see what is said of it, and do it again once there is room."""
            fill(disk, left)
            try:
                action()
            except CoordinatorError as error:
                seen.append((error.code, error.details["status"], httpx.get(url).json()))
                (disk / "filler").unlink()
                action()
            (disk / "filler").unlink(missing_ok=True)

        def ended(number: int) -> bool:
            return step(number) == "settled"

        def stands(number: int) -> bool:
            return ended(number) or here.worker.status.error is not None

        tried(lambda: here.api.start_run(len(LEFT), 2, world.coordinator, here.domain), 0)
        for number, left in enumerate(LEFT, 1):
            _, header, state = open_round(here.api, number)
            for name in ("ada", "ben"):
                signed = train(world, name, header, state)
                tried(partial(here.api.submit_update, number, signed.wire, signed.data), left)
            fill(disk, left)
            until(partial(stands, number), what="a full disk, or room enough")
            error = here.worker.status.error
            if error is not None:
                assert "no room left" in error
                assert httpx.get(url).status_code == 503
            (disk / "filler").unlink()
            until(partial(ended, number), what="settlement")
            assert here.api.get(f"/v1/rounds/{number}")["weights"] == [1, 1]
        until(lambda: here.api.health()["status"] == "ok", what="health")
        source = FolderSource(Path(here.coordinator.storage.store.location))
        assert audit([world.anvil.url], world.deployment, source).recomputed == len(LEFT)
    assert {(code, status) for code, status, _ in seen} == {(code, 503) for code in FULL}
    assert all(health["status"] == "degraded" and "no room left" in health["error"] for *_, health in seen)

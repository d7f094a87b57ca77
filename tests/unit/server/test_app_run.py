# SPDX-License-Identifier: Apache-2.0
"""A run whose relay is an app of somebody's: its log, and what is said when it ends early."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from folkmoot.apps.folder import AppFolder
from folkmoot.errors import LocalError
from folkmoot.runtime.superlink import SuperLink
from server.relay import app_run, flower_run, training
from server.relay.flower_run import RunResult
from server.relay.training import Carrier, Memory
from tests import apps


def carrier(tmp_path: Path, told: list[str], over: bool) -> Carrier:
    return Carrier(
        SuperLink("127.0.0.1:8000"), Memory(tmp_path / "runs" / "note.json"), {}, lambda _: over, told.append
    )


def test_the_staged_app_runs_and_its_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def run(link: SuperLink, settings: dict[str, Any], **more: Any) -> RunResult:
        seen.update(settings, files=sorted(path.name for path in more["app"].iterdir()))
        more["on_line"]("INFO :      Files that the app writes are in /out/7")
        return RunResult(7, "finished:completed")

    monkeypatch.setattr(flower_run, "run", run)
    monkeypatch.setattr(training, "FIRST_PAUSE", 0.0)
    told: list[str] = []
    lines: list[str] = []
    carried = carrier(tmp_path, told, True)
    carried.on_line = lines.append
    app_run.carry(AppFolder.read(apps.make(tmp_path)), carried, "http://moot", "3")
    assert seen == {
        "folkmoot-coordinator": "http://moot",
        "folkmoot-run": "3",
        "files": ["folkmoot_entry", "pyproject.toml", "small"],
    }
    assert told == ["Files that the app writes are in /out/7."]
    assert lines == ["INFO :      Files that the app writes are in /out/7"], "others hear them too"


def test_an_app_that_fails_each_time_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(link: SuperLink, settings: dict[str, Any], **more: Any) -> RunResult:
        more["on_start"](7)
        for line in ("Traceback (most recent call last):", "  File ...", "small.Oops.AppError: no more"):
            more["on_line"](line)
        return RunResult(7, "finished:failed")

    monkeypatch.setattr(flower_run, "run", run)
    monkeypatch.setattr(training, "FIRST_PAUSE", 0.0)
    with pytest.raises(LocalError) as raised:
        app_run.carry(AppFolder.read(apps.make(tmp_path)), carrier(tmp_path, [], False), "http://moot", "3")
    assert raised.value.message.endswith("It raised small.Oops.AppError: no more.")
    log = tmp_path / "runs" / "note.log"
    assert str(log) in raised.value.remedy
    assert log.read_text().count("Traceback") == app_run.TRIES

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


FAILURE = """\
ERROR :     The app was warned
Traceback (most recent call last):
  File "/home/flower/apps/tests.small.1.0.0.1ad76406/small/old.py", line 3, in first
    raise ValueError("handled")
ValueError: handled

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "/usr/lib/flwr/server/server.py", line 92, in fit
    self.strategy.aggregate_fit(
  File "/home/flower/apps/tests.small.1.0.0.1ad76406/small/server_app.py", line {line}, in aggregate_fit
    return self.kept["3"]
           ~~~~~~~~~^^^^^
  File "/usr/lib/python3.11/collections/__init__.py", line 1006, in __getitem__
    raise KeyError(key)
{raised}
INFO :      Bye
"""
"""What Flower logs of a ServerApp that fails."""


class Relays:
    """ServerApps that fail, one after the other; some make a round before."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *failures: tuple[int, str, int]) -> None:
        self.left, self.started, self.rounds = list(failures), 0, 0
        monkeypatch.setattr(flower_run, "run", self.run)
        monkeypatch.setattr(training, "FIRST_PAUSE", 0.0)
        monkeypatch.setattr(training, "LONGEST_PAUSE", 0.0)  # No failure is an early one.

    def run(self, link: SuperLink, settings: dict[str, Any], **more: Any) -> RunResult:
        line, raised, made = self.left.pop(0) if self.left else (0, "", 0)
        self.started += 1
        self.rounds += made
        more["on_start"](self.started)
        for one in FAILURE.format(line=line, raised=raised).splitlines() if raised else ():
            more["on_line"](one)
        return RunResult(self.started, "finished:failed" if raised else "finished:completed")

    def carry(self, tmp_path: Path) -> tuple[list[str], str, str]:
        """Carry them until all have failed; return remarks, the error, and its remedy or what the last one raised."""
        told: list[str] = []
        carried = carrier(tmp_path, told, False)
        carried.over = lambda _: not self.left
        carried.rounds = lambda: self.rounds
        try:
            last = app_run.carry(AppFolder.read(apps.make(tmp_path)), carried, "http://moot", "3")
        except LocalError as error:
            return told, f"{error.code}: {error.message}", error.remedy
        return told, "", last


def test_an_app_that_raises_twice_at_one_place_without_a_round_is_not_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    relays = Relays(monkeypatch, *[(7, "KeyError: '3'", 0), (7, "KeyError: '4'", 0), (0, "", 0), (0, "", 0)])
    told, error, remedy = relays.carry(tmp_path)
    assert relays.started == 2
    assert told == [
        "The ServerApp has ended before the run. Flower's run 1 ended as finished:failed. It raised KeyError: '3'. "
        "Place: small/server_app.py, line 7. Another ServerApp starts in 0 s."
    ]
    assert str(tmp_path / "runs" / "note.log") in remedy
    assert error == (
        "relay-ended: The ServerApp failed twice in the same way, without a round in between. Flower's run 2 ended as "
        "finished:failed. It raised KeyError: '4'. Place: small/server_app.py, line 7."
    )


@pytest.mark.parametrize(
    "second",
    [(7, "KeyError: '3'", 1), (8, "KeyError: '3'", 0), (7, "ValueError: 3", 0)],
    ids=["a round later", "another place", "another type"],
)
def test_another_failure_is_tried_again(
    second: tuple[int, str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    relays = Relays(monkeypatch, (7, "KeyError: '3'", 0), second, (0, "", 0), (0, "", 0))
    assert relays.carry(tmp_path)[1:] == ("", "")
    assert relays.started == 4


def test_an_outage_is_no_failure_of_the_app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    away = "folkmoot.errors.CoordinatorError: The coordinator does not answer."
    relays = Relays(monkeypatch, *[(7, away, 0)] * 5, (0, "", 0))
    assert relays.carry(tmp_path)[1:] == ("", "")
    assert relays.started == 6


def test_what_the_last_serverapp_of_a_run_raised_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The coordinator ends a run of cancelled rounds, which the next ServerApp is told before it can fail."""
    told = (9, "folkmoot.errors.CoordinatorError: The run failed: too few updates.", 0)
    _, error, last = Relays(monkeypatch, (7, "KeyError: '3'", 0), told).carry(tmp_path)
    assert not error
    assert last == (
        "The ServerApp failed. It raised KeyError: '3'. Place: small/server_app.py, line 7. "
        f"Its log is {tmp_path / 'runs' / 'note.log'}."
    )


def test_an_app_that_fails_each_time_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(link: SuperLink, settings: dict[str, Any], **more: Any) -> RunResult:
        more["on_start"](7)
        tries.append(7)
        place = f'  File "/apps/small.1ad76406/small/task.py", line {len(tries)}, in f'
        for line in ("Traceback (most recent call last):", place, "small.Oops.AppError: no more"):
            more["on_line"](line)
        return RunResult(7, "finished:failed")

    tries: list[int] = []

    monkeypatch.setattr(flower_run, "run", run)
    monkeypatch.setattr(training, "FIRST_PAUSE", 0.0)
    with pytest.raises(LocalError) as raised:
        app_run.carry(AppFolder.read(apps.make(tmp_path)), carrier(tmp_path, [], False), "http://moot", "3")
    assert raised.value.message.endswith(
        "It raised small.Oops.AppError: no more. Place: small/task.py, line 3."
    )
    log = tmp_path / "runs" / "note.log"
    assert str(log) in raised.value.remedy
    assert log.read_text().count("Traceback") == app_run.TRIES

# SPDX-License-Identifier: Apache-2.0
"""An app that does not end is ended, with all that it has started; each app runs in a real process of its own."""

from __future__ import annotations

import io
import json
import os
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from rich.console import Console

from folkmoot.apps.capture import capture
from folkmoot.apps.folder import AppFolder
from folkmoot.apps.limit import StepLimit
from folkmoot.apps.trial import Trial, try_training
from folkmoot.cli import output
from folkmoot.cli.main import run as folkmoot
from folkmoot.errors import TaskError
from tests import apps
from tests.e2e.test_demo import processes_of

HANGS = apps.CLIENT.replace(
    "    rate = ",
    """\
    import pathlib, subprocess, sys, time

    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    subprocess.Popen([sys.executable, "-c", code, context.node_config["hangs"]])
    pathlib.Path(context.node_config["hangs"]).touch()
    print("waiting for a download")
    while True:
        time.sleep(1)
    rate = """,
    1,
)
"""Starts a process that ignores SIGTERM, writes a file, and trains without end."""

ENDLESS = apps.SERVER.replace("    strategy = ", "    while True:\n        pass\n    strategy = ", 1)
"""A ServerApp that never starts its strategy."""


def tried(tmp_path: Path, client: str, limit: StepLimit) -> Trial:
    app = tmp_path / "small-app"
    if not app.exists():
        apps.make(tmp_path, client=client)
    found = capture(AppFolder.read(app), tmp_path / "scratch", 3)
    return try_training(found, tmp_path / "scratch", {"hangs": str(tmp_path / "hangs")}, limit)


def left(tmp_path: Path) -> list[str]:
    """Return which processes are left; SIGKILL takes a moment."""
    end = time.monotonic() + 5
    while (found := processes_of(tmp_path)) and time.monotonic() < end:
        time.sleep(0.02)
    return found


def test_a_training_that_hangs_is_ended_with_its_processes(tmp_path: Path) -> None:
    for limit in (3.0, 12.0, 48.0):  # a busy machine needs more to come so far
        with pytest.raises(TaskError) as raised:
            tried(tmp_path, HANGS, StepLimit(limit))
        assert left(tmp_path) == []
        if (tmp_path / "hangs").exists():
            break
    log = tmp_path / "scratch" / "training.log"
    assert "waiting for a download" in log.read_text()
    assert raised.value.code == "app-too-slow"
    assert raised.value.message == (
        "The app small-app did not end the step training (one training on partition 0) "
        f"within {limit:g} seconds, so it was ended."
    )
    assert f"Read its output in {log}:" in raised.value.remedy
    assert f"`--app-wait {2 * limit:g}`" in raised.value.remedy
    assert raised.value.details == {"step": "training", "seconds": limit, "log": str(log)}


def test_ctrl_c_ends_it_with_its_processes(tmp_path: Path) -> None:
    def interrupt() -> None:
        end = time.monotonic() + 60
        while not (tmp_path / "hangs").exists() and time.monotonic() < end:
            time.sleep(0.05)
        if (tmp_path / "hangs").exists():
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    thread = Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        tried(tmp_path, HANGS, StepLimit(100))
    thread.join()
    assert left(tmp_path) == []
    assert signal.getsignal(signal.SIGINT) == before


def test_a_process_that_a_training_leaves_behind_is_ended(tmp_path: Path) -> None:
    client = HANGS.replace("    while True:\n        time.sleep(1)\n", "")
    np.testing.assert_allclose(tried(tmp_path, client, StepLimit(100)).arrays["1"], 0.5)
    assert (tmp_path / "hangs").exists()
    assert left(tmp_path) == []


def test_an_app_has_no_terminal_that_it_could_wait_for(tmp_path: Path) -> None:
    client = apps.CLIENT.replace('"num-examples": 10', '"num-examples": int(os.getsid(0) == os.getpid())')
    trial = tried(tmp_path, f"import os\n{client}", StepLimit(100))
    assert trial.metrics["num-examples"] == 1


def test_who_waits_is_told_what_runs_and_where_its_log_is(tmp_path: Path) -> None:
    told = []

    @contextmanager
    def show(doing: str, log: Path) -> Iterator[None]:
        told.append((doing, log))
        yield
        assert log.exists()

    tried(tmp_path, apps.CLIENT, StepLimit(100, show))
    assert told == [("one training on partition 0", tmp_path / "scratch" / "training.log")]


@pytest.mark.parametrize(
    "command", [("run", "{app}", "--home", "{out}"), ("task", "init", "--app", "{app}", "--out", "{out}")]
)
def test_a_serverapp_that_hangs_stops_a_command_before_anything_starts(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    command: tuple[str, ...],
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    app, out = apps.make(tmp_path, server=ENDLESS), tmp_path / "out"
    words = [word.format(app=app, out=out) for word in command]
    assert folkmoot([*words, "--app-wait", "2", "--json"]) == 1
    said = capsys.readouterr()
    error = json.loads(said.out)["error"]
    assert error["code"] == "app-too-slow"
    assert error["details"]["step"] == "capture"
    assert Path(error["details"]["log"]).exists(), "the log is kept"
    assert not [name for name in ("deployment.json", "genesis.json") if (out / name).exists()]
    assert left(tmp_path) == []
    assert "reading the app" not in said.err, "nothing is drawn off a terminal"


def test_a_terminal_shows_what_runs_for_how_long_and_later_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / ("long-" * 30) / "training.log"

    def shown(*, terminal: bool) -> str:
        console = Console(file=io.StringIO(), force_terminal=terminal, width=80, _environ={"TERM": "xterm"})
        with output.waiting("one training on partition 0", log, console):
            time.sleep(0.6)
        assert isinstance(console.file, io.StringIO)
        return console.file.getvalue().replace("\n", "")

    early = shown(terminal=True)
    assert "one training on partition 0  0s" in early
    assert "log:" not in early
    monkeypatch.setattr(output, "LONG", 0.0)
    assert "training.log" in shown(terminal=True), "all of the path, on lines of its own"
    assert shown(terminal=False) == ""

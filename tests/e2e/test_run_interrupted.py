# SPDX-License-Identifier: Apache-2.0
"""`folkmoot run` that is interrupted anywhere goes on with the same folder, and loses no finished round."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from folkmoot.devnet.run import MODEL_FILE, NOTE
from tests import apps
from tests.e2e.test_demo import left_behind, processes_of

pytestmark = pytest.mark.long

CRASH = 0
"""In the place of a signal: SIGKILL for the run and all that it has started, Anvil included."""

WAYS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL, CRASH)

LARGEST_STRIDE = int(os.environ.get("FOLKMOOT_STRIDE", "8"))
"""Most steps that a start may take before it is interrupted; 1 to interrupt at each."""

CLIENT = apps.CLIENT.replace("(1 - array)", '(1 + context.node_config["partition-id"] % 2 - array)')
"""Nodes whose updates differ, so that none is a copy."""


def steps(home: Path, output: Path) -> set[str]:
    """Return the steps that were taken: lines without their numbers, and files in the run's folder."""
    text = output.read_text() if output.exists() else ""
    lines = {re.sub(r"[^a-z ]", "", line) for line in text.splitlines() if re.match(r"  ✓|round|Next", line)}
    files = {path.name for path in home.glob("*") if "part" not in path.suffix} if home.exists() else set()
    return lines | files


def interrupt(run: subprocess.Popen[bytes], how: int, home: Path) -> None:
    if how != CRASH:
        run.send_signal(how)
        return
    run.kill()  # First, so that it can't end the others in an orderly way.
    for line in processes_of(home):
        try:
            os.kill(int(line.split()[0]), signal.SIGKILL)
        except ProcessLookupError:
            continue


@pytest.mark.story
@pytest.mark.timeout(2400)
def test_a_run_that_is_interrupted_anywhere_goes_on(tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    app = apps.make(tmp_path, client=CLIENT)
    home, output = tmp_path / "home", tmp_path / "output"
    command = [sys.executable, "-m", "folkmoot", "run", str(app), "--nodes", "2", "--home", str(home)]
    known: set[str] = set()
    starts: list[str] = []
    done = 0
    while True:
        stride, how = random.randint(1, LARGEST_STRIDE), random.choice(WAYS)  # noqa: S311  a search
        with output.open("wb") as file:
            run = subprocess.Popen(command, stdout=file, stderr=file)
        while run.poll() is None and len(steps(home, output) - known) < stride:
            time.sleep(0.02)
        new = steps(home, output) - known
        starts.append(f"{how!r} after {sorted(new)}")
        known |= new
        ended_itself = run.poll() is not None
        if not ended_itself:
            interrupt(run, how, home)
        run.wait(300)
        text = output.read_text()
        said = "\n".join([*starts, text])
        assert "Traceback" not in text, said
        if run.returncode == 0:
            break
        assert not ended_itself, said
        if how not in (signal.SIGKILL, CRASH):
            # Python ends by SIGINT, which shells call 130 as well, if the interrupt came inside an exec() of text, as
            # dataclasses do on import, however well it was handled (cpython, run_eval_code_obj).
            assert run.returncode in (130, -signal.SIGINT, -how), said
            if "Interrupted." in text:
                assert "To go on: `" in text or "The same command begins again" in text, said
            else:
                assert not new & {NOTE, "run.lock"}, f"it said nothing: {said}"
        assert left_behind(home, 60) == [], said  # Flower's programs look for their parent now and then.
        note = json.loads((home / NOTE).read_text()) if (home / NOTE).exists() else {"done": 0, "model": 0}
        assert note["done"] >= done, f"a finished round is lost: {said}"
        done = note["done"]
        assert (done > 0) == (note["model"] > 0), said
        if note["model"]:
            assert load_file(home / MODEL_FILE), said
        report = home / "report.html"
        if report.exists():
            assert re.search("The run ended after [12] of 2 rounds|The audit passed", report.read_text()), (
                said
            )
    assert "audit: everything matches" in text, said
    assert "in 2 rounds recomputed to the bit" in text, said
    assert json.loads((home / NOTE).read_text())["done"] == 2, said

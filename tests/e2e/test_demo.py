# SPDX-License-Identifier: Apache-2.0
"""`folkmoot demo`, as a person runs it: every part a real process."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

DEMO = (sys.executable, "-m", "folkmoot", "demo")

ELSEWHERE = {
    "FOLKMOOT_RPC": "http://127.0.0.1:1",
    "FOLKMOOT_PRIVATE_RPC": "http://127.0.0.1:1",
    "FOLKMOOT_COORDINATOR": "http://127.0.0.1:1",
    "FOLKMOOT_ARTIFACTS": "/nonexistent",
    "FOLKMOOT_DEPLOYMENT": "/nonexistent/deployment.json",
    "FOLKMOOT_KEYSTORE": "/nonexistent/key.json",
    "FOLKMOOT_CONFIRMATIONS": "9",
}
"""Settings of a person who takes part in another federation too."""


def processes_of(home: Path) -> list[str]:
    """Return id and command line of the processes that name this folder in their arguments or environment."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        try:
            command = (folder / "cmdline").read_bytes()
            if os.fsencode(home) in command + (folder / "environ").read_bytes():
                found.append(f"{folder.name} " + command.replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return found


def left_behind(home: Path, seconds: float = 10) -> list[str]:
    """Return the processes that are still there after a while: a child sees its parent's end a moment later."""
    end = time.monotonic() + seconds
    while (running := processes_of(home)) and time.monotonic() < end:
        time.sleep(0.1)
    return running


@pytest.mark.story
@pytest.mark.timeout(400)
def test_strangers_train_a_poisoner_loses_a_vote_releases_and_the_audit_is_clean(tmp_path: Path) -> None:
    home = tmp_path / "demo"
    words = ["--home", str(home), "--task", "digits", "--rounds", "2", "--contributors", "3", "--json"]
    words += ["--attack", "3=sign-flip:3", "--root", "good", "--link", "20"]
    environment = {**os.environ, **ELSEWHERE}
    done = subprocess.run(
        [*DEMO, *words], capture_output=True, text=True, check=False, timeout=380, env=environment
    )

    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads(done.stdout)
    assert summary["rounds"] == 2
    assert summary["attackerUpdates"] == 2
    weights = [int(found) for found in re.findall(r"Cleo .*? (\d+)%", done.stderr)]
    assert len(weights) == 2
    assert max(weights) <= 13, "an eighth at most"
    assert summary["rootUpdates"] == 2
    assert summary["activeVersion"] == 2
    assert summary["metrics"]["accuracy"] > 0.5
    assert "limited to 20 Mbit/s each way" in done.stderr
    queued, executed = (
        done.stderr.find(text) for text in ("queued: it can be executed", "executed: the version")
    )
    assert 0 < queued < executed, "the first call queues the vote, the second one carries it out"
    size = 3 * 1024  # About the update of the model; messages come on top.
    assert len(summary["lines"]) == 2
    for passed in summary["lines"]:
        assert len(passed) == 3  # The root set is the coordinator's own.
        for way in (one for both in passed.values() for one in both):
            assert way["bytes"] > size
    assert "Traceback" not in done.stderr
    assert left_behind(home) == []


@pytest.mark.long
@pytest.mark.timeout(180)
def test_an_interrupt_leaves_no_process_behind(tmp_path: Path) -> None:
    home = tmp_path / "demo"
    log = tmp_path / "output"
    with log.open("w") as output:
        demo = subprocess.Popen(
            [*DEMO, "--home", str(home), "--task", "digits", "--contributors", "3"],
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    end = time.monotonic() + 120
    while not (home / "logs" / "contributor-3.log").exists():
        assert demo.poll() is None, log.read_text()
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.2)
    assert processes_of(home)
    demo.send_signal(signal.SIGINT)
    assert demo.wait(60) == 130, log.read_text()
    assert left_behind(home) == []
    assert "Traceback" not in log.read_text()


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_harmful_release_is_recalled_and_paid_for(tmp_path: Path) -> None:
    """The harm is real: after one round the model misses a class, as the report said before the vote."""
    words = ["--home", str(tmp_path / "demo"), "--task", "digits", "--contributors", "3", "--json"]
    done = subprocess.run(
        [*DEMO, "--harmful-release", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
        env={**os.environ, **ELSEWHERE},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads(done.stdout)
    assert summary["activeVersion"] is None
    assert summary["audit"]["recalled"] == [1]
    right, examples = map(int, re.findall(r"\d+", summary["harm"])[:2])
    assert right < examples / 2
    taken = summary["record"]["warranty"]["forfeited"]
    assert int(taken["reward"]) == int(taken["burnt"]) == 5 * 10**18

# SPDX-License-Identifier: Apache-2.0
"""The Flower apps of examples/: with the two lines under `flwr run`, and under `folkmoot run`."""

from __future__ import annotations

import difflib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from folkmoot.cli.main import run as folkmoot
from folkmoot.flower.records import COORDINATOR, RUN
from folkmoot.protocol.genesis import Genesis
from folkmoot.protocol.manifest import Manifest
from folkmoot.protocol.state import State
from tests import factories
from tests.e2e.moot import moot

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
PLAIN, ANCHORED = EXAMPLES / "digits-pytorch", EXAMPLES / "digits-two-lines"
NAMES = ("ada", "ben")


def test_the_apps_differ_in_two_lines_and_their_imports() -> None:
    added: list[str] = []
    for module in ("client_app", "server_app", "task"):
        plain, anchored = (
            (app / "digits" / f"{module}.py").read_text().splitlines() for app in (PLAIN, ANCHORED)
        )
        for line in difflib.ndiff(plain, anchored):
            assert line[0] != "-", line
            if line[0] == "+" and line[2:]:
                added.append(line[2:])
    assert added == [
        "from folkmoot.flower import anchored_client",
        "app = anchored_client(app)",
        "from folkmoot.flower import anchored_server",
        "app = anchored_server(app)",
    ]


def start(monkeypatch: pytest.MonkeyPatch) -> tuple[Manifest, State, Genesis]:
    """Return the start of a federation on the app's model."""
    import torch

    monkeypatch.syspath_prepend(str(PLAIN))
    from digits.task import Net

    torch.manual_seed(0)
    arrays = {name: value.numpy() for name, value in Net().state_dict().items()}
    manifest = Manifest.from_arrays("digits", arrays)
    state = State.genesis(manifest, arrays)
    return manifest, state, Genesis.of(manifest, state, (-8,) * len(manifest.tensors))


@pytest.mark.long
@pytest.mark.timeout(400)
def test_flower_runs_the_app_with_two_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As its README has it: the coordinator opens a run, and `flwr run` gets the app's own folder."""
    with moot(tmp_path, *start(monkeypatch), NAMES) as running:
        run = running.api.start_run(2, len(NAMES), factories.account("coordinator"), running.domain)
        result, lines = running.flower.run(
            {COORDINATOR: running.api.url, RUN: run.id, "local-epochs": 1}, ANCHORED
        )
        assert result.completed, "\n".join(lines)
        ended = running.api.run(run.id)
        assert ended is not None
        assert (ended.state, ended.completed) == ("done", 2)
        where = ("--rpc", running.federation.anvil.url, "--deployment", str(running.deployment_file))
        assert folkmoot(["audit", *where, "--artifacts", running.api.url]) == 0, capsys.readouterr()


@pytest.mark.long
@pytest.mark.timeout(600)
def test_folkmoot_runs_the_app_with_two_lines(tmp_path: Path) -> None:
    home = tmp_path / "home"
    command = [sys.executable, "-m", "folkmoot", "run", str(ANCHORED), "--nodes", "2", "--rounds", "1"]
    done = subprocess.run(
        [*command, "--home", str(home), "--json"],
        capture_output=True,
        text=True,
        check=False,
        timeout=560,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads(done.stdout)
    assert (summary["rounds"], summary["audit"]["recomputed"], summary["audit"]["updates"]) == (1, 1, 2)
    assert Path(summary["model"]).is_file()

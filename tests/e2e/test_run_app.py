# SPDX-License-Identifier: Apache-2.0
"""`folkmoot run` on an ordinary Flower app of which nothing is changed: every part a real process."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import apps
from tests.e2e.test_demo import ELSEWHERE, left_behind

QUICKSTART = Path(__file__).parent / "quickstart"

pytestmark = pytest.mark.long


def run(app: Path, home: Path, *words: str) -> tuple[int, dict[str, Any], str]:
    done = subprocess.run(
        [sys.executable, "-m", "folkmoot", "run", str(app), "--home", str(home), "--json", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=560,
        env={**os.environ, **ELSEWHERE},
    )
    assert "Traceback" not in done.stderr
    return done.returncode, json.loads(done.stdout or "{}"), done.stderr


@pytest.mark.story
@pytest.mark.timeout(600)
def test_an_app_runs_unchanged_and_its_history_audits(tmp_path: Path) -> None:
    import torch
    from safetensors.numpy import load_file

    app = Path(shutil.copytree(QUICKSTART, tmp_path / "app", ignore=shutil.ignore_patterns("__pycache__")))
    before = {path: path.read_bytes() for path in sorted(app.rglob("*")) if path.is_file()}
    notes = tmp_path / "notes"
    notes.mkdir()
    home = tmp_path / "home"
    status, summary, said = run(app, home, "--node-config", f'notes="{notes}"')
    assert status == 0, said

    assert (summary["rounds"], summary["nodes"], summary["strategy"]) == (2, 3, "FedAvg")
    assert summary["audit"]["recomputed"] == 2
    assert summary["audit"]["updates"] == summary["audit"]["entries"]["signed"] == 6
    assert sorted(path.name for path in notes.iterdir()) == ["0 of 3", "1 of 3", "2 of 3"]
    after = {
        path: path.read_bytes()
        for path in sorted(app.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert after == before, "nothing of the app was changed"

    report = Path(summary["report"]).read_text()
    digest = hashlib.sha256(Path(summary["model"]).read_bytes()).hexdigest()
    for words in ("The audit passed", "<b>node 3</b>", '<a href="model.safetensors">', digest):
        assert words in report, words

    model = load_file(summary["model"])
    written = {Path(path).name: Path(path) for path in summary["output"]}
    assert set(written) == {"final_model.pt", "history.json"}
    theirs = torch.load(written["final_model.pt"])
    assert set(theirs) == set(model), "the app got back the arrays that it had"
    for name, value in theirs.items():
        np.testing.assert_array_equal(value.numpy(), model[name], err_msg=name)
    history = json.loads(written["history.json"].read_text())
    accuracy = {
        int(number): found["accuracy"] for number, found in history["evaluate_metrics_serverapp"].items()
    }
    assert set(accuracy) == {0, 1, 2}
    assert accuracy[2] > max(accuracy[0], 0.5)
    told = {int(number): found for number, found in summary["metrics"].items()}
    for number in (1, 2):
        assert set(told[number]) == {"train", "evaluate", "server"}
        assert told[number]["server"]["accuracy"] == pytest.approx(accuracy[number], abs=1e-4)
    assert set(history["evaluate_metrics_clientapp"]) == {"1", "2"}
    assert left_behind(home) == []


@pytest.mark.timeout(200)
def test_an_app_that_fails_to_train_stops_before_anything_starts(tmp_path: Path) -> None:
    app = apps.make(tmp_path, client=apps.CLIENT.replace("rate = ", "rate = 1 / 0 + "))
    home = tmp_path / "home"
    status, answer, _ = run(app, home)
    assert status == 1
    assert answer["error"]["code"] == "app-raised"
    assert "ZeroDivisionError" in answer["error"]["message"]
    assert str(home / "app" / "training.log") in answer["error"]["remedy"]
    assert not (home / "deployment.json").exists()
    assert not (home / "logs").exists()


@pytest.mark.timeout(400)
def test_an_app_whose_serverapp_fails_later_is_given_up_with_its_exception(tmp_path: Path) -> None:
    """It is of the old interface, and its strategy raises when it measures the model of the first round."""
    server = apps.LEGACY_SERVER.replace(
        "proximal_mu=0.25,", "proximal_mu=0.25,\n        evaluate_fn=measure,"
    )
    server += (
        '\n\ndef measure(server_round, parameters, config):\n    return 0.0, {"kept": {0: 1}[server_round]}\n'
    )
    app = apps.make(tmp_path, server=server, client=apps.LEGACY_CLIENT)
    status, answer, said = run(app, tmp_path / "home", "--nodes", "2")
    assert status == 1
    assert answer["error"]["code"] == "relay-ended"
    line = next(number for number, text in enumerate(server.splitlines(), 1) if "kept" in text)
    raised = f"It raised KeyError: 1. Place: small/server_app.py, line {line}."
    assert raised in answer["error"]["message"]
    assert "failed twice in the same way, without a round in between" in answer["error"]["message"]
    assert raised in " ".join(said.split()), "it is told when it happens, too"
    log = tmp_path / "home" / "logs" / "serverapp.log"
    assert str(log) in answer["error"]["remedy"]
    assert "Traceback" in log.read_text()
    assert "round 1 (1 of 2)  2 updates" in said
    assert (tmp_path / "home" / "model.safetensors").exists(), "the model of the round is kept"
    assert left_behind(tmp_path / "home") == []

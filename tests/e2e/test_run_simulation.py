# SPDX-License-Identifier: Apache-2.0
"""`folkmoot run --simulation`: an example, unchanged, on Flower's simulation engine. Needs Ray."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.e2e.test_demo import processes_of

APP = Path(__file__).resolve().parents[2] / "examples" / "digits-pytorch"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed (folkmoot[simulation])"),
]


@pytest.mark.timeout(600)
def test_an_example_is_simulated_and_its_history_audits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp") as ray:  # sockets: a short path
        monkeypatch.setenv("RAY_TMPDIR", ray)
        words = ["run", str(APP), "--simulation", "--rounds", "2", "--home", str(home), "--json"]
        done = subprocess.run(
            [sys.executable, "-m", "folkmoot", *words],
            capture_output=True,
            text=True,
            check=False,
            timeout=560,
        )
        assert processes_of(home) == []
        assert processes_of(Path(ray)) == []
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert (summary["rounds"], summary["nodes"]) == (2, 3)
    assert summary["audit"]["ok"]
    assert summary["audit"]["recomputed"] == 2
    assert summary["audit"]["updates"] == summary["audit"]["entries"]["signed"] == 6
    assert summary["metrics"]["2"]["server"]["accuracy"] > 0.5

    logs = {path.stem for path in (home / "logs").iterdir()}
    assert "signers" in logs
    assert not any(name.startswith("contributor-") for name in logs), "no node is a process"
    accounts = set()
    for number in (1, 2, 3):
        node = home / "nodes" / f"contributor-{number}"
        assert len((node / "signed.jsonl").read_text().splitlines()) == 2
        assert "Strategy execution finished" in (node / "logs" / "supernode.log").read_text()
        for number_of_round in (1, 2):
            kept = json.loads((node / "updates" / f"{number_of_round}.json").read_text())
            commitment = json.loads(kept["commitment"])
            assert int(commitment["bundleHash"], 16), "the bundle that trained is signed"
            accounts.add(commitment["contributor"])
    assert len(accounts) == 3

# SPDX-License-Identifier: Apache-2.0
"""`folkmoot run --simulation`: an example, unchanged, on Flower's simulation engine. Needs Ray."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests import apps
from tests.e2e.test_demo import left_behind, processes_of

APP = Path(__file__).resolve().parents[2] / "examples" / "digits-pytorch"

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed (folkmoot[simulation])"),
]


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Ray's folder; its sockets need a short path."""
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp") as folder:
        monkeypatch.setenv("RAY_TMPDIR", folder)
        yield Path(folder)


@pytest.mark.timeout(600)
def test_an_example_is_simulated_and_its_history_audits(tmp_path: Path, ray: Path) -> None:
    home = tmp_path / "home"
    words = ["run", str(APP), "--simulation", "--rounds", "2", "--home", str(home), "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "folkmoot", *words], capture_output=True, text=True, check=False, timeout=560
    )
    assert left_behind(home) == []
    assert left_behind(ray) == []
    assert done.returncode == 0, done.stdout + done.stderr
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
        record = json.loads((node / "signer" / "signing-record.json").read_text())
        assert [one["round"] for one in record["ledgers"][0]["signed"]] == ["1", "2"]
        assert "Strategy execution finished" in (node / "logs" / "supernode.log").read_text()
        for number_of_round in (1, 2):
            kept = json.loads((node / "updates" / f"{number_of_round}.json").read_text())
            commitment = json.loads(kept["commitment"])
            assert int(commitment["bundleHash"], 16), "the bundle that trained is signed"
            accounts.add(commitment["contributor"])
    assert len(accounts) == 3


@pytest.mark.timeout(400)
def test_an_interrupted_simulation_leaves_no_process(tmp_path: Path, ray: Path) -> None:
    """Flower's engine alone would wait for its ServerApp, and all of Ray with it."""
    endless = "    import os\n    import time\n\n    print('it trains', flush=True)\n"
    endless += "    time.sleep(600 if os.environ.get('FOLKMOOT_HOMES') else 0)\n    rate = "
    app = apps.make(tmp_path, client=apps.CLIENT.replace("    rate = ", endless))
    home = tmp_path / "home"
    log = home / "logs" / "serverapp.log"
    words = ["run", str(app), "--simulation", "--nodes", "2", "--home", str(home)]
    with (tmp_path / "said").open("wb") as said:
        process = subprocess.Popen([sys.executable, "-m", "folkmoot", *words], stdout=said, stderr=said)
        try:
            while process.poll() is None and not (log.exists() and "it trains" in log.read_text()):
                time.sleep(0.5)
            assert process.poll() is None, (tmp_path / "said").read_text()
            assert any("flwr-simulation" in line for line in processes_of(home))
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)
    end = time.monotonic() + 60
    while (left := processes_of(home) + processes_of(ray)) and time.monotonic() < end:
        time.sleep(0.5)
    assert left == []

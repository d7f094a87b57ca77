# SPDX-License-Identifier: Apache-2.0
"""`folkmoot demo --private`, as a person runs it: a budget is spent, and nothing follows it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.e2e.test_demo import DEMO, left_behind


@pytest.mark.story
@pytest.mark.timeout(1000)
def test_clinics_spend_a_budget_and_their_signers_refuse_the_next_round(tmp_path: Path) -> None:
    home = tmp_path / "demo"
    words = ("--private", "--home", home, "--rounds", "2", "--contributors", "3", "--json")
    done = subprocess.run([*DEMO, *map(str, words)], capture_output=True, text=True, check=False, timeout=980)

    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads(done.stdout)
    assert summary["rounds"] == 2
    assert summary["signersThatRefused"] == 3
    assert summary["roundsLeft"] == [0, 0, 0]
    assert summary["audit"]["updates"] == 6
    assert json.loads((home / "privacy-report.json").read_text())["study"]["findings"]
    assert "Traceback" not in done.stderr
    assert left_behind(home) == []

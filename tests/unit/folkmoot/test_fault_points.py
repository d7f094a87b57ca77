# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from folkmoot.fault_points import POINTS, VARIABLE

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = """
from folkmoot.fault_points import fault_point
for _ in range(3):
    print("passed", flush=True)
    fault_point("here")
"""


def run(fault: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, VARIABLE: fault},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_process_dies_at_its_point_once(tmp_path: Path) -> None:
    fault = f"here:2@{tmp_path / 'died'}"
    first = run(fault)
    assert first.returncode == -signal.SIGKILL
    assert first.stdout.count("passed") == 2
    assert (tmp_path / "died").read_text().startswith("here ")
    again = run(fault)
    assert again.returncode == 0
    assert again.stdout.count("passed") == 3


def test_other_points_and_no_fault_kill_nobody(tmp_path: Path) -> None:
    assert run(f"there@{tmp_path / 'died'}").returncode == 0
    assert run("").returncode == 0
    assert not (tmp_path / "died").exists()


@pytest.mark.parametrize("fault", ["here", "here:x@f", "here@"])
def test_a_fault_that_means_nothing_is_refused(fault: str) -> None:
    result = run(fault)
    assert result.returncode == 1
    assert "must be NAME@FILE" in result.stderr


def test_every_point_is_listed_and_every_listed_point_is_in_the_code() -> None:
    called = set()
    for half in ("folkmoot", "server", "client"):
        for path in (ROOT / half).rglob("*.py"):
            called |= set(re.findall(r"\bfault_point\(\"([^\"]+)\"\)", path.read_text()))
    assert called == set(POINTS)

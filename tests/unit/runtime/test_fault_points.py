# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from folkmoot_lab.faults import COORDINATOR_WRITES, FILES, KEEPERS, POINTS

from folkmoot.runtime.fault_points import VARIABLE

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = """
from folkmoot.runtime.fault_points import fault_point
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


def test_one_process_can_have_several_deaths(tmp_path: Path) -> None:
    fault = f"there@{tmp_path / 'other'},here@{tmp_path / 'died'}"
    assert run(fault).returncode == -signal.SIGKILL
    assert run(fault).returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == ["died"]


BY_CHAOS = "tests/chaos/__main__.py"
"""It comes to every point of its kinds, or it fails: it need not name them."""
KILLED_BY = {
    "coordinator.": BY_CHAOS,
    "repair.": BY_CHAOS,
    "restore.": BY_CHAOS,
    "relay.": "tests/e2e/test_flower_kills.py",
    "node.": "tests/e2e/test_flower_kills.py",
    "node.charged": "tests/unit/flower/test_charges.py",
    "node.eager-": "tests/unit/flower/test_eager.py",
    "node.memory-": "tests/unit/flower/test_memory.py",
    "cli.": "tests/e2e/test_flower_kills.py",
    "audit.": "tests/integration/test_audit_journal.py",
    "account.": "tests/integration/test_killed_commands.py",
    "operator.": "tests/integration/test_killed_deploy.py",
    "sender.": "tests/integration/test_killed_commands.py",
    "deploy.": "tests/integration/test_killed_deploy.py",
    "watcher.": "tests/integration/test_killed_rounds.py",
    "mirror.": "tests/integration/test_killed_rounds.py",
    "mirror.file-deleted.": "tests/integration/test_retention.py",
    "retention.": "tests/integration/test_retention.py",
    "states.": "tests/unit/artifacts/test_states.py",
    "keeper.": "tests/unit/client/test_keeper.py",
}
"""Where a real process dies at the points whose names begin so; the longest beginning counts."""


def test_every_point_has_a_test_in_which_a_process_dies_there() -> None:
    unused = set(KILLED_BY)
    for point in POINTS:
        beginning = max((one for one in KILLED_BY if point.startswith(one)), key=len, default=None)
        assert beginning is not None, (
            f"no test kills a process at {point}: write one, and name it in KILLED_BY"
        )
        unused.discard(beginning)
        if KILLED_BY[beginning] != BY_CHAOS:
            named = rf'"{re.escape(point)}(:\d+)?"'  # maybe at its second pass
            assert re.search(named, (ROOT / KILLED_BY[beginning]).read_text()), (
                f"{KILLED_BY[beginning]} does not kill at {point}"
            )
    assert not unused


CALL = re.compile(r"\bfault_point\(\"([^\"]+)\"\)")
WRITE = re.compile(r"database\.write\((.*)\)")
STEP = re.compile(r"\bself\._(?:step|update)\(\s*\"([^\"]+)\"")


def test_every_point_is_listed_and_every_listed_point_is_in_the_code() -> None:
    called, writes = set(), set()
    for half in ("folkmoot", "server", "client"):
        for path in (ROOT / half).rglob("*.py"):
            text = path.read_text()
            called |= set(CALL.findall(text))
            # A restore begins anew, the doctor's trial is rolled back, and the upkeep looks again at all. The deletion
            # has points of its own.
            unnamed = ("restore.py", "doctor.py", "upkeep.py", "deletion.py")
            if half == "server" and path.name not in unnamed:
                given = WRITE.findall(text)
                assert all(given), f"{path} writes to the database in a transaction without a name"
                writes |= {name.strip('"') for name in given if name.startswith('"')} | set(
                    STEP.findall(text)
                )
    assert writes == set(COORDINATOR_WRITES)
    named = {f"coordinator.{name}.{when}" for name in writes for when in ("before", "after")}
    named |= {f"{keeper}.{point}" for keeper in KEEPERS for point in FILES}
    assert called | named == set(POINTS)

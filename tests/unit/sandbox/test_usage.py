# SPDX-License-Identifier: Apache-2.0
"""What the monitor counts as the memory of processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from folkmoot.sandbox import monitor
from folkmoot.sandbox.monitor import memory_of, tree_of, usage_of

SHARED, CHILDREN = 64 << 20, 4
FORKS = f"""
import os, sys
data = bytes(range(256)) * {SHARED // 256}
for _ in range({CHILDREN}):
    if os.fork() == 0:
        sys.stdin.read()
        os._exit(0)
print(flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="the kernel does not tell")
def test_memory_that_processes_share_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with subprocess.Popen([sys.executable, "-c", FORKS], stdin=-1, stdout=-1) as process:
        assert process.stdout is not None
        process.stdout.readline()
        tree = tree_of(process.pid)
        assert len(tree) == 1 + CHILDREN
        assert SHARED < memory_of(tree) < 2 * SHARED
        each = usage_of(tree).memory
        assert each > (1 + CHILDREN) * SHARED
        monkeypatch.setattr(monitor, "Path", lambda path: Path(str(path).replace("smaps_rollup", "none")))
        assert memory_of(tree) == each, "where the kernel refuses it"
        process.communicate()

# SPDX-License-Identifier: Apache-2.0
"""A lock file is one process's, as long as that process is there."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from folkmoot.runtime import locks

HOLDER = """
import sys
from pathlib import Path
from folkmoot.runtime import locks
assert locks.try_acquire(Path(sys.argv[1])) is not None  # nothing refers to it, so it is gone at once
held = locks.try_acquire(Path(sys.argv[1]))
print("held" if held else "refused", flush=True)
sys.stdin.read()
"""


def test_a_process_that_is_killed_leaves_no_lock(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        assert locks.try_acquire(path) is None
        waiting: list[object] = []
        thread = threading.Thread(target=lambda: waiting.append(locks.acquire(path)))
        thread.start()
        other.kill()
        thread.join(timeout=10)
    assert waiting != [None]
    assert locks.try_acquire(path) is None, "the thread's lock is held, by the same process too"
    (held,) = waiting
    with held:  # type: ignore[attr-defined]
        pass
    assert locks.try_acquire(path) is not None


def test_a_file_that_cannot_be_used_is_no_lock_of_somebody_else(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        locks.try_acquire(tmp_path / "missing" / "lock")
    with pytest.raises(OSError):
        locks.try_acquire(tmp_path)

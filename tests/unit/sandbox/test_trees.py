# SPDX-License-Identifier: Apache-2.0
"""Measure and remove what hostile code wrote."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from folkmoot.sandbox.rules import DEPTH
from folkmoot.sandbox.trees import remove, size_of
from tests import hostile_trees

ROOT = Path(__file__).resolve().parents[3]

WITHOUT_RIGHTS = """
import sys
import time
from pathlib import Path
from folkmoot.sandbox import kernel
from folkmoot.sandbox.trees import remove
from tests.hostile_trees import grow
kernel.libc.capset(bytes.fromhex("2205082000000000"), bytes(24))
top, outside = map(Path, sys.argv[1:])
for seed in range(3):
    top.mkdir()
    grow(top, seed, outside)
    assert remove(top), seed
"""
"""As root, who may do everything, no folder would be unreadable."""


def test_hostile_trees_are_removed_and_nothing_outside_of_them(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("kept")
    outside.chmod(0o500)
    command = [sys.executable, "-c", WITHOUT_RIGHTS, str(tmp_path / "top"), str(outside)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert not (tmp_path / "top").exists()
    assert (outside / "file").read_text() == "kept"
    assert outside.stat().st_mode & 0o777 == 0o500
    outside.chmod(0o700)


def test_what_is_below_a_path_that_is_too_long_counts(tmp_path: Path) -> None:
    at = os.open(tmp_path, os.O_RDONLY)
    for _ in range(30):
        os.mkdir("x" * 255, dir_fd=at)
        below = os.open("x" * 255, os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    file = os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=at)
    os.write(file, bytes(1 << 20))
    os.close(file)
    os.close(at)
    found = size_of([tmp_path])
    assert (found.files, found.depth, found.closed) == (31, 30, 0)
    assert found.size >= 1 << 20
    assert remove(tmp_path / ("x" * 255))


def test_a_tree_that_is_too_deep_is_measured_to_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hostile_trees, "DEEP", DEPTH + 20)
    hostile_trees.grow(tmp_path, 1, tmp_path)
    before = len(list(Path("/proc/self/fd").iterdir()))
    assert size_of([tmp_path]).depth == DEPTH + 1
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    for path in tmp_path.iterdir():
        assert path.is_symlink() or not path.is_dir() or remove(path)


RENAMED = """
import os
at = 0
while True:
    os.rename(str(at), str(at + 1))
    at += 1
"""
EXCHANGED = """
import ctypes, os, sys
libc, names = ctypes.CDLL(None), (b"0", b"other")
while True:
    if not os.path.lexists("other"):
        make = {"file": lambda: open("other", "w").close(), "link": lambda: os.symlink("/", "other")}
        make.get(sys.argv[1], lambda: os.mkdir("other"))()
    libc.renameat2(-100, names[0], -100, names[1], 2)
    libc.renameat2(-100, names[0], -100, names[1], 2)
    if sys.argv[1] == "new": os.rmdir("other")
"""


@pytest.mark.parametrize(
    "words",
    [(RENAMED,), (EXCHANGED, "file"), (EXCHANGED, "link"), (EXCHANGED, "folder"), (EXCHANGED, "new")],
    ids=["renamed", "file", "link", "folder", "new folder"],
)
def test_a_folder_that_has_another_name_all_the_time_is_counted_or_named(
    words: tuple[str, ...], tmp_path: Path
) -> None:
    """G3: what another name led to when it was opened was in no sum. An exchange leaves no moment without the name."""
    (tmp_path / "0").mkdir()
    (tmp_path / "0" / "file").write_bytes(bytes(1 << 20))
    began = tmp_path.stat().st_ctime_ns
    with subprocess.Popen([sys.executable, "-c", *words], cwd=tmp_path) as moving:
        try:
            while tmp_path.stat().st_ctime_ns == began:
                time.sleep(0.001)
            sizes = [size_of([tmp_path]) for _ in range(3000)]
        finally:
            moving.kill()
    assert [size for size in sizes if size.size < 1 << 20 and not size.renamed] == []

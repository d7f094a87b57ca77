# SPDX-License-Identifier: Apache-2.0
"""Folders that are hard to remove, drawn by chance: deep, long, unreadable, with odd names, links and pipes."""

from __future__ import annotations

import contextlib
import os
import random
from pathlib import Path

DEEP = 1100
"""Folders inside each other: more than Python's recursion takes."""


def grow(folder: Path, seed: int, outside: Path) -> None:
    """Make a tree in a folder, with links to a place outside that must not be followed."""
    chance = random.Random(seed)  # noqa: S311  drawn by chance, not secret
    at = os.open(folder, os.O_RDONLY)
    # The depth that 3.11 can't remove, or a width; names that make every path longer than the system takes.
    for level in range(DEEP if seed % 2 else 40):
        long = chance.choice(("d", "x" * 255, os.fsdecode(b"\xff\xfe" * 60)))
        with contextlib.suppress(OSError):
            _fill(at, chance, str(outside))
            os.mkdir(long, 0o700, dir_fd=at)
            for name in ("closed", "blind", "fixed") if level % 10 == 0 else ():
                os.mkdir(name, 0o700, dir_fd=at)
                inside = os.open(name, os.O_RDONLY, dir_fd=at)
                _fill(inside, chance, str(outside))
                os.mkdir("empty", 0o000, dir_fd=inside)
                os.fchmod(inside, {"closed": 0o000, "blind": 0o300, "fixed": 0o500}[name])
                os.close(inside)
            below = os.open(long, os.O_RDONLY, dir_fd=at)
            os.close(at)
            at = below
    os.fchmod(at, 0)
    os.close(at)


def _fill(at: int, chance: random.Random, outside: str) -> None:
    for number in range(chance.randrange(4)):
        what, name = chance.randrange(5), str(number) + chance.choice(("a", "-rf", " ", "\n"))
        if what == 0:
            os.symlink(outside, name, dir_fd=at)
        elif what == 1:
            os.mkfifo(name, dir_fd=at)
        else:
            os.close(os.open(name, os.O_CREAT | os.O_WRONLY, chance.choice((0, 0o600)), dir_fd=at))
            os.link(name, f"{name}-again", src_dir_fd=at, dst_dir_fd=at)

# SPDX-License-Identifier: Apache-2.0
"""Processor time of a process and all its descendants, read from /proc (Linux)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Usage:
    """What a tree of processes has used so far."""

    seconds: float
    """Processor seconds, those of children that have ended and were waited for included."""


def tree_usage(root: int) -> Usage:
    """Add up the processor time of a process and its descendants."""
    parents, used = _processes()
    return Usage(sum(used.get(pid, 0.0) for pid in _below(root, parents)))


def descendants(root: int) -> set[int]:
    """Find a process and everything below it."""
    return _below(root, _processes()[0])


def _processes() -> tuple[dict[int, int], dict[int, float]]:
    """Return each process's parent and its processor seconds."""
    parents: dict[int, int] = {}
    used: dict[int, float] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has just ended
        pid = int(entry.name)
        parents[pid] = int(fields[1])
        used[pid] = sum(map(int, fields[11:15])) / _TICKS  # own and waited-for, user and system
    return parents, used


def _below(root: int, parents: dict[int, int]) -> set[int]:
    children: dict[int, list[int]] = {}
    for pid, parent in parents.items():
        children.setdefault(parent, []).append(pid)
    found, waiting = set(), [root]
    while waiting:
        pid = waiting.pop()
        found.add(pid)
        waiting += children.get(pid, ())
    return found

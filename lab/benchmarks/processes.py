# SPDX-License-Identifier: Apache-2.0
"""Processor time of a process and all its descendants, in all and by what they do, read from /proc (Linux)."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


KINDS = (
    ("folkmoot.sandbox", "tasks"),
    ("client.node.task", "tasks"),
    ("flwr-clientapp", "tasks"),
    ("multiprocessing.forkserver", "tasks"),
    ("client.node.executor", "executors"),
    ("flower-superexec", "executors"),
    ("client.node.supernode", "SuperNodes"),
    ("flower-supernode", "SuperNodes"),
    ("flwr-serverapp", "ServerApp"),
    ("flower-superlink", "SuperLink"),
    ("anvil", "chain"),
    ("\0join\0", "signers and keepers"),
    ("\0coordinator\0serve\0", "coordinator"),
    ("\0train\0", "folkmoot train"),
)
"""Part of a command line, and what such a process does. The first that fits counts; others are "other"."""

ENDED = {"executors": "tasks", "SuperNodes": "tasks", "SuperLink": "ServerApp"}
"""What the ended children of a process did, where that differs from its own work."""


@dataclass(frozen=True)
class Usage:
    """What a tree of processes has used so far."""

    seconds: float
    """Processor seconds, those of children that have ended and were waited for included."""
    by_kind: Mapping[str, float]
    """The same by what the processes do."""


@dataclass(frozen=True)
class _Process:
    """What /proc says of a process."""

    parent: int
    own: float
    """Its own processor seconds."""
    ended: float
    """Those of children that have ended."""
    command: str


def tree_usage(root: int) -> Usage:
    """Add up the processor time of a process and its descendants."""
    found, by_kind = _processes(), defaultdict[str, float](float)
    for pid in _below(root, found):
        if process := found.get(pid):
            kind = next((kind for part, kind in KINDS if part in process.command), "other")
            by_kind[kind] += process.own
            by_kind[ENDED.get(kind, kind)] += process.ended
    return Usage(sum(by_kind.values()), dict(by_kind))


def descendants(root: int) -> set[int]:
    """Find a process and everything below it."""
    return _below(root, _processes())


def _processes() -> dict[int, _Process]:
    """Return all processes by their numbers."""
    found: dict[int, _Process] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            name, _, rest = (entry / "stat").read_text().partition("(")[2].rpartition(")")
            fields, words = rest.split(), (entry / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue  # it has just ended
        own, ended = sum(map(int, fields[11:13])) / _TICKS, sum(map(int, fields[13:15])) / _TICKS
        # One that has ended and was not waited for has a name, and no command line.
        found[int(entry.name)] = _Process(int(fields[1]), own, ended, words or name)
    return found


def _below(root: int, processes: Mapping[int, _Process]) -> set[int]:
    children: dict[int, list[int]] = {}
    for pid, process in processes.items():
        children.setdefault(process.parent, []).append(pid)
    found, waiting = set(), [root]
    while waiting:
        pid = waiting.pop()
        found.add(pid)
        waiting += children.get(pid, ())
    return found

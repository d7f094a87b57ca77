# SPDX-License-Identifier: Apache-2.0
"""Free memory of this machine, and what a program with a model of a certain size needs of it (docs/scaling.md).

A program that runs out of memory is ended by the kernel without a word. So it is compared before the work begins.
"""

from __future__ import annotations

from pathlib import Path

from folkmoot.errors import LocalError

CODE = "memory-short"
"""Code of the error that a model does not fit."""

COORDINATOR = 4
"""Bytes a parameter of a coordinator, and of whoever checks a round: `python -m benchmarks.growth large`."""

TRAINING = 20
"""Least bytes a parameter of a node: the base as Flower carries it and as float32, weights and gradients; what encoding
the update takes afterwards is less. An optimiser with a memory takes 4 to 8 more, and layers what they compute."""

FROZEN = 2
"""Least copies of what a model has and nobody trains, for training: that of the model, and while it is made or compared
another one."""

INITIAL_FROZEN = 4
"""The same for making a genesis, which tries the task first: measured were 4.8, one of them the file itself, mapped."""

INITIAL = 20
"""Least bytes a parameter of making a genesis: the task's model, its copy, and the first state."""

_GROUPS = Path("/sys/fs/cgroup")
_SYSTEM = Path("/proc/meminfo")
_OWN_GROUP = Path("/proc/self/cgroup")


def free_memory(system: Path = _SYSTEM, own: Path = _OWN_GROUP, groups: Path = _GROUPS) -> int | None:
    """Return the bytes that a program can still get, by the machine and by the limits of its control groups.

    Args:
        system: File in which the kernel tells of the machine's memory.
        own: File with the control groups of this process.
        groups: Folder of the control groups.

    Returns:
        The bytes; None where the kernel does not tell, for example on macOS.
    """
    try:
        lines = dict(line.split(":", 1) for line in system.read_text().splitlines() if ":" in line)
        free = int(lines["MemAvailable"].split()[0]) << 10
    except (OSError, KeyError, ValueError, IndexError):
        return None
    try:
        groups_of_process = [
            line.partition("::")[2] for line in own.read_text().splitlines() if line.startswith("0::")
        ]
    except OSError:
        groups_of_process = []
    place = groups / groups_of_process[0].strip("/") if groups_of_process else groups
    while place.is_relative_to(groups):
        room = _room_in(place)
        free = free if room is None else min(free, room)
        place = place.parent
    return free


def require_memory(needed: int, what: str, remedy: str, most: int | None = None) -> None:
    """Check that a program will have enough memory.

    Args:
        needed: Bytes that it needs.
        what: Subject of the error's sentence, e.g. `The coordinator`.
        remedy: What to do, in addition to freeing memory.
        most: Limit that is set for the program, in bytes; None for none.

    Raises:
        LocalError: `memory-short`: it will not.
    """
    problem = shortage(needed, what, most)
    if problem:
        raise LocalError(problem, remedy=remedy, code=CODE, details={"needed": needed})


def shortage(needed: int, what: str, most: int | None = None) -> str:
    """Return why the memory is not enough; empty if it is. Arguments as in `require_memory`."""
    free = free_memory()
    had = f"{most / 1e9:.1f} GB are its limit" if most is not None and most < needed else ""
    if not had and free is not None and free < needed:
        had = f"{free / 1e9:.1f} GB are free"
    return f"{what} needs at least {needed / 1e9:.1f} GB of memory with this model, and {had}." if had else ""


def _room_in(group: Path) -> int | None:
    """Return the bytes that a control group may still take; None if it has no limit. Copies of files can be dropped."""
    try:
        limit = (group / "memory.max").read_text().strip()
        used = int((group / "memory.current").read_text())
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        return None if limit == "max" else int(limit) - used + int(stat["inactive_file"])
    except (OSError, KeyError, ValueError):
        return None

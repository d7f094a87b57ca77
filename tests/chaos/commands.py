# SPDX-License-Identifier: Apache-2.0
"""`folkmoot coordinator rebuild`, of files and of all: killed at fault points and at random times, and called again.

Knows nothing of what was lost; whoever calls says that.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from folkmoot_lab.faults import POINTS

from folkmoot.runtime.fault_points import VARIABLE

_STORE = tuple(point for point in POINTS if point.startswith("coordinator.file-"))
REPAIR, RESTORE = "repair", "restore"
WORDS = {REPAIR: ["files"], RESTORE: []}
"""The words after `coordinator rebuild` for each of them."""
COMMAND_POINTS = {
    REPAIR: [point for point in POINTS if point.startswith("repair.") or point in _STORE],
    RESTORE: [
        point
        for point in POINTS
        if point.startswith(("restore.", "coordinator.events-read.")) or point in _STORE
    ],
}
"""Fault points that each command comes to; those of the store are the coordinator's, too."""
AT_ONCE = 4
"""Fault points at which one repair or one restore dies, at most."""
RANDOM_SHARE = 1 / 3
"""Share of the repairs and restores that die at a random time as well."""
AGAIN = (
    "transactions-pending",
    "reorganised",
    "rpc-unreachable",
    "rpc-error",
    "store-unreachable",
    "database-unreachable",
)
"""Codes after which a command is simply called again: the chain or a server was not ready."""
LIMIT = 120.0
"""Seconds that one call may take."""


def planned(command: str, point: str) -> str:
    """A fault point of a command, as a plan has it."""
    return f"{command}:{point}"


@dataclass
class Command:
    """One of the commands, on one coordinator.

    Args:
        name: `repair` or `restore`.
        home: The coordinator's folder.
        mirrors: Where good files are.
        points: Fault points at which it is to die once each.
        random: Decides about random kills.
        note: Takes what was killed where.
    """

    name: str
    home: Path
    mirrors: tuple[str, ...]
    points: list[str]
    random: random.Random
    note: Callable[[str, str], None]
    _takes: float = field(default=2.0, init=False)

    def __post_init__(self) -> None:
        (self.home / "command-faults").mkdir(exist_ok=True)

    def call(self) -> dict[str, Any] | None:
        """Call it until it has done its work; return what it printed, None if it died when all was done.

        Raises:
            AssertionError: It failed, and not for a reason that passes.
        """
        armed = self.points[:AT_ONCE]
        kill = self.random.random() < RANDOM_SHARE
        died = written = False
        end = time.monotonic() + LIMIT * (AT_ONCE + 2)
        while time.monotonic() < end:
            kill_after = self.random.uniform(0.2, self._takes) if kill else None
            status, printed = self._once(armed, kill_after)
            if status == -signal.SIGKILL:
                died = True
                met = [point for point in armed if self._mark(point).exists()]
                self.note(self.name, f"{self.name} killed at {met[0] if met else 'a random time'}")
                kill = kill and bool(met)
                written = written or "restore.rows-written.after" in met
                armed = [point for point in armed if point not in met]
                self.points[:] = [point for point in self.points if point not in met]
                continue
            document: dict[str, Any] = json.loads(printed)
            if written and status == 0:
                raise AssertionError(f"{self.name} had written all before, and wrote it again: {document}")
            if status == 0 or (died and document["error"]["code"] == "database-not-empty"):
                unmet = [point for point in self.points if point in armed]  # others have their turn first
                self.points[:] = [point for point in self.points if point not in armed] + unmet
                return document if status == 0 else None
            if document["error"]["code"] not in AGAIN:
                raise AssertionError(f"{self.name} failed: {document['error']}")
            time.sleep(0.3)  # as who calls it again by hand
        raise AssertionError(f"{self.name} came to no end")

    def refusal(self) -> str | None:
        """Call it once, without harm; return the code of its error, if it is one."""
        status, printed = self._once([], None)
        return json.loads(printed)["error"]["code"] if status else None

    def _once(self, armed: list[str], kill_after: float | None) -> tuple[int, str]:
        command = [
            sys.executable,
            "-m",
            "folkmoot",
            "coordinator",
            "rebuild",
            *WORDS[self.name],
            "--home",
            str(self.home),
        ]
        command += [word for mirror in self.mirrors for word in ("--mirror", mirror)]
        faults = ",".join(f"{point}@{self._mark(point)}" for point in armed)
        began = time.monotonic()
        with (self.home / f"log-{self.name}").open("ab") as log:
            process = subprocess.Popen(
                [*command, "--json"],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=dict(os.environ) | ({VARIABLE: faults} if faults else {}),
            )
            try:
                printed, _ = process.communicate(timeout=kill_after or LIMIT)
            except subprocess.TimeoutExpired:
                process.kill()
                printed, _ = process.communicate()
                if kill_after is None:
                    raise AssertionError(f"{self.name} took longer than {LIMIT:g} s") from None
        if process.returncode == 0:
            self._takes = time.monotonic() - began
        return process.returncode, printed

    def _mark(self, point: str) -> Path:
        return self.home / "command-faults" / planned(self.name, point)

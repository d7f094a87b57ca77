# SPDX-License-Identifier: Apache-2.0
"""What another process uses: processor time and memory, as Linux counts them."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Process:
    """A process that is looked at from the outside."""

    pid: int
    """Its number."""
    _forgotten_at: float = field(default=0.0, init=False)
    """MiB that it held when `forget_peak` was called."""

    def seconds(self) -> float:
        """Seconds that the processor spent on it so far, in all its threads."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def peak(self) -> float:
        """MiB of memory that it held at most since the start, or since `forget_peak`."""
        return max(self._mebibytes("VmHWM"), self._forgotten_at)

    def held(self) -> float:
        """MiB of memory that it holds now."""
        return self._mebibytes("VmRSS")

    def forget_peak(self) -> float:
        """Let the peak begin anew at what is held now, and return that, in MiB.

        Linux begins at an estimate that can be some pages below it, since it counts pages by CPU.
        """
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")
        self._forgotten_at = self.held()
        return self._forgotten_at

    def _mebibytes(self, name: str) -> float:
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(name + ":"):
                return int(line.split()[1]) / 1024
        raise AssertionError(f"/proc/{self.pid}/status has no {name}")


def folder_bytes(folder: Path) -> int:
    """Bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())

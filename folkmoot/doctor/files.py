# SPDX-License-Identifier: Apache-2.0
"""Check that only its owner can read a file on this machine."""

from __future__ import annotations

import stat
from pathlib import Path

from folkmoot.doctor.check import Finding, warning

READABLE_BY_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def exposed(path: Path) -> Finding | None:
    """Return a warning if users other than its owner may read or change a file."""
    mode = stat.S_IMODE(path.stat().st_mode)
    if not mode & READABLE_BY_OTHERS:
        return None
    return warning(
        f"{path} can be read or changed by others than its owner (mode {mode:04o}).", f"Run: chmod 600 {path}"
    )

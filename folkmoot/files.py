# SPDX-License-Identifier: Apache-2.0
"""Writing a small file as a whole: a crash leaves the old one or the new one, never half of one."""

from __future__ import annotations

import os
from pathlib import Path


def write_whole(path: Path, data: bytes, *, mode: int = 0o666) -> None:
    """Write a file and see to it that it survives a loss of power; its folder must be there.

    Args:
        path: The file. What was there is replaced.
        data: Its content.
        mode: Its permissions, less those that the process's umask takes away.

    Raises:
        OSError: it can't be written; what was there still is.
    """
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)  # of an earlier crash, maybe with other permissions
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """See to it that names that were given or taken in a folder survive a loss of power.

    Raises:
        OSError: the disk failed.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

# SPDX-License-Identifier: Apache-2.0
"""Writing a small file as a whole: a crash leaves the old one or the new one, never half of one. Knows no content.

It is written beside its place, under a name that no other writer has, so that of two at once the last one's counts. A
crash may leave that file (`*.part`), which nothing reads.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterable
from pathlib import Path

_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
"""What file systems without hard links say."""


def write_whole(path: Path, data: bytes | Iterable[bytes], *, mode: int = 0o666) -> None:
    """Write a file and see to it that it survives a loss of power; its folder must be there.

    Args:
        path: The file. What was there is replaced.
        data: Its content, or the pieces of it.
        mode: Its permissions, less those that the process's umask takes away.

    Raises:
        OSError: it can't be written; what was there still is.
    """
    part = _write_part(path, data, mode)
    try:
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    sync_folder(path.parent)


def write_new(path: Path, data: bytes, *, mode: int = 0o666) -> None:
    """Write a file that must not be there yet, as `write_whole`.

    Raises:
        FileExistsError: it is there; it was left alone.
    """
    part = _write_part(path, data, mode)
    try:
        os.link(part, path)  # unlike a rename, it takes no other file's place
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if path.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from error
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    sync_folder(path.parent)


def _write_part(path: Path, data: bytes | Iterable[bytes], mode: int) -> Path:
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.writelines((data,) if isinstance(data, bytes) else data)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        part.unlink(missing_ok=True)
        raise
    return part


def sync_folder(folder: Path) -> None:
    """See to it that names that were given or taken in a folder survive a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

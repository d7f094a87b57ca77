# SPDX-License-Identifier: Apache-2.0
"""Lock files: only one process at a time does a thing. The system takes back the lock of a process that ends.

A lock on a file of data is no matter of this module: it has to be on the handle that is written through.
"""

from __future__ import annotations

from pathlib import Path

from filelock import AcquireReturnProxy, FileLock, Timeout


def acquire(path: Path) -> AcquireReturnProxy[FileLock]:
    """Wait for a lock file, which is made if needed, and return a context manager that releases it.

    Raises:
        OSError: The file can't be used; its folder must be there.
    """
    return _lock(path).acquire()


def try_acquire(path: Path) -> AcquireReturnProxy[FileLock] | None:
    """Return what `acquire` does; None if another process holds the lock.

    Raises:
        OSError: As for `acquire`.
    """
    try:
        return _lock(path).acquire(blocking=False)
    except Timeout:
        return None


def _lock(path: Path) -> FileLock:
    path.parent.stat()  # filelock would make the folder, and nobody would notice a mistyped path
    # Without flock, filelock would write a file instead, which survives a crash. Threads hand our locks on.
    return FileLock(path, thread_local=False, fallback_to_soft=False)

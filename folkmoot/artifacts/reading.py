# SPDX-License-Identifier: Apache-2.0
"""Files that were read in full since they last changed, so that what leaves the store is what its name promises.

A file is hashed before its first byte is handed out. What the disk says of it then (device, inode, size, times) is
remembered in memory; as long as the disk says the same, the file is not hashed again. Each piece that is handed out is
followed by a look whether the file is still the same, so a file that changes meanwhile never ends as a complete one.

Bits that change below the file system, without a new time, are found by a full read (`Store.check`).
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections import OrderedDict
from pathlib import Path
from typing import BinaryIO, NamedTuple

CHUNK = 1 << 20
"""Bytes read at a time."""
REMEMBERED = 1 << 16
"""Files that are remembered; those that were not asked for longest are forgotten first."""
SETTLED_NS = 100_000_000
"""Nanoseconds after which a change gets another time than the one before: more than any file system's clock needs."""


class Stamp(NamedTuple):
    """What the disk says of a file; it says something else after a change."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> Stamp:
        """Take it from what the system says."""
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


class ChangedError(Exception):
    """The file changed while it was read."""


class IntactFile:
    """A file that is open and was hashed since it last changed. The caller closes it.

    Args:
        stamp: What the disk said of it when it was hashed.
    """

    def __init__(self, file: BinaryIO, stamp: Stamp) -> None:
        self._file, self._stamp = file, stamp
        self.status = os.fstat(file.fileno())

    @property
    def size(self) -> int:
        """Its size in bytes."""
        return self._stamp.size

    def read(self, start: int, size: int) -> bytes:
        """Return bytes of it.

        Raises:
            ChangedError: The file changed since it was hashed, or ends before that.
        """
        data = os.pread(self._file.fileno(), size, start)
        now = os.fstat(self._file.fileno())
        stamp = Stamp.of(now)
        if now.st_nlink == 0:  # Its name is another file's now, which changed a time and no byte.
            stamp = stamp._replace(ctime_ns=self._stamp.ctime_ns)
        if stamp != self._stamp or len(data) < min(size, self.size - start):
            raise ChangedError
        return data

    def close(self) -> None:
        """Close it."""
        self._file.close()


class Readings:
    """Remembers which hash files had when they were last read in full."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._remembered: OrderedDict[Path, tuple[Stamp, str]] = OrderedDict()

    def hashed(self, path: Path) -> tuple[str, int]:
        """Read a file in full. Return its sha256 and its size in bytes, and remember the hash."""
        with path.open("rb") as file:
            digest, stamp = self._read(path, file)
        return digest, stamp.size

    def open(self, path: Path) -> tuple[str, IntactFile]:
        """Open a file. Return its sha256 and the file, which is read in full only if it changed since the last time."""
        file = path.open("rb")
        try:
            stamp = Stamp.of(os.fstat(file.fileno()))
            with self._lock:
                remembered = self._remembered.get(path)
                if remembered is not None and remembered[0] == stamp:
                    self._remembered.move_to_end(path)
                    return remembered[1], IntactFile(file, stamp)
            digest, stamp = self._read(path, file)
            return digest, IntactFile(file, stamp)
        except BaseException:
            file.close()
            raise

    def _read(self, path: Path, file: BinaryIO) -> tuple[str, Stamp]:
        began, stamp = time.time_ns(), Stamp.of(os.fstat(file.fileno()))
        digest = hashlib.sha256()
        size = 0
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            size += len(chunk)
        settled = stamp.ctime_ns < began - SETTLED_NS
        same = Stamp.of(os.fstat(file.fileno())) == stamp and size == stamp.size
        with self._lock:
            self._remembered.pop(path, None)
            if settled and same:
                self._remembered[path] = (stamp, digest.hexdigest())
                if len(self._remembered) > REMEMBERED:
                    self._remembered.popitem(last=False)
        return digest.hexdigest(), stamp._replace(size=size)

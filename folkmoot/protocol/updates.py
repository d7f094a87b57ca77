# SPDX-License-Identifier: Apache-2.0
"""Readers of the bytes of an update: two interfaces, and two implementations, memory and file.

Updates are read by ranges of leaves, so that no whole update has to be in memory. This module does not know what the
bytes mean.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np

from folkmoot.errors import ArtifactError
from folkmoot.protocol.arrays import I64, U8
from folkmoot.protocol.fixed_point import LEAF


class SequentialReader(Protocol):
    """The bytes of one update, read once from the first leaf to the last."""

    @property
    def size(self) -> int:
        """Number of bytes."""

    def read(self, first: int, last: int) -> U8:
        """Return the leaves ``first`` to ``last`` (exclusive), uint8[last - first, 256].

        Raises:
            ArtifactError: The bytes are not there.
        """


class UpdateReader(SequentialReader, Protocol):
    """The bytes of one update file, read in any order."""

    def pick(self, leaves: I64) -> U8:
        """Return some leaves, int64[k] ascending, as uint8[k, 256].

        Raises:
            ArtifactError: The bytes are not there.
        """


class MemoryUpdate:
    """An update that is in memory.

    Args:
        data: The update file's bytes.
    """

    def __init__(self, data: bytes | bytearray | memoryview | U8) -> None:
        self._bytes: U8 = np.frombuffer(data, dtype=np.uint8)

    @property
    def size(self) -> int:
        """Number of bytes."""
        return int(self._bytes.size)

    def read(self, first: int, last: int) -> U8:
        """Return the leaves ``first`` to ``last`` (exclusive), uint8[last - first, 256]."""
        return self._bytes[LEAF * first : LEAF * last].reshape(-1, LEAF)

    def pick(self, leaves: I64) -> U8:
        """Return some leaves, int64[k] ascending, as uint8[k, 256]."""
        return self._bytes.reshape(-1, LEAF)[leaves]


class FileUpdate:
    """An update in a file, read range by range.

    Args:
        path: The file. It must not change while it is read.

    Raises:
        ArtifactError: The file can't be opened.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._size = path.stat().st_size
        except OSError as error:
            raise ArtifactError(f"The update file {path} can't be read: {error.strerror}.") from error

    @property
    def size(self) -> int:
        """Number of bytes."""
        return self._size

    def read(self, first: int, last: int) -> U8:
        """Return the leaves ``first`` to ``last`` (exclusive), uint8[last - first, 256].

        Raises:
            ArtifactError: The file can't be read, or became shorter.
        """
        values = np.empty((last - first, LEAF), dtype=np.uint8)
        try:
            with self._path.open("rb") as file:  # np.fromfile takes one and a half times as long
                file.seek(LEAF * first)
                count = file.readinto(values.data)
        except OSError as error:
            raise ArtifactError(f"The update file {self._path} can't be read: {error.strerror}.") from error
        if count != values.size:
            raise ArtifactError(f"The update file {self._path} became shorter while it was read.")
        return values

    def pick(self, leaves: I64) -> U8:
        """Return some leaves, int64[k] ascending, as uint8[k, 256]. Only the pages that they lie in are read.

        Raises:
            ArtifactError: The file can't be read, or became shorter.
        """
        try:
            mapped = np.memmap(self._path, np.uint8, "r", shape=(self._size // LEAF, LEAF))
        except (OSError, ValueError) as error:
            raise ArtifactError(f"The update file {self._path} can't be read: {error}.") from error
        return np.array(mapped[leaves])

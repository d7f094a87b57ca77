# SPDX-License-Identifier: Apache-2.0
"""Readers of an update file: two interfaces, and two implementations, memory and file.

Updates are read by ranges of leaves, so that no whole update has to be in memory. A file is packed to the width of its
round (``folkmoot.protocol.packing``); who reads it gets leaves of a byte a coordinate. This module checks no values.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np

from folkmoot.errors import ArtifactError
from folkmoot.protocol.arrays import I64, U8
from folkmoot.protocol.fixed_point import LEAF
from folkmoot.protocol.packing import unpack


class SequentialReader(Protocol):
    """One update, read once from the first leaf to the last."""

    @property
    def width(self) -> int:
        """Bits of a coordinate in the file."""

    @property
    def size(self) -> int:
        """Number of bytes of the file."""

    def packed(self, first: int, last: int) -> U8:
        """Return the bytes of the leaves ``first`` to ``last`` (exclusive) as they are in the file, uint8[m].

        Raises:
            ArtifactError: The bytes are not there.
        """

    def read(self, first: int, last: int) -> U8:
        """Return the leaves ``first`` to ``last`` (exclusive), uint8[last - first, 256].

        Raises:
            ArtifactError: The bytes are not there.
        """


class UpdateReader(SequentialReader, Protocol):
    """One update, read in any order."""

    def pick(self, leaves: I64) -> U8:
        """Return some leaves, int64[k] ascending, as uint8[k, 256].

        Raises:
            ArtifactError: The bytes are not there.
        """


class MemoryUpdate:
    """An update that is in memory.

    Args:
        data: The update file's bytes.
        width: Bits of a coordinate in the file.
    """

    def __init__(self, data: bytes | bytearray | memoryview | U8, width: int = 8) -> None:
        self._bytes: U8 = np.frombuffer(data, dtype=np.uint8)
        self.width = width
        """Bits of a coordinate in the file."""

    @property
    def size(self) -> int:
        """Number of bytes of the file."""
        return int(self._bytes.size)

    def packed(self, first: int, last: int) -> U8:
        """Return the bytes of the leaves ``first`` to ``last`` (exclusive) as they are in the file, uint8[m]."""
        leaf = LEAF * self.width // 8
        return self._bytes[leaf * first : leaf * last]

    def read(self, first: int, last: int) -> U8:
        """Return the leaves ``first`` to ``last`` (exclusive), uint8[last - first, 256]."""
        return unpack(self.packed(first, last), self.width)

    def pick(self, leaves: I64) -> U8:
        """Return some leaves, int64[k] ascending, as uint8[k, 256]."""
        return unpack(self._bytes.reshape(-1, LEAF * self.width // 8)[leaves], self.width)


class FileUpdate:
    """An update in a file, read range by range.

    Args:
        path: The file. It must not change while it is read.
        width: Bits of a coordinate in the file, from the policy of its round.

    Raises:
        ArtifactError: The file can't be opened.
    """

    def __init__(self, path: Path, width: int) -> None:
        self._path = path
        self.width = width
        """Bits of a coordinate in the file."""
        try:
            self._size = path.stat().st_size
        except OSError as error:
            raise ArtifactError(f"The update file {path} can't be read: {error.strerror}.") from error

    @property
    def size(self) -> int:
        """Number of bytes of the file."""
        return self._size

    def packed(self, first: int, last: int) -> U8:
        """Return the bytes of the leaves ``first`` to ``last`` (exclusive) as they are in the file, uint8[m].

        Raises:
            ArtifactError: The file can't be read, or became shorter.
        """
        leaf = LEAF * self.width // 8
        values: U8 = np.empty(leaf * (last - first), dtype=np.uint8)
        try:
            with self._path.open("rb") as file:  # np.fromfile takes one and a half times as long
                file.seek(leaf * first)
                count = file.readinto(values.data)
        except OSError as error:
            raise ArtifactError(f"The update file {self._path} can't be read: {error.strerror}.") from error
        if count != values.size:
            raise ArtifactError(f"The update file {self._path} became shorter while it was read.")
        return values

    def read(self, first: int, last: int) -> U8:
        """Return the leaves ``first`` to ``last`` (exclusive), uint8[last - first, 256].

        Raises:
            ArtifactError: The file can't be read, or became shorter.
        """
        return unpack(self.packed(first, last), self.width)

    def pick(self, leaves: I64) -> U8:
        """Return some leaves, int64[k] ascending, as uint8[k, 256]. Only the pages that they lie in are read.

        Raises:
            ArtifactError: The file can't be read, or became shorter.
        """
        try:
            leaf = LEAF * self.width // 8
            mapped = np.memmap(self._path, np.uint8, "r", shape=(self._size // leaf, leaf))
        except (OSError, ValueError) as error:
            raise ArtifactError(f"The update file {self._path} can't be read: {error}.") from error
        return unpack(np.array(mapped[leaves]), self.width)

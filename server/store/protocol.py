# SPDX-License-Identifier: Apache-2.0
"""What the coordinator asks of a store. `FolderStore` ships; another one must keep the same promises."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class Stored:
    """A file that is in the store."""

    sha256: str
    """Its name: hex, without 0x."""
    size: int


class Writer(Protocol):
    """A file under way. It is nobody's until it is kept."""

    path: Path
    """Where its bytes are for now; complete after `flush`."""
    size: int
    """Bytes written so far."""

    def write(self, chunk: bytes) -> None:
        """Append bytes, hashing on the way."""

    def flush(self) -> None:
        """Make what was written readable at `path`."""

    def sha256(self) -> str:
        """Hash of what was written."""

    def keep(self) -> Stored:
        """Put it into the store: all of it, durably, or nothing."""


class Store(Protocol):
    """Files by hash."""

    def writer(self) -> AbstractContextManager[Writer]:
        """Begin a file; it is thrown away at the end unless it was kept."""

    def put(self, data: bytes) -> Stored:
        """Store bytes."""

    def put_file(self, path: Path) -> Stored:
        """Store a copy of a file."""

    def link(self, keccak: str, sha256: str) -> None:
        """Let a file be found by its keccak too (docs/protocol.md section 12)."""

    def by_keccak(self, keccak: str) -> str:
        """sha256 of the file with this keccak.

        Raises:
            ArtifactError: There is no such link.
        """

    def has(self, sha256: str) -> bool:
        """Whether the file is there."""

    def path(self, sha256: str) -> Path:
        """Where the file is, unchecked.

        Raises:
            ArtifactError: It is missing.
        """

    def verified(self, sha256: str) -> Path:
        """Where the file is, after reading all of it.

        Raises:
            ArtifactError: It is missing or damaged.
        """

    def read(self, sha256: str) -> bytes:
        """A small file's bytes, checked.

        Raises:
            ArtifactError: It is missing or damaged.
        """

    def usable(self) -> bool:
        """Whether it can be written to now."""

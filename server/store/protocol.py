# SPDX-License-Identifier: Apache-2.0
"""What the coordinator asks of a store. `FolderStore` and `S3Store` keep the same promises; one test suite asks both.

A file that is missing or damaged is an `ArtifactError`: asking again won't help. A store that can't be used now (a disk
is full, an endpoint is down) is a `StoreError`: it says nothing about the file, and whatever was asked can be asked
again. The two must never be taken for each other, or a contributor would lose its update to a broken cable.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from folkmoot.errors import ArtifactError, StoreError
from server.store.reading import IntactFile


@dataclass(frozen=True)
class Stored:
    """A file that is in the store."""

    sha256: str
    """Its name: hex, without 0x."""
    size: int


class Writer(Protocol):
    """A file under way. It is nobody's until it is kept.

    Every method raises StoreError when the bytes can't be written: then nothing is kept, and trying anew is safe.
    """

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

    def restart(self) -> None:
        """Throw away what was written, and begin anew."""

    def discard(self) -> None:
        """Throw the file away, unless it was kept."""


class Store(Protocol):
    """Files by hash. Every method may raise StoreError: the store can't be used now."""

    location: str
    """Where it is, for people: a folder, or the URL of a bucket."""
    lacking: Callable[[ArtifactError], None]
    """Called with the error of each file that is found missing or damaged; must not raise, write or wait."""

    def clear_incoming(self) -> None:
        """Remove what an earlier process left unfinished; only at the start of the one that writes."""

    def writer(self) -> AbstractContextManager[Writer]:
        """Begin a file; it is thrown away at the end unless it was kept."""

    def continued(self, name: str) -> AbstractContextManager[Writer]:
        """Go on with an unfinished file, or begin it. It stays at the end, unless it was kept or discarded.

        The caller makes sure that nobody else writes it.
        """

    def unfinished(self) -> dict[str, int]:
        """Names and sizes in bytes of the unfinished files that stay."""

    def forget(self, name: str) -> None:
        """Delete an unfinished file; nothing happens if it is not there."""

    def put(self, data: bytes) -> Stored:
        """Store bytes."""

    def put_chunks(self, chunks: Iterable[bytes]) -> Stored:
        """Store bytes that come in pieces."""

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
        """Where the file is on this machine, for an hour at least; unchecked.

        Raises:
            ArtifactError: It is missing.
        """

    def open(self, sha256: str) -> IntactFile:
        """Open a file that was read in full since it last changed. The caller closes it.

        Raises:
            ArtifactError: It is missing or damaged.
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

    def check(self, sha256: str) -> int:
        """Read what is really kept, past any copy on this machine, and return its size in bytes.

        Raises:
            ArtifactError: It is missing or damaged.
        """

    def delete(self, sha256: str) -> None:
        """Delete a file for good; nothing happens if it is not there. Call it for files that no row needs."""

    def problem(self) -> StoreError | None:
        """Why it can't be written to now; None if it can."""

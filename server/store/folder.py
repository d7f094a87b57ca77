# SPDX-License-Identifier: Apache-2.0
"""A store in a folder, laid out as docs/protocol.md section 12 says: it can be served and audited as it is."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from folkmoot.errors import ArtifactError
from folkmoot.fault_points import fault_point
from server.store.protocol import Stored

_CHUNK = 1 << 20
_NAME = re.compile(r"[0-9a-f]{64}")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class _FolderWriter:
    """A file under way in the store's own folder, so that keeping it is one rename."""

    def __init__(self, store: FolderStore) -> None:
        self._store = store
        descriptor, name = tempfile.mkstemp(dir=store.incoming)
        self.path = Path(name)
        self.size = 0
        self._file = os.fdopen(descriptor, "wb")
        self._hash = hashlib.sha256()

    def write(self, chunk: bytes) -> None:
        self._file.write(chunk)
        self._hash.update(chunk)
        self.size += len(chunk)

    def flush(self) -> None:
        self._file.flush()

    def sha256(self) -> str:
        return self._hash.hexdigest()

    def keep(self) -> Stored:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        name = self.sha256()
        self._store.adopt(self.path, name)
        return Stored(name, self.size)

    def discard(self) -> None:
        self._file.close()
        self.path.unlink(missing_ok=True)


class FolderStore:
    """A folder with `ab/abcdef...` and `by-keccak/...`.

    Args:
        root: The folder; made if it is not there.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.incoming = root / "incoming"
        self._links = root / "by-keccak"
        for folder in (root, self.incoming, self._links):
            folder.mkdir(parents=True, exist_ok=True)

    def clear_incoming(self) -> None:
        """Remove what an earlier process left unfinished; only at the start of the one that writes."""
        for leftover in self.incoming.iterdir():
            leftover.unlink(missing_ok=True)

    @contextmanager
    def writer(self) -> Iterator[_FolderWriter]:
        """Begin a file; it is thrown away at the end unless it was kept."""
        writer = _FolderWriter(self)
        try:
            yield writer
        finally:
            writer.discard()

    def put(self, data: bytes) -> Stored:
        """Store bytes."""
        with self.writer() as writer:
            writer.write(data)
            return writer.keep()

    def put_file(self, path: Path) -> Stored:
        """Store a copy of a file."""
        with self.writer() as writer, path.open("rb") as source:
            while chunk := source.read(_CHUNK):
                writer.write(chunk)
            return writer.keep()

    def adopt(self, path: Path, name: str) -> None:
        """Give a complete, synced file of the incoming folder its place."""
        target = self._place(name)
        target.parent.mkdir(exist_ok=True)
        path.chmod(0o644)
        fault_point("coordinator.file-kept.before")
        path.replace(target)
        _sync_folder(target.parent)
        fault_point("coordinator.file-kept.after")

    def link(self, keccak: str, sha256: str) -> None:
        """Let a file be found by its keccak too."""
        if not _NAME.fullmatch(keccak) or not _NAME.fullmatch(sha256):
            raise ArtifactError(f"{keccak!r} or {sha256!r} is not a hash in hex.")
        with self.writer() as writer:
            writer.write(sha256.encode())
            writer.flush()
            writer.path.chmod(0o644)
            fault_point("coordinator.file-linked.before")
            writer.path.replace(self._links / keccak)
        _sync_folder(self._links)
        fault_point("coordinator.file-linked.after")

    def by_keccak(self, keccak: str) -> str:
        """sha256 of the file with this keccak."""
        if _NAME.fullmatch(keccak):
            with suppress(OSError):
                name = (self._links / keccak).read_text().strip()
                if _NAME.fullmatch(name):
                    return name
        raise ArtifactError(f"There is no artifact with the keccak {keccak}.", code="artifact-unknown")

    def has(self, sha256: str) -> bool:
        """Whether the file is there."""
        return bool(_NAME.fullmatch(sha256)) and self._place(sha256).is_file()

    def path(self, sha256: str) -> Path:
        """Where the file is, unchecked."""
        if not self.has(sha256):
            raise ArtifactError(
                f"The artifact {sha256} is not in the store.",
                remedy="Copy it there from a mirror, or from a contributor who kept it.",
                code="artifact-unknown",
            )
        return self._place(sha256)

    def verified(self, sha256: str) -> Path:
        """Where the file is, after reading all of it."""
        path = self.path(sha256)
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
        if digest.hexdigest() != sha256:
            raise ArtifactError(
                f"The artifact {sha256} is damaged: its bytes hash to {digest.hexdigest()}.",
                remedy="Check the disk, and replace the file from a mirror.",
                code="artifact-damaged",
            )
        return path

    def read(self, sha256: str) -> bytes:
        """A small file's bytes, checked."""
        return self.verified(sha256).read_bytes()

    def usable(self) -> bool:
        """Whether it can be written to now."""
        try:
            with self.writer() as writer:
                writer.write(b"folkmoot")
                writer.flush()
        except OSError:
            return False
        return True

    def _place(self, name: str) -> Path:
        return self.root / name[:2] / name

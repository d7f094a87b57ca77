# SPDX-License-Identifier: Apache-2.0
"""A store in a folder, laid out as docs/protocol.md section 12 says: it can be served and audited as it is."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import secrets
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from folkmoot.errors import ArtifactError, StoreError
from folkmoot.runtime.fault_points import fault_point
from folkmoot.runtime.files import sync_folder
from server.store.protocol import Stored
from server.store.reading import CHUNK, IntactFile, Readings

_NAME = re.compile(r"[0-9a-f]{64}")
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def is_name(text: str) -> bool:
    """Whether it is a hash in hex, and so can lead nowhere else."""
    return _NAME.fullmatch(text) is not None


def require_names(*names: str) -> None:
    """Make sure that all are hashes in hex.

    Raises:
        ArtifactError: One is not.
    """
    for name in names:
        if not is_name(name):
            raise ArtifactError(f"{name!r} is not a hash in hex.")


def unknown(sha256: str, where: str) -> ArtifactError:
    """The error of a file that is not there."""
    return ArtifactError(
        f"The artifact {sha256} is not in {where}.",
        remedy="Run `folkmoot coordinator repair --mirror ...`, or ask a contributor who kept it.",
        code="artifact-unknown",
        details={"file": sha256},
    )


def unknown_keccak(keccak: str) -> ArtifactError:
    """The error of a keccak that nothing has."""
    return ArtifactError(f"There is no artifact with the keccak {keccak}.", code="artifact-unknown")


def damaged(sha256: str, where: str, found: str) -> ArtifactError:
    """The error of a file whose bytes are others."""
    return ArtifactError(
        f"The artifact {sha256} in {where} is damaged: its bytes hash to {found}.",
        remedy="Check the disk, and replace the file: `folkmoot coordinator repair --mirror ...`.",
        code="artifact-damaged",
        details={"file": sha256},
    )


@contextmanager
def disk(folder: Path) -> Iterator[None]:
    """Say clearly what a folder fails at.

    Raises:
        StoreError: `store-full`, or `store-failed` for anything else that the operating system says.
    """
    try:
        yield
    except OSError as exc:
        if exc.errno in _FULL:
            raise StoreError(
                f"There is no room left in {folder}: {exc.strerror}.",
                remedy="Make room; nothing was lost, and what failed is tried again.",
                code="store-full",
            ) from exc
        raise StoreError(
            f"The folder {folder} can't be used: {exc.strerror or exc}.",
            remedy="Check the disk and who may write there; nothing was lost, and what failed is tried again.",
        ) from exc


class FolderWriter:
    """A file under way in the store's own folder, so that keeping it is one rename.

    It is locked as long as this process writes it: another one that clears the folder leaves it alone.

    Args:
        store: The store.
        name: Name of an unfinished file to go on with; empty for a new file without a name.
    """

    def __init__(self, store: FolderStore, name: str = "") -> None:
        self._store = store
        with disk(store.root):
            if name:
                self.path = store.uploads / name
                descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            else:
                descriptor, self.path = _unfinished(store.incoming)
        self.size = 0
        self._file = os.fdopen(descriptor, "r+b", buffering=0)
        self._hash = hashlib.sha256()
        with disk(store.root):
            while chunk := self._file.read(CHUNK):
                self._hash.update(chunk)
                self.size += len(chunk)

    def write(self, chunk: bytes) -> None:
        """See `Writer`."""
        rest = memoryview(chunk)
        self._hash.update(rest)
        self.size += len(rest)
        with disk(self._store.root):
            while rest:
                rest = rest[self._file.write(rest) :]

    def flush(self) -> None:
        """See `Writer`; every byte is in the file already."""

    def sha256(self) -> str:
        """See `Writer`."""
        return self._hash.hexdigest()

    def keep(self) -> Stored:
        """See `Writer`."""
        name = self.sha256()
        with disk(self._store.root):
            os.fsync(self._file.fileno())
            self._store.adopt(self.path, name)
            self._file.close()  # and with it ends the lock
        return Stored(name, self.size)

    def restart(self) -> None:
        """See `Writer`."""
        with disk(self._store.root):
            self._file.seek(0)
            self._file.truncate()
        self.size, self._hash = 0, hashlib.sha256()

    def discard(self) -> None:
        """See `Writer`."""
        self.close()
        self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the file; its bytes stay where they are."""
        self._file.close()


def _unfinished(folder: Path) -> tuple[int, Path]:
    """Make a file and lock it; return its descriptor and its path."""
    while True:
        descriptor, name = tempfile.mkstemp(dir=folder)
        fcntl.flock(
            descriptor, fcntl.LOCK_EX
        )  # on the file itself, by its descriptor: it is about to get another name
        if os.fstat(descriptor).st_nlink:
            return descriptor, Path(name)
        os.close(descriptor)  # it was cleared away before it was locked


class WritesFiles(ABC):
    """The ways into a store that are the same for every one: all of them go by its writer."""

    @abstractmethod
    def begin(self, name: str = "") -> FolderWriter:
        """A file under way, which the caller keeps, discards or, if it has a name, closes."""

    @contextmanager
    def writer(self) -> Iterator[FolderWriter]:
        """Begin a file; it is thrown away at the end unless it was kept."""
        writer = self.begin()
        try:
            yield writer
        finally:
            writer.discard()

    @contextmanager
    def continued(self, name: str) -> Iterator[FolderWriter]:
        """Go on with an unfinished file; it stays at the end, unless it was kept or discarded."""
        writer = self.begin(name)
        try:
            yield writer
        finally:
            writer.close()

    def put(self, data: bytes) -> Stored:
        """Store bytes."""
        with self.writer() as writer:
            writer.write(data)
            return writer.keep()

    def put_chunks(self, chunks: Iterable[bytes]) -> Stored:
        """Store bytes that come in pieces."""
        with self.writer() as writer:
            for chunk in chunks:
                writer.write(chunk)
            return writer.keep()

    def put_file(self, path: Path) -> Stored:
        """Store a copy of a file."""
        with self.writer() as writer, path.open("rb") as source:
            while chunk := source.read(CHUNK):
                writer.write(chunk)
            return writer.keep()


class FolderStore(WritesFiles):
    """A folder with `ab/abcdef...` and `by-keccak/...`.

    Args:
        root: The folder; made if it is not there.

    Raises:
        StoreError: It can't be made.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.location = str(root)
        self.lacking: Callable[[ArtifactError], None] = lambda error: None
        self._readings = Readings()
        self.incoming = root / "incoming"
        # An unfinished file has a name that others know, and may be nobody else's yet: its folder can't be guessed.
        self.uploads = next(root.glob("uploads-*"), root / f"uploads-{secrets.token_hex(16)}")
        self._links = root / "by-keccak"
        with disk(root):
            for folder in (root, self.incoming, self.uploads, self._links):
                folder.mkdir(parents=True, exist_ok=True)

    def clear_incoming(self) -> None:
        """Remove what processes that are gone left unfinished; what another one is writing (a repair, say) stays."""
        with disk(self.root):
            for leftover in self.incoming.iterdir():
                with suppress(FileNotFoundError, BlockingIOError), leftover.open("rb") as file:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    leftover.unlink(missing_ok=True)

    def begin(self, name: str = "") -> FolderWriter:
        """A file under way."""
        return FolderWriter(self, name)

    def unfinished(self) -> dict[str, int]:
        """Names and sizes of the unfinished files that stay."""
        found = {}
        with disk(self.root):
            for path in self.uploads.iterdir():
                with suppress(FileNotFoundError):
                    found[path.name] = path.stat().st_size
        return found

    def forget(self, name: str) -> None:
        """Delete an unfinished file."""
        with disk(self.root):
            (self.uploads / name).unlink(missing_ok=True)

    def adopt(self, path: Path, name: str) -> None:
        """Give a complete, synced file of the incoming folder its place."""
        target = self.place(name)
        target.parent.mkdir(exist_ok=True)
        # Updates are nobody else's before their time: who serves the folder runs as its owner, or serves a mirror.
        path.chmod(0o600)
        fault_point("coordinator.file-kept.before")
        path.replace(target)
        sync_folder(target.parent)
        fault_point("coordinator.file-kept.after")

    def link(self, keccak: str, sha256: str) -> None:
        """Let a file be found by its keccak too."""
        require_names(keccak, sha256)
        with self.writer() as writer:
            writer.write(sha256.encode())
            with disk(self.root):
                writer.path.chmod(0o600)
                fault_point("coordinator.file-linked.before")
                writer.path.replace(self._links / keccak)
        with disk(self.root):
            sync_folder(self._links)
        fault_point("coordinator.file-linked.after")

    def by_keccak(self, keccak: str) -> str:
        """sha256 of the file with this keccak."""
        if not is_name(keccak):
            raise unknown_keccak(keccak)
        try:
            with disk(self._links):
                name = (self._links / keccak).read_text(errors="replace").strip()
        except StoreError as exc:
            if isinstance(exc.__cause__, FileNotFoundError):
                raise unknown_keccak(keccak) from exc
            raise
        if not is_name(name):
            raise unknown_keccak(keccak)
        return name

    def has(self, sha256: str) -> bool:
        """Whether the file is there."""
        if not is_name(sha256):
            return False
        with disk(self.root):
            found = self.place(sha256).is_file()
            if not found:
                self.incoming.stat()  # is the whole folder gone, an unmounted disk, say? Nothing follows then
        return found

    def path(self, sha256: str) -> Path:
        """Where the file is, unchecked."""
        if not self.has(sha256):
            raise self._lacks(unknown(sha256, self.location))
        return self.place(sha256)

    def open(self, sha256: str) -> IntactFile:
        """Open a file that was read in full since it last changed."""
        path = self.path(sha256)
        with disk(self.root):
            digest, file = self._readings.open(path)
        if digest != sha256:
            file.close()
            raise self._lacks(damaged(sha256, self.location, digest))
        return file

    def verified(self, sha256: str) -> Path:
        """Where the file is, after reading all of it."""
        self.check(sha256)
        return self.place(sha256)

    def read(self, sha256: str) -> bytes:
        """A small file's bytes, checked."""
        return self.verified(sha256).read_bytes()

    def check(self, sha256: str) -> int:
        """Read the file and return its size in bytes."""
        path = self.path(sha256)
        with disk(self.root):
            digest, size = self._readings.hashed(path)
        if digest != sha256:
            raise self._lacks(damaged(sha256, self.location, digest))
        return size

    def delete(self, sha256: str) -> None:
        """Delete a file for good."""
        require_names(sha256)
        place = self.place(sha256)
        with disk(self.root), suppress(FileNotFoundError):
            place.unlink()
            sync_folder(place.parent)

    def _lacks(self, error: ArtifactError) -> ArtifactError:
        self.lacking(error)
        return error

    def problem(self) -> StoreError | None:
        """Why it can't be written to now; None if it can."""
        try:
            with self.writer() as writer:
                writer.write(b"folkmoot")
        except StoreError as exc:
            return exc
        return None

    def place(self, name: str) -> Path:
        """Where a file with this name belongs."""
        return self.root / name[:2] / name

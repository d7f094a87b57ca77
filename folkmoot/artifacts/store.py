# SPDX-License-Identifier: Apache-2.0
"""Files named by their SHA-256, laid out as docs/protocol.md section 12 says: in a folder here, in a bucket in `s3`.

The coordinator, mirrors, watchers and contributors keep their files here. Bytes are hashed before a file gets its name,
and a file is hashed before it is handed out. Every store is an `ArtifactSource` too.

A file that is missing or damaged is an ArtifactError: asking again does not help. A store that can't be used now (a
disk is full, an endpoint is down) is a StoreError: it says nothing about the file, and whatever was asked can be asked
again. The two must never be taken for each other, or a contributor would lose its update to a broken cable.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import secrets
import shutil
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from folkmoot.artifacts.reading import CHUNK, IntactFile, Readings
from folkmoot.errors import ArtifactError, InputError, StoreError
from folkmoot.protocol.deletion import DeletionWish, from_file
from folkmoot.protocol.hashing import keccak
from folkmoot.runtime.fault_points import fault_point
from folkmoot.runtime.files import sync_folder

DOCUMENT_LIMIT = 64 * 2**20
"""Maximum size in bytes of a JSON document: manifest, genesis, verdicts and artifacts files."""

WISHES = "deletions.json"
"""Name of the list of wishes to delete update files, in a folder."""

_NAME = re.compile(r"[0-9a-f]{64}")
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_GET_ANOTHER = "Get it from another mirror."


@dataclass(frozen=True)
class Owner:
    """Who keeps files in a folder."""

    name: str
    """First part of the names of its fault points."""
    mode: int = 0o600
    """Permissions of its files."""
    remedy: str = _GET_ANOTHER
    """What to do about a missing or damaged file."""


COORDINATOR = Owner(
    "coordinator",  # Updates are nobody else's before their time, so only its own account reads the files.
    remedy="Replace it: `folkmoot coordinator rebuild files --mirror ...`, or ask a contributor who kept it.",
)


@dataclass(frozen=True)
class Stored:
    """A file that is in the store."""

    sha256: str
    """Its name: hex, without 0x."""
    size: int


def is_name(text: str) -> bool:
    """Return whether a text is a hash in hex, and so can lead nowhere else."""
    return _NAME.fullmatch(text) is not None


def as_name(text: str) -> str:
    """Return a hash as the name of a file, without 0x."""
    name = text.lower().removeprefix("0x")
    if not is_name(name):
        raise ArtifactError(
            f"{text!r} is not the hash of a file.",
            remedy="Give 64 hexadecimal digits, with or without 0x.",
            code="artifact-missing",
        )
    return name


def missing(name: str, where: str, remedy: str = "Ask another mirror for it.") -> ArtifactError:
    """Return the error of a file that is not at a place."""
    return ArtifactError(
        f"The file {name} is not at {where}.",
        remedy=remedy,
        code="artifact-missing",
        details={"file": name, "source": where},
    )


def damaged(name: str, where: str, why: str, remedy: str = _GET_ANOTHER) -> ArtifactError:
    """Return the error of a file with other bytes than its name promises."""
    return ArtifactError(
        f"The file {name} at {where} is not the one that its name promises: {why}.",
        remedy=remedy,
        code="artifact-damaged",
        details={"file": name, "source": where, "found": why},
    )


def wishes_of(data: bytes, where: str) -> tuple[DeletionWish, ...]:
    """Read a list of wishes.

    Raises:
        ArtifactError: It can't be read (``artifact-damaged``).
    """
    try:
        return from_file(data)
    except InputError as error:
        raise damaged(WISHES, where, error.message) from error


def linked(pointer: bytes, keccak256: str, where: str) -> str:
    """Return the name to which a link by keccak leads.

    Raises:
        ArtifactError: It does not hold one (``artifact-damaged``).
    """
    name = pointer[:128].decode("ascii", errors="replace").strip()
    if not is_name(name):
        raise damaged(f"by-keccak/{keccak256}", where, "it does not hold a sha256")
    return name


def require_keccak(keccak256: str, data: bytes, where: str) -> bytes:
    """Return a document, if it has the keccak of its name.

    Raises:
        ArtifactError: It has another one (``artifact-damaged``).
    """
    digest = keccak(data).hex()
    if digest != keccak256:
        raise damaged(f"by-keccak/{keccak256}", where, f"its keccak is {digest}")
    return data


@contextmanager
def disk(folder: Path) -> Iterator[None]:
    """Turn a failure of a folder's disk into a StoreError: `store-full` or `store-failed`."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StoreError(
                f"There is no room left in {folder}: {error.strerror}.",
                remedy="Make room; nothing was lost, and what failed is tried again.",
                code="store-full",
            ) from error
        raise StoreError(
            f"The folder {folder} can't be used: {error.strerror or error}.",
            remedy="Check the disk and who may write there; nothing was lost, and what failed is tried again.",
        ) from error


class Writer:
    """A file under way in a store's folder, so that keeping it is one rename. It is nobody's until it is kept.

    It is locked as long as this process writes it: another one that clears the folder leaves it alone. Every method
    raises StoreError when the bytes can't be written: then nothing is kept, and trying anew is safe.

    Args:
        name: Name of an unfinished file to continue; empty for a new file without a name.
    """

    def __init__(self, store: FolderStore, name: str = "") -> None:
        self._store = store
        with disk(store.root):
            if name:
                self.path = store.unfinished_path(name)
                descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            else:
                descriptor, self.path = _unfinished(store.incoming)
        self._file = os.fdopen(descriptor, "r+b", buffering=0)
        self.reread()

    def reread(self) -> None:
        """Hash what is in the file, after somebody else wrote to its path."""
        self.size, self._hash = 0, hashlib.sha256()
        with disk(self._store.root):
            self._file.seek(0)
            while chunk := self._file.read(CHUNK):
                self._hash.update(chunk)
                self.size += len(chunk)

    def write(self, chunk: bytes) -> None:
        """Append bytes. They are in the file when this returns."""
        rest = memoryview(chunk)
        self._hash.update(rest)
        self.size += len(rest)
        with disk(self._store.root):
            while rest:
                rest = rest[self._file.write(rest) :]

    def sha256(self) -> str:
        """Return the hash of what was written."""
        return self._hash.hexdigest()

    def keep(self) -> Stored:
        """Put the file into the store: all of it, durably, or nothing."""
        name = self.sha256()
        with disk(self._store.root):
            os.fsync(self._file.fileno())
            self._store.adopt(self.path, name)
            self._file.close()  # and with it ends the lock
        return Stored(name, self.size)

    def restart(self) -> None:
        """Throw away what was written, and begin anew."""
        with disk(self._store.root):
            self._file.seek(0)
            self._file.truncate()
        self.size, self._hash = 0, hashlib.sha256()

    def discard(self) -> None:
        """Throw the file away, unless it was kept."""
        self.close()
        self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the file; its bytes stay where they are."""
        self._file.close()


def _unfinished(folder: Path) -> tuple[int, Path]:
    """Make a file and lock it; return its descriptor and its path."""
    while True:
        descriptor, name = tempfile.mkstemp(dir=folder)
        # On the file itself, by its descriptor: it is about to get another name.
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return descriptor, Path(name)
        os.close(descriptor)  # it was cleared away before it was locked


class Store(ABC):
    """Files by hash. `FolderStore` and `S3Store` keep the same promises; one test suite asks both.

    Every method may raise StoreError: the store can't be used now.
    """

    location: str
    """Where it is, for people: a folder, or the URL of a bucket."""
    owner = COORDINATOR

    def __init__(self) -> None:
        self.lacking: Callable[[ArtifactError], None] = lambda error: None
        """Called with the error of each file that is missing or damaged; must not raise, write or wait."""

    # Writing

    @abstractmethod
    def begin(self, name: str = "") -> Writer:
        """Return a file under way, which the caller keeps, discards or, if it has a name, closes."""

    @contextmanager
    def writer(self) -> Iterator[Writer]:
        """Begin a file; it is thrown away at the end unless it was kept."""
        writer = self.begin()
        try:
            yield writer
        finally:
            writer.discard()

    @contextmanager
    def continued(self, name: str) -> Iterator[Writer]:
        """Continue an unfinished file, or begin it. It stays at the end, unless it was kept, discarded or is empty.

        The caller makes sure that nobody else writes it.
        """
        writer = self.begin(name)
        try:
            yield writer
        finally:
            if writer.size:
                writer.close()
            else:
                writer.discard()

    def put(self, data: bytes) -> Stored:
        """Store bytes."""
        return self.put_chunks((data,))

    def put_chunks(self, chunks: Iterable[bytes]) -> Stored:
        """Store bytes that come in pieces."""
        with self.writer() as writer:
            for chunk in chunks:
                writer.write(chunk)
            return writer.keep()

    def put_file(self, path: Path) -> Stored:
        """Store a copy of a file."""
        with path.open("rb") as source:
            return self.put_chunks(iter(lambda: source.read(CHUNK), b""))

    def put_document(self, data: bytes) -> Stored:
        """Store bytes, and let them be found by their keccak too."""
        stored = self.put(data)
        self.link(keccak(data).hex(), stored.sha256)
        return stored

    @abstractmethod
    def link(self, keccak256: str, sha256: str) -> None:
        """Let a file be found by its keccak too (docs/protocol.md section 12)."""

    @abstractmethod
    def clear_incoming(self) -> None:
        """Remove what processes that are gone left unfinished; what another one is writing (a repair, say) stays."""

    @abstractmethod
    def unfinished(self) -> dict[str, int]:
        """Return names and sizes in bytes of the unfinished files that stay."""

    @abstractmethod
    def forget(self, name: str) -> None:
        """Delete an unfinished file; nothing happens if it is not there."""

    @abstractmethod
    def delete(self, sha256: str) -> None:
        """Delete a file for good; nothing happens if it is not there."""

    @abstractmethod
    def problem(self) -> StoreError | None:
        """Return why it can't be written to now; None if it can."""

    # Reading. Each raises ArtifactError for a file that is missing, and, where bytes are read, damaged.

    @abstractmethod
    def by_keccak(self, keccak256: str) -> str:
        """Return the sha256 of the file with this keccak."""

    @abstractmethod
    def has(self, sha256: str) -> bool:
        """Return whether the file is there."""

    @abstractmethod
    def path(self, sha256: str) -> Path:
        """Return where the file is on this machine, for an hour at least; unchecked."""

    @abstractmethod
    def open(self, sha256: str) -> IntactFile:
        """Open a file that was read in full since it last changed. The caller closes it."""

    @abstractmethod
    def verified(self, sha256: str) -> Path:
        """Return where the file is, after reading all of it."""

    @abstractmethod
    def check(self, sha256: str) -> int:
        """Read what is really kept, past any copy on this machine, and return its size in bytes."""

    def read(self, sha256: str) -> bytes:
        """Return a small file's bytes."""
        return self.verified(sha256).read_bytes()

    def lacks(self, error: ArtifactError) -> ArtifactError:
        """Report that a file is missing or damaged; return the error."""
        self.lacking(error)
        return error

    # As a source: see `ArtifactSource`

    def fetch(self, sha256: str, limit: int) -> Path:
        """Return the path of a file; see `ArtifactSource.fetch`."""
        name = as_name(sha256)
        if self.path(name).stat().st_size > limit:
            raise self._damaged(name, f"it has more than {limit} bytes")
        return self.verified(name)

    def document(self, keccak256: str) -> bytes:
        """Return a document; see `ArtifactSource.document`."""
        name = as_name(keccak256)
        data = self.fetch(self.by_keccak(name), DOCUMENT_LIMIT).read_bytes()
        return require_keccak(name, data, self.location)

    def wishes(self) -> tuple[DeletionWish, ...]:
        """Return none: a coordinator keeps them in its database."""
        return ()

    def discard(self, sha256: str) -> None:  # noqa: B027  a store has nothing to do for a reader
        """Do nothing: the files stay."""

    def close(self) -> None:  # noqa: B027  a folder has nothing to close
        """Do nothing: the files stay."""

    def _name(self, text: str) -> str:
        if not is_name(text):
            raise self._missing(text)
        return text

    def _missing(self, name: str) -> ArtifactError:
        return missing(name, self.location, self.owner.remedy)

    def _damaged(self, name: str, why: str) -> ArtifactError:
        return damaged(name, self.location, why, self.owner.remedy)


class FolderStore(Store):
    """A folder with `ab/abcdef...` and `by-keccak/...`.

    Args:
        root: The folder; made if it is not there.
        owner: Who keeps its files there.
        writable: Whether anything is written. If not, nothing is made.
    """

    def __init__(self, root: Path, owner: Owner = COORDINATOR, *, writable: bool = True) -> None:
        super().__init__()
        self.root, self.owner = root, owner
        self.location = str(root)
        self._readings = Readings()
        self.links = root / "by-keccak"
        self.incoming = root / "incoming"
        self._always_there = self.incoming if writable else root  # Unless a disk is not mounted.
        # An unfinished file has a name that others know, and may be nobody else's yet: its folder can't be guessed.
        self._uploads = next(root.glob("uploads-*"), root / f"uploads-{secrets.token_hex(16)}")
        self._uses = root / "used"
        with disk(root):
            for folder in (root, self.incoming, self._uploads, self.links) if writable else ():
                folder.mkdir(parents=True, exist_ok=True)

    def place(self, name: str) -> Path:
        """Return where a file with this name belongs."""
        return self.root / name[:2] / name

    def unfinished_path(self, name: str) -> Path:
        """Return where an unfinished file that stays is."""
        return self._uploads / name

    def begin(self, name: str = "") -> Writer:
        """See `Store.begin`."""
        return Writer(self, name)

    def adopt(self, path: Path, name: str) -> None:
        """Give a complete, synced file of this file system its place."""
        target = self.place(name)
        target.parent.mkdir(exist_ok=True)
        path.chmod(self.owner.mode)
        fault_point(f"{self.owner.name}.file-kept.before")
        path.replace(target)
        sync_folder(target.parent)
        fault_point(f"{self.owner.name}.file-kept.after")

    def link(self, keccak256: str, sha256: str) -> None:
        """See `Store.link`."""
        target = self.links / self._name(keccak256)
        with self.writer() as writer, disk(self.root):
            writer.write(self._name(sha256).encode())
            writer.path.chmod(self.owner.mode)
            fault_point(f"{self.owner.name}.file-linked.before")
            writer.path.replace(target)
            sync_folder(self.links)
        fault_point(f"{self.owner.name}.file-linked.after")

    def write_wishes(self, data: bytes) -> None:
        """Write the list of wishes to delete update files."""
        with self.writer() as writer, disk(self.root):
            writer.write(data)
            writer.path.chmod(self.owner.mode)
            writer.path.replace(self.root / WISHES)
            sync_folder(self.root)

    def clear_incoming(self) -> None:
        """See `Store.clear_incoming`."""
        with disk(self.root):
            for leftover in self.incoming.iterdir():
                if leftover.is_dir():
                    shutil.rmtree(leftover, ignore_errors=True)
                    continue
                with suppress(FileNotFoundError, BlockingIOError), leftover.open("rb") as file:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    leftover.unlink(missing_ok=True)

    def unfinished(self) -> dict[str, int]:
        """See `Store.unfinished`."""
        sizes = {}
        with disk(self.root):
            for path in self._uploads.iterdir():
                with suppress(FileNotFoundError):
                    sizes[path.name] = path.stat().st_size
        return sizes

    def forget(self, name: str) -> None:
        """See `Store.forget`."""
        with disk(self.root):
            self.unfinished_path(name).unlink(missing_ok=True)

    def delete(self, sha256: str) -> None:
        """See `Store.delete`."""
        place = self.place(self._name(sha256))
        with disk(self.root), suppress(FileNotFoundError):
            (self._uses / sha256).unlink(missing_ok=True)
            place.unlink()
            sync_folder(place.parent)

    def problem(self) -> StoreError | None:
        """See `Store.problem`."""
        try:
            with self.writer() as writer:
                writer.write(b"folkmoot")
        except StoreError as error:
            return error
        return None

    def by_keccak(self, keccak256: str) -> str:
        """See `Store.by_keccak`."""
        name = self._name(keccak256)
        try:
            with disk(self.links):
                pointer = (self.links / name).read_bytes()
        except StoreError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                raise self._missing(f"by-keccak/{name}") from error
            raise
        return linked(pointer, name, self.location)

    def has(self, sha256: str) -> bool:
        """See `Store.has`."""
        if not is_name(sha256):
            return False
        with disk(self.root):
            there = self.place(sha256).is_file()
            if not there:
                self._always_there.stat()
        return there

    def path(self, sha256: str) -> Path:
        """See `Store.path`."""
        if not self.has(sha256):
            raise self.lacks(self._missing(sha256))
        return self.place(sha256)

    def open(self, sha256: str) -> IntactFile:
        """See `Store.open`."""
        path = self.path(sha256)
        with disk(self.root):
            digest, file = self._readings.open(path)
        if digest != sha256:
            file.close()
        self._require(sha256, digest)
        return file

    def intact(self, sha256: str) -> Path:
        """Return where the file is. It was read in full since it last changed."""
        self.open(sha256).close()
        return self.place(sha256)

    def verified(self, sha256: str) -> Path:
        """See `Store.verified`."""
        self.check(sha256)
        return self.place(sha256)

    def check(self, sha256: str) -> int:
        """See `Store.check`."""
        path = self.path(sha256)
        with disk(self.root):
            digest, size = self._readings.hashed(path)
        self._require(sha256, digest)
        return size

    def wishes(self) -> tuple[DeletionWish, ...]:
        """Return the wishes of the list in the folder; none without a list."""
        try:
            with disk(self.root):
                data = (self.root / WISHES).read_bytes()
        except StoreError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return ()
            raise
        return wishes_of(data, self.location)

    def use(self, sha256: str) -> None:
        """Note that a file is in use. Its own times would say that it changed."""
        with disk(self.root):
            self._uses.mkdir(exist_ok=True)
            (self._uses / sha256).touch()

    def make_room(self, limit: int, in_use_seconds: float = 0) -> None:
        """Remove the files that were not used for longest while all together have more bytes than a limit.

        Those used within the last seconds stay, so the limit can be exceeded.
        """
        with suppress(OSError):
            files = []
            for path in self.root.glob("[0-9a-f][0-9a-f]/*"):
                used = 0.0
                with suppress(FileNotFoundError):
                    status = path.stat()
                    with suppress(FileNotFoundError):
                        used = (self._uses / path.name).stat().st_mtime
                    files.append((max(used, status.st_mtime), status.st_size, path))
            total = sum(size for _, size, _ in files)
            oldest_in_use = time.time() - in_use_seconds
            for used, size, path in sorted(files):
                if total <= limit or (in_use_seconds and used >= oldest_in_use):
                    return
                path.unlink(missing_ok=True)
                (self._uses / path.name).unlink(missing_ok=True)
                total -= size

    def _require(self, sha256: str, digest: str) -> None:
        if digest != sha256:
            raise self.lacks(self._damaged(sha256, f"its sha256 is {digest}"))

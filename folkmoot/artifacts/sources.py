# SPDX-License-Identifier: Apache-2.0
"""Sources of a federation's files: folders, coordinators, web servers (docs/protocol.md section 12).

A source is never trusted. Each file is hashed during the transfer; it has the hash in its name, or an ArtifactError is
raised. The names of the files come from the chain.
"""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self, TypeVar

from folkmoot.errors import ArtifactError, InputError
from folkmoot.protocol.deletion import DeletionWish, from_file
from folkmoot.protocol.hashing import keccak, parse_json

if TYPE_CHECKING:
    import httpx

DOCUMENT_LIMIT = 64 * 2**20
"""Maximum size in bytes of a JSON document: manifest, genesis, verdicts and artifacts files."""

PROBLEM_LIMIT = 2**14
"""Maximum size in bytes of an error of a coordinator."""

CHUNK = 2**20
"""Size in bytes of the parts in which files are read and hashed."""

DEFAULT_TIMEOUT = 30.0
"""Timeout in seconds for connecting to a coordinator, and between two parts of a file."""

HEAD_TIMEOUTS = 3
"""Limit for receiving all headers of an answer, redirects included, as a multiple of the timeout."""

DEFAULT_RETRY_TIMEOUT = 120.0
"""Timeout in seconds for the pauses of one file, while a coordinator is busy or transfers break."""

PAUSE = 1.0
"""Seconds between two tries, unless the coordinator requests more."""

SLOWEST = 2**13
"""Minimum speed in bytes per second of a transfer that has lasted as long as the timeout."""

REST = 60.0
"""Seconds for which a source without an answer is skipped, if there are other sources."""

WISHES = "deletions.json"
"""Name of the list of wishes to delete update files, in a folder."""

EXPIRED = "expired"
"""Code of the error that a coordinator deleted an update file, by rule or by wish (docs/protocol.md sections 12.1 and
12.3)."""

SPARE = "spare-state"
"""Code of the error that a coordinator deleted a state file that can be rebuilt (docs/protocol.md section 12.2)."""

PART = ".part"
"""End of the name of a file that has not arrived in full."""

Moved = Callable[[int, int, int | None], object]
"""Called during a transfer with the number of bytes that have just arrived, of all that are there, and of the whole
file if the sender tells it."""

_T = TypeVar("_T")


class ArtifactSource(Protocol):
    """A source of a federation's files."""

    def fetch(self, sha256: str, limit: int) -> Path:
        """Return a local path of the file with this sha256 (64 hex digits).

        The hash has been checked when this returns. The path is valid until `discard` or `close`. The caller must not
        write to it.

        Raises:
            ArtifactError: code `artifact-missing`; `expired` or `spare-state` if the source deleted it by rule;
                `artifact-damaged` for bytes with another hash or more than `limit` bytes; `artifact-unreachable` if the
                source gave no answer, so that the file may exist.
        """
        ...

    def document(self, keccak256: str) -> bytes:
        """Return the document with this keccak256 (64 hex digits): a genesis, verdicts or artifacts file.

        Raises:
            ArtifactError: As for `fetch`.
        """
        ...

    def wishes(self) -> tuple[DeletionWish, ...]:
        """Return the wishes to delete update files that the source knows; their signatures are not checked.

        Raises:
            ArtifactError: code `artifact-damaged` for a list that can't be read; `artifact-unreachable`.
        """
        ...

    def discard(self, sha256: str) -> None:
        """Release a fetched file, so that its temporary copy can be removed."""
        ...

    def close(self) -> None:
        """Remove all copies and close all connections."""
        ...


class FolderSource:
    """A folder in the layout of docs/protocol.md section 12.

    Args:
        folder: The folder. It is only read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fetch(self, sha256: str, limit: int) -> Path:
        """See `ArtifactSource.fetch`; the path is the one in the folder."""
        name = _hex32(sha256)
        path = self.folder / name[:2] / name
        digest = hashlib.sha256()
        try:
            with path.open("rb") as file:
                size = 0
                while chunk := file.read(CHUNK):
                    size += len(chunk)
                    if size > limit:
                        raise _too_large(name, limit, str(self.folder))
                    digest.update(chunk)
        except FileNotFoundError as error:
            raise _missing(name, str(self.folder)) from error
        except OSError as error:
            raise _unreachable(name, str(self.folder), error.strerror or str(error)) from error
        _require_digest(name, digest.hexdigest(), str(self.folder))
        return path

    def document(self, keccak256: str) -> bytes:
        """See `ArtifactSource.document`."""
        name = _hex32(keccak256)
        pointer = self.folder / "by-keccak" / name
        try:
            sha256 = pointer.read_bytes()[:128].decode("ascii", errors="replace").strip()
        except FileNotFoundError as error:
            raise _missing(f"by-keccak/{name}", str(self.folder)) from error
        except OSError as error:
            raise _unreachable(name, str(self.folder), error.strerror or str(error)) from error
        if not _is_hex32(sha256):
            raise _damaged(f"by-keccak/{name}", str(self.folder), "it does not hold a sha256")
        data = self.fetch(sha256, DOCUMENT_LIMIT).read_bytes()
        _require_keccak(name, data, str(self.folder))
        return data

    def wishes(self) -> tuple[DeletionWish, ...]:
        """See `ArtifactSource.wishes`; none without a list in the folder."""
        try:
            data = (self.folder / WISHES).read_bytes()
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise _unreachable(WISHES, str(self.folder), error.strerror or str(error)) from error
        return _wishes(data, str(self.folder))

    def discard(self, sha256: str) -> None:
        """Do nothing: this process does not own the folder."""

    def close(self) -> None:
        """Do nothing: this process does not own the folder."""


class CoordinatorSource:
    """A coordinator's `/v1/artifacts`, or a web server that serves the folder of a mirror.

    Files are streamed into a folder and hashed during the transfer. If the coordinator is busy (HTTP 429 or 503), or a
    transfer breaks, the request is repeated: what has arrived of the file is hashed again, and only the rest is
    requested.

    Args:
        url: URL of the coordinator, without `/v1`, or of the folder.
        timeout: Timeout in seconds for connecting, and between two parts of a file.
        retry_timeout: Maximum sum in seconds of the pauses for one file.
        folder: Folder for files and their parts, which other sources and later processes continue; it must exist. By
            default a temporary one.
        moved: Called during a transfer.
        transport: Another transport of httpx, for tests.
        sleep: Another function that waits, for tests.
        clock: Another clock (seconds), for tests.
    """

    def __init__(
        self,
        url: str,
        timeout: float = DEFAULT_TIMEOUT,
        *,
        retry_timeout: float = DEFAULT_RETRY_TIMEOUT,
        folder: Path | None = None,
        moved: Moved = lambda new, done, total: None,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        import httpx

        from folkmoot.runtime.deadlines import Transport

        self.url = url.rstrip("/")
        self.retry_timeout = retry_timeout
        self._timeout = timeout
        self._sleep, self._clock = sleep, clock
        self._plain = False  # Whether it is a web server, not a coordinator. None until its first answer.
        self._client = httpx.Client(
            timeout=timeout, transport=transport or Transport(), follow_redirects=True
        )
        self._cache: tempfile.TemporaryDirectory[str] | None = None
        if folder is None:
            self._cache = tempfile.TemporaryDirectory(prefix="folkmoot-mirror-")
            folder = Path(self._cache.name)
        self._folder = folder
        self._moved = moved

    def fetch(self, sha256: str, limit: int) -> Path:
        """See `ArtifactSource.fetch`; the path is in the source's folder."""
        name = _hex32(sha256)
        path = self._folder / name
        if path.exists():  # It was hashed during the transfer.
            return path
        part = self._part(name)
        resumed = part.exists()
        try:
            _, digest = self._download(name, limit)
            if digest != name and resumed:  # The part that was there may be at fault.
                part.unlink()
                _, digest = self._download(name, limit)
            if digest != name:
                part.unlink()
            _require_digest(name, digest, self.url)
            return part.rename(path)
        finally:
            if self._cache is not None:  # Nobody continues a part in a temporary folder.
                part.unlink(missing_ok=True)

    def _part(self, name: str) -> Path:
        return self._folder / f"{name}{PART}"

    def document(self, keccak256: str) -> bytes:
        """See `ArtifactSource.document`."""
        name = _hex32(keccak256)
        part, _ = self._download(f"by-keccak/{name}", DOCUMENT_LIMIT)
        data = part.read_bytes()
        if self._plain:
            pointer = data[:128].decode("ascii", errors="replace").strip()
            if not _is_hex32(pointer):
                raise _damaged(f"by-keccak/{name}", self.url, "it does not hold a sha256")
            data = self.fetch(pointer, DOCUMENT_LIMIT).read_bytes()
            self.discard(pointer)
        _require_keccak(name, data, self.url)
        return data

    def model(self, number: int, limit: int) -> str | None:
        """Download the model file of a version. Return its sha256; None from a web server, which has none.

        Raises:
            ArtifactError: As for `fetch`. A file of more than `limit` bytes is damaged.
        """
        name = f"model of version {number}"
        address = f"{self.url}/v1/models/{number}/download"
        try:
            part, digest = self._repeatedly(name, lambda: self._get(address, name, limit))
        except _NotACoordinatorError:
            return None
        part.unlink()
        return digest

    def wishes(self) -> tuple[DeletionWish, ...]:
        """See `ArtifactSource.wishes`; none from a server without a list."""
        for path in ("v1/deletions", WISHES):
            address = f"{self.url}/{path}"
            try:
                part, _ = self._repeatedly(WISHES, partial(self._get, address, WISHES, DOCUMENT_LIMIT))
            except _NotACoordinatorError:
                continue
            except ArtifactError as error:
                if error.code != "artifact-missing":
                    raise
                break
            return _wishes(part.read_bytes(), self.url)
        return ()

    def discard(self, sha256: str) -> None:
        """Remove the copy of a file."""
        (self._folder / _hex32(sha256)).unlink(missing_ok=True)

    def close(self) -> None:
        """Close the connections, and remove all copies if the folder is a temporary one."""
        self._client.close()
        if self._cache is not None:
            self._cache.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _download(self, name: str, limit: int) -> tuple[Path, str]:
        """Download a file. Return the path of its bytes and their sha256."""
        return self._repeatedly(name, lambda: self._try(name, limit))

    def _repeatedly(self, name: str, attempt: Callable[[], _T]) -> _T:
        """Try until it succeeds, with pauses."""
        import httpx

        waited = 0.0
        while True:
            try:
                return attempt()
            except _BusyError as busy:
                why, pause = busy.args
            except httpx.InvalidURL as error:
                raise _unreachable(name, self.url, str(error)) from error
            except httpx.HTTPError as error:
                why, pause = str(error) or type(error).__name__, PAUSE
            except OSError as error:
                raise _unreachable(name, self.url, f"its copy can't be written, {error.strerror}") from error
            if waited + pause > self.retry_timeout:
                raise _unreachable(name, self.url, why)
            self._sleep(pause)
            waited += pause

    def _try(self, name: str, limit: int) -> tuple[Path, str]:
        if not self._plain:
            try:
                return self._get(f"{self.url}/v1/artifacts/{name}", name, limit)
            except _NotACoordinatorError:
                pass  # The server has no /v1: it is a web server with a folder.
        place = name if name.startswith("by-keccak/") else f"{name[:2]}/{name}"
        try:
            downloaded = self._get(f"{self.url}/{place}", name, limit)
        except _NotACoordinatorError as error:
            raise _missing(name, self.url) from error
        self._plain = True
        return downloaded

    def _get(self, address: str, name: str, limit: int) -> tuple[Path, str]:
        import httpx

        from folkmoot.runtime.deadlines import within

        part = self._part(name if _is_hex32(name) else "document")
        digest, size = _there(part) if _is_hex32(name) else (hashlib.sha256(), 0)
        if size and digest.hexdigest() == name:
            return part, name
        rest = {"Range": f"bytes={size}-", "Accept-Encoding": "identity"} if size else {}
        started, received = self._clock(), 0
        with ExitStack() as stack:
            with within(HEAD_TIMEOUTS * self._timeout):
                response = stack.enter_context(self._client.stream("GET", address, headers=rest))
            if response.status_code == httpx.codes.NOT_FOUND:
                if "problem+json" in response.headers.get("Content-Type", ""):
                    raise _missing(name, self.url)
                raise _NotACoordinatorError
            if response.status_code == httpx.codes.GONE and (code := _code(response)) in _DELETED:
                raise _deleted(name, self.url, code)
            if response.status_code in (httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE):
                raise _BusyError(f"HTTP {response.status_code}", _pause(response.headers.get("Retry-After")))
            broken = response.status_code == httpx.codes.INTERNAL_SERVER_ERROR
            if broken and _code(response) == "artifact-damaged":
                raise _damaged(name, self.url, "the coordinator says that its copy is damaged")
            if rest and response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                part.unlink()  # It is longer than the file.
                raise _BusyError("HTTP 416", 0.0)
            continues = rest and response.status_code == httpx.codes.PARTIAL_CONTENT
            if response.status_code != httpx.codes.OK and not continues:
                raise _unreachable(name, self.url, f"HTTP {response.status_code}")
            if continues and not response.headers.get("Content-Range", "").startswith(f"bytes {size}-"):
                raise _unreachable(name, self.url, "it sent another range than the one requested")
            if not continues:  # The first request, or a server without ranges.
                digest, size = hashlib.sha256(), 0
            declared = response.headers.get("Content-Length", "")
            total = size + int(declared) if declared.isdecimal() else None
            with part.open("ab" if continues else "wb") as file:
                for (
                    chunk
                ) in response.iter_bytes():  # Parts as they arrive, so that a slow sender is detected.
                    size += len(chunk)
                    received += len(chunk)
                    if size > limit:
                        part.unlink()
                        raise _too_large(name, limit, self.url)
                    lasted = self._clock() - started
                    if lasted > self._timeout and received < SLOWEST * lasted:
                        raise _unreachable(name, self.url, f"it sent {received} bytes in {lasted:.0f} s")
                    digest.update(chunk)
                    file.write(chunk)
                    self._moved(len(chunk), size, total)
        return part, digest.hexdigest()


def _there(part: Path) -> tuple[hashlib._Hash, int]:
    """Hash what is there of a file; return the hash so far and the number of bytes."""
    digest = hashlib.sha256()
    try:
        with part.open("rb") as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
            return digest, file.tell()
    except FileNotFoundError:
        return digest, 0


def _code(response: httpx.Response) -> str:
    """Return the code with which a coordinator refuses to hand out a file; empty if it gives none."""
    if "problem+json" not in response.headers.get("Content-Type", ""):
        return ""
    said = b""
    for chunk in response.iter_bytes():
        said += chunk
        if len(said) > PROBLEM_LIMIT:
            return ""
    try:
        return str(parse_json(said)["code"])
    except (InputError, KeyError, TypeError):
        return ""


class _NotACoordinatorError(Exception):
    """The server is not a coordinator, or does not have the file."""


class SeveralSources:
    """Several sources, asked in order until one has the file.

    A source without an answer is skipped for a while, so that it does not cost its timeout for every file.

    Args:
        sources: The sources, the preferred one first.
        rest: Seconds for which a source without an answer is skipped.
        clock: Another clock (seconds), for tests.
    """

    def __init__(
        self,
        sources: Sequence[ArtifactSource],
        *,
        rest: float = REST,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sources = list(sources)
        self._rest, self._clock = rest, clock
        self._resting: dict[int, tuple[float, ArtifactError]] = {}

    def fetch(self, sha256: str, limit: int) -> Path:
        """See `ArtifactSource.fetch`. The error has the answer of each source."""
        return self._ask(sha256, lambda source: source.fetch(sha256, limit))

    def document(self, keccak256: str) -> bytes:
        """See `ArtifactSource.document`."""
        return self._ask(f"by-keccak/{keccak256}", lambda source: source.document(keccak256))

    def wishes(self) -> tuple[DeletionWish, ...]:
        """Return the wishes of all sources that have an answer.

        Raises:
            ArtifactError: No source has one.
        """
        found: list[DeletionWish] = []
        errors: list[ArtifactError] = []
        for source in self._sources:
            try:
                found += source.wishes()
            except ArtifactError as error:
                errors.append(error)
        if len(errors) == len(self._sources):
            raise _not_available(WISHES, errors)
        return tuple(found)

    def discard(self, sha256: str) -> None:
        """Release the file in all sources."""
        for source in self._sources:
            source.discard(sha256)

    def close(self) -> None:
        """Close all sources."""
        for source in self._sources:
            source.close()

    def _ask(self, name: str, question: Callable[[ArtifactSource], _T]) -> _T:
        errors: list[ArtifactError] = []
        for number, source in enumerate(self._sources):
            until, silence = self._resting.get(number, (0.0, None))
            if silence is not None and self._clock() < until and len(self._resting) < len(self._sources):
                errors.append(silence)
                continue
            try:
                answer = question(source)
            except ArtifactError as error:
                errors.append(error)
                if error.code == "artifact-unreachable":
                    self._resting[number] = (self._clock() + self._rest, error)
                else:
                    self._resting.pop(number, None)
                continue
            self._resting.pop(number, None)
            return answer
        raise _not_available(name, errors)


def _not_available(name: str, errors: Sequence[ArtifactError]) -> ArtifactError:
    """Return the error that no source has a file, with the answer of each source."""
    if len(errors) == 1:
        return errors[0]
    codes = [error.code for error in errors]
    order = ("artifact-unreachable", "artifact-damaged", "artifact-missing", *_DELETED)
    return ArtifactError(
        f"The file {name} is not available from any of {len(errors)} sources. "
        + " ".join(error.message for error in errors),
        remedy="Ask another mirror for it.",
        code=next((code for code in order if code in codes), "artifact-missing"),
        details={
            "file": name,
            "source": ", ".join(str(error.details.get("source", "?")) for error in errors),
            "found": "; ".join(error.message for error in errors),
        },
    )


def _wishes(data: bytes, source: str) -> tuple[DeletionWish, ...]:
    try:
        return from_file(data)
    except InputError as error:
        raise _damaged(WISHES, source, error.message) from error


class _BusyError(Exception):
    """The coordinator is busy: the reason, and the seconds until the next try."""


def _pause(retry_after: str | None) -> float:
    return max(PAUSE, float(retry_after)) if retry_after and retry_after.isdecimal() else PAUSE


def open_source(location: str) -> FolderSource | CoordinatorSource:
    """Return the source at a location: the URL of a coordinator or of a mirror's folder, or a folder.

    Raises:
        ArtifactError: There is no such folder.
    """
    if location.startswith(("http://", "https://")):
        return CoordinatorSource(location)
    folder = Path(location).expanduser()
    if not folder.is_dir():
        raise ArtifactError(
            f"There is no folder of artifacts at {folder}.",
            remedy="Give the folder of a mirror, or the URL of a coordinator, by --artifacts.",
            code="artifact-unreachable",
        )
    return FolderSource(folder)


def open_sources(locations: Sequence[str]) -> ArtifactSource:
    """Return a source that asks several locations in order.

    Raises:
        ArtifactError: A location is a folder that does not exist.
    """
    sources = [open_source(location) for location in locations]
    return sources[0] if len(sources) == 1 else SeveralSources(sources)


def _is_hex32(text: str) -> bool:
    return len(text) == 64 and all(digit in "0123456789abcdef" for digit in text)


def _hex32(text: str) -> str:
    name = text.lower().removeprefix("0x")
    if not _is_hex32(name):
        raise ArtifactError(
            f"{text!r} is not the hash of a file.",
            remedy="Give 64 hexadecimal digits, with or without 0x.",
            code="artifact-missing",
        )
    return name


def _require_digest(name: str, digest: str, where: str) -> None:
    if digest != name:
        raise _damaged(name, where, f"its sha256 is {digest}")


def _require_keccak(name: str, data: bytes, where: str) -> None:
    digest = keccak(data).hex()
    if digest != name:
        raise _damaged(f"by-keccak/{name}", where, f"its keccak is {digest}")


def _missing(name: str, where: str) -> ArtifactError:
    return ArtifactError(
        f"The file {name} is not at {where}.",
        remedy="Ask another mirror for it.",
        code="artifact-missing",
        details={"file": name, "source": where},
    )


_DELETED = {
    EXPIRED: "Nothing is to be done: its time is over, or its contributor wanted it gone (docs/retention.md).",
    SPARE: "It follows from an earlier state and the means since then (docs/protocol.md section 12.2): "
    "`folkmoot audit` and `folkmoot model download` rebuild it.",
}
"""What to do about a file that was deleted by rule, by the code of the error."""


def _deleted(name: str, where: str, code: str) -> ArtifactError:
    return ArtifactError(
        f"The file {name} was deleted by rule{'' if code == SPARE else ' or by wish'} at {where}.",
        remedy=_DELETED[code],
        code=code,
        details={"file": name, "source": where},
    )


def _damaged(name: str, where: str, digest: str) -> ArtifactError:
    return ArtifactError(
        f"The file {name} at {where} is not the one that its name promises: {digest}.",
        remedy="Get it from another mirror.",
        code="artifact-damaged",
        details={"file": name, "source": where, "found": digest},
    )


def _too_large(name: str, limit: int, where: str) -> ArtifactError:
    return _damaged(name, where, f"it has more than {limit} bytes")


def _unreachable(name: str, where: str, why: str) -> ArtifactError:
    return ArtifactError(
        f"The file {name} can't be read from {where}: {why}.",
        remedy="Check the location (--artifacts), or try another mirror.",
        code="artifact-unreachable",
        details={"file": name, "source": where},
    )

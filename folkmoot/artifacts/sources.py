# SPDX-License-Identifier: Apache-2.0
"""Sources of a federation's files: folders, coordinators, web servers (docs/protocol.md section 12).

A source is never trusted. Each file is hashed during the transfer; it has the hash in its name, or an ArtifactError is
raised. The names of the files come from the chain.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

from folkmoot.artifacts.reading import CHUNK
from folkmoot.artifacts.store import (
    DOCUMENT_LIMIT,
    WISHES,
    FolderStore,
    Owner,
    Writer,
    as_name,
    damaged,
    is_name,
    linked,
    missing,
    require_keccak,
    wishes_of,
)
from folkmoot.errors import ArtifactError, InputError, StoreError
from folkmoot.protocol.deletion import DeletionWish
from folkmoot.protocol.hashing import parse_json
from folkmoot.runtime import tls

if TYPE_CHECKING:
    import httpx

PROBLEM_LIMIT = 2**14
"""Maximum size in bytes of an error of a coordinator."""

DEFAULT_TIMEOUT = 30.0
"""Timeout in seconds for connecting to a coordinator, and between two parts of a file."""

HEAD_TIMEOUTS = 3
"""Limit for receiving all headers of an answer, redirects included, as a multiple of the timeout."""

DEFAULT_RETRY_TIMEOUT = 120.0
"""Timeout in seconds for the pauses of one file, while a coordinator is busy or transfers break."""

_EXPLAINED = frozenset({404, 410, 500})
"""HTTP statuses with which a coordinator says by a problem why it does not hand out a file."""

PAUSE = 1.0
"""Seconds between two tries, unless the coordinator requests more."""

SLOWEST = 2**13
"""Minimum speed in bytes per second of a transfer that has lasted as long as the timeout."""

REST = 60.0
"""Seconds for which a source without an answer is skipped, if there are other sources."""

EXPIRED = "expired"
"""Code of the error that a coordinator deleted an update file, by rule or by wish (docs/protocol.md sections 12.1 and
12.3)."""

SPARE = "spare-state"
"""Code of the error that a coordinator deleted a state file that can be rebuilt (docs/protocol.md section 12.2)."""

UNREACHABLE_REMEDY = "Check the location (--artifacts), or try another mirror."

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


class FolderSource(FolderStore):
    """A folder that somebody else fills. It is only read."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, Owner("reader"), writable=False)

    def fetch(self, sha256: str, limit: int) -> Path:
        """See `ArtifactSource.fetch`; the path is the one in the folder."""
        with self._reachable(sha256):
            return super().fetch(sha256, limit)

    def document(self, keccak256: str) -> bytes:
        """See `ArtifactSource.document`."""
        with self._reachable(keccak256):
            return super().document(keccak256)

    def wishes(self) -> tuple[DeletionWish, ...]:
        """See `ArtifactSource.wishes`; none without a list in the folder."""
        with self._reachable(WISHES):
            return super().wishes()

    @contextmanager
    def _reachable(self, name: str) -> Iterator[None]:
        try:
            yield
        except StoreError as error:
            cause = error.__cause__
            why = cause.strerror if isinstance(cause, OSError) and cause.strerror else str(cause)
            raise _unreachable(name, self.location, why) from error


class CoordinatorSource:
    """A coordinator's `/v1/artifacts`, or a web server that serves the folder of a mirror.

    Files go into a store and are hashed during the transfer. If the coordinator is busy (HTTP 429 or 503), or a
    transfer breaks, the request is repeated: what has arrived of the file is hashed again, and only the rest is
    requested.

    Args:
        url: URL of the coordinator, without `/v1`, or of the folder.
        timeout: Timeout in seconds for connecting, and between two parts of a file.
        retry_timeout: Maximum sum in seconds of the pauses for one file.
        store: Store for the files. What has arrived of a file stays there, and other sources and later processes
            continue it. By default a temporary one.
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
        store: FolderStore | None = None,
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
        self._plain = False  # Whether it is a web server, not a coordinator.
        self._client = httpx.Client(
            timeout=timeout, transport=transport or Transport(), follow_redirects=True
        )
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        if store is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="folkmoot-mirror-")
            store = FolderStore(Path(self._temporary.name), Owner("reader"))
        self._store = store
        self._moved = moved

    def fetch(self, sha256: str, limit: int) -> Path:
        """See `ArtifactSource.fetch`; the path is in the store."""
        name = as_name(sha256)
        place = self._store.place(name)
        if self._temporary is not None and place.exists():  # It was hashed during the transfer.
            return place
        # Nobody continues a part in a temporary store.
        with self._store.continued(name) if self._temporary is None else self._store.writer() as writer:
            resumed = writer.size
            self._download(name, limit, writer)
            if writer.sha256() != name and resumed:  # The part that was there may be at fault.
                writer.restart()
                self._download(name, limit, writer)
            if writer.sha256() != name:
                writer.discard()
                raise damaged(name, self.url, f"its sha256 is {writer.sha256()}")
            writer.keep()
        return place

    def document(self, keccak256: str) -> bytes:
        """See `ArtifactSource.document`."""
        name = as_name(keccak256)
        with self._store.writer() as writer:
            self._download(f"by-keccak/{name}", DOCUMENT_LIMIT, writer)
            data = writer.path.read_bytes()
        if self._plain:
            pointer = linked(data, name, self.url)
            data = self.fetch(pointer, DOCUMENT_LIMIT).read_bytes()
            self.discard(pointer)
        return require_keccak(name, data, self.url)

    def read(self, sha256: str, limit: int = DOCUMENT_LIMIT) -> bytes:
        """Return the bytes of a small file, and keep no copy. Raises as `fetch` does."""
        data = self.fetch(sha256, limit).read_bytes()
        self.discard(sha256)
        return data

    def model(self, version: str | int, limit: int) -> Path | None:
        """Download the model file of a version, which the coordinator makes of its state.

        Args:
            version: Number of a version or of an anchored round, or ``active``.
            limit: Maximum size of the file in bytes.

        Returns:
            Its path, whose name is its sha256, until `discard` or `close`; None from a web server, which has none.

        Raises:
            ArtifactError: As for `fetch`. A file of more than `limit` bytes is damaged.
        """
        name = f"model of version {version}"
        # A recalled version too: it is compared with its state, not used.
        address = f"{self.url}/v1/models/{version}/download?recalled=true"
        with self._store.writer() as writer:
            try:
                self._repeatedly(name, lambda: self._get(address, name, limit, writer))
            except _NotACoordinatorError:
                return None
            return self._store.place(writer.keep().sha256)

    def wishes(self) -> tuple[DeletionWish, ...]:
        """See `ArtifactSource.wishes`; none from a server without a list."""
        for path in ("v1/deletions", WISHES):
            address = f"{self.url}/{path}"
            with self._store.writer() as writer:
                try:
                    self._repeatedly(WISHES, partial(self._get, address, WISHES, DOCUMENT_LIMIT, writer))
                except _NotACoordinatorError:
                    continue
                except ArtifactError as error:
                    if error.code != "artifact-missing":
                        raise
                    break
                return wishes_of(writer.path.read_bytes(), self.url)
        return ()

    def discard(self, sha256: str) -> None:
        """Remove the copy of a file from a temporary store."""
        if self._temporary is not None:
            self._store.place(as_name(sha256)).unlink(missing_ok=True)

    def close(self) -> None:
        """Close the connections, and remove all copies of a temporary store."""
        self._client.close()
        if self._temporary is not None:
            self._temporary.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _download(self, name: str, limit: int, writer: Writer) -> None:
        self._repeatedly(name, lambda: self._try(name, limit, writer))

    def _repeatedly(self, name: str, attempt: Callable[[], None]) -> None:
        """Try until it succeeds, with pauses."""
        import httpx

        waited = 0.0
        while True:
            remedy = UNREACHABLE_REMEDY
            try:
                attempt()
                return
            except _BusyError as busy:
                why, pause = busy.args
            except httpx.InvalidURL as error:
                raise _unreachable(name, self.url, str(error)) from error
            except httpx.HTTPError as error:
                why, pause = str(error) or type(error).__name__, PAUSE
                if refusal := tls.reason(error):
                    why, remedy = f"TLS fails, {refusal}", tls.REMEDY
            if waited + pause > self.retry_timeout:
                raise _unreachable(name, self.url, why, remedy)
            self._sleep(pause)
            waited += pause

    def _try(self, name: str, limit: int, writer: Writer) -> None:
        if not self._plain:
            try:
                self._get(f"{self.url}/v1/artifacts/{name}", name, limit, writer)
                return
            except _NotACoordinatorError:
                pass  # The server has no /v1: it is a web server with a folder.
        place = name if name.startswith("by-keccak/") else f"{name[:2]}/{name}"
        try:
            self._get(f"{self.url}/{place}", name, limit, writer)
        except _NotACoordinatorError as error:
            raise missing(name, self.url) from error
        self._plain = True

    def _get(self, address: str, name: str, limit: int, writer: Writer) -> None:
        import httpx

        from folkmoot.runtime.deadlines import within

        if writer.size and not is_name(name):  # Another try may get another file.
            writer.restart()
        if writer.size and writer.sha256() == name:
            return
        rest = {"Range": f"bytes={writer.size}-", "Accept-Encoding": "identity"} if writer.size else {}
        started, received = self._clock(), 0
        with ExitStack() as stack:
            with within(HEAD_TIMEOUTS * self._timeout):
                response = stack.enter_context(self._client.stream("GET", address, headers=rest))
            problem = _problem(response) if response.status_code in _EXPLAINED else None
            if response.status_code == httpx.codes.NOT_FOUND:
                if problem is None:
                    raise _NotACoordinatorError
                error = missing(name, self.url)
                error.details["answer"] = problem.get("code")
                raise error
            code = None if problem is None else problem.get("code")
            if response.status_code == httpx.codes.GONE and problem is not None and code in _DELETED:
                raise _deleted(name, self.url, str(code), problem.get("reason"))
            if response.status_code in (httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE):
                raise _BusyError(f"HTTP {response.status_code}", _pause(response.headers.get("Retry-After")))
            if code == "artifact-damaged":
                raise damaged(name, self.url, "the coordinator says that its copy is damaged")
            if rest and response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                writer.restart()  # The part is longer than the file.
                raise _BusyError("HTTP 416", 0.0)
            continues = rest and response.status_code == httpx.codes.PARTIAL_CONTENT
            if response.status_code != httpx.codes.OK and not continues:
                raise _unreachable(name, self.url, f"HTTP {response.status_code}")
            if not continues:  # The first request, or a server without ranges.
                writer.restart()
            elif not response.headers.get("Content-Range", "").startswith(f"bytes {writer.size}-"):
                raise _unreachable(name, self.url, "it sent another range than the one requested")
            declared = response.headers.get("Content-Length", "")
            total = writer.size + int(declared) if declared.isdecimal() else None
            for chunk in response.iter_bytes():  # Parts as they arrive, so that a slow sender is detected.
                received += len(chunk)
                if writer.size + len(chunk) > limit:
                    writer.restart()
                    raise damaged(name, self.url, f"it has more than {limit} bytes")
                lasted = self._clock() - started
                if lasted > self._timeout and received < SLOWEST * lasted:
                    raise _unreachable(name, self.url, f"it sent {received} bytes in {lasted:.0f} s")
                writer.write(chunk)
                self._moved(len(chunk), writer.size, total)


def _problem(response: httpx.Response) -> dict[str, Any] | None:
    """Return the problem with which a coordinator refuses to hand out a file; None without one."""
    if "problem+json" not in response.headers.get("Content-Type", ""):
        return None
    answer = b""
    for chunk in response.iter_bytes():
        answer += chunk
        if len(answer) > PROBLEM_LIMIT:
            return {}
    try:
        value = parse_json(answer)
    except InputError:
        return {}
    return value if isinstance(value, dict) else {}


class _NotACoordinatorError(Exception):
    """The server is not a coordinator, or does not have the file."""


class SeveralSources:
    """Several sources, asked in order until one has the file.

    A source without an answer is skipped for a while, so that it does not cost its timeout for every file.

    Args:
        sources: The sources, the preferred one first.
        failed: Called with the place of a source in the list, and its error, even if another source has the file.
        rest: Seconds for which a source without an answer is skipped.
        clock: Another clock (seconds), for tests.
    """

    def __init__(
        self,
        sources: Sequence[ArtifactSource],
        *,
        failed: Callable[[int, ArtifactError], None] = lambda number, error: None,
        rest: float = REST,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sources = list(sources)
        self._failed, self._rest, self._clock = failed, rest, clock
        self._resting: dict[int, tuple[float, ArtifactError]] = {}

    def fetch(self, sha256: str, limit: int) -> Path:
        """See `ArtifactSource.fetch`. The error has the answer of each source."""
        return self._ask(sha256, lambda source: source.fetch(sha256, limit))

    def document(self, keccak256: str) -> bytes:
        """See `ArtifactSource.document`."""
        return self._ask(f"by-keccak/{keccak256}", lambda source: source.document(keccak256))

    def wishes(self) -> tuple[DeletionWish, ...]:
        """Return the wishes of all sources that have an answer."""
        wishes: list[DeletionWish] = []
        errors: list[ArtifactError] = []
        for source in self._sources:
            try:
                wishes += source.wishes()
            except ArtifactError as error:
                errors.append(error)
        if len(errors) == len(self._sources):
            raise _not_available(WISHES, errors)
        return tuple(wishes)

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
                self._failed(number, error)
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


class _BusyError(Exception):
    """The coordinator is busy: the reason, and the seconds until the next try."""


def _pause(retry_after: str | None) -> float:
    return max(PAUSE, float(retry_after)) if retry_after and retry_after.isdecimal() else PAUSE


def open_source(location: str, store: FolderStore | None = None) -> FolderSource | CoordinatorSource:
    """Return the source at a location: the URL of a coordinator or of a mirror's folder, or a folder.

    Args:
        store: Store for what is fetched; by default a temporary one.
    """
    if location.startswith(("http://", "https://")):
        return CoordinatorSource(location, store=store)
    folder = Path(location).expanduser()
    if not folder.is_dir():
        raise ArtifactError(
            f"There is no folder of artifacts at {folder}.",
            remedy="Give the folder of a mirror, or the URL of a coordinator, by --artifacts.",
            code="artifact-unreachable",
        )
    return FolderSource(folder)


def open_sources(locations: Sequence[str], store: FolderStore | None = None) -> ArtifactSource:
    """Return a source that asks several locations in order; see `open_source`.

    Raises:
        ArtifactError: A location is a folder that does not exist.
    """
    sources = [open_source(location, store) for location in locations]
    return sources[0] if len(sources) == 1 else SeveralSources(sources)


def fetch_into(store: FolderStore, source: ArtifactSource, sha256: str, limit: int) -> Path:
    """Fetch a file from sources that write to a store, or have folders of their own; return its path in the store.

    Raises:
        ArtifactError: No source has the file, or it changed while it was copied.
        StoreError: The disk failed, or is full.
    """
    path = source.fetch(sha256, limit)
    if path != store.place(sha256):  # A mirror's own file.
        with store.writer() as writer, path.open("rb") as file:
            while chunk := file.read(CHUNK):
                writer.write(chunk)
            if writer.sha256() != sha256:
                raise ArtifactError(
                    f"The file {sha256} changed while it was copied.",
                    remedy="Run the command again.",
                    code="artifact-damaged",
                )
            writer.keep()
        source.discard(sha256)
    return store.place(sha256)


_DELETED = {
    EXPIRED: "Nothing is to be done: its time is over, or its contributor wanted it gone (docs/retention.md).",
    SPARE: "It follows from an earlier state and the means since then (docs/protocol.md section 12.2): "
    "`folkmoot audit` and `folkmoot model` rebuild it.",
}
"""What to do about a file that was deleted by rule, by the code of the error."""


def _deleted(name: str, where: str, code: str, reason: Any) -> ArtifactError:
    return ArtifactError(
        f"The file {name} was deleted by rule{'' if code == SPARE else ' or by wish'} at {where}.",
        remedy=_DELETED[code],
        code=code,
        details={"file": name, "source": where, "reason": reason},
    )


def _unreachable(name: str, where: str, why: str, remedy: str = UNREACHABLE_REMEDY) -> ArtifactError:
    return ArtifactError(
        f"The file {name} can't be read from {where}: {why}.",
        remedy=remedy,
        code="artifact-unreachable",
        details={"file": name, "source": where},
    )

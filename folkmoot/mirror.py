# SPDX-License-Identifier: Apache-2.0
"""Where the files of a federation come from: a folder, or a coordinator (docs/protocol.md section 12).

A source is never trusted. What it hands out has been hashed on the way and is exactly what its name promises,
or there is an ArtifactError. Which names to ask for, the chain says.
"""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from folkmoot.errors import ArtifactError
from folkmoot.hashing import keccak

if TYPE_CHECKING:
    import httpx

DOCUMENT_LIMIT = 64 * 2**20
"""Bytes that a JSON document may have: manifest, genesis, verdicts and artifacts files."""

CHUNK = 2**20
"""Bytes that are read and hashed at a time."""

DEFAULT_TIMEOUT = 30.0
"""Seconds that a coordinator may take to connect, and between two pieces of a file."""

DEFAULT_PATIENCE = 120.0
"""Seconds that one file is waited for where a coordinator is busy or a transfer breaks."""

PAUSE = 1.0
"""Seconds between two tries, if the coordinator does not ask for more."""


class ArtifactSource(Protocol):
    """Something that has the files of a federation."""

    def fetch(self, sha256: str, limit: int) -> Path:
        """Return a local path of the file with this sha256 (64 hex digits).

        The bytes have been hashed when this returns. The path is valid until `discard` or `close`, and must
        not be written to.

        Raises:
            ArtifactError: code `artifact-missing`; `artifact-damaged` for other bytes than the name
                promises or more than `limit`; `artifact-unreachable` when the source gave no answer, so that
                nothing is known about the file.
        """
        ...

    def document(self, keccak256: str) -> bytes:
        """Return the document with this keccak256 (64 hex digits): a genesis, verdicts or artifacts file.

        Raises:
            ArtifactError: as `fetch`.
        """
        ...

    def discard(self, sha256: str) -> None:
        """Say that a fetched file is not needed any more, so that a copy may be removed."""
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

    def discard(self, sha256: str) -> None:
        """Do nothing: the folder is not ours."""

    def close(self) -> None:
        """Do nothing: the folder is not ours."""


class CoordinatorSource:
    """A coordinator's `/v1/artifacts`. Files are streamed into a temporary folder and hashed on the way.

    Where the coordinator asks for patience (HTTP 429 or 503), or a transfer breaks, it is tried again.

    Args:
        url: Address of the coordinator, without `/v1`.
        timeout: Seconds that it may take to connect, and between two pieces of a file.
        patience: Seconds that one file may be waited for, all pauses together.
        transport: Another way to send requests, for tests.
        sleep: Another way to wait, for tests.
    """

    def __init__(
        self,
        url: str,
        timeout: float = DEFAULT_TIMEOUT,
        *,
        patience: float = DEFAULT_PATIENCE,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        import httpx

        self.url = url.rstrip("/")
        self.patience = patience
        self._sleep = sleep
        self._client = httpx.Client(timeout=timeout, transport=transport, follow_redirects=True)
        self._cache = tempfile.TemporaryDirectory(prefix="folkmoot-mirror-")

    def fetch(self, sha256: str, limit: int) -> Path:
        """See `ArtifactSource.fetch`; the path is in the temporary folder."""
        name = _hex32(sha256)
        path = Path(self._cache.name) / name
        if path.exists():  # it was hashed when it came
            return path
        part, digest = self._download(name, limit)
        _require_digest(name, digest, self.url)
        return part.rename(path)

    def document(self, keccak256: str) -> bytes:
        """See `ArtifactSource.document`."""
        name = _hex32(keccak256)
        part, _ = self._download(f"by-keccak/{name}", DOCUMENT_LIMIT)
        data = part.read_bytes()
        _require_keccak(name, data, self.url)
        return data

    def discard(self, sha256: str) -> None:
        """Remove the copy of a file."""
        (Path(self._cache.name) / _hex32(sha256)).unlink(missing_ok=True)

    def close(self) -> None:
        """Remove all copies and close the connections."""
        self._client.close()
        self._cache.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _download(self, name: str, limit: int) -> tuple[Path, str]:
        """Get a file, with patience; return the path of its bytes and their sha256."""
        import httpx

        waited = 0.0
        while True:
            try:
                return self._try(name, limit)
            except _BusyError as busy:
                why, pause = busy.args
            except httpx.InvalidURL as error:
                raise _unreachable(name, self.url, str(error)) from error
            except httpx.HTTPError as error:
                why, pause = str(error) or type(error).__name__, PAUSE
            if waited + pause > self.patience:
                raise _unreachable(name, self.url, why)
            self._sleep(pause)
            waited += pause

    def _try(self, name: str, limit: int) -> tuple[Path, str]:
        import httpx

        part = Path(self._cache.name) / "part"
        digest, size = hashlib.sha256(), 0
        with self._client.stream("GET", f"{self.url}/v1/artifacts/{name}") as response:
            if response.status_code == httpx.codes.NOT_FOUND:
                raise _missing(name, self.url)
            if response.status_code in (httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE):
                raise _BusyError(f"HTTP {response.status_code}", _pause(response.headers.get("Retry-After")))
            if response.status_code != httpx.codes.OK:
                raise _unreachable(name, self.url, f"HTTP {response.status_code}")
            with part.open("wb") as file:
                for chunk in response.iter_bytes(CHUNK):
                    size += len(chunk)
                    if size > limit:
                        raise _too_large(name, limit, self.url)
                    digest.update(chunk)
                    file.write(chunk)
        return part, digest.hexdigest()


class _BusyError(Exception):
    """The coordinator asks to come again: why, and after how many seconds."""


def _pause(retry_after: str | None) -> float:
    return max(PAUSE, float(retry_after)) if retry_after and retry_after.isdecimal() else PAUSE


def open_source(location: str) -> FolderSource | CoordinatorSource:
    """Return the source at a location: a coordinator's URL or a folder.

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


def _is_hex32(text: str) -> bool:
    return len(text) == 64 and all(digit in "0123456789abcdef" for digit in text)


def _hex32(text: str) -> str:
    name = text.lower().removeprefix("0x")
    if not _is_hex32(name):
        raise ArtifactError(f"{text!r} is not the hash of a file.", code="artifact-missing")
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


def _damaged(name: str, where: str, found: str) -> ArtifactError:
    return ArtifactError(
        f"The file {name} at {where} is not the one that its name promises: {found}.",
        remedy="Get it from another mirror.",
        code="artifact-damaged",
        details={"file": name, "source": where, "found": found},
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

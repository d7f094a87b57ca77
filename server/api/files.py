# SPDX-License-Identifier: Apache-2.0
"""Files of the store as answers. No byte leaves before the file was read in full since it last changed.

A whole file is coded by gzip on its way where the client takes that and it pays. A range is always one of the plain
file: whoever goes on with a broken transfer has decoded what arrived.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import cached_property
from typing import Any
from weakref import WeakValueDictionary

from anyio import CapacityLimiter, create_task_group
from anyio.to_thread import run_sync
from fastapi import Request
from fastapi.responses import FileResponse, Response
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import MalformedRangeHeader, RangeNotSatisfiable
from starlette.types import Receive, Scope, Send

from folkmoot.artifacts.reading import ChangedError, IntactFile
from folkmoot.artifacts.store import DOCUMENT_LIMIT, Store
from folkmoot.errors import ArtifactError, StoreError
from folkmoot.protocol.hashing import keccak
from folkmoot.runtime.coding import SAMPLE, Coder, pays
from server.api.problems import MEDIA_TYPE, PROBLEM
from server.telemetry.metrics import Metrics
from server.telemetry.transfers import Progress

FILE: dict[int | str, dict[str, Any]] = {
    200: {"description": "The file.", "content": {"application/octet-stream": {}, "application/json": {}}},
    206: {
        "description": "A range of it.",
        "content": {"application/octet-stream": {}, "application/json": {}},
    },
    304: {"description": "The client has it: `If-None-Match` names it."},
    416: {"description": "The file has no such range.", "content": {MEDIA_TYPE: {"schema": PROBLEM}}},
}
"""What an operation answers with that hands out a file, for OpenAPI."""
PIECE = 256 << 10
"""Bytes that are read and sent at a time."""
_JSON = {"genesis", "manifest", "verdicts", "artifacts", "report", "measurement", "committed"}
_PACKED = {"update", "mean"}
_CODED = "-gzip"
"""End of the ETag of a coded file."""


class Files:
    """Opens files of a store for answers.

    Args:
        threads: Threads that read files in full.
        metrics: Where the bytes are counted.
    """

    def __init__(self, store: Store, threads: int, metrics: Metrics) -> None:
        self._store, self.metrics = store, metrics
        self._threads = threads
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._keccaks: dict[str, str] = {}

    @cached_property  # of an event loop, so made inside it
    def _limiter(self) -> CapacityLimiter:
        return CapacityLimiter(self._threads)

    async def open(self, sha256: str) -> IntactFile:
        """Open a file. However many ask for it at once, it is read in full once, and other answers go on."""
        lock = self._locks.get(sha256) or self._locks.setdefault(sha256, asyncio.Lock())
        async with lock:
            return await run_sync(self._store.open, sha256, limiter=self._limiter)

    async def look_again(self, sha256: str) -> None:
        """Read a file in full that changed while it was sent, so that the store learns whether it is damaged."""
        with suppress(ArtifactError, StoreError):
            (await self.open(sha256)).close()

    async def require_keccak(self, sha256: str, keccak256: str) -> None:
        """Make sure that a file to which a link leads has the keccak that the link promises.

        Raises:
            ArtifactError: It has another one, or is missing or damaged.
        """
        if sha256 not in self._keccaks:
            file = await self.open(sha256)
            try:
                # No document is larger; of other files nobody promised a keccak.
                data = await run_sync(file.read, 0, min(file.size, DOCUMENT_LIMIT + 1), limiter=self._limiter)
            finally:
                file.close()
            self._keccaks[sha256] = keccak(data).hex()
        if self._keccaks[sha256] != keccak256:
            raise self.wrong_link(keccak256)

    def wrong_link(self, keccak256: str) -> ArtifactError:
        """Return the error of a link that leads to no file with its keccak, and let the store tell of it."""
        error = ArtifactError(
            f"The link by-keccak/{keccak256} in {self._store.location} does not lead to its file.",
            remedy="Mend it: `folkmoot coordinator rebuild files`.",
            code="artifact-damaged",
            details={"link": keccak256},
        )
        self._store.lacking(error)
        return error

    def answer(self, request: Request, sha256: str, kind: str, filename: str | None = None) -> Response:
        """Return a file as an answer; its name is its ETag, and it never changes."""
        headers = {
            "ETag": f'"{sha256}"',
            "Cache-Control": "public, max-age=31536000, immutable",
            "Vary": "Accept-Encoding",
        }
        known = request.headers.get("if-none-match", "")
        if f'"{sha256}"' in known or f'"{sha256}{_CODED}"' in known:
            return Response(status_code=304, headers=headers)
        media_type = "application/json" if kind in _JSON else "application/octet-stream"
        return _FileOrPart(self, sha256, kind, headers=headers, media_type=media_type, filename=filename)


class _FileOrPart(FileResponse):
    """A file, or one range of it (RFC 9110 section 14), for as long as the client is there.

    Several ranges at once are no range to us, as the RFC allows: small ones would cost far more than they bring.
    """

    def __init__(self, files: Files, sha256: str, kind: str, **options: Any) -> None:
        super().__init__(sha256, **options)
        self._files, self._sha256, self._kind = files, sha256, kind
        self._coder: Coder | None = None
        self._file: IntactFile

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        wanted = [value for name, value in scope["headers"] if name == b"range"]
        if wanted and (len(wanted) > 1 or b"," in wanted[0] or not wanted[0].lower().startswith(b"bytes=")):
            scope = {**scope, "headers": [pair for pair in scope["headers"] if pair[0] != b"range"]}
            wanted = []
        self._file = await self._files.open(self._sha256)
        try:
            self.stat_result = self._file.status
            self.set_stat_headers(self._file.status)
            if wanted:
                self._require_range(wanted[0].decode("latin-1"))
            elif scope["method"] == "GET" and _takes_gzip(Headers(scope=scope).get("accept-encoding", "")):
                self._coder = await run_in_threadpool(self._coder_that_pays)
            await self._send_while_there(scope, receive, send)
        finally:
            self._file.close()

    async def _send_while_there(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with create_task_group() as group:

            async def leave_with_the_client() -> None:
                while (await receive())["type"] != "http.disconnect":
                    pass
                group.cancel_scope.cancel()

            group.start_soon(leave_with_the_client)
            try:
                await super().__call__(scope, receive, send)
            except ChangedError:
                # Nothing more is sent, so the web server cuts the connection: nobody takes a part for the whole.
                await self._files.look_again(self._sha256)
            group.cancel_scope.cancel()

    def _require_range(self, wanted: str) -> None:
        # Starlette answers what it can't satisfy in plain text.
        try:
            self._parse_range_header(wanted, self._file.size)
        except (MalformedRangeHeader, RangeNotSatisfiable):
            size = self._file.size
            raise HTTPException(
                416, "The file has no such range.", {"Content-Range": f"bytes */{size}"}
            ) from None

    def _coder_that_pays(self) -> Coder | None:
        packed = self._kind in _PACKED
        return Coder(packed) if pays(self._file.read(0, min(SAMPLE, self._file.size)), packed) else None

    async def _handle_simple(self, send: Send, send_header_only: bool, send_pathsend: bool) -> None:
        headers = MutableHeaders(raw=list(self.raw_headers))
        if self._coder is not None:
            del headers["content-length"], headers["accept-ranges"]
            headers["content-encoding"], headers["etag"] = "gzip", f'"{self._sha256}{_CODED}"'
        await send({"type": "http.response.start", "status": self.status_code, "headers": headers.raw})
        await self._send_bytes(send, 0, 0 if send_header_only else self._file.size)

    async def _handle_single_range(
        self, send: Send, start: int, end: int, file_size: int, send_header_only: bool
    ) -> None:
        headers = MutableHeaders(raw=list(self.raw_headers))
        headers["content-range"] = f"bytes {start}-{end - 1}/{file_size}"
        headers["content-length"] = str(end - start)
        await send({"type": "http.response.start", "status": 206, "headers": headers.raw})
        await self._send_bytes(send, start, start if send_header_only else end)

    async def _send_bytes(self, send: Send, start: int, end: int) -> None:
        what = f"the {self._kind} file {self._sha256}"
        progress = Progress(self._files.metrics, "out", what, self._file.size, start)
        while True:
            piece, body = await run_in_threadpool(self._next, start, end)
            start += len(piece)
            await send({"type": "http.response.body", "body": body, "more_body": start < end})
            progress.moved(len(body), start)
            if start >= end:
                progress.ended()
                return

    def _next(self, start: int, end: int) -> tuple[bytes, bytes]:
        """Return the next bytes of the file, and what is sent for them."""
        piece = self._file.read(start, min(PIECE, end - start))
        if self._coder is None:
            return piece, piece
        return piece, self._coder.code(piece, last=start + len(piece) >= end)


def _takes_gzip(accepted: str) -> bool:
    """Whether the header Accept-Encoding names gzip, with another weight than 0 (RFC 9110 section 12.5.3)."""
    for part in accepted.lower().replace(" ", "").split(","):
        name, _, weight = part.partition(";q=")
        if name == "gzip":
            return weight.strip("0.") != "" or not weight
    return False

# SPDX-License-Identifier: Apache-2.0
"""Counts, times and logs requests. The outermost layer, so that it sees what the others refuse."""

from __future__ import annotations

import logging
import re
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from folkmoot.runtime.logs import fields
from server.telemetry.metrics import Metrics

logger = logging.getLogger(__name__)

_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
_UPDATES = re.compile(r"/v1/rounds/[^/]+/updates")
UNMATCHED = "unmatched"
"""Route of what has none: a path that somebody made up must not become a label."""


class Observed:
    """An application whose requests are counted.

    Args:
        app: The application.
        metrics: Where they are counted.
        log: Whether each also becomes a line of the log.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, log: bool) -> None:
        self._app = app
        self._metrics = metrics
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status, ended = time.monotonic(), 500, 0.0

        async def watched(message: Message) -> None:
            nonlocal status, ended
            if message["type"] == "http.response.start":
                status = int(message["status"])
                if (
                    dict(message.get("headers", ()))
                    .get(b"content-type", b"")
                    .startswith(b"text/event-stream")
                ):
                    ended = time.monotonic()  # it stays open for as long as somebody listens
            await send(message)

        uploading = scope["method"] == "POST" and _UPDATES.fullmatch(scope["path"]) is not None
        if uploading:
            self._metrics.uploads.inc()
        try:
            await self._app(scope, receive, watched)
        finally:
            if uploading:
                self._metrics.uploads.dec()
            self._count(scope, status, (ended or time.monotonic()) - started)

    def _count(self, scope: Scope, status: int, seconds: float) -> None:
        method = scope["method"] if scope["method"] in _METHODS else "other"
        route = str(getattr(scope.get("route"), "path", UNMATCHED))
        self._metrics.requests.labels(method, route, str(status)).inc()
        self._metrics.latency.labels(method, route).observe(seconds)
        if self._log:
            client = scope.get("client")
            about = fields(
                "request",
                method=method,
                route=route,
                status=status,
                seconds=round(seconds, 4),
                client=client[0] if client else None,
            )
            logger.info("%s %s %d", method, scope["path"], status, extra=about)

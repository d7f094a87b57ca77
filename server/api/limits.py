# SPDX-License-Identifier: Apache-2.0
"""How much one client may ask: requests by a token bucket, bytes of a body by a limit.

Updates have their own limit (the size of the model), so they are counted where they are read.
"""

from __future__ import annotations

import re
import time
from collections import OrderedDict

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.api import problems
from server.settings import Settings

REMEMBERED_CLIENTS = 10_000
_UPDATES = re.compile(r"/v1/rounds/[^/]+/updates")


class Buckets:
    """A token bucket a client; the least recent clients are forgotten."""

    def __init__(self, rate: float, burst: int) -> None:
        self._rate = rate
        self._burst = float(burst)
        self._clients: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, client: str, now: float) -> float:
        """Take a token; 0 if there was one, else the seconds until there is."""
        tokens, then = self._clients.pop(client, (self._burst, now))
        tokens = min(self._burst, tokens + (now - then) * self._rate)
        wait = 0.0 if tokens >= 1 else (1 - tokens) / self._rate
        self._clients[client] = (tokens - 1 if wait == 0 else tokens, now)
        if len(self._clients) > REMEMBERED_CLIENTS:
            self._clients.popitem(last=False)
        return wait


class Limits:
    """Middleware that keeps to both limits."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._settings = settings
        self._buckets = Buckets(settings.requests_per_second, settings.request_burst)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse what is too much, pass on the rest."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        wait = self._buckets.take(self._client(scope), time.monotonic())
        if wait > 0:
            refusal = problems.response(
                429,
                "rate-limited",
                "There were too many requests from this address.",
                "Wait a little, and ask less often.",
                headers={"Retry-After": str(int(wait) + 1), "Connection": "close"},
            )
            await refusal(scope, receive, send)
            return
        if scope["method"] == "POST" and _UPDATES.fullmatch(scope["path"]):
            await self._app(scope, receive, send)
            return
        await self._limited(scope, receive, send)

    async def _limited(self, scope: Scope, receive: Receive, send: Send) -> None:
        limit = self._settings.body_limit
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if not declared.isdigit() or int(declared) > limit:
            too_large = problems.response(
                413,
                "too-large",
                f"The body is larger than {limit} bytes.",
                "Send less.",
                headers={"Connection": "close"},  # the rest of the body is not read
            )
            await too_large(scope, receive, send)
            return
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > limit:
                raise HTTPException(413, f"The body is larger than {limit} bytes.")
            return message

        await self._app(scope, counted, send)

    def _client(self, scope: Scope) -> str:
        if self._settings.trust_proxy:
            forwarded: bytes = dict(scope["headers"]).get(b"x-forwarded-for", b"")
            if forwarded:
                return forwarded.decode("latin-1").rsplit(",", 1)[-1].strip()
        client = scope.get("client")
        return str(client[0]) if client else "unknown"

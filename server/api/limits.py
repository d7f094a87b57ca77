# SPDX-License-Identifier: Apache-2.0
"""How much one client may ask: requests by a token bucket, a body by its size and by its pace.

A client is an IPv4 address or a /64 of IPv6, because a /64 is what one subscriber gets. What an account may write is
counted where its signature is checked: here nobody has a name yet, and a flood in somebody's name must not cost that
somebody anything. What a connection may cost before it is a request is the matter of `server.api.connections`.

The library `limits` (5.8) would take the place of `Buckets` alone, and bound no memory: its storage keeps every address
that comes, with a lock each, counts windows instead of tokens, and looks through all of them on the wall clock.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.api import problems
from server.settings import Settings

REMEMBERED_CLIENTS = 10_000
_UPDATES = re.compile(r"/v1/rounds/[^/]+/updates")


class Buckets:
    """A token bucket a client; the least recent clients are forgotten, so that memory is bounded.

    Args:
        rate: Tokens that come in a second.
        burst: Most tokens that there are.
    """

    def __init__(self, rate: float, burst: int) -> None:
        self._rate = rate
        self._burst = float(burst)
        self._clients: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, client: str, now: float, cost: float = 1.0) -> float:
        """Take tokens; 0 if there were enough, else the seconds until there are. A cost is at most the burst."""
        cost = min(cost, self._burst)
        tokens, then = self._clients.pop(client, (self._burst, now))
        tokens = min(self._burst, tokens + (now - then) * self._rate)
        wait = 0.0 if tokens >= cost else (cost - tokens) / self._rate
        self._clients[client] = (tokens - cost if wait == 0 else tokens, now)
        if len(self._clients) > REMEMBERED_CLIENTS:
            self._clients.popitem(last=False)
        return wait


class Slots:
    """How many of something may be there at once, in all and of one holder.

    Args:
        total: Most of all holders together.
        each: Most of one holder.
    """

    def __init__(self, total: int, each: int) -> None:
        self._total = total
        self._each = each
        self._held: Counter[str] = Counter()

    @property
    def full(self) -> bool:
        """Whether there is none left for anybody."""
        return self._held.total() >= self._total

    def spent(self, holder: str) -> bool:
        """Whether a holder has all that one may have."""
        return self._held[holder] >= self._each

    def take(self, holder: str) -> None:
        """Take one; whether one may is for the caller to ask."""
        self._held[holder] += 1

    def release(self, holder: str) -> None:
        """Give one back."""
        self._held[holder] -= 1
        if self._held[holder] <= 0:
            del self._held[holder]

    @contextmanager
    def held(self, holder: str, what: str) -> Iterator[None]:
        """Hold one.

        Raises:
            Problem: 429 `too-many` if the holder has all that one may have; 503 `busy` if there is none left.
        """
        if self.spent(holder):
            raise _too_many(self._each, what)
        if self.full:
            raise _busy(what)
        self.take(holder)
        try:
            yield
        finally:
            self.release(holder)


class Stream:
    """An event stream that is held; `ended` says that it gives way to another one."""

    def __init__(self) -> None:
        self.ended = False


class Streams:
    """Event streams. If all are taken, the client with most of them loses its oldest to one that has fewer.

    Args:
        total: Most of all clients together.
        each: Most of one client.
        wake: Called when a stream is to end.
    """

    def __init__(self, total: int, each: int, wake: Callable[[], None]) -> None:
        self._total, self._each = total, each
        self._held: dict[str, list[Stream]] = {}
        self._wake = wake

    @contextmanager
    def held(self, client: str) -> Iterator[Stream]:
        """Hold one.

        Raises:
            Problem: 429 `too-many` if the client has all that one may have; 503 `busy` if there is none left, and
                nobody has two more than this client.
        """
        own = len(self._held.get(client, ()))
        if own >= self._each:
            raise _too_many(self._each, "event streams")
        if sum(map(len, self._held.values())) >= self._total:
            self._make_room(own)
        stream = Stream()
        self._held.setdefault(client, []).append(stream)
        try:
            yield stream
        finally:
            self._forget(client, stream)

    def _make_room(self, own: int) -> None:
        most = max(self._held, key=lambda client: len(self._held[client]))
        if len(self._held[most]) < own + 2:
            raise _busy("event streams")
        oldest = self._held[most][0]
        oldest.ended = True
        self._forget(most, oldest)
        self._wake()

    def _forget(self, client: str, stream: Stream) -> None:
        found = self._held.get(client, [])
        if stream in found:
            found.remove(stream)
            if not found:
                del self._held[client]


def _too_many(each: int, what: str) -> problems.Problem:
    return problems.Problem(
        429,
        "too-many",
        f"There are {each} {what} of yours under way, and more are not taken at once.",
        "Wait until one of them ends.",
        retryAfter=1,
    )


def _busy(what: str) -> problems.Problem:
    return problems.Problem(
        503, "busy", f"There are too many {what} under way.", "Come again in a few seconds.", retryAfter=5
    )


def client_name(address: str) -> str:
    """What counts as one client: an IPv4 address, or the /64 of an IPv6 address; what is neither, as it is."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:64]
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(ipaddress.ip_network((found, 64), strict=False))
    return str(found)


def client_of(scope: Scope, settings: Settings) -> str:
    """The client of a request; behind a proxy, the address that the proxy wrote down last."""
    peer = scope.get("client")
    if settings.trust_proxy:
        lines = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
        last = lines[-1].decode("latin-1").rsplit(",", 1)[-1].strip() if lines else ""
        if last.startswith("["):  # [v6]:port
            last = last[1:].partition("]")[0]
        elif last.count(":") == 1:  # v4:port
            last = last.partition(":")[0]
        try:
            return client_name(str(ipaddress.ip_address(last)))
        except ValueError:
            pass  # the proxy says nothing that can be an address
    return client_name(str(peer[0])) if peer else "unknown"


class Limits:
    """Middleware that counts requests and measures bodies.

    Args:
        app: What answers the requests that pass.
        settings: The coordinator's settings.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._settings = settings
        self._buckets = Buckets(settings.requests_per_second, settings.request_burst)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse what is too much, pass on the rest."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        wait = self._buckets.take(client_of(scope, self._settings), time.monotonic())
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
        if {b"content-length", b"transfer-encoding"} <= {name for name, _ in scope["headers"]}:
            # Servers and proxies disagree on which of the two counts (RFC 9112, section 6.1).
            doubtful = problems.response(
                400,
                "bad-request",
                "The request has both Content-Length and Transfer-Encoding.",
                "Send one of them.",
                headers={"Connection": "close"},
            )
            await doubtful(scope, receive, send)
            return
        if scope["method"] not in ("POST", "PUT", "PATCH", "DELETE"):  # nobody reads the body of the others
            await self._app(scope, receive, send)
            return
        # An update may be as large as the model; its route knows how large that is.
        update = scope["method"] == "POST" and _UPDATES.fullmatch(scope["path"]) is not None
        limit = None if update else self._settings.body_limit
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if limit is not None and (len(declared) > 19 or not declared.isdigit() or int(declared) > limit):
            too_large = problems.response(
                413,
                "too-large",
                f"The body is larger than {limit} bytes.",
                "Send less.",
                headers={"Connection": "close"},  # the rest of the body is not read
            )
            await too_large(scope, receive, send)
            return
        body = _Body(receive, limit, self._settings.patience, self._settings.slowest_upload)

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start" and not body.whole:
                # What is left of it is not read.
                message = {**message, "headers": [*message.get("headers", []), (b"connection", b"close")]}
            await send(message)

        await self._app(scope, body.receive, sent)


class _Body:
    """A request's body on its way in.

    Args:
        receive: Where it comes from.
        limit: Most bytes of it; None for no limit here.
        patience: Seconds for which it may be waited for, beside what its bytes may take.
        slowest: Bytes a second that it must reach.
    """

    def __init__(self, receive: Receive, limit: int | None, patience: float, slowest: float) -> None:
        self._receive = receive
        self._limit = limit
        self._patience = self._left = patience
        self._slowest = slowest
        self._seen = 0
        self.whole = False

    async def receive(self) -> Message:
        """The next piece.

        Raises:
            HTTPException: 413 if it is too large, 408 if it comes too slowly.
        """
        if self.whole:  # who asks now waits for the client to leave
            return await self._receive()
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._left):
                message = await self._receive()
        except TimeoutError as exc:
            raise HTTPException(
                408, f"The body comes too slowly: less than {self._slowest:g} bytes a second."
            ) from exc
        size = len(message.get("body", b""))
        # Only waiting counts, not what we do with the bytes; and nobody saves up more than the patience.
        waited = time.monotonic() - began
        self._left = min(self._patience, self._left + size / self._slowest - waited)
        self._seen += size
        if self._limit is not None and self._seen > self._limit:
            raise HTTPException(413, f"The body is larger than {self._limit} bytes.")
        self.whole = not message.get("more_body", False)
        return message

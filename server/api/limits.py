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
BURST_SECONDS = 8.0
"""A client may make the requests of so many seconds at once: a node that starts, and a browser, ask for many things."""
CONNECTIONS, CONNECTIONS_PER_CLIENT = 512, 64
"""Connections of all clients, half of the files that Linux lets a process open, and of one: a hospital's nodes behind
one address. Behind a proxy, which counts its clients itself, only the first number holds."""
BODY_LIMIT = 1 << 20
"""Most bytes of a request's body, other than an update, which has the size of the model: a report on 5,000 nodes
fits."""
PATIENCE = 15.0
"""Seconds in which a request's head has to be whole, and for which a client may send or take nothing."""
SLOWEST_UPLOAD = 2048.0
"""Bytes a second that a body has to come with, beyond the patience: a slow mobile line has more."""
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
        per_holder: Most of one holder.
    """

    def __init__(self, total: int, per_holder: int) -> None:
        self._total = total
        self._per_holder = per_holder
        self._held: Counter[str] = Counter()

    @property
    def full(self) -> bool:
        """Whether there is none left for anybody."""
        return self._held.total() >= self._total

    def spent(self, holder: str) -> bool:
        """Whether a holder has all that one may have."""
        return self._held[holder] >= self._per_holder

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
            raise _too_many(self._per_holder, what)
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
        per_holder: Most of one client.
        wake: Called when a stream is to end.
    """

    def __init__(self, total: int, per_holder: int, wake: Callable[[], None]) -> None:
        self._total, self._per_holder = total, per_holder
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
        if own >= self._per_holder:
            raise _too_many(self._per_holder, "event streams")
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
        streams = self._held.get(client, [])
        if stream in streams:
            streams.remove(stream)
            if not streams:
                del self._held[client]


def _too_many(per_holder: int, what: str) -> problems.Problem:
    return problems.Problem(
        "too-many",
        f"There are {per_holder} {what} of yours under way, and more are not taken at once.",
        "Wait until one of them ends.",
        retryAfter=1,
    )


def _busy(what: str) -> problems.Problem:
    return problems.Problem(
        "busy", f"There are too many {what} under way.", "Come again in a few seconds.", retryAfter=5
    )


def client_name(address: str) -> str:
    """What counts as one client: an IPv4 address, or the /64 of an IPv6 address; what is neither, as it is."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:64]
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)


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
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._settings = settings
        rate = settings.requests_per_second
        self._buckets = Buckets(rate, max(1, int(BURST_SECONDS * rate)))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse what is too much, pass on the rest."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        wait = self._buckets.take(client_of(scope, self._settings), time.monotonic())
        if wait > 0:
            refusal = problems.response(
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
        limit = None if update else BODY_LIMIT
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if limit is not None and (len(declared) > 19 or not declared.isdigit() or int(declared) > limit):
            too_large = problems.response(
                "too-large",
                f"The body is larger than {limit} bytes.",
                "Send less.",
                headers={"Connection": "close"},  # the rest of the body is not read
            )
            await too_large(scope, receive, send)
            return
        body = _Body(receive, limit)

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
    """

    def __init__(self, receive: Receive, limit: int | None) -> None:
        self._receive = receive
        self._limit = limit
        self._left = PATIENCE
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
                408, f"The body comes too slowly: less than {SLOWEST_UPLOAD:g} bytes a second."
            ) from exc
        size = len(message.get("body", b""))
        # Only waiting counts, not what we do with the bytes; and nobody saves up more than the patience.
        waited = time.monotonic() - began
        self._left = min(PATIENCE, self._left + size / SLOWEST_UPLOAD - waited)
        self._seen += size
        if self._limit is not None and self._seen > self._limit:
            raise HTTPException(413, f"The body is larger than {self._limit} bytes.")
        self.whole = not message.get("more_body", False)
        return message

# SPDX-License-Identifier: Apache-2.0
"""What the coordinator's reads, its start and its idle work cost, with a history of many updates in its database."""

from __future__ import annotations

import http.client
import random
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from benchmarks.growth import copies
from benchmarks.growth.federation import (
    Federation,
    account,
    contributor,
    deployed,
    home_of,
    origin_of,
    serving,
)
from benchmarks.worlds import manifest_of
from folkmoot.devnet.anvil import Anvil
from folkmoot.protocol.header import RoundHeader
from folkmoot.runtime.processes import Supervisor
from server.api.gauges import database_bytes
from server.coordinator import open_coordinator
from server.db.engine import make_engine
from server.home import open_account
from server.settings import load

EACH = 100
"""Updates of a round."""
PARAMETERS = 10_000
BESIDE = 24
"""Contributors that hand in updates while reads are measured."""
CLIENTS = 8
"""Clients that ask at the same time."""
RATES = (10, 20, 40)
"""Requests a second of many readers who do not wait for each other."""
RATE_SECONDS = 60
"""How long each of the rates is kept up."""
READERS = 64
"""How many of them wait for an answer at once, at most."""
WRITE_SECONDS = 0.5
"""Between two updates that are handed in beside."""
MOST_PAGES = 40
"""Pages of a list from which cursors are taken."""
ROUTES = (
    "/v1/health",
    "/v1/deployment",
    "/v1/policies",
    "/v1/policies/1",
    "/v1/contributors",
    "/v1/contributors?limit=200",
    "/v1/contributors/{address}",
    "/v1/contributors/{address}/verdicts",
    "/v1/contributors/{address}/verdicts?limit=200",
    "/v1/rounds",
    "/v1/rounds?limit=200",
    "/v1/rounds/{round}",
    "/v1/rounds/{round}/updates",
    "/v1/rounds/{round}/updates?limit=200",
    "/v1/rounds/{round}/updates/{address}",
    "/v1/rounds/{round}/updates/{address}/verdict",
    "/v1/models",
    "/v1/models?limit=200",
    "/v1/models/{round}",
    "/v1/models/1/download",
    "/v1/proposals",
    "/v1/artifacts/{file}",
    "/v1/artifacts/by-keccak/{document}",
    "/v1/runs/current",
    "/v1/events?after={after}",
    "/metrics",
)
"""Every read, with numbers of the history in it."""
PAGED = ("/v1/contributors", "/v1/rounds", "/v1/models")


@dataclass(frozen=True)
class Times:
    """What one request of a route took, in seconds."""

    median: float
    """As its client sees it; so are the next two."""
    p99: float
    most: float
    processor: float
    """Of the coordinator's processor, over all requests; its idle work of that time is in it."""


@dataclass
class Measured:
    """What it costs with a history."""

    updates: int
    database: str
    """sqlite or postgresql."""
    stored: int = 0
    """Bytes of the database."""
    start: float = 0.0
    """Seconds of the processor from the start of the process to its first answer."""
    step: float = 0.0
    """Median seconds of a look of the worker with nothing to do."""
    gauges: float = 0.0
    """Median seconds of a look of the gauges at everything."""
    peak: float = 0.0
    """MiB that the process held at most."""
    first: dict[str, float] = field(default_factory=dict)
    """Seconds of the processor for the first request of a route, which fills what is kept in memory."""
    routes: dict[tuple[str, int], Times] = field(default_factory=dict)
    """By route, and by how many ask at the same time; below 0: while updates are handed in."""
    steady: dict[int, Times] = field(default_factory=dict)
    """By requests a second, of all routes that are no stream, at times that do not depend on the answers."""


def measure(folder: Path, rounds: int, requests: int, database_url: str = "") -> Measured:
    """Make a history of so many rounds with `EACH` updates, and read it.

    Args:
        folder: An empty folder for everything.
        rounds: Copies of one real round.
        requests: Of each route, at each number of clients.
        database_url: An empty PostgreSQL database; SQLite in the folder if left out.
    """
    found = Measured(rounds * EACH, database_url.partition(":")[0] or "sqlite")
    manifest = manifest_of(PARAMETERS)
    with Anvil() as anvil, Supervisor(folder) as supervisor:
        state, made = origin_of(manifest)
        chain = deployed(anvil, manifest, state, made, EACH + BESIDE, "mean")
        home = home_of(folder, anvil, chain, manifest, state, made, database_url)
        with serving(supervisor, home, anvil, chain, manifest) as world:
            _play(world)
        newest = anvil.call("eth_getBlockByNumber", "latest", False)
        engine = make_engine(load(home).resolved_database_url)
        copies.repeat(engine, rounds, int(newest["number"], 16), newest["hash"])
        with Session(engine) as session:
            found.stored = database_bytes(session)
        engine.dispose()
        _idle(home, found)
        with serving(supervisor, home, anvil, chain, manifest) as world:
            world.until(world.api.health, 600, "the first answer")
            found.start = world.process.seconds()
            _Reading(world, rounds, requests, found).run()
            found.peak = world.process.peak()
        chain.close()
    return found


def _play(world: Federation) -> None:
    """Take round 1 from its opening to its rewards."""
    world.api.start_run(1, EACH, account("coordinator"), world.domain)
    current = world.until(world.api.current_round, 60, "an open round")
    offers = world.offer(range(EACH), RoundHeader.decode(current.header))
    assert not any(offer.code for offer in offers), offers
    world.until(lambda: world.api.get("/v1/rounds/1")["step"] == "settled", 300, "settlement")
    world.until(lambda: (run := world.api.run()) is not None and run.state == "done", 60, "the run's end")


def _idle(home: Path, found: Measured) -> None:
    """Measure what is done all the time, in this process: no coordinator runs."""
    settings = load(home)
    coordinator = open_coordinator(settings, open_account(settings))
    worker = coordinator.make_worker()
    gauges = coordinator.make_gauges(worker)
    try:
        worker.step()  # reads what the chain has new
        found.step = statistics.median(_seconds(worker.step) for _ in range(7))
        found.gauges = statistics.median(_seconds(gauges.look) for _ in range(7))
    finally:
        worker.stop()
        coordinator.close()


def _seconds(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


class _Reading:
    """Asks a coordinator for everything, with numbers from all over its history.

    Args:
        world: The coordinator.
        rounds: Copies of round 1.
        requests: Of each route.
        found: Where the times go.
    """

    def __init__(self, world: Federation, rounds: int, requests: int, found: Measured) -> None:
        self._world = world
        self._rounds = rounds
        self._requests = requests
        self._found = found
        self._random = random.Random(7)  # noqa: S311 - which rounds are asked for is no secret
        self._cursors: dict[str, list[str]] = {}
        view = world.api.get("/v1/rounds/1")
        self._files = [view[name] for name in ("verdicts", "artifacts", "mean")]
        self._documents = [view[name][2:] for name in ("verdictHash", "artifactsHash")]
        self._newest = world.api.newest_event()

    def run(self) -> None:
        """Measure every route, with one client and with `CLIENTS` of them."""
        for route in ROUTES:
            path = self._path(route)
            mark = self._world.process.seconds()
            self._ask(self._connect(), path)
            self._found.first[route] = self._world.process.seconds() - mark
        for route in ROUTES:
            if route.startswith("/v1/") and route.split("?")[0] in PAGED:
                self._cursors[route] = list(self._pages(route))
        for clients in (1, CLIENTS):
            for route in ROUTES:
                self._found.routes[route, clients] = self._times(route, clients)
        for rate in RATES:
            self._found.steady[rate] = self._steady(rate)
        with self._writes():
            for route in ROUTES:
                self._found.routes[route, -CLIENTS] = self._times(route, CLIENTS)

    def _pages(self, route: str) -> Iterator[str]:
        """Cursors of some pages of a list, the last ones with them."""
        cursor, turn = "", 0
        while turn < MOST_PAGES:
            page = self._world.api.get(
                f"{route}{'&' if '?' in route else '?'}cursor={cursor}" if cursor else route
            )
            cursor, turn = page.get("nextCursor") or "", turn + 1
            if not cursor:
                return
            yield cursor

    def _path(self, route: str) -> str:
        """A path of a route, with numbers that are there."""
        choose = self._random.choice
        path = route.format(
            round=copies.FIRST + self._random.randrange(self._rounds),
            address=contributor(self._random.randrange(EACH)).address,
            file=choose(self._files),
            document=choose(self._documents),
            after=self._random.randrange(max(1, self._newest - 200)),
        )
        cursors = self._cursors.get(route)
        if cursors and self._random.random() < 0.5:
            path += f"{'&' if '?' in path else '?'}cursor={choose(cursors)}"
        return path

    def _times(self, route: str, clients: int) -> Times:
        paths = [self._path(route) for _ in range(self._requests)]

        def asked(part: list[str]) -> list[float]:
            connection = self._connect()
            try:
                return [_seconds(partial(self._ask, connection, path)) for path in part]
            finally:
                connection.close()

        mark = self._world.process.seconds()
        with ThreadPoolExecutor(clients) as pool:
            found = sorted(
                one for part in pool.map(asked, [paths[k::clients] for k in range(clients)]) for one in part
            )
        return self._summed_up(found, mark)

    def _summed_up(self, found: list[float], mark: float) -> Times:
        """Seconds of requests, in ascending order, and what the process had used before the first of them."""
        processor = (self._world.process.seconds() - mark) / len(found)
        return Times(statistics.median(found), found[-(len(found) // 100) - 1], found[-1], processor)

    def _steady(self, rate: int) -> Times:
        """Ask any route at random times, each over a connection of its own; all waiting counts.

        Clients that ask again when they were answered ask less of a slow server, and so hide how slow it is.
        """
        asked = [route for route in ROUTES if not route.startswith("/v1/events")]
        paths = [self._path(self._random.choice(asked)) for _ in range(rate * RATE_SECONDS)]

        def ask(path: str, due: float) -> float:
            connection = self._connect()
            self._ask(connection, path)
            connection.close()
            return time.perf_counter() - due

        mark = self._world.process.seconds()
        with ThreadPoolExecutor(READERS) as pool:
            due, futures = time.perf_counter(), []
            for path in paths:
                due += self._random.expovariate(rate)
                time.sleep(max(0.0, due - time.perf_counter()))  # until its time; late ones follow at once
                futures.append(pool.submit(ask, path, due))
            found = sorted(future.result() for future in futures)
        return self._summed_up(found, mark)

    def _connect(self) -> http.client.HTTPConnection:
        host = self._world.api.url.removeprefix("http://")
        return http.client.HTTPConnection(host, timeout=120)

    def _ask(self, connection: http.client.HTTPConnection, path: str) -> None:
        connection.request("GET", path)
        answer = connection.getresponse()
        if path.startswith("/v1/events"):
            for _ in range(200):  # so many come at once
                while not answer.readline().startswith(b"data:"):
                    pass
            connection.close()
            return
        body = answer.read()
        assert answer.status == 200, (path, answer.status, body)

    @contextmanager
    def _writes(self) -> Iterator[None]:
        """Let contributors hand in updates, one after the other, in a round of their own."""
        world, done = self._world, threading.Event()
        world.api.start_run(1, BESIDE + 1, account("coordinator"), world.domain)
        current = world.until(world.api.current_round, 60, "an open round")
        header = RoundHeader.decode(current.header)

        def write() -> None:
            for number in range(BESIDE):
                if done.wait(WRITE_SECONDS):
                    return
                (offer,) = world.offer(range(EACH + number, EACH + number + 1), header)
                assert not offer.code, offer

        with ThreadPoolExecutor(1) as writer:
            writing = writer.submit(write)
            try:
                yield
            finally:
                done.set()
                writing.result()

# SPDX-License-Identifier: Apache-2.0
"""How a coordinator stands: numbers that are read from database, chain and disk every few seconds, by a thread.

A scrape gets what was read last, so that it asks nobody, is done in milliseconds, and can't be used to load the
coordinator. A part that gives no answer leaves its numbers out (an old one would look fine) and says so in
`folkmoot_part_up`.
"""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from folkmoot.errors import FolkmootError
from folkmoot.ledger.costs import COIN, gas_price, rounds_affordable
from folkmoot.runtime.logs import fields
from folkmoot.runtime.units import UNIT
from server.chain.view import ChainView
from server.db.models import Artifact, Round, Run, Transaction, Update
from server.db.steps import Step
from server.rounds import queries
from server.rounds.answers import open_demands
from server.storage import Storage
from server.worker import Status

logger = logging.getLogger(__name__)

OFTEN_SECONDS = 10.0
"""Between two looks at the database and the newest block."""
SELDOM_SECONDS = 60.0
"""Between two looks at what changes slowly: account, bond, head, disk, size of store and database."""

UNDER_WAY = ("queued", "signed", "mined")
"""States of transactions of the outbox that are not at their end."""

Sample = tuple[tuple[str, ...], float]
"""Values of the labels, and the number."""


@dataclass(frozen=True)
class Gauge:
    """A number that is read."""

    text: str
    """What it says."""
    labels: tuple[str, ...] = ()
    """Names of its labels."""


GAUGES = {
    "folkmoot_build_info": Gauge("The release that runs.", ("version",)),
    "folkmoot_part_up": Gauge(
        "1 if these numbers could be read at the last look, by where they come from.", ("part",)
    ),
    "folkmoot_gauges_timestamp_seconds": Gauge("Unix time of the last look at these numbers."),
    "folkmoot_worker_success_timestamp_seconds": Gauge(
        "Unix time at which the worker last did all of its work."
    ),
    "folkmoot_worker_failing": Gauge("1 if the worker's last look failed, or another background step fails."),
    "folkmoot_run_rounds_left": Gauge("Rounds that the run under way still has to anchor; 0 without a run."),
    "folkmoot_rounds": Gauge("Rounds by the step that they are in.", ("step",)),
    "folkmoot_round_newest": Gauge("Number of the newest round."),
    "folkmoot_round_updates": Gauge("Updates that were taken in for the newest round."),
    "folkmoot_round_overdue_seconds": Gauge(
        "Time since the deadline of the unfinished round that is most overdue; 0 if none is."
    ),
    "folkmoot_outbox_transactions": Gauge("Transactions of the outbox by state.", ("state",)),
    "folkmoot_outbox_oldest_seconds": Gauge("Age of the oldest transaction that is under way; 0 if none is."),
    "folkmoot_demands_open": Gauge("Demands for data that are neither answered nor decided."),
    "folkmoot_demand_remaining_seconds": Gauge("Time left to answer the most urgent open demand."),
    "folkmoot_chain_block": Gauge("Number of the newest block."),
    "folkmoot_rpc_up": Gauge("1 if an RPC endpoint's last answer was one; only with several.", ("endpoint",)),
    "folkmoot_rpc_failures": Gauge("Times that it gave no answer since the start.", ("endpoint",)),
    "folkmoot_rpc_disagreements": Gauge("Its answers that contradicted a majority.", ("endpoint",)),
    "folkmoot_indexed_block": Gauge("Block up to which events are known."),
    "folkmoot_chain_lag_blocks": Gauge("Blocks whose events are not known yet."),
    "folkmoot_chain_lag_seconds": Gauge("Age of the newest block whose events are known."),
    "folkmoot_head_version": Gauge("Version that the next round builds on."),
    "folkmoot_coordinator_appointed": Gauge("1 if the ledger's coordinator is this account."),
    "folkmoot_bond_tokens": Gauge("What the coordinator has at stake."),
    "folkmoot_bond_minimum_tokens": Gauge("What the current policy asks for."),
    "folkmoot_account_balance_coins": Gauge("What the account has of the chain's native coin, to pay gas."),
    "folkmoot_account_rounds": Gauge("Rounds that this balance pays at the present price of gas."),
    "folkmoot_round_gas": Gauge("Gas that a round takes: the mean of the last ones, or an estimate."),
    "folkmoot_store_writable": Gauge("1 if the artifact store could be written to."),
    "folkmoot_store_files": Gauge("Files in the artifact store, as the database knows them."),
    "folkmoot_store_bytes": Gauge("Their size."),
    "folkmoot_disk_free_bytes": Gauge("Free bytes of the disk under a folder.", ("folder",)),
    "folkmoot_disk_size_bytes": Gauge("Size of that disk.", ("folder",)),
    "folkmoot_database_bytes": Gauge("Size of the database."),
    "folkmoot_database_latency_seconds": Gauge("Time that a trivial query took."),
}
"""All that can be read, by name."""


@dataclass
class _Look:
    """What was read, by part; a part's numbers are replaced as a whole."""

    parts: dict[str, dict[str, list[Sample]]] = field(default_factory=dict)
    up: dict[str, bool] = field(default_factory=dict)


class Numbers:
    """Collects the numbers of one part."""

    def __init__(self) -> None:
        self.values: dict[str, list[Sample]] = {}

    def set(self, name: str, value: float, *labels: str) -> None:
        """Set a number."""
        if name not in GAUGES:
            raise AssertionError(f"the number {name} is not in the list")
        self.values.setdefault(name, []).append((labels, float(value)))


class Gauges(Collector):
    """The numbers of one coordinator.

    Args:
        folders: Those whose disks may fill up, by name.
        status: How its worker's work goes.
    """

    def __init__(
        self, storage: Storage, chain: ChainView, address: str, folders: Mapping[str, Path], status: Status
    ) -> None:
        self._database = storage.database
        self._store = storage.store
        self._chain = chain
        self._address = address
        self._folders = folders
        self._status = status
        self._look = _Look()
        self._looked_at = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="gauges", daemon=True)

    def start(self) -> None:
        """Look from now on, in a thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread after the look that is under way."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def look(self, *, everything: bool = True) -> None:
        """Read the numbers; those that change slowly only if asked to."""
        self._read("database", self._read_database)
        self._read("chain", self._read_chain)
        if everything:
            self._read("database size", self._read_database_size)
            self._read("store", self._read_store)
            self._read("account", self._read_account)
        self._looked_at = time.time()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Give a scrape what was read last."""
        now = Numbers()
        now.set("folkmoot_build_info", 1, version("folkmoot"))
        now.set(
            "folkmoot_worker_failing", self._status.error is not None or bool(self._status.failing.lasting)
        )
        now.set("folkmoot_worker_success_timestamp_seconds", self._status.succeeded_time)
        now.set("folkmoot_indexed_block", self._status.indexed_block)
        for endpoint in self._chain.rpc.endpoints:
            now.set("folkmoot_rpc_up", endpoint.up, endpoint.name)
            now.set("folkmoot_rpc_failures", endpoint.failed, endpoint.name)
            now.set("folkmoot_rpc_disagreements", endpoint.disagreed, endpoint.name)
        look = self._look
        if self._looked_at:
            now.set("folkmoot_gauges_timestamp_seconds", self._looked_at)
        for part, up in sorted(look.up.items()):
            now.set("folkmoot_part_up", up, part)
        values = dict(now.values)
        for seen in list(look.parts.values()):
            values.update(seen)
        for name, about in GAUGES.items():
            if name in values:
                family = GaugeMetricFamily(name, about.text, labels=about.labels)
                for labels, number in values[name]:
                    family.add_metric(labels, number)
                yield family

    def _run(self) -> None:
        seldom = 0.0
        while not self._stop.is_set():
            everything = time.monotonic() >= seldom
            if everything:
                seldom = time.monotonic() + SELDOM_SECONDS
            self.look(everything=everything)
            self._stop.wait(OFTEN_SECONDS)

    def _read(self, part: str, read: Callable[[Numbers], None]) -> None:
        numbers = Numbers()
        try:
            read(numbers)
        except Exception as error:
            if not isinstance(error, (FolkmootError, OSError)):
                self._status.failing.failed(f"numbers of the {part}", error)
            elif self._look.up.get(part, True):
                about = fields("no-numbers", part=part)
                logger.warning("The numbers of the %s can't be read: %s", part, error, extra=about)
            self._look.up[part] = False
            self._look.parts.pop(part, None)
        else:
            self._status.failing.passed(f"numbers of the {part}")
            self._look.up[part] = True
            self._look.parts[part] = numbers.values

    # The parts.

    def _read_database(self, numbers: Numbers) -> None:
        with self._database.read() as session:
            started = time.monotonic()
            session.execute(text("SELECT 1"))
            numbers.set("folkmoot_database_latency_seconds", time.monotonic() - started)
            _steps(session, numbers)
            _outbox(session, numbers)
            run = queries.running_run(session)
            numbers.set("folkmoot_run_rounds_left", _left(run))
            numbers.set("folkmoot_demands_open", len(open_demands(session)))

    def _read_chain(self, numbers: Numbers) -> None:
        latest = self._chain.rpc.latest()
        now = self._chain.now()
        indexed = self._status.indexed_block
        numbers.set("folkmoot_chain_block", latest.number)
        numbers.set("folkmoot_chain_lag_blocks", max(0, latest.number - indexed))
        numbers.set("folkmoot_chain_lag_seconds", self._lag(indexed, latest.number, latest.timestamp))
        with self._database.read() as session:
            numbers.set("folkmoot_round_overdue_seconds", max([0, *overdue(session, now)]))
            left = [int(event.arguments["answerBy"]) - now for event in open_demands(session)]
        if left:
            numbers.set("folkmoot_demand_remaining_seconds", min(left))

    def _lag(self, indexed: int, newest: int, timestamp: int) -> float:
        if indexed < newest:
            block = self._chain.rpc.block_at(max(0, indexed))
            timestamp = block.timestamp if block is not None else timestamp
        elif self._chain.local:
            return 0.0  # Anvil makes blocks on demand: an old one is no sign of anything
        return max(0.0, time.time() - timestamp)

    def _read_account(self, numbers: Numbers) -> None:
        ledger, address = self._chain.ledger, self._address
        policy = self._chain.policy(ledger.current_policy())
        with self._database.read() as session:
            gas = queries.round_gas(session, policy)
        balance = self._chain.rpc.balance(address)
        price = gas_price(self._chain.rpc)
        numbers.set("folkmoot_head_version", ledger.head().round)
        numbers.set("folkmoot_coordinator_appointed", ledger.coordinator() == address)
        numbers.set("folkmoot_bond_tokens", self._chain.vault.stake_of(address) / UNIT)
        numbers.set("folkmoot_bond_minimum_tokens", policy.bond / UNIT)
        numbers.set("folkmoot_account_balance_coins", balance / COIN)
        numbers.set("folkmoot_account_rounds", rounds_affordable(balance, gas, price))
        numbers.set("folkmoot_round_gas", gas)

    def _read_store(self, numbers: Numbers) -> None:
        with self._database.read() as session:
            count, size = session.execute(
                select(func.count(), func.sum(Artifact.size)).where(~Artifact.gone)
            ).one()
        numbers.set("folkmoot_store_writable", self._store.problem() is None)
        numbers.set("folkmoot_store_files", count)
        numbers.set("folkmoot_store_bytes", float(size or 0))
        for name, folder in self._folders.items():
            if folder.is_dir():
                usage = shutil.disk_usage(folder)
                numbers.set("folkmoot_disk_free_bytes", usage.free, name)
                numbers.set("folkmoot_disk_size_bytes", usage.total, name)

    def _read_database_size(self, numbers: Numbers) -> None:
        with self._database.read() as session:
            numbers.set("folkmoot_database_bytes", database_bytes(session))


def database_bytes(session: Session) -> int:
    """Size of the database that a session is on, in bytes."""
    if session.get_bind().dialect.name == "sqlite":
        pages, size = (session.scalar(text(f"PRAGMA {name}")) for name in ("page_count", "page_size"))
        return int(pages or 0) * int(size or 0)
    return int(session.scalar(text("SELECT pg_database_size(current_database())")) or 0)


def overdue(session: Session, now: int) -> Iterable[int]:
    """Seconds since the deadline of what each unfinished round does, by the chain's clock; negative before it."""
    for number in queries.unfinished(session):
        round_ = session.get_one(Round, number)
        match Step(round_.step):
            case Step.OPENING:
                continue  # it has none before it is open; the outbox says how old its transaction is
            case Step.COLLECTING:
                deadline = round_.commit_deadline
            case Step.ANCHORED | Step.FINALIZING | Step.SETTLING:
                deadline = round_.challenge_deadline
            case _:
                deadline = round_.anchor_deadline
        if deadline is not None:
            yield now - deadline


def _steps(session: Session, numbers: Numbers) -> None:
    query = select(Round.step, func.count()).group_by(Round.step)
    counts: dict[str, int] = {row[0]: row[1] for row in session.execute(query)}
    for step in Step:
        numbers.set("folkmoot_rounds", counts.get(str(step), 0), str(step))
    newest = session.scalar(select(func.max(Round.number))) or 0
    numbers.set("folkmoot_round_newest", newest)
    taken = session.scalar(select(func.count()).select_from(Update).where(Update.round == newest)) or 0
    numbers.set("folkmoot_round_updates", taken)


def _outbox(session: Session, numbers: Numbers) -> None:
    query = select(Transaction.state, func.count()).group_by(Transaction.state)
    counts: dict[str, int] = {row[0]: row[1] for row in session.execute(query)}
    for state in (*UNDER_WAY, "confirmed", "failed"):
        numbers.set("folkmoot_outbox_transactions", counts.get(state, 0), state)
    oldest = session.scalar(select(func.min(Transaction.created_at)).where(Transaction.state.in_(UNDER_WAY)))
    numbers.set("folkmoot_outbox_oldest_seconds", age(oldest))


def age(moment: datetime | None) -> float:
    """Seconds since a moment of the database; 0 without one."""
    if moment is None:
        return 0.0
    return max(0.0, (datetime.now(UTC) - moment).total_seconds())


def _left(run: Run | None) -> int:
    return 0 if run is None else max(0, run.rounds - run.completed)

# SPDX-License-Identifier: Apache-2.0
"""Builds a coordinator: opens its parts, and gives each part the others that it uses.

Only this module knows all parts. What is made here gets the few that it works with.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field

from eth_account.signers.local import LocalAccount
from fastapi import FastAPI

from folkmoot.artifacts.federation import Federation
from folkmoot.errors import DatabaseError, FolkmootError, StoreError
from folkmoot.evaluation.canary import check_public
from folkmoot.ledger.deployment import Deployment
from folkmoot.rpc import abi
from folkmoot.rpc.quorum import open_rpc
from folkmoot.rpc.wallets import WALLET_GAS
from folkmoot.runtime.memory import COORDINATOR, require_memory
from server.api.app import create_app
from server.api.gauges import Gauges
from server.api.parts import AppState
from server.chain.indexer import Indexer
from server.chain.outbox import Outbox
from server.chain.view import ChainView, check_chain
from server.db.failures import is_away
from server.genesis import record_genesis
from server.intake.intake import Intake
from server.restore.compare import Comparison
from server.restore.deletion import Deletion
from server.restore.rewind import Rewinder
from server.restore.upkeep import Upkeep
from server.rounds.canary import Canary
from server.rounds.engine import Engine
from server.settings import Settings
from server.storage import Storage
from server.telemetry.failing import Failing
from server.telemetry.log import log_event
from server.telemetry.metrics import Metrics
from server.worker import Worker

SCRUB_PAUSE = 10.0
"""Seconds between two steps of comparing the database with the chain, a round or 2,000 blocks each: cheap for an
endpoint, and a year of rounds is compared within a day."""
LONGEST_WAIT = 15.0
"""Seconds between two looks at a database or a store that is away at the start, at most."""


@dataclass(frozen=True)
class Coordinator:
    """The parts of one coordinator."""

    settings: Settings
    account: LocalAccount
    federation: Federation
    chain: ChainView
    storage: Storage
    metrics: Metrics = field(default_factory=Metrics)

    def check_chain(self) -> None:
        """Make sure that the endpoint serves the right chain.

        Raises:
            RpcError: The chain gave no answer, which says nothing against it if the code is in `view.AWAY`.
            FolkmootError: It is the wrong chain, or none that these settings are for.
        """
        check_chain(self.chain, self.federation)

    def make_worker(self, *, ready: bool = True) -> Worker:
        """Make the thread that does the work.

        Args:
            ready: Whether `check_chain` has passed. If not, that comes first, at every look until it does.
        """
        database, wake = self.storage.database, threading.Event()
        indexer = Indexer(database, self.chain.rpc, self.federation.deployment, self.chain.confirmations)
        outbox = Outbox(
            database,
            self.chain.rpc,
            self.account,
            self.chain.chain_id,
            self.chain.confirmations,
            int(self.settings.max_fee_gwei * 10**9),
            {abi.function("ledger", "commitUpdateFor").selector: WALLET_GAS},
        )
        engine = self.make_engine(wake.set)
        comparison = Comparison(self.storage, self.chain, self.federation)
        upkeep = Upkeep(
            self.storage,
            self.federation,
            self.chain.policy,
            self.settings.mirror_locations,
            comparison,
            SCRUB_PAUSE,
            indexer.check,
            Deletion(self.storage, self.chain, self.federation, indexer.check),
            failing := Failing(),
        )
        return Worker(
            database,
            self.chain,
            indexer,
            outbox,
            engine,
            upkeep,
            Rewinder(self.federation, self.chain, self.storage, engine.forget, outbox.withdraw),
            self.settings.poll_interval,
            wake=wake,
            check=None if ready else self.check_chain,
            failing=failing,
        )

    def make_engine(self, wake: Callable[[], None]) -> Engine:
        """Make what leads the rounds. `wake` is called when a computation in another thread is done."""
        return Engine(self.settings, self.federation, self.chain, self.storage, self.metrics, wake)

    def make_intake(self) -> Intake:
        """Make what takes in updates."""
        return Intake(self.storage.database, self.chain, self.federation, self.metrics, self.account)

    def make_app(self, worker: Worker) -> FastAPI:
        """Make the HTTP interface. The worker is started and stopped by whoever made it."""
        return create_app(self.make_state(worker), self.make_gauges(worker))

    def make_state(self, worker: Worker) -> AppState:
        """Make what the routes work with."""
        return AppState(
            settings=self.settings,
            federation=self.federation,
            chain=self.chain,
            storage=self.storage,
            metrics=self.metrics,
            intake=self.make_intake(),
            canary=Canary(self.storage, self.federation, self.settings),
            worker=worker,
        )

    def make_gauges(self, worker: Worker) -> Gauges:
        """Make the numbers that are read from database, chain and disk."""
        # Of a bucket, what can fill up here is the folder with copies.
        folders = {"home": self.settings.home, "store": self.settings.store_folder}
        return Gauges(self.storage, self.chain, self.federation.coordinator, folders, worker.status)

    def close(self) -> None:
        """Close all connections."""
        self.storage.database.close()
        self.chain.rpc.close()


def open_coordinator(settings: Settings, account: LocalAccount) -> Coordinator:
    """Put a coordinator together and check every part, the chain included.

    Raises:
        FolkmootError: A part can't be used; the message says which, and what to do.
    """
    made = connect(settings, account)
    try:
        made.check_chain()
    except BaseException:
        made.close()
        raise
    return made


def connect(settings: Settings, account: LocalAccount) -> Coordinator:
    """Put a coordinator together of what is on this side of the endpoint; nothing is asked of the chain.

    Raises:
        FolkmootError: A part can't be used; the message says which, and what to do.
    """
    deployment = Deployment.load(settings.resolve(settings.deployment))
    with ExitStack() as undo:
        rpc = open_rpc(settings.rpc_url)
        undo.callback(rpc.close)
        chain = ChainView.of(rpc, deployment, settings)
        storage = Storage.open(settings)
        undo.callback(storage.database.close)
        federation = Federation.open(deployment, storage.store, coordinator=account.address)
        manifest = federation.manifest
        if settings.canary:
            check_public(manifest, settings.canary_public_records)
        require_memory(
            COORDINATOR * manifest.size,
            "The coordinator",
            "Nothing was started. Use a machine with more memory, or end other programs.",
        )
        record_genesis(storage, federation)
        made = Coordinator(settings, account, federation, chain, storage)
        storage.database.listeners += [log_event, made.metrics.happened]
        undo.pop_all()  # now the coordinator's
        return made


def connect_with_retry(
    settings: Settings, account: LocalAccount, wait: Callable[[FolkmootError, float], None]
) -> Coordinator:
    """The same, but a server of the database or the store that is away is waited for: it may start after us.

    Args:
        wait: Is told what is away, and waits for so many seconds.

    Raises:
        FolkmootError: A part can't be used, and nothing that passes by itself is the reason.
    """
    pause = 1.0
    while True:
        try:
            return connect(settings, account)
        except (DatabaseError, StoreError) as exc:
            if not (is_away(exc) or exc.code == "store-unreachable"):
                raise
            wait(exc, pause)
        pause = min(2 * pause, LONGEST_WAIT)

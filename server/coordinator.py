# SPDX-License-Identifier: Apache-2.0
"""All that a running coordinator consists of: checked once at the start, then handed to every part."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from eth_account.signers.local import LocalAccount

from folkmoot.chain.client import check_deployment
from folkmoot.errors import (
    ArtifactError,
    ChainError,
    DatabaseError,
    FolkmootError,
    InputError,
    LocalError,
    StoreError,
)
from folkmoot.ledger.deployment import Deployment
from folkmoot.protocol.commitment import Domain
from folkmoot.protocol.genesis import Genesis
from folkmoot.protocol.hashing import keccak, sha256_hex
from folkmoot.protocol.manifest import Manifest
from folkmoot.protocol.policy import Policy
from folkmoot.rpc.client import LedgerReader, RoundView, Rpc, VaultReader
from folkmoot.rpc.local_chain import LOCAL_CHAIN_ID
from folkmoot.rpc.quorum import open_rpc
from folkmoot.runtime import keystore, locks
from server.chain.node import RpcNode
from server.conduct import Conduct, load
from server.db import schema
from server.db.engine import Database
from server.db.failures import is_away
from server.db.models import Artifact
from server.settings import Settings
from server.store import Store
from server.telemetry.log import log_event
from server.telemetry.metrics import Metrics

DEFAULT_CONFIRMATIONS = 6
LONGEST_WAIT = 15.0
"""Seconds between two looks at a database or a store that is away at the start, at most."""
AWAY = ("rpc-unreachable", "rpc-error", "rpc-no-quorum")
"""Codes of errors of an endpoint that is not there, or is in trouble: it may be the right one."""


@dataclass(frozen=True)
class Coordinator:
    """The parts of one coordinator."""

    settings: Settings
    deployment: Deployment
    domain: Domain
    database: Database
    store: Store
    node: RpcNode
    ledger: LedgerReader
    vault: VaultReader
    account: LocalAccount
    genesis: Genesis
    manifest: Manifest
    confirmations: int
    metrics: Metrics = field(default_factory=Metrics)
    conduct: Conduct = field(default_factory=Conduct)
    _policies: dict[int, Policy] = field(default_factory=dict)

    def now(self) -> int:
        """The chain's time."""
        return self.node.now(self.deployment.chain_id)

    def policy(self, policy_id: int) -> Policy:
        """A policy.

        One that has its confirmations never changes, and is asked for once. A younger one may make room for another of
        the same number, if a reorg takes the vote that added it.

        Raises:
            RpcError: The chain gave no answer.
            ContractRefused: There is no such policy.
        """
        if policy_id not in self._policies:
            try:
                settled = self.ledger.policy(policy_id, None if self.local else self.settled_block())
            except ChainError:  # it, the ledger or the endpoint's memory is younger
                return self.ledger.policy(policy_id)
            self._policies[policy_id] = settled
        return self._policies[policy_id]

    def settled_round(self, number: int) -> RoundView:
        """A round as no reorg changes it any more: at the newest block that has its confirmations.

        On a local Anvil the newest block counts. An endpoint must know states that many blocks back; full nodes know
        128.

        Raises:
            RpcError: The chain gave no answer.
        """
        return self.ledger.round(number, None if self.local else self.settled_block())

    def settled_block(self) -> int:
        """Number of the newest block that has its confirmations, its own included.

        Raises:
            RpcError: The chain gave no answer.
        """
        return max(0, self.node.latest().number - self.confirmations + 1)

    @property
    def local(self) -> bool:
        """Whether the chain is a local Anvil, whose clock can be moved."""
        return self.deployment.chain_id == LOCAL_CHAIN_ID

    def close(self) -> None:
        """Close all connections."""
        self.database.close()
        self.ledger.rpc.close()


def read_genesis(store: Store, genesis_hash: str) -> Genesis:
    """The genesis of a federation, by the hash that its ledger has.

    Raises:
        ArtifactError: It is not in the store, or damaged.
    """
    wanted = genesis_hash.removeprefix("0x")
    data = store.read(store.by_keccak(wanted))
    if keccak(data).hex() != wanted:
        raise ArtifactError(
            "The genesis file in the store is not the one that the ledger names.",
            remedy="Run `folkmoot coordinator init` again with the right genesis.",
            code="artifact-damaged",
        )
    return Genesis.from_json(data)


def import_genesis(store: Store, folder: Path, genesis_hash: str) -> Genesis:
    """Copy the genesis, its manifest and its state from a folder into the store.

    The folder may be a store (docs/protocol.md section 12) or just hold the three files under any names.

    Raises:
        InputError: A file is missing.
    """
    by_keccak: dict[str, Path] = {}
    by_sha256: dict[str, Path] = {}
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}.", remedy="Give the genesis's folder with --genesis.")
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            data = path.read_bytes()
            by_sha256[sha256_hex(data)] = path
            by_keccak[keccak(data).hex()] = path
    wanted = genesis_hash.removeprefix("0x")
    if wanted not in by_keccak:
        raise InputError(
            f"No file in {folder} is the genesis of this deployment (keccak {genesis_hash}).",
            remedy="Give the folder that `folkmoot deploy` wrote for this deployment.",
        )
    stored = store.put_file(by_keccak[wanted])
    store.link(wanted, stored.sha256)
    genesis = read_genesis(store, genesis_hash)
    for name in (genesis.manifest, genesis.state):
        if name not in by_sha256:
            raise InputError(
                f"The file {name} of the genesis is not in {folder}.", remedy="Get all three files."
            )
        store.put_file(by_sha256[name])
    return genesis


def open_coordinator(settings: Settings, account: LocalAccount) -> Coordinator:
    """Put a coordinator together and check every part, the chain included.

    Raises:
        FolkmootError: A part can't be used; the message says which, and what to do.
    """
    made = connect(settings, account)
    try:
        check_chain(made)
    except BaseException:
        made.close()
        raise
    return made


def connect(settings: Settings, account: LocalAccount) -> Coordinator:
    """Put a coordinator together of what is on this side of the endpoint; nothing is asked of the chain.

    Raises:
        FolkmootError: A part can't be used; the message says which, and what to do.
    """
    conduct = load(settings.conduct)
    deployment = Deployment.load(settings.resolve(settings.deployment))
    with ExitStack() as undo:
        rpc = open_rpc(settings.rpc_url)
        undo.callback(rpc.close)
        database = Database.open(settings.resolved_database_url)
        undo.callback(database.close)
        made = _connect(settings, account, deployment, rpc, database, conduct)
        undo.pop_all()  # now the coordinator's
        return made


def connect_with_retry(
    settings: Settings, account: LocalAccount, wait: Callable[[FolkmootError, float], None]
) -> Coordinator:
    """The same, but a server of the database or the store that is away is waited for: it may start after us.

    Args:
        settings: The coordinator's settings.
        account: Its key.
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


def check_chain(coordinator: Coordinator) -> None:
    """Make sure that the endpoint serves the chain that the deployment is on, and that it fits to what is here.

    Raises:
        RpcError: The chain gave no answer, which says nothing against it if the code is in `AWAY`: ask again later.
        FolkmootError: It is the wrong chain, or none that these settings are for.
    """
    rpc = coordinator.ledger.rpc
    check_deployment(rpc, coordinator.deployment)
    if coordinator.settings.conduct:
        _require_stage(coordinator.deployment, rpc)
    if coordinator.ledger.manifest_hash() != coordinator.manifest.hash:
        raise ArtifactError(
            "The manifest in the store is not the one that the ledger names.",
            remedy="Run `folkmoot coordinator init` again with the right genesis.",
        )


def _connect(
    settings: Settings,
    account: LocalAccount,
    deployment: Deployment,
    rpc: Rpc,
    database: Database,
    conduct: Conduct,
) -> Coordinator:
    if settings.time_travel and deployment.chain_id != LOCAL_CHAIN_ID:
        raise InputError(
            f"The clock of chain {deployment.chain_id} can't be moved: it is not a local Anvil.",
            remedy="Leave out --time-travel.",
        )
    schema.check(database.engine)
    database.claim()
    store = settings.open_store()
    store.clear_incoming()
    genesis = read_genesis(store, deployment.genesis_hash)
    manifest = Manifest.from_json(store.read(genesis.manifest))
    _record_genesis(database, store, genesis, deployment)
    metrics = Metrics()
    database.listeners += [log_event, metrics.happened]
    return Coordinator(
        settings=settings,
        deployment=deployment,
        domain=Domain(deployment.chain_id, deployment.ledger),
        database=database,
        store=store,
        node=RpcNode(rpc),
        ledger=LedgerReader(rpc, deployment.ledger),
        vault=VaultReader(rpc, deployment.vault),
        account=account,
        genesis=genesis,
        manifest=manifest,
        confirmations=confirmations_of(settings, deployment),
        metrics=metrics,
        conduct=conduct,
    )


def confirmations_of(settings: Settings, deployment: Deployment) -> int:
    """Blocks, its own included, after which a transaction counts as settled."""
    local = deployment.chain_id == LOCAL_CHAIN_ID
    return settings.confirmations or (1 if local else DEFAULT_CONFIRMATIONS)


def _require_stage(deployment: Deployment, rpc: Rpc) -> None:
    """Make sure that a lie can only be told where it costs nobody anything.

    Raises:
        InputError: The chain is not a local Anvil (`conduct-not-local`).
    """
    client = str(rpc.call("web3_clientVersion"))
    if deployment.chain_id != LOCAL_CHAIN_ID or not client.lower().startswith("anvil"):
        raise InputError(
            f"The setting `conduct` is for a local Anvil only; this is chain {deployment.chain_id}, {client}.",
            remedy="Take it out of coordinator.json and unset FOLKMOOT_COORDINATOR_CONDUCT.",
            code="conduct-not-local",
        )


def _record_genesis(database: Database, store: Store, genesis: Genesis, deployment: Deployment) -> None:
    wanted = deployment.genesis_hash.removeprefix("0x")
    files = (
        ("genesis", store.by_keccak(wanted), wanted),
        ("manifest", genesis.manifest, None),
        ("state", genesis.state, None),
    )
    with database.write("genesis-recorded") as session:
        for kind, sha256, digest in files:
            size = store.path(sha256).stat().st_size
            row = Artifact(sha256=sha256, keccak=digest, kind=kind, size=size, round=0, public_from=0)
            session.merge(row)


def open_account(settings: Settings, prompt: keystore.Prompt | None = None) -> LocalAccount:
    """Unlock the coordinator's account.

    Raises:
        KeystoreError: There is no keystore or no password, or it is wrong.
    """
    password = keystore.read_password(
        password_file=settings.password_file and settings.resolve(settings.password_file),
        prompt=prompt,
        text="Password of the coordinator's keystore: ",
    )
    return keystore.load(settings.resolve(settings.keystore), password)


@contextmanager
def only_process(home: Path) -> Iterator[None]:
    """Hold the home folder: two coordinators on one database would send everything twice.

    Raises:
        LocalError: Another process holds it.
    """
    try:
        lock = locks.try_acquire(home / "coordinator.lock")
    except OSError as exc:
        raise LocalError(
            f"The folder {home} can't be used: {exc.strerror}.", remedy="Give another one with --home."
        ) from exc
    if lock is None:
        raise LocalError(
            f"Another coordinator is running in {home}.",
            remedy="Stop it first, or give another folder with --home.",
            code="already-running",
        )
    with lock:
        (home / "coordinator.lock").write_text(f"{os.getpid()}\n")
        yield

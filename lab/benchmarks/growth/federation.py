# SPDX-License-Identifier: Apache-2.0
"""A federation to measure on: a real chain, real contracts, a real coordinator in a process of its own.

Its contributors do not train. Their updates are noise around one direction, so that a rule has something to agree on;
everything else about them is real: accounts, stakes, encodings, trees, signatures, and the way over HTTP.
"""

from __future__ import annotations

import secrets
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from eth_account import Account
from eth_account.signers.local import LocalAccount

from benchmarks.growth.usage import Process
from benchmarks.worlds import manifest_of
from folkmoot.chain.client import Chain
from folkmoot.chain.deploy import deploy_and_report
from folkmoot.chain.terms import PROFILES, GenesisRoots
from folkmoot.chain.transactions.connection import connect_web3
from folkmoot.coordinator_api import CoordinatorApi, commitment_to_wire
from folkmoot.devnet.anvil import Anvil
from folkmoot.errors import UpdateRefused
from folkmoot.protocol.arrays import U8
from folkmoot.protocol.commitment import Commitment, Domain
from folkmoot.protocol.genesis import Genesis
from folkmoot.protocol.hashing import keccak
from folkmoot.protocol.header import RoundHeader
from folkmoot.protocol.manifest import Manifest
from folkmoot.protocol.merkle import update_tree
from folkmoot.protocol.packing import largest
from folkmoot.protocol.policy import ARBITER, MEAN_SCALES, Policy
from folkmoot.protocol.state import State
from folkmoot.runtime import keystore
from folkmoot.runtime.processes import Supervisor, accepts_connections, free_port
from folkmoot.runtime.units import UNIT
from server.db import schema
from server.db.engine import make_engine
from server.genesis import import_genesis
from server.settings import Settings

MOST_ENTRIES = 256
"""Most contributors that the ledger takes in a round."""
STAKE: int = 50 * UNIT
BOND: int = 500_000 * UNIT
_EXPONENT = -11
_WINDOWS = 24 * 3600
_SENDERS = 4


def account(name: str) -> LocalAccount:
    """The account of a name."""
    made: LocalAccount = Account.from_key(keccak(f"folkmoot growth {name}".encode()))
    return made


def contributor(number: int) -> LocalAccount:
    """The account of a contributor."""
    return account(f"contributor {number}")


@dataclass(frozen=True)
class Trainer:
    """Makes updates that took no training: noise around one direction."""

    manifest: Manifest

    @cached_property
    def _direction(self) -> U8:
        noise = np.random.default_rng(1).standard_normal(self.manifest.size, dtype=np.float32)
        return (noise * 12).astype(np.int8).view(np.uint8)

    def update(self, number: int, header: RoundHeader) -> tuple[Commitment, bytes]:
        """A contributor's update of a round: what it commits to, and the bytes."""
        noise = np.random.default_rng([header.round, number]).integers(
            -100, 101, self.manifest.size, dtype=np.int16
        )
        noise += self._direction.view(np.int8)
        data = (noise.clip(-127, 127) + 128).astype(np.uint8)
        tree = update_tree(data)
        commitment = Commitment(
            contributor(number).address,
            header.round,
            header.base_state_root,
            tree.root,
            tree.sum_squares,
        )
        return commitment, data.tobytes()


@dataclass(frozen=True)
class Offer:
    """What became of an update that was handed in."""

    code: str
    """Reason of the refusal; empty if it was taken."""
    seconds: float
    """Time as it passed, from the first byte to the answer."""


@dataclass
class Federation:
    """A federation with its processes."""

    home: Path
    """Folder of the coordinator."""
    anvil: Anvil
    chain: Chain
    manifest: Manifest
    process: Process
    """The coordinator."""
    api: CoordinatorApi

    @property
    def domain(self) -> Domain:
        """Chain and ledger that signatures are for."""
        return Domain(self.chain.deployment.chain_id, self.chain.deployment.ledger)

    @cached_property
    def _trainer(self) -> Trainer:
        return Trainer(self.manifest)

    def update(self, number: int, header: RoundHeader) -> tuple[str, bytes]:
        """A contributor's update: the signed commitment as it travels, and the bytes."""
        commitment, data = self._trainer.update(number, header)
        return commitment_to_wire(commitment, commitment.sign(contributor(number), self.domain)), data

    def offer(self, numbers: range, header: RoundHeader) -> list[Offer]:
        """Hand in the updates of contributors, some at the same time, and return what became of each."""

        def send(number: int) -> Offer:
            wire, data = self.update(number, header)
            start, code = time.perf_counter(), ""
            try:
                with CoordinatorApi(self.api.url, timeout=600) as api:
                    api.submit_update(header.round, wire, data)
            except UpdateRefused as refusal:
                code = refusal.code
            return Offer(code, time.perf_counter() - start)

        with ThreadPoolExecutor(_SENDERS) as senders:
            return list(senders.map(send, numbers))

    def until(self, condition: Callable[[], Any], seconds: float, what: str) -> Any:
        """Wait for something; return it.

        Raises:
            AssertionError: It did not come.
        """
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found = condition()
            if found:
                return found
            time.sleep(0.1)  # the API is asked: what is waited for makes no noise of its own
        raise AssertionError(f"{what} did not come in {seconds:g} seconds: see {self.home}/coordinator.log")


def policy_for(manifest: Manifest, rule: str, width: int = 8) -> Policy:
    """The policy: as many contributors as the ledger takes, long windows, no cap of the norm that noise could meet."""
    return Policy(
        rule=rule,
        parameters=(),
        max_sum_squares=largest(width) ** 2 * manifest.size,
        min_contributors=2,
        max_contributors=MOST_ENTRIES,
        width=width,
        mean_scale=MEAN_SCALES[width],
        rate=700,
        momentum=900,
        commit_window=_WINDOWS,
        anchor_window=_WINDOWS,
        challenge_window=_WINDOWS,
        min_stake=STAKE,
        bond=BOND // 8,
        reward=100 * UNIT,
        verifier=ARBITER,
    )


@contextmanager
def federation(
    folder: Path,
    parameters: int,
    contributors: int,
    rule: str,
    database_url: str = "",
    challenge_pause: float = 0.0,
) -> Iterator[Federation]:
    """Deploy contracts for a model of about so many parameters, stake for everybody, and start a coordinator.

    Args:
        folder: Where everything goes; empty.
        parameters: Of the model.
        contributors: Accounts with stake.
        rule: The aggregation rule; one without parameters.
        database_url: The coordinator's database; SQLite in the folder if empty.
        challenge_pause: Seconds before the coordinator moves the chain's clock to the end of a challenge window.
    """
    manifest = manifest_of(parameters)
    with Anvil() as anvil, Supervisor(folder) as supervisor:
        state, made = origin_of(manifest)
        chain = deployed(anvil, manifest, state, made, contributors, rule)
        home = home_of(folder, anvil, chain, manifest, state, made, database_url, challenge_pause)
        with serving(supervisor, home, anvil, chain, manifest) as found:
            yield found
        chain.close()


@contextmanager
def serving(
    supervisor: Supervisor,
    home: Path,
    anvil: Anvil,
    chain: Chain,
    manifest: Manifest,
    host: str = "127.0.0.1",
) -> Iterator[Federation]:
    """Run the coordinator of a home folder in a process of its own, which listens on an address."""
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "folkmoot",
        "coordinator",
        "serve",
        "--home",
        str(home),
        "--host",
        host,
        "--port",
        str(port),
    ]
    child = supervisor.start("coordinator", command, ready=lambda: accepts_connections(port), timeout=120)
    try:
        with CoordinatorApi(f"http://127.0.0.1:{port}", timeout=600) as api:
            yield Federation(home, anvil, chain, manifest, Process(child.pid), api)
    finally:
        supervisor.stop_one("coordinator")


def origin_of(manifest: Manifest) -> tuple[State, Genesis]:
    """A first state of zeros, and its genesis."""
    state = State.genesis(
        manifest, {tensor.name: np.zeros(tensor.shape, dtype=np.float32) for tensor in manifest.tensors}
    )
    return state, Genesis.of(manifest, state, (_EXPONENT,) * len(manifest.tensors))


def deployed(
    anvil: Anvil,
    manifest: Manifest,
    state: State,
    made: Genesis,
    contributors: int,
    rule: str,
    width: int = 8,
) -> Chain:
    """Deploy the contracts for a model, with stake for coordinator and contributors."""
    treasury, coordinator, deployer = account("treasury"), account("coordinator"), account("deployer")
    for who in (treasury, coordinator, deployer):
        anvil.fund(who.address)
    deployment = deploy_and_report(
        connect_web3(anvil.url),
        deployer,
        GenesisRoots(manifest.hash, state.root(manifest.hash), made.hash),
        policy_for(manifest, rule, width),
        coordinator.address,
        {treasury.address: BOND + contributors * STAKE},
        PROFILES["l1"].governance,
    ).deployment
    chain = Chain.connect(anvil.url, deployment)
    chain.send(chain.token.functions.approve(deployment.vault, 2**255), treasury)
    chain.send(chain.vault.functions.stake(coordinator.address, BOND), treasury)
    for number in range(contributors):
        chain.send(chain.vault.functions.stake(contributor(number).address, STAKE), treasury)
        anvil.fund(contributor(number).address)
        chain.send(chain.ledger.functions.enrol(STAKE), contributor(number))
    anvil.advance(1)
    return chain


def home_of(
    folder: Path,
    anvil: Anvil,
    chain: Chain,
    manifest: Manifest,
    state: State,
    made: Genesis,
    database_url: str,
    challenge_pause: float = 0.0,
) -> Path:
    """What `folkmoot coordinator init` does."""
    home, files = folder / "coordinator", folder / "genesis"
    home.mkdir()
    files.mkdir()
    password = secrets.token_hex(16)
    (home / "password").write_text(password)
    keystore.create(home / "key.json", password, private_key=bytes(account("coordinator").key), work=2)
    chain.deployment.save(home / "deployment.json")
    (files / "genesis.json").write_bytes(made.to_json())
    (files / "manifest.json").write_bytes(manifest.to_json())
    with (files / "state.bin").open("wb") as file:
        file.writelines(state.chunks())
    settings = Settings(
        home=home,
        rpc_url=anvil.url,
        keystore=Path("key.json"),
        password_file=Path("password"),
        database_url=database_url,
        time_travel=True,
        time_travel_after=challenge_pause,
        requests_per_second=100_000,  # everybody has the same address here
    )
    settings.save()
    import_genesis(settings.open_store(), files, chain.deployment.genesis_hash)
    engine = make_engine(settings.resolved_database_url)
    schema.upgrade(engine)
    engine.dispose()
    return home

# SPDX-License-Identifier: Apache-2.0
"""A federation with a real, tiny model on Anvil, and a coordinator on it: in this process, or in one of its
own."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from folkmoot_lab.lies import Lie
from folkmoot_lab.lies.coordinator import LyingCoordinator

from folkmoot.chain.terms import OPEN, Admission, GenesisRoots, Governance
from folkmoot.coordinator_api import CoordinatorApi, CurrentRound, sign_report
from folkmoot.devnet.anvil import Anvil
from folkmoot.evaluation import Measurement, measure
from folkmoot.protocol.arrays import F32
from folkmoot.protocol.codec import encode_update
from folkmoot.protocol.commitment import Commitment, Domain
from folkmoot.protocol.genesis import Genesis
from folkmoot.protocol.header import RoundHeader
from folkmoot.protocol.manifest import Manifest, Tensor
from folkmoot.protocol.state import State
from folkmoot.runtime.keystore import create
from server.commands.main import http_server, listen
from server.coordinator import Coordinator, open_coordinator
from server.db import schema
from server.db.engine import make_engine
from server.genesis import import_genesis
from server.home import open_account
from server.settings import Settings
from server.worker import Worker
from tests import carried, factories, fixed_values

MANIFEST = Manifest(task="tests", arrays=(Tensor("weight", (20, 30)), carried.TABLE, Tensor("bias", (30,))))
EXPONENTS = (-8, -8)


def first_state() -> State:
    """The initial model."""
    random = np.random.default_rng(7)
    return State.genesis(
        MANIFEST,
        {
            "weight": random.normal(size=(20, 30)).astype(np.float32),
            "bias": random.normal(size=30).astype(np.float32),
        },
    )


def genesis() -> tuple[Genesis, State]:
    """The genesis and its state."""
    state = first_state()
    return Genesis.of(MANIFEST, state, EXPONENTS), state


Start = tuple[Genesis, Manifest, State]
"""What a federation starts from."""


def tiny() -> Start:
    """The start with the tiny model."""
    made, state = genesis()
    return made, MANIFEST, state


def federation(
    anvil: Anvil,
    start: Start | None = None,
    admission: Admission = OPEN,
    governance: Governance = factories.GOVERNANCE,
    **policy: Any,
) -> factories.Federation:
    """A deployment of this model, or of another one."""
    made, manifest, state = start or tiny()
    roots = GenesisRoots(
        manifest_hash=manifest.hash, state_root=state.root(manifest.hash), genesis_hash=made.hash
    )
    return factories.federation(
        anvil,
        genesis=roots,
        first_policy=factories.policy(**policy),
        governance=governance,
        admission=admission,
    )


@dataclass(frozen=True)
class Signed:
    """An update that is ready to be handed in."""

    commitment: Commitment
    signature: bytes
    data: bytes

    @property
    def wire(self) -> str:
        """The commitment as it travels."""
        from folkmoot.coordinator_api import commitment_to_wire

        return commitment_to_wire(self.commitment, self.signature)


def train(
    world: factories.Federation,
    name: str,
    header: RoundHeader,
    state: State,
    *,
    seed: int = 0,
    scale: float = 0.02,
    noise_of: str = "",
) -> Signed:
    """What a contributor does, with noise in place of training: its own, or somebody else's."""
    source = factories.account(noise_of or name).address
    random = np.random.default_rng([header.round, seed, int(source[2:10], 16)])
    start = state.to_float32()
    end = (start - random.normal(scale=scale, size=start.shape)).astype(np.float32)
    return _signed(world, name, header, start, end)


def go_towards_a_goal(world: factories.Federation, name: str, header: RoundHeader, state: State) -> Signed:
    """Go a step towards a goal that all share, and a bit one's own way."""
    start = state.to_float32()
    goal = np.random.default_rng(3).normal(size=start.shape)
    own = np.random.default_rng([header.round, len(name), ord(name[0])]).normal(size=start.shape)
    return _signed(world, name, header, start, (start + 0.02 * goal + 0.01 * own).astype(np.float32))


def _signed(world: factories.Federation, name: str, header: RoundHeader, start: F32, end: F32) -> Signed:
    account = factories.account(name)
    encoded = encode_update(
        start, end, header.exponents, MANIFEST, header.seed, account.address, width=header.width
    )
    commitment = Commitment(
        contributor=account.address,
        round=header.round,
        base_state_root=header.base_state_root,
        update_root=encoded.root,
        sum_squares=encoded.sum_squares,
    )
    domain = Domain(world.deployment.chain_id, world.deployment.ledger)
    return Signed(commitment, commitment.sign(account, domain), encoded.data)


def make_home(
    home: Path, world: factories.Federation, start: Start | None = None, **settings: Any
) -> Settings:
    """What `folkmoot coordinator init` does."""
    home.mkdir(parents=True, exist_ok=True)
    create(home / "key.json", factories.PASSWORD, private_key=bytes(world.coordinator.key), work=2)
    (home / "password").write_text(factories.PASSWORD + "\n")
    (home / "password").chmod(0o600)
    world.deployment.save(home / "deployment.json")
    made, manifest, state = start or tiny()
    files = home / "genesis"
    files.mkdir()
    (files / "genesis.json").write_bytes(made.to_json())
    (files / "manifest.json").write_bytes(manifest.to_json())
    (files / "state.bin").write_bytes(state.to_bytes())
    if manifest.files:
        (files / "table.bin").write_bytes(carried.DATA)
    found = Settings(
        home=home,
        keystore=Path("key.json"),
        password_file=Path("password"),
        **{"rpc_url": world.anvil.url, "poll_interval": 0.05, "time_travel": True, **settings},
    )
    found.save()
    import_genesis(found.open_store(), files, world.deployment.genesis_hash)
    engine = make_engine(found.resolved_database_url)
    schema.upgrade(engine)
    engine.dispose()
    return found


@dataclass
class Running:
    """A coordinator in this process."""

    world: factories.Federation
    coordinator: Coordinator
    worker: Worker
    api: CoordinatorApi

    @property
    def domain(self) -> Domain:
        """Chain and ledger."""
        return self.coordinator.federation.domain


@contextmanager
def running(
    home: Path,
    world: factories.Federation,
    start: Start | None = None,
    *,
    lie: str = "",
    values: dict[str, Any] | None = None,
    **settings: Any,
) -> Iterator[Running]:
    """Make a coordinator and run it in this process, on a port of its own; one that lies, if a lie is given.

    `values` are other values of constants (`tests.fixed_values`).
    """
    with (
        fixed_values.other_values(values or {}),
        serving(make_home(home, world, start, **settings), world, lie) as found,
    ):
        yield found


@contextmanager
def serving(found: Settings, world: factories.Federation, lie: str = "") -> Iterator[Running]:
    """Run a coordinator that has its folder."""
    coordinator = open_coordinator(found, open_account(found))
    if lie:
        coordinator = LyingCoordinator.of(coordinator, Lie.parse(lie))
    worker = coordinator.make_worker()
    listener = listen("127.0.0.1", 0)
    server = http_server(coordinator.make_app(worker), found)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    worker.start()
    thread.start()
    try:
        until(lambda: server.started, what="the server's start")
        with CoordinatorApi(f"http://127.0.0.1:{listener.getsockname()[1]}") as api:
            yield Running(world, coordinator, worker, api)
    finally:
        server.should_exit = True
        thread.join()
        listener.close()
        worker.stop()
        coordinator.close()


def until(condition: Callable[[], Any], seconds: float = 60.0, what: str = "it") -> Any:
    """Wait for something to be true, and return it."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"{what} did not happen in {seconds} seconds")


def report(
    here: Running,
    number: int,
    metrics: dict[str, Any],
    nodes: Sequence[dict[str, Any]] = (),
    *,
    complete: bool = True,
) -> None:
    """Report on a round, as the operator's `folkmoot train` does."""
    known = here.api.round_report(number)
    content = {
        "round": number,
        "complete": complete,
        "nodes": list(nodes),
        "metrics": {"train": None, "evaluate": None, "server": None, **metrics},
    }
    after = int(time.time()) + 1200 if known else 0
    here.api.send_report(sign_report(content, here.world.coordinator, here.domain, after=after))


def open_round(api: CoordinatorApi, number: int) -> tuple[CurrentRound, RoundHeader, State]:
    """Wait until a round is open, and get what is needed to train."""

    def wanted() -> CurrentRound | None:
        found = api.current_round()
        return found if found and found.round == number and found.phase == "open" else None

    current: CurrentRound = until(wanted, what=f"round {number}")
    state = State.from_bytes(api.files.read(current.base_state), MANIFEST)
    return current, RoundHeader.decode(current.header), state


class Process:
    """A coordinator in a process of its own, which can be killed.

    Args:
        home: Its folder.
        port: Its port.
        values: Other values of constants (`tests.fixed_values`).
    """

    def __init__(self, home: Path, port: int, values: dict[str, Any] | None = None) -> None:
        self.home = home
        self._values = values or {}
        self.port = port
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it; do not wait."""
        command = [*fixed_values.command(self._values), "coordinator", "serve", "--home", str(self.home)]
        with (self.home / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--port", str(self.port)], stdout=log, stderr=log, env=dict(os.environ)
            )

    def kill(self) -> None:
        """SIGKILL: nothing can be put in order."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def log(self) -> str:
        """What it said."""
        return (self.home / "log").read_text()


def measured(share: float) -> Measurement:
    """What is measured of a model that labels so large a share of 1,000 examples right."""
    labels = [number % 10 for number in range(1000)]
    guesses = [label if place < 1000 * share else (label + 1) % 10 for place, label in enumerate(labels)]
    return measure({"loss": 1.0}, labels, guesses)

# SPDX-License-Identifier: Apache-2.0
"""A whole federation on one machine: keys, genesis, contracts, stakes, and the processes of every role.

`prepare` creates it once on a chain; `LocalFederation` runs it. Every part is the program of a real federation, started
as a separate process. This module imports neither `server` nor `client`.
"""

from __future__ import annotations

import json
import math
import os
import secrets
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from folkmoot.aggregation import policy_file
from folkmoot.aggregation.registry import fewest_contributors
from folkmoot.apps.limit import LIMIT
from folkmoot.apps.staging import OUTPUT
from folkmoot.devnet import anvil
from folkmoot.devnet import flower_simulation as simulation
from folkmoot.devnet.lines import Line
from folkmoot.errors import InputError, LocalError
from folkmoot.protocol import feedback
from folkmoot.protocol.policy import CLAMPED_MEAN
from folkmoot.rpc import local_chain
from folkmoot.runtime import keystore
from folkmoot.runtime.commands import folkmoot_command, run_folkmoot
from folkmoot.runtime.files import write_whole
from folkmoot.runtime.processes import Supervisor, accepts_connections, free_port, require_free_port
from folkmoot.runtime.units import UNIT
from folkmoot.sandbox.kernel import support

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount

    from folkmoot.chain.client import Chain
    from folkmoot.chain.deploy import Report
    from folkmoot.ledger.deployment import Deployment

SCRYPT_WORK = 2**12
"""Work factor of the key files of a local federation. It is low because the keys have no value and many are opened at
start."""

PROFILE = "demo"
"""Profile with the windows and times of a local federation."""

COORDINATOR_STAKE: int = 500 * UNIT
BOND = 30 * UNIT
"""Bond of a round: the coordinator's stake is enough for 16 that are not final yet."""
CONTRIBUTOR_STAKE = 100 * UNIT
CONTRIBUTOR_ALLOCATION = 150 * UNIT
REWARD = 5 * UNIT
WATCHER = "watcher"
"""Name of the watcher's account and process."""
WATCHER_ALLOCATION = 100 * UNIT
"""Tokens of the watcher for deposits of demands and disputes. It needs no stake."""
WATCHER_TIMEOUT = 4.0
"""Timeout in seconds of real time for the watcher, after which a round's window is skipped."""

LEAST_LINK = 0.1
"""Least rate of a node's line in Mbit/s. With less, a node can't answer in time."""

ROOTS = ("good", "biased")
"""Root sets of the shipped tasks."""

GENESIS_FILE = "genesis.json"
"""Name of the genesis file in its folder."""

PUBLIC = "public"
"""Name of the folder for those without a key, beside those of contributors."""

Say = Callable[[str], None]
"""Called with a short description of each step."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Configuration of a local federation."""

    home: Path
    """Folder of the federation."""
    task: str = "mnist"
    """Task: a shipped one, or ``package.module:object``; not used with an app."""
    contributors: int = 5
    """Number of contributors."""
    rule: str = CLAMPED_MEAN
    """Aggregation rule."""
    parameters: tuple[int, ...] = ()
    """Parameters of the rule."""
    root: str = ""
    """Root set of a node with the coordinator's account: ``good``, ``biased``, or empty for none."""
    watched: bool = False
    """Whether there is an account for a watcher."""
    app: Path | None = None
    """Folder of the Flower app that is trained instead of a task."""
    run_config: tuple[str, ...] = ()
    """Overrides for the app's run config."""
    node_config: tuple[str, ...] = ()
    """Further entries of every node's configuration."""
    app_wait: float = LIMIT
    """Time limit in seconds for each step of the app's trial."""
    asked: int = 0
    """Number of contributors per round, if the app selects fewer than all; otherwise 0."""
    simulation: bool = False
    """Whether Flower's simulation engine trains the app instead of SuperNodes."""
    sandbox: tuple[str | Path, ...] | None = None
    """Options of `join` for the sandbox in which the nodes of an app train; None for no sandbox. Those of a task always
    have one, if the system can."""
    commit_window: int = 0
    """Minimum length of the commit window in seconds. The profile's window is used if it is longer. By the clock, this
    is the length."""
    stake: int = CONTRIBUTOR_STAKE
    """Stake of each contributor, all of it enrolled, in units of 1e-18 tokens."""
    most: int = 0
    """Maximum number of entries of a round, the coordinator's included; 0 for as many as `folkmoot policy` says."""
    others: Mapping[str, int] = field(default_factory=dict)
    """Tokens (units of 1e-18) of further accounts by name. They have no stake."""
    budget_rounds: int = 0
    """Rounds after which a privacy budget is spent, if the task declares privacy; 0 for as many as `folkmoot policy`
    says."""
    width: int = 8
    """Bits of a coordinate of an update."""
    feedback: bool = False
    """Whether updates take up what a contributor's earlier ones left out, at width 2."""
    start: str = "base"
    """Where training starts: ``base`` or ``eager``."""
    clock: bool = False
    """Whether training lasts until shortly before the commit window ends."""
    link: float = 0.0
    """Rate of the line of each contributor's node, in Mbit/s in each direction; 0 for no limit."""
    hand_out: Path | None = None
    """Folder that gets each contributor's key file and password; None to keep them in the federation's folder."""

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            InputError: There is no contributor, there is no such rule, or two options exclude each other.
        """
        fewest_contributors(self.rule, self.parameters)
        feedback.settings(self.feedback, self.width)
        if not 1 <= self.contributors <= 64:
            raise InputError(
                f"A local federation has 1 to 64 contributors, not {self.contributors}.",
                remedy="Choose another number.",
            )
        if not (self.link == 0 or LEAST_LINK <= self.link < math.inf):
            raise InputError(
                f"A line of {self.link:g} Mbit/s can't be made.",
                remedy=f"Give at least {LEAST_LINK:g} Mbit/s, or 0 for no limit.",
            )
        if self.root not in ("", *ROOTS):
            raise InputError(
                f"There is no root set {self.root!r}.", remedy=f"Root sets are {', '.join(ROOTS)}."
            )

    @property
    def deployment_file(self) -> Path:
        """Path of the file with the contracts' addresses."""
        return self.home / "deployment.json"

    @property
    def chain_file(self) -> Path:
        """State of the chain, which Anvil writes."""
        return self.home / "chain.json"

    @property
    def genesis(self) -> Path:
        """Path of the folder with the genesis artifacts."""
        return self.home / "genesis"

    @property
    def layout(self) -> Path:
        """Path of the manifest of the app."""
        name = str(json.loads((self.genesis / GENESIS_FILE).read_text(encoding="utf-8"))["manifest"])
        return self.genesis / name[:2] / name

    @property
    def coordinator_home(self) -> Path:
        """Folder of the coordinator."""
        return self.home / "coordinator"

    @property
    def artifacts(self) -> Path:
        """The coordinator's artifact store."""
        return self.coordinator_home / "artifacts"

    @property
    def password_file(self) -> Path:
        """Password of all key files of this federation, readable by its owner only."""
        return self.home / "password"

    @property
    def logs(self) -> Path:
        """Folder of the processes' logs."""
        return self.home / "logs"

    @property
    def entries(self) -> int:
        """Number of updates of a complete round: one per contributor, and the root update."""
        return (self.asked or self.contributors) + bool(self.root)

    @property
    def output(self) -> Path:
        """Folder for files of the app's ServerApp."""
        return self.home / "output"

    @property
    def app_log(self) -> Path:
        """Log of the app's ServerApp."""
        return self.logs / "serverapp.log"

    @property
    def subject(self) -> list[str | Path]:
        """Options of the commands for the task or app: ``--task``, or ``--app`` with its run config."""
        if self.app is None:
            return ["--task", self.task]
        return ["--app", self.app, *repeated("--run-config", self.run_config)]

    def names(self) -> list[str]:
        """Names of the contributors, in order."""
        return [f"contributor-{number}" for number in range(1, self.contributors + 1)]

    @property
    def keys(self) -> Path:
        """Folder of all key files."""
        return self.home / "keys"

    def keystore(self, name: str) -> Path:
        """Return the key file of the coordinator or a contributor."""
        if self.hand_out is not None and name in self.names():
            return self.hand_out / name / "key.json"
        return self.keys / f"{name}.json"

    @property
    def node_homes(self) -> Path:
        """Parent of all nodes' folders."""
        return self.home / "nodes"

    def node_home(self, name: str) -> Path:
        """Return the folder of a contributor's node."""
        return self.node_homes / name


@dataclass(frozen=True, slots=True)
class Prepared:
    """Result of `prepare`."""

    deployment: Deployment
    """Addresses of the contracts."""
    addresses: dict[str, str]
    """Account by name: `coordinator`, `contributor-1`, ..."""
    report: Report
    """Report on the deployment: contracts, gas, and values read from the chain."""


def prepare(plan: Plan, rpc_url: str, say: Say = lambda text: None) -> Prepared:
    """Create keys, genesis, contracts and stakes on a local chain, and the coordinator's folder.

    Raises:
        InputError: The folder already has a federation.
        LocalError: The chain is not a local one, or a program failed.
    """
    from folkmoot.chain.client import Chain
    from folkmoot.chain.deploy import deploy_and_report
    from folkmoot.chain.terms import PROFILES
    from folkmoot.chain.transactions.connection import connect_web3
    from folkmoot.cli.deploy import genesis_roots
    from folkmoot.cli.options import BUDGET_ROUNDS
    from folkmoot.cli.policy import suggest
    from folkmoot.rpc.client import Rpc

    if plan.deployment_file.exists():
        raise InputError(
            f"{plan.home} already holds a federation.",
            remedy="Choose another --home, or remove that folder.",
            code="home-not-empty",
        )
    rpc = Rpc(rpc_url)
    local_chain.require_local(
        rpc, "no federation is made on it with keys that are worth nothing", "use `folkmoot deploy`"
    )
    say("keys")
    accounts = _make_keys(plan)
    for account in accounts.values():
        local_chain.fund(rpc, account.address)
    if not (plan.genesis / GENESIS_FILE).exists():
        say(f"initial model of the task {plan.task}" if plan.app is None else "initial model of the app")
        further = ["--width", str(plan.width), "--start", plan.start]
        further += ["--clock"] if plan.clock else []
        further += ["--feedback"] if plan.feedback else []
        further += ["--root-digest", plan.root] if plan.root else []
        run_folkmoot(["task", "init", *plan.subject, "--out", plan.genesis, *further])
    roots = genesis_roots(plan.genesis / GENESIS_FILE, plan.genesis)
    policy = suggest(
        plan.genesis,
        PROFILE,
        plan.rule,
        plan.parameters,
        min_stake=CONTRIBUTOR_STAKE,
        bond=BOND,
        reward=REWARD,
        # The contract counts the root update among the entries.
        min_contributors=min(fewest_contributors(plan.rule, plan.parameters), plan.asked or plan.contributors)
        + bool(plan.root),
        budget_rounds=plan.budget_rounds or BUDGET_ROUNDS,
        width=plan.width,
    )
    policy = replace(
        policy,
        commit_window=plan.commit_window if plan.clock else max(policy.commit_window, plan.commit_window),
        max_contributors=plan.most or policy.max_contributors,
    )
    (plan.home / "policy.json").write_text(json.dumps(policy_file.to_json(policy), indent=2) + "\n")
    say("contracts")
    allocations: dict[str, int] = {
        accounts["coordinator"].address: COORDINATOR_STAKE + CONTRIBUTOR_ALLOCATION
    }
    if plan.watched:
        allocations[accounts[WATCHER].address] = WATCHER_ALLOCATION
    spare = CONTRIBUTOR_ALLOCATION - CONTRIBUTOR_STAKE
    allocations |= {accounts[name].address: plan.stake + spare for name in plan.names()}
    allocations |= {accounts[name].address: tokens for name, tokens in plan.others.items()}
    # A temporary key: the deployer keeps no role.
    deployer = _throwaway(rpc)
    report = deploy_and_report(
        connect_web3(rpc_url),
        deployer,
        roots,
        policy,
        accounts["coordinator"].address,
        allocations,
        PROFILES[PROFILE].governance,
    )
    chain = Chain.connect(rpc_url, report.deployment)
    say("stakes")
    stake(chain, accounts["coordinator"], COORDINATOR_STAKE)
    for name in plan.names():
        stake(chain, accounts[name], plan.stake)
        chain.send(chain.ledger.functions.enrol(plan.stake), accounts[name])
    chain.close()
    rpc.close()
    report.deployment.save(plan.deployment_file)
    say("coordinator")
    word = "contributor" if plan.app is None else "node"
    names = {accounts[name].address: f"{word} {number}" for number, name in enumerate(plan.names(), 1)}
    run_folkmoot(
        [
            *("coordinator", "init", "--home", plan.coordinator_home),
            *("--deployment", plan.deployment_file, "--genesis", plan.genesis, "--rpc", rpc_url),
            *("--keystore", plan.keystore("coordinator"), "--password-file", plan.password_file),
        ],
        {"FOLKMOOT_COORDINATOR_NAMES": json.dumps(names)},
    )
    return Prepared(report.deployment, {name: account.address for name, account in accounts.items()}, report)


class LocalFederation:
    """The processes of a federation: chain, coordinator, SuperLink, and a SuperNode per contributor or root set.

    A context manager around a `Supervisor`: leaving the block ends every process.

    Args:
        api_port: Port of the coordinator's API; by default a free one.
        chain_port: Port of the chain; by default a free one.
        superlink_port: Port of the SuperLink; by default a free one.
    """

    host = "127.0.0.1"
    """Address on which chain and coordinator listen."""

    node_words: tuple[str | Path, ...] = ()
    """Further words of each node's `folkmoot join`."""

    def __init__(
        self,
        plan: Plan,
        supervisor: Supervisor,
        *,
        api_port: int | None = None,
        chain_port: int | None = None,
        superlink_port: int | None = None,
    ) -> None:
        self.plan = plan
        self.supervisor = supervisor
        self.api_port = _port(api_port, "the coordinator")
        self.chain_port = _port(chain_port, "the local chain", self.api_port)
        self._has_superlink = False
        self.superlink_port = _port(superlink_port, "the SuperLink", self.api_port, self.chain_port)
        self.lines: dict[str, Line] = {}
        """Lines of the contributors' nodes, by name, if the plan limits their rate."""

    @property
    def rpc_url(self) -> str:
        """URL of the JSON-RPC endpoint."""
        return f"http://127.0.0.1:{self.chain_port}"

    @property
    def api_url(self) -> str:
        """URL of the coordinator's API."""
        return f"http://127.0.0.1:{self.api_port}"

    @property
    def superlink(self) -> str:
        """Address of the SuperLink."""
        return f"127.0.0.1:{self.superlink_port}"

    def start_chain(self) -> None:
        """Start Anvil. Its state is saved in the federation's folder.

        Raises:
            LocalError: The chain of a federation that was made is lost (``chain-lost``), or Anvil can't be started.
        """
        from folkmoot.errors import RpcError
        from folkmoot.rpc.client import Rpc

        probe = Rpc(self.rpc_url, timeout=2.0)

        def answers() -> bool:
            try:
                return probe.chain_id() == local_chain.LOCAL_CHAIN_ID
            except RpcError:
                return False

        self.plan.home.mkdir(parents=True, exist_ok=True)
        if not anvil.take_newest(self.plan.chain_file) and self.plan.deployment_file.exists():
            raise LocalError(
                f"The chain of the federation is lost: {self.plan.chain_file} is damaged or missing.",
                remedy="Start another federation with another --home. Models and logs stay in this one.",
                code="chain-lost",
            )
        command = anvil.anvil_command(
            self.chain_port, host=self.host, block_time=1, mixed=True, state=self.plan.chain_file
        )
        with probe:
            self.supervisor.start("chain", command, ready=answers, timeout=30)

    def keep_chain(self) -> None:
        """Write a copy of the chain to disk: the state from which it goes on if Anvil is killed.

        Raises:
            OSError: The disk is full, or can't be written.
        """
        from folkmoot.rpc.client import Rpc

        with Rpc(self.rpc_url) as rpc:
            anvil.keep(rpc, self.plan.chain_file)

    def start_superlink(self) -> None:
        """Start the SuperLink. It does not need the other processes, so it can start before them."""
        self._has_superlink = True
        simulated = simulation.superlink_environment(self.plan) if self.plan.simulation else {}
        if self.plan.simulation:
            self.supervisor.after.callback(simulation.end_strays, self.plan)
        self.supervisor.start(
            "superlink",
            [
                *(program("flower-superlink"), "--insecure", "--disable-runtime-dependency-installation"),
                *("--port", str(self.superlink_port), *(["--simulation"] if self.plan.simulation else [])),
            ],
            environment={**self.environment("superlink"), OUTPUT: str(self.plan.output), **simulated},
        )

    def coordinator_program(self) -> list[str]:
        """Return the command of the coordinator, to be followed by ``serve``."""
        return folkmoot_command("coordinator")

    def start_coordinator(self) -> None:
        """Start the coordinator, and wait until it answers, and the SuperLink if it was started."""
        from folkmoot.coordinator_api import CoordinatorApi
        from folkmoot.errors import CoordinatorError

        api = CoordinatorApi(self.api_url, timeout=2.0)

        def healthy() -> bool:
            try:
                return bool(api.health())
            except CoordinatorError:
                return False

        self.supervisor.start(
            "coordinator",
            [
                *self.coordinator_program(),
                *("serve", "--home", self.plan.coordinator_home),
                *("--host", self.host, "--port", str(self.api_port)),
                *("--time-travel", "--password-file", self.plan.password_file),
            ],
            environment={
                **self.environment("coordinator"),
                "FOLKMOOT_COORDINATOR_RPC_URL": self.rpc_url,
                "FOLKMOOT_COORDINATOR_TIME_TRAVEL_AFTER": str(WATCHER_TIMEOUT if self.plan.watched else 0),
            },
            ready=healthy,
            timeout=90,
        )
        if self._has_superlink:
            self.supervisor.watch(lambda: accepts_connections(self.superlink_port), timeout=90)
        api.close()

    def start_nodes(self) -> None:
        """Start one `folkmoot join` per contributor, and one for the root set, all at the same time.

        With Flower's simulation engine, start the signer agents for its nodes instead.
        """
        if self.plan.simulation:
            self.supervisor.start(
                "signers",
                simulation.signers_command(self.plan, self.rpc_url, self.api_url),
                environment=self.environment("signers"),
                ready=lambda: simulation.signs(self.plan),
                timeout=90,
                wave="nodes",
            )
            return
        for number, name in enumerate(self.plan.names(), 1):
            share: tuple[str | Path, ...] = ("--partition", f"{number - 1}/{self.plan.contributors}")
            if self.plan.app is not None:
                share += (
                    "--set",
                    f"layout={self.plan.layout}",
                    *repeated("--node-config", self.plan.node_config),
                )
            self._start_node(name, name, *share)
        if self.plan.root:
            self._start_node("root", "coordinator", "--set", f"root={self.plan.root}")

    def node_program(self, name: str) -> list[str]:
        """Return the command of a node, by its name, to be followed by the options of `folkmoot join`."""
        return folkmoot_command("join")

    def _start_node(self, name: str, key: str, *words: str | Path) -> None:
        # An app is the user's own: it may download its data. Its code has run already, when it was read.
        sandbox = self.plan.sandbox
        if sandbox is None:
            sandbox = () if self.plan.app is None and not support().missing else ("--without-sandbox",)
        else:
            sandbox = tuple(
                word
                for option, value in zip(sandbox[::2], sandbox[1::2], strict=True)
                for word in (("--set", f"pass-env={value}") if option == "--pass-env" else (option, value))
            )
        rpc, coordinator, superlink = self.rpc_url, self.api_url, self.superlink
        if self.plan.link and name != "root":
            line = Line(self.plan.link, (self.chain_port, self.api_port, self.superlink_port))
            self.lines[name] = self.supervisor.after.enter_context(line)
            chain_port, api_port, superlink_port = line.ports
            rpc, coordinator = f"http://127.0.0.1:{chain_port}", f"http://127.0.0.1:{api_port}"
            superlink = f"127.0.0.1:{superlink_port}"
        self.supervisor.start(
            name,
            [
                *self.node_program(name),
                *("--home", self.plan.node_home(name), *sandbox),
                *("--rpc", rpc, "--coordinator", coordinator, "--superlink", superlink),
                *("--deployment", self.plan.deployment_file, *self.plan.subject),
                *("--keystore", self.plan.keystore(key), "--password-file", self.plan.password_file),
                *words,
                *self.node_words,
            ],
            environment=self.environment(name),
            wave="nodes",
        )

    def start_watcher(self) -> None:
        """Start `folkmoot watch` with its own account. It challenges automatically."""
        self.supervisor.start(
            WATCHER,
            [
                *folkmoot_command("watch", "--rpc", self.rpc_url, "--artifacts", self.api_url),
                *("--deployment", self.plan.deployment_file, "--state", self.plan.home / WATCHER),
                *("--keystore", self.plan.keystore(WATCHER), "--password-file", self.plan.password_file),
                *("--pause", "0.5", "--json"),
            ],
            environment=self.environment(WATCHER),
            wave="nodes",
        )

    def start_training(self, rounds: int, *, evaluate: bool = False) -> None:
        """Start `folkmoot train`. A successful end is not a failure.

        Args:
            evaluate: Whether it measures each new model.
        """
        self.supervisor.start(
            "train",
            [
                *folkmoot_command("train", "--rounds", str(rounds), "--expect", str(self.plan.entries)),
                *((*self.plan.subject, "--app-log", self.plan.app_log) if self.plan.app is not None else ()),
                *(("--simulated-nodes", str(self.plan.contributors)) if self.plan.simulation else ()),
                *("--coordinator", self.api_url, "--superlink", self.superlink),
                *("--evaluate", self.plan.task if evaluate else "none"),
                *(
                    "--keystore",
                    self.plan.keystore("coordinator"),
                    "--password-file",
                    self.plan.password_file,
                ),
                "--json",
            ],
            environment=self.environment("train"),
            expected_to_end=True,
            wave="nodes",
        )

    def environment(self, name: str) -> dict[str, str]:
        """Return the environment of a process: its own Flower folder, one thread, no telemetry."""
        flower = self.plan.home / "flower" / name
        flower.mkdir(parents=True, exist_ok=True)
        return {
            **{key: value for key, value in os.environ.items() if not key.startswith("FOLKMOOT_PASSWORD")},
            # Flower starts its helpers by name. They are in the folder of this interpreter, even without an active
            # environment.
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
            "FLWR_HOME": str(flower),
            "FLWR_TELEMETRY_ENABLED": "0",
            "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.25",  # The SuperLink starts one relay per run.
            # Many processes share few cores, so more threads would only wait for each other.
            "OMP_NUM_THREADS": "1",
            "PYTHONUNBUFFERED": "1",
        }


def repeated(option: str, values: Sequence[str]) -> list[str]:
    """Return an option repeated with each of its values."""
    return [word for value in values for word in (option, value)]


def program(name: str) -> str:
    """Return the path of a program in the folder of this interpreter."""
    beside = Path(sys.executable).with_name(name)
    return str(beside) if beside.exists() else name


def _make_keys(plan: Plan) -> dict[str, LocalAccount]:
    from eth_account import Account

    plan.home.mkdir(parents=True, exist_ok=True)
    password = secrets.token_urlsafe(24)
    descriptor = os.open(plan.password_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(password + "\n")
    accounts: dict[str, LocalAccount] = {}
    for name in ("coordinator", *plan.names(), *([WATCHER] if plan.watched else []), *plan.others):
        key = secrets.token_bytes(32)
        own = password
        if plan.hand_out is not None and name in plan.names():
            own = secrets.token_urlsafe(24)
            plan.keystore(name).parent.mkdir(parents=True, exist_ok=True)
            write_whole(
                plan.keystore(name).with_name(plan.password_file.name), f"{own}\n".encode(), mode=0o600
            )
        keystore.create(plan.keystore(name), own, private_key=key, work=SCRYPT_WORK)
        accounts[name] = Account.from_key(key)
    return accounts


def hand_out(plan: Plan, folder: Path) -> None:
    """Copy the deployment file to each contributor's folder, and to `PUBLIC` for those without a key."""
    for name in (*plan.names(), PUBLIC):
        (folder / name).mkdir(parents=True, exist_ok=True)
        write_whole(folder / name / plan.deployment_file.name, plan.deployment_file.read_bytes())


def _throwaway(rpc: Any) -> LocalAccount:
    from eth_account import Account

    account: LocalAccount = Account.create()
    local_chain.fund(rpc, account.address)
    return account


def stake(chain: Chain, account: LocalAccount, amount: int) -> None:
    """Stake tokens of an account (units of 1e-18) for itself."""
    chain.send(chain.token.functions.approve(chain.deployment.vault, amount), account)
    chain.send(chain.vault.functions.stake(account.address, amount), account)


def _port(port: int | None, what: str, *taken: int) -> int:
    """Return a port that is free: the given one, or one that is not among those that other parts will take."""
    if port is None:
        free = free_port()
        while free in taken:
            free = free_port()
        return free
    require_free_port(port, what)
    return port

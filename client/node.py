# SPDX-License-Identifier: Apache-2.0
"""A contributor's node: what is checked before it joins, and the processes that it consists of.

The signer agent with the key runs in this process; the SuperNode and what it starts are processes of their own that
get neither the key nor its password. web3 is not needed here. The checks are functions of what they are given and
raise the first thing that is wrong.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from client.admission import CONNECTED, NodeLog, refusal
from client.drill import parse_attack
from client.signer import SignerAgent, protect_memory
from client.supernode import DEFAULT_PAUSE, WARM_UP_SECONDS
from folkmoot.apps.folder import toml_pairs
from folkmoot.coordinator_api import CoordinatorApi
from folkmoot.errors import (
    CoordinatorError,
    InputError,
    LocalError,
    ManifestError,
    TaskError,
    WrongChainError,
)
from folkmoot.flower.contributor import UPDATES_FOLDER, Contributor
from folkmoot.flower.records import HOME
from folkmoot.ledger.deployment import CONTRACTS, Deployment
from folkmoot.protocol.commitment import Domain
from folkmoot.protocol.genesis import Genesis
from folkmoot.protocol.header import RoundHeader
from folkmoot.protocol.manifest import Manifest
from folkmoot.protocol.state import State
from folkmoot.rpc.client import LedgerReader, Rpc, VaultReader
from folkmoot.runtime.backoff import Backoff
from folkmoot.runtime.commands import run_folkmoot
from folkmoot.runtime.processes import Child, Supervisor, accepts_connections, free_port
from folkmoot.runtime.superlink import SuperLink
from folkmoot.tasks import SHIPPED, Task

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount

SECRETS = ("FOLKMOOT_PASSWORD",)
"""Variables that no process with the coordinator's code may see."""

TASK_POLL = "0.05"
"""Seconds between two looks of Flower's executor for a task."""

SUPERNODE = "supernode"
"""Name of the SuperNode's process and log."""

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds until a SuperNode that ended is started again."""

LET_IN = 15.0
"""Seconds for which a SuperNode's first word from its SuperLink is awaited."""

FOLLOW_PAUSE = 2.0
"""Seconds between two questions what became of an update."""


@dataclass(frozen=True)
class NodeOptions:
    """How the SuperNode is started."""

    superlink: SuperLink
    """The SuperLink to join."""
    port: int = 0
    """Port of the node's own Runtime API; a free one if 0."""
    fork: bool = True
    """Whether messages are handled in forks of one process that has the libraries imported."""
    pause: float = DEFAULT_PAUSE
    """Seconds between two looks for messages."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """Node config beside the contributor's folder, e.g. ``partition-id``."""
    preload: Sequence[str] | None = None
    """Libraries that messages find imported; those of the task if None."""
    key: Path | None = None
    """Key file with which the SuperNode says who it is; none on a SuperLink that takes everybody."""


# Checks


def check_chain(rpc: Rpc, deployment: Deployment) -> None:
    """Check that the endpoint serves the deployment's chain and the contracts are there.

    Raises:
        RpcError: The endpoint can't be reached.
        WrongChainError: The chain is another one, or a contract is missing.
    """
    chain_id = rpc.chain_id()
    if chain_id != deployment.chain_id:
        raise WrongChainError(
            f"The RPC endpoint {rpc.name} serves chain {chain_id}; the deployment is on {deployment.chain_id}.",
            remedy="Give --rpc the endpoint of the deployment's chain.",
        )
    for role in CONTRACTS:
        address = getattr(deployment, role)
        if not rpc.code(address):
            raise WrongChainError(
                f"There is no contract at {address}, where the deployment has its {role}.",
                remedy="Check --deployment; a local chain that was started anew has lost its contracts.",
                code="contract-missing",
            )


def check_coordinator(api: CoordinatorApi, deployment: Deployment) -> None:
    """Check that the coordinator answers and serves this federation.

    Raises:
        CoordinatorError: It does not.
    """
    theirs = api.deployment()
    if theirs != deployment:
        raise CoordinatorError(
            f"The coordinator {api.url} serves another federation (ledger {theirs.ledger} on chain "
            f"{theirs.chain_id}).",
            remedy="Give --coordinator the URL that belongs to your deployment file.",
            code="other-federation",
        )


def missing_stake(rpc: Rpc, deployment: Deployment, account: str) -> int:
    """Return how much stake an account lacks for the current policy, in units of 1e-18 tokens."""
    ledger = LedgerReader(rpc, deployment.ledger)
    policy = ledger.policy(ledger.current_policy())
    return max(policy.min_stake - VaultReader(rpc, deployment.vault).stake_of(account), 0)


def check_base(
    rpc: Rpc, api: CoordinatorApi, deployment: Deployment, say: Callable[[str], None] = lambda _: None
) -> Manifest:
    """Check that the model that the coordinator serves is the chain's; return its manifest.

    Args:
        rpc: The chain.
        api: The coordinator.
        deployment: The addresses.
        say: Is told what is fetched next, since a large model takes a while.

    Raises:
        CoordinatorError: The coordinator's files are not those that the chain knows.
        ArtifactError: A file is missing or damaged.
    """
    ledger = LedgerReader(rpc, deployment.ledger)
    genesis = Genesis.from_json(api.document(ledger.genesis_hash().hex()))
    manifest = Manifest.from_json(api.artifact(genesis.manifest))
    if manifest.hash != ledger.manifest_hash():
        raise CoordinatorError(
            "The coordinator serves another manifest than the chain's.",
            remedy="Do not join; tell the others, and use another coordinator or mirror.",
            code="wrong-manifest",
        )
    say(f"Checking the base model, {manifest.state_file_size / 1e6:,.1f} MB ...")
    sha256, root = genesis.state, ledger.round(0).state_root
    current = api.current_round()
    if current is not None:
        sha256, root = current.base_state, RoundHeader.decode(current.header).base_state_root
        if root != ledger.round(ledger.round(current.round).base).state_root:
            raise CoordinatorError(
                "The round's base is not the chain's.",
                remedy="Do not join; tell the others, and use another coordinator or mirror.",
                code="wrong-base",
            )
    with tempfile.TemporaryDirectory(prefix="folkmoot-join-") as folder:
        path = api.download(sha256, Path(folder, "state"), manifest.state_file_size)
        if State.from_bytes(path.read_bytes(), manifest).root(manifest.hash) != root:
            raise CoordinatorError(
                "The base model that the coordinator serves has another state root than the chain's.",
                remedy="Do not join; tell the others, and use another coordinator or mirror.",
                code="wrong-base",
            )
    return manifest


def check_root(rpc: Rpc, deployment: Deployment, account: str, root: str) -> None:
    """Check that the coordinator's account, and nobody else, joins with a root set.

    Args:
        rpc: The chain.
        deployment: The addresses.
        account: Who joins.
        root: The root set's name; empty for a contributor.

    Raises:
        InputError: Somebody else has a root set, or the coordinator has none.
    """
    coordinator = LedgerReader(rpc, deployment.ledger).coordinator()
    if root and account != coordinator:
        raise InputError(
            f"{account} is not the coordinator ({coordinator}): its update would be summed like any other.",
            remedy="Leave out --root, or give the coordinator's --keystore.",
            code="not-coordinator",
        )
    if not root and account == coordinator:
        raise InputError(
            "The coordinator's own update is the root update: it is compared with the others, never summed and never "
            "paid.",
            remedy="Add --root to hold a root set; contribute from another account.",
            code="coordinator-without-root",
        )


def check_task_apart(task: str, manifest: Manifest, root: str = "") -> None:
    """Do `check_task` in a process of its own: torch would stay in this one, which only waits from then on.

    With ``root``, the root set of that name is checked as well.

    Raises:
        LocalError: The task does not have the federation's model; message and code are those of the check.
    """
    with tempfile.TemporaryDirectory(prefix="folkmoot-join-") as folder:
        path = Path(folder, "manifest.json")
        path.write_bytes(manifest.to_json())
        words = ["--root", root] if root else []
        run_folkmoot(["task", "check", "--task", task, "--manifest", path, *words])


def check_task(task: Task, manifest: Manifest) -> None:
    """Check that a task has the manifest's name and model.

    Raises:
        TaskError: It has not.
    """
    if task.name != manifest.task:
        raise TaskError(
            f"The federation works on the task {manifest.task!r}, not on {task.name!r}.",
            remedy="Give --task the federation's task.",
            code="wrong-task",
        )
    try:
        ours = Manifest.from_arrays(
            task.name, {name: value.numpy() for name, value in task.model().state_dict().items()}
        )
    except ManifestError as error:
        raise TaskError(
            f"The task's model can't be used: {error.message}",
            remedy=error.remedy or "Change what the task's model() returns.",
            code="wrong-model",
        ) from error
    if ours.tensors != manifest.tensors:
        raise TaskError(
            f"The model of the task {task.name!r} is not the federation's.",
            remedy="Use the task in the version that the federation was started with.",
            code="wrong-model",
        )


def parse_partition(text: str) -> tuple[int, int]:
    """Read ``i/n``.

    Raises:
        InputError: It is not two integers with 0 <= i < n.
    """
    first, _, second = text.partition("/")
    if first.isdigit() and second.isdigit() and int(first) < int(second):
        return int(first), int(second)
    raise InputError(
        f"{text!r} is no partition.", remedy="Write i/n, counted from 0: the first of five is 0/5."
    )


# The node


def node_environment(home: Path, base: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of the SuperNode: no secrets, one thread, tasks found where `join` finds them."""
    kept = {name: value for name, value in base.items() if name not in SECRETS}
    paths = [str(Path.cwd()), *filter(None, [kept.get("PYTHONPATH")])]
    threads = {name: kept.get(name, "1") for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    programs = str(Path(sys.executable).parent)
    return {
        **kept,
        **threads,
        "PATH": os.pathsep.join([programs, kept.get("PATH", os.defpath)]),
        "PYTHONPATH": os.pathsep.join(paths),
        "FLWR_HOME": str(home / "flower"),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": TASK_POLL,
        "PYTHONUNBUFFERED": "1",
    }


def node_command(contributor: Contributor, options: NodeOptions, port: int) -> list[str]:
    """Return the command of the SuperNode."""
    command = [sys.executable, "-m", "client.supernode", "--port", str(port), "--host", "127.0.0.1"]
    command += ["--superlink", options.superlink.address, "--pause", f"{options.pause:g}"]
    if options.superlink.root_certificates is not None:
        command += ["--root-certificates", str(options.superlink.root_certificates)]
    elif options.superlink.insecure:
        command += ["--insecure"]
    if options.key is not None:
        command += ["--auth-supernode-private-key", str(options.key)]
    if not options.fork:
        command += ["--no-fork"]
    for name in preloads(contributor.task) if options.preload is None else options.preload:
        command += ["--preload", name]
    return [*command, "--node-config", toml_pairs({HOME: str(contributor.home), **options.config})]


def preloads(task: str) -> list[str]:
    """Return the libraries that a task's messages find imported."""
    tabular = task in SHIPPED and task != "mnist"
    return ["torch", *(["sklearn.datasets"] if tabular else [])]


def run_node(
    contributor: Contributor,
    account: LocalAccount,
    options: NodeOptions,
    *,
    on_event: Callable[[dict[str, object]], None],
) -> None:
    """Run the node until it is interrupted.

    A SuperNode ends when its SuperLink was started anew and does not know it any more, or when the system kills it: it
    is started again, at once and then after longer and longer pauses.

    Args:
        contributor: Who contributes; its folder must exist.
        account: The unlocked account.
        options: How the SuperNode is started.
        on_event: Called with ``{"event": "joined" | "left" | "update" | "received" | "missed" | "refused", ...}``.

    Raises:
        LocalError: The folder is in use, the SuperNode could never be started, or its SuperLink never let it in.
    """
    parse_attack(contributor.attack)
    protect_memory()
    logs = contributor.home / "logs"
    domain = Domain(contributor.chain_id, contributor.ledger)
    with contextlib.ExitStack() as stack:
        stack.enter_context(SignerAgent(account, domain, contributor.home))
        contributor.save()  # not before: another node may be at work in the folder, and this file says who it is
        supervisor = stack.enter_context(Supervisor(logs))
        watcher = stack.enter_context(NodeWatcher(contributor, logs / f"{SUPERNODE}.log"))
        backoff, joined = Backoff(FIRST_PAUSE, LONGEST_PAUSE), False
        while True:
            began = time.monotonic()
            try:
                port = options.port or free_port()
                log = NodeLog(logs / f"{SUPERNODE}.log")
                node = _start_supernode(contributor, options, supervisor, port)
                supervisor.watch(partial(_has_word, node, log), timeout=LET_IN)
                if not node.alive and (refused := refusal(log.text(), options.superlink, options.key)):
                    raise refused
                on_event(
                    {"event": "joined", "account": account.address, "port": port, "log": str(watcher.log)}
                )
                joined = True
                _await_end(node, supervisor, watcher, on_event)
                lost = refusal(log.text(), options.superlink, options.key)
                why = str(lost or f"The SuperNode has ended, with status {node.process.poll()}.")
            except LocalError as error:
                if not joined:
                    raise
                why = str(error)
            supervisor.stop_one(SUPERNODE)  # what it left behind in its group
            if time.monotonic() - began > LONGEST_PAUSE:
                backoff.reset()
            pause = backoff.next()
            on_event({"event": "left", "detail": why, "pause": pause})
            supervisor.watch(lambda: watcher.look(on_event), timeout=pause)


def _await_end(
    node: Child, supervisor: Supervisor, watcher: NodeWatcher, on_event: Callable[[dict[str, object]], None]
) -> None:
    supervisor.watch(lambda: watcher.look(on_event) or not node.alive)


def _has_word(node: Child, log: NodeLog) -> bool:
    """Whether a SuperNode's SuperLink has let it in, or not: then it has ended."""
    return CONNECTED in log.text() or not node.alive


def _start_supernode(
    contributor: Contributor, options: NodeOptions, supervisor: Supervisor, port: int
) -> Child:
    return supervisor.start(
        SUPERNODE,
        node_command(contributor, options, port),
        ready=lambda: accepts_connections(port),
        environment=node_environment(contributor.home, os.environ),
        expected_to_end=True,
        timeout=2 * WARM_UP_SECONDS,
    )


class NodeWatcher:
    """Tells what a node's tasks do, and what becomes of its updates; a context manager.

    Signed updates are seen in the node's folder and refusals in its log. Whether an update has arrived, the coordinator
    is asked: the node itself hears nothing of it, since Flower's messages go one way.

    Args:
        contributor: Whose node it is.
        log: The SuperNode's log.
        api: Another client of the coordinator, for tests.
    """

    def __init__(self, contributor: Contributor, log: Path, api: CoordinatorApi | None = None) -> None:
        self.log = log
        self._account = contributor.account
        self._updates = contributor.home / UPDATES_FOLDER
        self._known = {path.name for path in self._updates.glob("*.json")}
        self._at = log.stat().st_size if log.exists() else 0
        self._api = api or CoordinatorApi(contributor.coordinator, timeout=5)
        self._under_way = sorted(int(Path(name).stem) for name in self._known)[-1:]
        self._next = 0.0

    def __enter__(self) -> NodeWatcher:
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connection."""
        self._api.close()

    def look(self, on_event: Callable[[dict[str, object]], None]) -> bool:
        """Report what is new; never the last look."""
        for path in sorted(self._updates.glob("*.json")):
            if path.name not in self._known:
                self._known.add(path.name)
                document = json.loads(path.read_text(encoding="utf-8"))
                commitment = json.loads(document["commitment"])
                root = commitment["updateRoot"]
                on_event({"event": "update", "round": int(path.stem), "updateRoot": root})
                self._under_way.append(int(path.stem))
        if self.log.exists() and self.log.stat().st_size > self._at:
            with self.log.open("rb") as file:
                file.seek(self._at)
                text = file.read()
            text = text[: text.rfind(b"\n") + 1]
            self._at += len(text)
            for line in text.decode(errors="replace").splitlines():
                if "Refused" in line:
                    on_event({"event": "refused", "detail": line.partition("Refused")[2].lstrip(": ")})
        if self._under_way and time.monotonic() >= self._next:
            self._next = time.monotonic() + FOLLOW_PAUSE
            for number in list(self._under_way):
                fate = self._fate(number)
                if fate is not None:
                    self._under_way.remove(number)
                    on_event({"round": number, **fate})
        return False

    def _fate(self, number: int) -> dict[str, object] | None:
        """What became of the update of a round; None as long as nobody knows."""
        try:
            view = self._api.get(f"/v1/rounds/{number}/updates/{self._account}")
        except CoordinatorError as error:
            if error.code == "unknown-update":
                return self._unseen(number)
            return None  # it does not answer, or is behind: the next look asks again
        if view["status"] != "refused":
            return {"event": "received"}
        return {"event": "refused", "code": view["reason"], "detail": f"{view['reason']}: {view['detail']}"}

    def _unseen(self, number: int) -> dict[str, object] | None:
        try:
            if self._api.get(f"/v1/rounds/{number}")["phase"] in ("opening", "open"):
                return None  # it may be on its way
        except CoordinatorError:
            return None
        return {
            "event": "missed",
            "detail": f"Round {number} has closed and the coordinator never got the update: it was lost on the way, "
            "or came too late and was cut off.",
        }

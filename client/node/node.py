# SPDX-License-Identifier: Apache-2.0
"""A contributor's node: the checks before it joins, and its processes.

The signer agent with the key runs in this process, or in one of its own. The SuperNode and its children are separate
processes, which get neither the key nor its password. This module does not need web3. The checks depend only on their
arguments and raise the first error.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from client.node.access import Access, rules_of
from client.node.admission import CONNECTED, NodeLog, refusal
from client.node.supernode import DEFAULT_PAUSE, WARM_UP_SECONDS
from client.node.task import BUNDLE_FILE, BUNDLES_FOLDER
from client.signer.agent import protect_memory
from folkmoot.apps.folder import TORCH, toml_pairs
from folkmoot.coordinator_api import CoordinatorApi
from folkmoot.errors import CoordinatorError, InputError, LocalError, ManifestError, TaskError
from folkmoot.flower.clock import TrainingTime
from folkmoot.flower.contributor import HOME, UPDATES_FOLDER, Contributor
from folkmoot.ledger.deployment import Deployment
from folkmoot.privacy import PrivacySettings
from folkmoot.privacy.layers import check_layers
from folkmoot.protocol.hashing import keccak
from folkmoot.protocol.manifest import Manifest
from folkmoot.rpc.client import LedgerReader, Rpc, VaultReader
from folkmoot.runtime import locks
from folkmoot.runtime.backoff import Backoff
from folkmoot.runtime.commands import run_folkmoot
from folkmoot.runtime.processes import Child, Supervisor, accepts_connections, free_port
from folkmoot.runtime.superlink import SuperLink
from folkmoot.runtime.units import format_amount
from folkmoot.sandbox.rules import Rules
from folkmoot.tasks import SHIPPED, Task, pretrained

SECRETS = ("FOLKMOOT_PASSWORD",)
"""Environment variables that are hidden from processes with the coordinator's code."""

TASK_POLL = "0.05"
"""Seconds between two polls of Flower's executor for a task."""

FLOWER_FOLDER = "flower"
"""Name of Flower's folder in the contributor's folder."""

SUPERNODE = "supernode"
"""Name of the SuperNode's process and log."""

LOCK_FILE = "node.lock"
"""Name of the lock file in the contributor's folder that a running node holds."""

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Pauses in seconds before a SuperNode that ended is started again: the first and the longest."""

LET_IN = 15.0
"""Timeout in seconds for the SuperLink's first answer to a SuperNode."""

NO_PLACE = "No place: "
"""How the line begins that the mod logs where a round takes no update of the account."""

LARGEST_DESCRIPTION = 1 << 20
"""Size in bytes of the largest description of an update that is read."""

FOLLOW_PAUSE = 2.0
"""Seconds between two requests for the status of an update."""

FOLLOWED = 8
"""Limit of updates whose status is followed at a time: the training code may write any number of them."""


@dataclass(frozen=True)
class NodeOptions:
    """Options for starting the SuperNode."""

    superlink: SuperLink
    """The SuperLink to join."""
    port: int = 0
    """Port of the node's own Runtime API; 0 for a free port."""
    fork: bool = True
    """Whether messages are handled in forks of one process that has imported the libraries."""
    pause: float = DEFAULT_PAUSE
    """Seconds between two polls for messages."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """Node configuration apart from the contributor's folder, e.g. ``partition-id``."""
    preload: Sequence[str] | None = None
    """Libraries to import before the first message; None for those of the task."""
    key: Path | None = None
    """Key file for authentication at the SuperLink; None if the SuperLink admits every node."""
    access: Access = field(default_factory=Access)
    """What the training code may reach."""


# Checks


def check_coordinator(api: CoordinatorApi, deployment: Deployment) -> None:
    """Check that the coordinator answers and serves this federation.

    Raises:
        CoordinatorError: It does not answer, or serves another federation.
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


def check_enrolled(rpc: Rpc, deployment: Deployment, account: str) -> None:
    """Check that a contract account is enrolled: nothing here can send its transactions.

    Raises:
        InputError: ``not-enrolled``: it is not, or with less than the current policy asks for.
    """
    ledger, vault = LedgerReader(rpc, deployment.ledger), VaultReader(rpc, deployment.vault)
    member, least = vault.members([account])[account], ledger.policy(ledger.current_policy()).min_stake
    enrolled = member.enrolled if ledger.enrolled(account) else 0
    if enrolled >= least:
        return
    call = keccak(b"enrol(uint256)")[:4] + (member.stake - vault.bond_of(account)).to_bytes(32, "big")
    raise InputError(
        f"The contract {account} has {format_amount(enrolled)} enrolled; the policy asks for {format_amount(least)}. "
        "Only the contract itself can enrol.",
        remedy=f"Let it call {deployment.ledger} with the data 0x{call.hex()}, which enrols all of its stake, and join "
        "again. --set no-enrol=true joins before that.",
        code="not-enrolled",
    )


def check_root(rpc: Rpc, deployment: Deployment, account: str, root: str) -> None:
    """Check that only the coordinator's account joins with a root set.

    Args:
        rpc: Client of the chain.
        deployment: Addresses of the contracts.
        account: Address of the account that joins.
        root: Name of the root set; empty for a contributor.

    Raises:
        InputError: Another account has a root set, or the coordinator has none.
    """
    coordinator = LedgerReader(rpc, deployment.ledger).coordinator()
    if root and account != coordinator:
        raise InputError(
            f"{account} is not the coordinator ({coordinator}): its update would be summed like any other.",
            remedy="Leave out the setting root, or give the coordinator's --keystore.",
            code="not-coordinator",
        )
    if not root and account == coordinator:
        raise InputError(
            "The coordinator's own update is the root update: it is compared with the others, never summed and never "
            "paid.",
            remedy="Add --set root=good to hold a root set; contribute from another account.",
            code="coordinator-without-root",
        )


def check_task_apart(task: str, manifest: Manifest, root: str = "") -> None:
    """Run `check_task` in a separate process, so that torch does not stay in the memory of this one.

    With ``root``, the root set of that name is checked as well.

    Raises:
        LocalError: The check failed; message and code are those of the check.
    """
    with tempfile.TemporaryDirectory(prefix="folkmoot-join-") as folder:
        path = Path(folder, "manifest.json")
        path.write_bytes(manifest.to_json())
        words = ["--root", root] if root else []
        run_folkmoot(["task", "check", "--task", task, "--manifest", path, *words])


def check_task(task: Task, manifest: Manifest) -> None:
    """Check that a task has the manifest's name and model.

    Raises:
        TaskError: The name or the model is another one, or the manifest declares privacy and a layer mixes records.
        InputError: The manifest's privacy settings are invalid.
    """
    if task.name != manifest.task:
        raise TaskError(
            f"The federation works on the task {manifest.task!r}, not on {task.name!r}.",
            remedy="Give --task the federation's task.",
            code="wrong-task",
        )
    model = task.model()
    private = PrivacySettings.of(manifest.training) is not None
    if private:
        check_layers(model)
    try:
        ours = Manifest.from_arrays(
            task.name,
            {name: value.numpy() for name, value in model.state_dict().items()},
            carry=pretrained.frozen(model, private=private),
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
    """Parse a partition ``i/n``; return both numbers.

    Raises:
        InputError: The text is not two integers with 0 <= i < n.
    """
    first, _, second = text.partition("/")
    if first.isdigit() and second.isdigit() and int(first) < int(second):
        return int(first), int(second)
    raise InputError(
        f"{text!r} is not a partition.", remedy="Write i/n, counted from 0: the first of five is 0/5."
    )


# The node


def node_environment(home: Path, base: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of the SuperNode: no secrets, one thread, and the import path of `join` for tasks."""
    kept = {name: value for name, value in base.items() if name not in SECRETS}
    paths = [str(Path.cwd()), *filter(None, [kept.get("PYTHONPATH")])]
    threads = {name: kept.get(name, "1") for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    programs = str(Path(sys.executable).parent)
    return {
        **kept,
        **threads,
        "PATH": os.pathsep.join([programs, kept.get("PATH", os.defpath)]),
        "PYTHONPATH": os.pathsep.join(paths),
        "FLWR_HOME": str(home / FLOWER_FOLDER),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": TASK_POLL,
        "PYTHONUNBUFFERED": "1",
    }


def node_command(contributor: Contributor, options: NodeOptions, port: int) -> list[str]:
    """Return the command of the SuperNode."""
    command = [sys.executable, "-m", "client.node.supernode", "--port", str(port), "--host", "127.0.0.1"]
    command += ["--superlink", options.superlink.address, "--pause", f"{options.pause:g}"]
    if options.superlink.root_certificates is not None:
        command += ["--root-certificates", str(options.superlink.root_certificates)]
    elif options.superlink.insecure:
        command += ["--insecure"]
    if options.key is not None:
        command += ["--auth-supernode-private-key", str(options.key)]
    if not options.fork:
        command += ["--no-fork"]
    access = options.access.with_config(options.config)
    if (rules := rules_for(contributor, access)) is not None:
        command += ["--sandbox", rules.to_json()]
    command += ["--bundle", access.bundle]
    for name in access.environment:
        command += ["--pass-env", name]
    for name in preloads(contributor) if options.preload is None else options.preload:
        command += ["--preload", name]
    return [*command, "--node-config", toml_pairs({HOME: str(contributor.home), **options.config})]


def rules_for(contributor: Contributor, access: Access) -> Rules | None:
    """Return the rules of the training code's sandbox; None without one."""
    return rules_of(contributor, access) if access.sandbox else None


def preloads(contributor: Contributor) -> list[str]:
    """Return the libraries to import before the messages of a contributor's task."""
    tabular = contributor.task in SHIPPED and not contributor.task.startswith("mnist")
    return [*TORCH, *(["sklearn.datasets"] if tabular else [])]


def run_node(
    contributor: Contributor,
    agent: AbstractContextManager[object],
    options: NodeOptions,
    *,
    on_event: Callable[[dict[str, object]], None],
    keeper: AbstractContextManager[object] | None = None,
) -> None:
    """Run the node until it is interrupted.

    A SuperNode ends when its SuperLink was restarted and no longer knows it, or when the system kills it. It is then
    started again: the first time at once, later after increasing pauses.

    Args:
        contributor: Configuration of the contributor; its folder must exist.
        agent: The signer agent, or the link to one; it runs as long as the node.
        options: Options for starting the SuperNode.
        on_event: Called with the event's fields and ``event``: "joined", "left", "bundle", "update", "received",
            "missed", "refused", "no-place" or "trained".
        keeper: The keeper; it runs as long as the node.

    Raises:
        LocalError: The folder is in use, the SuperNode can't be started, or its SuperLink does not admit it.
    """
    protect_memory()
    logs = contributor.home / "logs"
    with contextlib.ExitStack() as stack:
        stack.enter_context(locked(contributor.home))
        stack.enter_context(agent)
        stack.enter_context(keeper or contextlib.nullcontext())
        contributor.save()  # Not before the lock is held: another node may use the folder and this file.
        supervisor = stack.enter_context(Supervisor(logs))
        watcher = stack.enter_context(NodeWatcher(contributor, logs / f"{SUPERNODE}.log"))
        backoff, joined = Backoff(FIRST_PAUSE, LONGEST_PAUSE), False
        while True:
            began = time.monotonic()
            try:
                port = options.port or free_port()
                log = NodeLog(logs / f"{SUPERNODE}.log")
                node = _start_supernode(contributor, options, supervisor, port)
                supervisor.watch(partial(_has_answer, node, log), timeout=LET_IN)
                if not node.alive and (refused := refusal(log.text(), options.superlink, options.key)):
                    raise refused
                on_event(
                    {"event": "joined", "account": contributor.account, "port": port, "log": str(watcher.log)}
                )
                joined = True
                _await_end(node, supervisor, watcher, on_event)
                lost = refusal(log.text(), options.superlink, options.key)
                why = str(lost or f"The SuperNode has ended, with status {node.process.poll()}.")
            except LocalError as error:
                if not joined:
                    raise
                why = str(error)
            supervisor.stop_one(SUPERNODE)  # Remaining processes of its group.
            if time.monotonic() - began > LONGEST_PAUSE:
                backoff.reset()
            pause = backoff.next()
            on_event({"event": "left", "detail": why, "pause": pause})
            supervisor.watch(lambda: watcher.look(on_event), timeout=pause)


def locked(home: Path) -> AbstractContextManager[object]:
    """Lock a node's folder. The locks of the agents don't suffice: two nodes may have agents of two kinds."""
    lock = locks.try_acquire(home / LOCK_FILE)
    if lock is None:
        raise LocalError(
            f"Another node uses the folder {home}.",
            remedy="End it first, or give this one a --home of its own.",
            code="home-in-use",
        )
    return lock


def _await_end(
    node: Child, supervisor: Supervisor, watcher: NodeWatcher, on_event: Callable[[dict[str, object]], None]
) -> None:
    supervisor.watch(lambda: watcher.look(on_event) or not node.alive)


def _has_answer(node: Child, log: NodeLog) -> bool:
    """Return whether the SuperLink has admitted the SuperNode, or the SuperNode has ended."""
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


def _written(path: Path) -> int:
    """Return when a file was written, in nanoseconds; 0 if it is missing."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


class NodeWatcher:
    """Reports the events of a node's tasks and the status of its updates; a context manager.

    Reads signed updates from the node's folder and refusals from its log. Asks the coordinator whether an update has
    arrived, because Flower does not report this to the node.

    Args:
        contributor: Configuration of the node's contributor.
        log: Log file of the SuperNode.
        api: Another client of the coordinator, for tests.
    """

    def __init__(self, contributor: Contributor, log: Path, api: CoordinatorApi | None = None) -> None:
        self.log = log
        self._account = contributor.account
        self._updates = contributor.home / UPDATES_FOLDER
        self._known = {path.name for path in self._updates.glob("*.json")}
        self._at = log.stat().st_size if log.exists() else 0
        self._api = api or CoordinatorApi(contributor.coordinator, timeout=5)
        stems = [Path(name).stem for name in self._known]  # The training code may write any name there.
        self._under_way = sorted(int(stem) for stem in stems if stem.isascii() and stem.isdecimal())[-1:]
        self._next = 0.0
        self._bundle = contributor.home / FLOWER_FOLDER / BUNDLES_FOLDER / BUNDLE_FILE
        self._bundle_written = _written(self._bundle)

    def __enter__(self) -> NodeWatcher:
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connection."""
        self._api.close()

    def look(self, on_event: Callable[[dict[str, object]], None]) -> bool:
        """Report new events. Return False, so that `Supervisor.watch` continues."""
        if (written := _written(self._bundle)) != self._bundle_written:
            self._bundle_written = written
            on_event({"event": "bundle", "hash": self._bundle.read_text(encoding="utf-8")})
        for path in sorted(self._updates.glob("*.json")):
            if path.name not in self._known:
                self._known.add(path.name)
                try:  # The training code may write anything there.
                    if not path.is_file() or path.stat().st_size > LARGEST_DESCRIPTION:
                        continue
                    document = json.loads(path.read_text(encoding="utf-8"))
                    root, number = str(json.loads(document["commitment"])["updateRoot"]), int(path.stem)
                except (OSError, ValueError, KeyError, TypeError, RecursionError):
                    continue
                on_event({"event": "update", "round": number, "updateRoot": root})
                self._under_way = [*self._under_way, number][-FOLLOWED:]
        if self.log.exists() and self.log.stat().st_size > self._at:
            with self.log.open("rb") as file:
                file.seek(self._at)
                text = file.read()
            text = text[: text.rfind(b"\n") + 1]
            self._at += len(text)
            for line in text.decode(errors="replace").splitlines():
                if "Refused" in line:
                    on_event({"event": "refused", "detail": line.partition("Refused")[2].lstrip(": ")})
                elif NO_PLACE in line:
                    on_event({"event": "no-place", "detail": line.partition(NO_PLACE)[2]})
                elif (spent := TrainingTime.in_line(line)) is not None:
                    on_event({"event": "trained", "detail": f"{spent}.", **asdict(spent)})
        if self._under_way and time.monotonic() >= self._next:
            self._next = time.monotonic() + FOLLOW_PAUSE
            for number in list(self._under_way):
                fate = self._event_of(number)
                if fate is not None:
                    self._under_way.remove(number)
                    on_event({"round": number, **fate})
        return False

    def _event_of(self, number: int) -> dict[str, object] | None:
        """Return the event for a round's update; None as long as its status is unknown."""
        try:
            view = self._api.get(f"/v1/rounds/{number}/updates/{self._account}")
        except CoordinatorError as error:
            if error.code == "unknown-update":
                return self._event_of_unknown(number)
            return None  # The coordinator does not answer, or lags behind. The next call asks again.
        if view["status"] != "refused":
            return {"event": "received"}
        return {"event": "refused", "code": view["reason"], "detail": f"{view['reason']}: {view['detail']}"}

    def _event_of_unknown(self, number: int) -> dict[str, object] | None:
        try:
            if self._api.get(f"/v1/rounds/{number}")["phase"] in ("opening", "open"):
                return None  # The update may still be in transit.
        except CoordinatorError:
            return None
        return {
            "event": "missed",
            "detail": f"Round {number} has closed and the coordinator has not received the update: it was lost in "
            "transit, or arrived too late.",
        }

# SPDX-License-Identifier: Apache-2.0
"""Connect the relay to the coordinator and to the nodes: send rounds out, take signed updates in.

`FolkmootStrategy` and an anchored app (`anchor.py`) share it. It aggregates nothing, holds no key and keeps nothing
that would be lost with it: started again in the middle of a round, it asks the nodes again, and they send the same
updates. It does not know the chain.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from logging import ERROR, INFO, WARNING
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar, cast

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid
from flwr.supercore import log

from folkmoot.coordinator_api import CoordinatorApi, CurrentRound, RunView
from folkmoot.errors import CoordinatorError, FolkmootError, InputError, UpdateRefused
from folkmoot.flower import records, reports
from folkmoot.flower.asking import Asking
from folkmoot.ledger.deployment import Deployment
from folkmoot.protocol.arrays import I64
from folkmoot.protocol.fixed_point import to_float32
from folkmoot.protocol.manifest import Manifest
from folkmoot.runtime.backoff import Backoff, retry
from folkmoot.runtime.fault_points import fault_point

UNREACHABLE = "coordinator-unreachable"
OPEN = "open"
PULL_BYTES = 64 << 20
"""How many bytes of replies may be in memory at once (but always at least one reply)."""

MIN_TTL = 30.0
"""Seconds that a train message lives at least."""

MADE = frozenset({"anchored", "final"})
"""Phases of a round that has made a model."""
VOID = frozenset({"cancelled", "slashed"})
"""Phases of a round that never will."""

_FLOWERS = {
    ErrorCode.LOAD_CLIENT_APP_EXCEPTION: ("app-not-loaded", "The node can't import the app."),
    ErrorCode.CLIENT_APP_RAISED_EXCEPTION: (
        "app-failed",
        "The node's app raised an exception outside of training.",
    ),
    ErrorCode.MESSAGE_UNAVAILABLE: ("node-lost", "The message to the node was lost."),
    ErrorCode.REPLY_MESSAGE_UNAVAILABLE: ("node-lost", "The node's answer was lost."),
    ErrorCode.NODE_UNAVAILABLE: ("node-lost", "The connection to the node ended before it answered."),
    ErrorCode.INVALID_FAB: ("app-not-loaded", "The node refused this run's app bundle."),
    ErrorCode.CLIENT_APP_CRASHED: ("node-crashed", "The node's process ended before it answered."),
}
"""Code and words for Flower's own errors: their texts may quote a node's private data, and reports are public. Another
error is the mod's, and its reason begins with a code of ours."""

_T = TypeVar("_T")


@dataclass
class Pacing:
    """How often the relay looks, in seconds."""

    replies: float = 0.1
    """For replies of nodes."""
    coordinator: float = 0.25
    """For the next round, and whether this one still takes updates."""
    nodes: float = 1.0
    """For nodes that have joined, or whose answers got lost."""
    first_pause: float = 0.25
    """After the first failed request to the coordinator; doubled at each further one."""
    longest_pause: float = 10.0
    """Longest pause between two requests."""
    silence: float = 30.0
    """Least time until a node that is there and says nothing is asked again; doubled each time."""


@dataclass
class RoundReport:
    """What came of one round at this relay."""

    round: int
    """Number of the round on the ledger."""
    asked: int = 0
    """Nodes that were asked."""
    accepted: list[str] = field(default_factory=list)
    """Accounts whose update the coordinator accepted."""
    refused: list[tuple[int, str]] = field(default_factory=list)
    """Nodes without an accepted update, and why."""


@dataclass
class Base:
    """The base model of a round, as it is sent."""

    current: CurrentRound
    manifest: Manifest
    manifest_bytes: bytes
    theta: I64

    def arrays(self) -> ArrayRecord:
        """The base as ordinary arrays, in the model's order and dtypes."""
        return arrays_of(self.theta, self.manifest)


def arrays_of(theta: I64, manifest: Manifest) -> ArrayRecord:
    """Write a state's theta, int64[256 n], as the arrays that an app knows, in the model's order and dtypes."""
    named = manifest.unflatten(to_float32(theta), dtypes=True)
    return ArrayRecord({name: Array(array) for name, array in named.items()})


class Relay:
    """Carries rounds between a coordinator and the nodes of a SuperLink.

    Args:
        coordinator: URL of the coordinator.
        run_id: The coordinator's run to carry; the newest one if empty.
        pacing: How often to look.
        api: Another client of the coordinator, for tests.

    Raises:
        InputError: No coordinator is named (`no-coordinator`).
    """

    def __init__(
        self,
        coordinator: str = "",
        *,
        run_id: str = "",
        pacing: Pacing | None = None,
        api: CoordinatorApi | None = None,
    ) -> None:
        if api is None and not coordinator:
            raise InputError(
                "The coordinator's URL is empty.",
                remedy=f"Give it in the run config, as {records.COORDINATOR}, or to FolkmootStrategy: "
                'for example "http://127.0.0.1:8800".',
                code="no-coordinator",
            )
        self.api = api or CoordinatorApi(coordinator)
        self.run_id = run_id
        self.pacing = pacing or Pacing()
        self.timeout = 3600.0
        self.reports: list[RoundReport] = []
        self.base: Base | None = None
        self._progress = reports.Progress(0)
        self._deployment: Deployment | None = None
        self._fetched: tuple[str, I64] | None = None

    # The coordinator

    def retry(self, ask: Callable[[], _T]) -> _T:
        """Ask the coordinator, and try again while it can't be reached.

        Raises:
            CoordinatorError: It answered with a problem, or stayed away until the timeout.
        """
        return retry(
            ask,
            Backoff(self.pacing.first_pause, self.pacing.longest_pause, jitter=0.2),
            self.timeout,
            passing,
            lambda error, pause: log(WARNING, "%s Trying again in %.1f s", error.message, pause),
        )

    def await_run(self) -> RunView:
        """Wait for the run to carry.

        Raises:
            CoordinatorError: There was none until the timeout.
        """
        end = time.monotonic() + self.timeout
        told = False
        while True:
            run = self.retry(lambda: self.api.run(self.run_id or "current"))
            if run is not None and (self.run_id or run.state == "running"):
                return run
            if time.monotonic() >= end:
                raise CoordinatorError(
                    f"The coordinator started no run in {self.timeout:g} seconds.",
                    remedy="Start one with `folkmoot train`.",
                    code="no-run",
                )
            if not told:
                log(INFO, "Waiting for the coordinator to start a run")
                told = True
            time.sleep(self.pacing.coordinator)

    def await_round(self, run_id: str, last: int) -> CurrentRound | None:
        """Wait for a round after `last` that takes updates; None when the run is over.

        Raises:
            CoordinatorError: The run failed.
        """
        while True:
            current = self.retry(self.api.current_round)
            if current is not None and current.round > last and current.phase == OPEN:
                return current
            if self.running(run_id).state == "done":
                return None
            time.sleep(self.pacing.coordinator)

    def running(self, run_id: str) -> RunView:
        """A run that has not failed.

        Raises:
            CoordinatorError: It has.
        """
        run = self.retry(lambda: self.api.run(run_id))
        if run is None or run.state == "failed":
            raise CoordinatorError(
                f"The run failed: {run.error if run else 'the coordinator does not know it any more'}.",
                remedy="Read the coordinator's log. To start another run: `folkmoot train`.",
                code="run-failed",
            )
        return run

    def await_end(self, run_id: str, number: int) -> str | None:
        """Wait until a round is anchored or void; the state file that it made.

        Raises:
            CoordinatorError: The run failed before.
        """
        while True:
            view = self.retry(lambda: self.api.get(f"/v1/rounds/{number}"))
            if view.get("phase") in MADE and view.get("state"):
                return str(view["state"])
            if view.get("phase") in VOID:
                return None
            self.running(run_id)
            time.sleep(self.pacing.coordinator)

    def still_open(self, round_id: int) -> bool:
        """Whether a round takes updates, as far as is known: a coordinator that is away will be back."""
        try:
            current = self.api.current_round()
        except CoordinatorError as error:
            if passing(error):
                return True
            raise
        return current is not None and current.round == round_id and current.phase == OPEN

    # Models

    def load_base(self, current: CurrentRound) -> Base:
        """Fetch manifest and base state; hashed on the way, and checked against the chain by every node."""
        data = self.retry(lambda: self.api.artifact(current.manifest))
        manifest = Manifest.from_json(data)
        self.base = Base(current, manifest, data, self.fetch_theta(current.base_state, manifest))
        return self.base

    def manifest(self) -> Manifest:
        """Fetch the federation's manifest, also when no round is open."""
        genesis = self.retry(lambda: self.api.document(self.deployment().genesis_hash.removeprefix("0x")))
        digest = str(json.loads(genesis)["manifest"])
        return Manifest.from_json(self.retry(lambda: self.api.artifact(digest)))

    def fetch_theta(self, sha256: str, manifest: Manifest) -> I64:
        """Fetch the weights of a state file, int64[256 n]; of the one that was fetched last, only once."""
        if self._fetched is not None and self._fetched[0] == sha256:
            return self._fetched[1]
        with TemporaryDirectory(prefix="folkmoot-base-") as folder:
            path = Path(folder, "state")
            self.retry(lambda: self.api.download(sha256, path, manifest.state_file_size))
            self._fetched = sha256, _read_theta(path, manifest)
        return self._fetched[1]

    def deployment(self) -> Deployment:
        """The federation's deployment, asked for once."""
        if self._deployment is None:
            self._deployment = self.retry(self.api.deployment)
        return self._deployment

    # Messages

    def round_record(self, grid: Grid, arrays_key: str = records.ARRAYS) -> ConfigRecord:
        """What nodes are told of the round whose base was loaded last.

        Args:
            grid: Connection to the nodes.
            arrays_key: Where the app looks for its arrays.
        """
        base, deployment = cast(Base, self.base), self.deployment()
        return records.RoundMessage(
            round=base.current.round,
            header=base.current.header,
            manifest=base.manifest_bytes,
            momentum_root=base.current.momentum_root,
            chain_id=deployment.chain_id,
            ledger=deployment.ledger,
            bundle_hash=_bundle_hash(grid),
            arrays_key=arrays_key,
        ).to_record()

    def message(self, content: RecordDict, node: int, kind: str = "train", group: str = "") -> Message:
        """A train message for a node that lives as long as the round takes updates."""
        current = cast(Base, self.base).current
        left = float(current.commit_deadline - current.chain_time)
        return Message(
            content=content,
            message_type=kind,
            dst_node_id=node,
            group_id=group or str(current.round),
            ttl=max(left, MIN_TTL),
        )

    def replies(
        self,
        base: Base,
        grid: Grid,
        first: Iterable[Message],
        write: Callable[[list[int]], list[Message]],
        *,
        joining: bool,
        expected: int = 1,
    ) -> Iterator[Message]:
        """Ask nodes and yield their replies as they come, until the coordinator says that the round is closed.

        Also when all have answered: somebody may still join, or come back.

        Args:
            base: The round's base.
            grid: Connection to the nodes.
            first: The messages to begin with.
            write: Writes the messages for nodes that are asked later.
            joining: Whether nodes are asked that join in the middle of the round.
            expected: Nodes that have to be asked before the round can be complete; others may still be starting.
        """
        fault_point("relay.round-loaded")
        current = base.current
        window = float(current.commit_deadline - current.chain_time)
        self._progress = reports.Progress(current.round, expected=expected, patience=window / 3)
        asking = Asking(
            grid,
            write,
            window=window,
            silence=self.pacing.silence,
            batch=max(1, PULL_BYTES // base.manifest.size),
            progress=self._progress,
        )
        asking.ask(first)
        next_look = next_count = 0.0
        while True:
            yield from asking.replies()
            now = time.monotonic()
            if now >= next_count:
                next_count = now + self.pacing.nodes
                asking.ask_again(joining=joining)
            self._progress.look()
            if now >= next_look:
                next_look = now + self.pacing.coordinator
                if not self.still_open(current.round):
                    if asking.owed:
                        said = "\tRound %d is closed; %d nodes have not answered in time"
                        log(WARNING, said, current.round, asking.owed)
                    return
            time.sleep(self.pacing.replies)  # Flower's Grid has no call that waits for a reply

    def deliver(self, reply: Message, report: RoundReport) -> bool:
        """Hand a reply to the coordinator; whether its update was accepted. If not, the report says why."""
        node = reply.metadata.src_node_id
        report.asked += 1
        if reply.has_error():
            self._no_update(report, node, *_reason_of(reply))
            return False
        account: str | None = None
        try:
            content = reply.content
            update = records.update_of(content.array_records[records.UPDATE])
            commitment = content.config_records[records.COMMITMENT]["commitment"]
            if not isinstance(commitment, str):
                raise InputError(
                    "The commitment is not text.",
                    remedy="Use folkmoot_mod() in the node's app, as the first mod.",
                )
            account = _contributor_of(commitment)
            self.retry(lambda: self.api.submit_update(report.round, commitment, update))
            fault_point("relay.handed-in")
        except KeyError:
            self._no_update(report, node, "not-anchored", "the node does not use folkmoot's mod")
        except (UpdateRefused, InputError) as error:
            if account is None:  # it never came before the coordinator
                self._no_update(report, node, error.code, error.message)
            else:
                self._refused(report, node, account, error)
        except CoordinatorError as error:
            if error.code == UNREACHABLE:
                raise
            self._refused(report, node, account, error)
        else:
            report.accepted.append(account or "?")
            log(INFO, "\tNode %d: update of %s accepted", node, report.accepted[-1])
            self._progress.answered(node, report.accepted[-1])
            return True
        return False

    def _no_update(self, report: RoundReport, node: int, code: str, detail: str) -> None:
        """Note that a node sent no update that could be handed in."""
        report.refused.append((node, f"{code}: {detail}"))
        log(WARNING, "\tNode %d: %s", node, reports.plain(report.refused[-1][1]))
        self._progress.failed(node, code, detail)

    def _refused(self, report: RoundReport, node: int, account: str | None, error: FolkmootError) -> None:
        """Note that the coordinator refused a node's update."""
        report.refused.append((node, f"{error.code}: {error.message}"))
        log(ERROR, "\tNode %d: %s", node, reports.plain(report.refused[-1][1]))
        self._progress.refused(node, account, error.code, error.message)


def passing(error: FolkmootError) -> bool:
    """Whether it may help to ask again: no connection, or a server that is starting, stopping or busy."""
    status = error.details.get("status")
    asked = isinstance(error, CoordinatorError)
    return asked and (error.code == UNREACHABLE or status in (429, 502, 503, 504))


def report_metrics(number: int, **metrics: MetricRecord | None) -> None:
    """Log what was measured: `train` in a round, `evaluate` and `server` of the model that a round made."""
    found = {kind: reports.numbers(metrics.get(kind)) for kind in ("train", "evaluate", "server")}
    if any(found.values()):
        reports.emit(reports.METRICS, round=number, **found)


def check_layout(arrays: ArrayRecord, manifest: Manifest) -> None:
    """Check that an app's model has the layout of the manifest, and the same order.

    Raises:
        InputError: It has not.
    """
    wanted: dict[str, tuple[int, ...]] = {entry.name: entry.shape for entry in manifest.arrays}
    given = {name: tuple(array.shape) for name, array in arrays.items()}
    remedy = "Use the model that the genesis was made from, or start a new federation for this model."
    if given != wanted:
        differing = sorted(name for name in {*given, *wanted} if given.get(name) != wanted.get(name))
        raise InputError(
            f"The app's model is not the one on the ledger: {', '.join(differing[:5])} differ.",
            remedy=remedy,
            code="wrong-model",
        )
    for ours, theirs in zip(wanted, given, strict=True):
        if ours != theirs:
            raise InputError(
                f"The app's model has {theirs!r} where the one on the ledger has {ours!r}: the order differs.",
                remedy=remedy,
                code="wrong-model",
            )


def _read_theta(path: Path, manifest: Manifest) -> I64:
    """Read theta of a state file; the momentum is not needed here.

    Raises:
        InputError: It is no state file of this manifest.
    """
    with path.open("rb") as file:
        magic, theta = file.read(4), file.read(8 * manifest.size)
        rest = len(file.read(1)), path.stat().st_size
    if magic != b"FMS1" or rest[1] != manifest.state_file_size:
        raise InputError(
            "The base state is not a state file of this manifest.",
            remedy="Tell the coordinator's operator: it serves a wrong file.",
            code="malformed-state",
        )
    return np.frombuffer(theta, dtype="<i8").astype(np.int64, copy=False)


def _bundle_hash(grid: Grid) -> bytes:
    """Return the sha256 of the bundle that this run distributes, empty if Flower does not say."""
    try:
        digest = bytes.fromhex(cast(Any, grid.run).fab_hash)
    except (AttributeError, TypeError, ValueError):
        return b""
    return digest if len(digest) == 32 else b""


def _contributor_of(commitment: str) -> str | None:
    """Find whose commitment it is; None if it can't be read: the coordinator will say why."""
    from folkmoot.coordinator_api import commitment_from_wire

    try:
        return commitment_from_wire(commitment)[0].contributor
    except InputError:
        return None


def _reason_of(reply: Message) -> tuple[str, str]:
    """Read why a node sent no update: the mod's code and words, or what Flower says of its process."""
    known = _FLOWERS.get(reply.error.code)
    return known if known is not None else reports.split_reason(reply.error.reason or "")

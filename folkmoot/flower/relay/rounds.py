# SPDX-License-Identifier: Apache-2.0
"""Connect the relay to the coordinator and the nodes: send rounds to nodes, and signed updates to the coordinator.

`FolkmootStrategy` and an anchored app (`anchor.py`) use this module. The relay aggregates nothing, holds no key and has
no state that could be lost: after a restart in the middle of a round it asks the nodes again, and they send the same
updates. It does not use the chain.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from logging import ERROR, INFO, WARNING
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid
from flwr.supercore import log
from numpy.typing import NDArray

from folkmoot.artifacts.federation import Federation
from folkmoot.coordinator_api import (
    UNREACHABLE,
    CoordinatorApi,
    CurrentRound,
    RunView,
    commitment_from_wire,
    passing,
)
from folkmoot.errors import CoordinatorError, FolkmootError, InputError, UpdateRefused, plain
from folkmoot.flower import records
from folkmoot.flower.relay import reports
from folkmoot.flower.relay.asking import Asking
from folkmoot.ledger.deployment import Deployment
from folkmoot.protocol.arrays import F32, I64
from folkmoot.protocol.fixed_point import to_float32
from folkmoot.protocol.header import RoundHeader
from folkmoot.protocol.manifest import CarriedFile, Files, Manifest
from folkmoot.runtime.backoff import Backoff, retry
from folkmoot.runtime.fault_points import fault_point
from folkmoot.tasks import pace

OPEN = "open"
MIN_TTL = 30.0
"""Minimum lifetime in seconds of a train message."""

MADE = frozenset({"anchored", "final"})
"""Phases of a round that has produced a model."""
VOID = frozenset({"cancelled", "slashed"})
"""Phases of a round that will not produce a model."""

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
"""Codes and texts for Flower's own errors, whose original texts may quote a node's private data: reports are public.
Other errors come from the mod, and their reasons begin with a code of Folkmoot."""

_T = TypeVar("_T")


SHARE = 0.1
"""Part of a wait that the relay pauses between two polls."""


@dataclass
class Pacing:
    """Seconds between polls of the relay."""

    replies: float = 0.1
    """Polls for replies of nodes, at the beginning of a wait."""
    coordinator: float = 0.1
    """Polls for the next round, and whether the current round still takes updates, at the beginning of a wait."""
    longest_look: float = 1.0
    """Longest pause between two of these polls: it grows with the wait."""
    nodes: float = 1.0
    """Polls for nodes that have joined, or whose replies got lost."""
    first_pause: float = 0.25
    """Pause after the first failed request to the coordinator; doubled after each further failure."""
    longest_pause: float = 10.0
    """Longest pause between two requests."""
    late: float = 5.0
    """Timeout for the replies of nodes whose updates the coordinator has when it closes the round."""
    silence: float = 30.0
    """Minimum time until a connected, silent node is asked again; doubled each time."""

    def pause(self, least: float, since: float) -> float:
        """Return the seconds until the next poll of a wait.

        Args:
            least: Seconds at the beginning of the wait.
            since: Monotonic time of its beginning.
        """
        return max(least, min(SHARE * (time.monotonic() - since), self.longest_look))


@dataclass
class RoundReport:
    """Result of one round at this relay."""

    round: int
    """Number of the round on the ledger."""
    asked: int = 0
    """Number of nodes that were asked."""
    accepted: list[str] = field(default_factory=list)
    """Accounts whose updates the coordinator accepted."""
    refused: list[tuple[int, str]] = field(default_factory=list)
    """Nodes without an accepted update, and the reasons."""


@dataclass
class Base:
    """The base model of a round. Its weights are fetched when the app's own strategy needs them; nodes have keepers."""

    current: CurrentRound
    """The round, according to the coordinator."""
    manifest: Manifest
    """The model's layout."""
    manifest_bytes: bytes
    """The manifest's file."""
    fetch: Callable[[], I64]
    """Fetches the weights."""
    files: Files
    """Fetches the values of a carried file."""
    least: int = 1
    """Connected nodes with fewer than which no node is asked."""

    @property
    def theta(self) -> I64:
        """The weights, int64[256 n]."""
        return self.fetch()

    def arrays(self) -> ArrayRecord:
        """Return the base as ordinary arrays, in the model's order and dtypes."""
        return arrays_of(to_float32(self.theta), self.manifest, self.files)


def arrays_of(flat: F32, manifest: Manifest, files: Files) -> ArrayRecord:
    """Return weights, float32[256 n], as an app's arrays, in the model's order and dtypes."""
    named = manifest.unflatten(flat, dtypes=True, files=files)
    return ArrayRecord({name: Array(array) for name, array in named.items()})


class Relay:
    """Transfers rounds between a coordinator and the nodes of a SuperLink.

    Args:
        coordinator: URL of the coordinator.
        run_id: The coordinator's run; the newest one if empty.
        pacing: Seconds between polls.
        api: Another client of the coordinator, for tests.

    Raises:
        InputError: The URL of the coordinator is missing (`no-coordinator`).
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
        """Send a request to the coordinator, and try again while it can't be reached.

        Raises:
            CoordinatorError: It answered with a problem, or was unavailable until the timeout.
        """
        return retry(
            ask,
            Backoff(self.pacing.first_pause, self.pacing.longest_pause, jitter=0.2),
            self.timeout,
            passing,
            lambda error, pause: log(WARNING, "%s Trying again in %.1f s", error.message, pause),
        )

    def await_run(self) -> RunView:
        """Wait for the run.

        Raises:
            CoordinatorError: There was no run until the timeout.
        """
        end = time.monotonic() + self.timeout
        logged = False
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
            if not logged:
                log(INFO, "Waiting for the coordinator to start a run")
                logged = True
            time.sleep(self.pacing.coordinator)

    def await_round(self, run_id: str, last: CurrentRound | None) -> CurrentRound | None:
        """Wait for another round than `last` that takes updates, and return it; None if the run has ended.

        A chain that lost blocks can have a lower one, or the same one, opened again. Nodes that have signed an update
        of it send that one again.

        Raises:
            CoordinatorError: The run failed.
        """
        began = time.monotonic()
        while True:
            current = self.retry(self.api.current_round)
            new = current is not None and (last is None or current.opening != last.opening)
            if current is not None and new and current.phase == OPEN:
                return current
            if self.running(run_id).state == "done":
                return None
            time.sleep(self.pacing.pause(self.pacing.coordinator, began))  # The coordinator pushes nothing.

    def running(self, run_id: str) -> RunView:
        """Return a run that has not failed.

        Raises:
            CoordinatorError: The run has failed.
        """
        run = self.retry(lambda: self.api.run(run_id))
        if run is None or run.state == "failed":
            raise CoordinatorError(
                f"The run failed: {run.error if run else 'the coordinator does not know it any more'}.",
                remedy="Read the coordinator's log. To start another run: `folkmoot train`.",
                code="run-failed",
            )
        return run

    def await_end(self, run_id: str, current: CurrentRound) -> str | None:
        """Wait until a round is anchored or void. Return the state file that it produced, if any.

        None, too, if the chain lost its opening: then it may be opened again, or another one in its place.

        Raises:
            CoordinatorError: The run failed before the round ended.
        """
        began = time.monotonic()
        while True:
            view = self.retry(lambda: self._round(current.round))
            if view is None or view.get("openedAt") != current.opened_at:
                log(WARNING, "\tRound %d: the chain went back, and lost its opening", current.round)
                return None
            if view.get("phase") in MADE and view.get("state"):
                return str(view["state"])
            if view.get("phase") in VOID:
                return None
            self.running(run_id)
            time.sleep(self.pacing.pause(self.pacing.coordinator, began))  # The coordinator pushes nothing.

    def _round(self, number: int) -> dict[str, Any] | None:
        """Return a round, according to the coordinator; None if the chain went back to before it."""
        try:
            return self.api.get(f"/v1/rounds/{number}")
        except FolkmootError as error:
            if error.code != "round-unknown":
                raise
            return None

    def still_open(self, round_: CurrentRound) -> bool:
        """Return whether a round takes updates. Assume so while the coordinator is unavailable."""
        try:
            current = self.api.current_round()
        except CoordinatorError as error:
            if passing(error):
                return True
            raise
        return current is not None and current.opening == round_.opening and current.phase == OPEN

    # Models

    def load_base(self, current: CurrentRound) -> Base:
        """Fetch the manifest; the base state is fetched when it is needed.

        Their hashes are checked here, and every node checks them against the chain.
        """
        data = self.retry(lambda: self.api.files.read(current.manifest))
        manifest = Manifest.from_json(data)
        self.base = Base(
            current,
            manifest,
            data,
            lambda: self.fetch_theta(current.base_state, manifest),
            self.file,
            self._least(current, manifest),
        )
        return self.base

    def _least(self, current: CurrentRound, manifest: Manifest) -> int:
        """Return the fewest connected nodes that are asked in a round.

        A private training spends a part of the contributor's budget. With fewer nodes than the policy's
        `minContributors` the round would be cancelled, and these parts were spent for nothing.
        """
        if not manifest.private:
            return 1
        policy = RoundHeader.decode(current.header).policy_id
        return int(self.retry(lambda: self.api.get(f"/v1/policies/{policy}"))["minContributors"])

    def manifest(self) -> Manifest:
        """Fetch the federation's manifest. This works without an open round."""
        deployment = self.deployment()
        return self.retry(lambda: Federation.open(deployment, self.api.files)).manifest

    def file(self, entry: CarriedFile) -> NDArray[Any]:
        """Return the values of a carried file. It is fetched once, and kept on the disk."""
        return entry.open(self.retry(lambda: self.api.files.fetch(entry.sha256, entry.size)))

    def fetch_theta(self, sha256: str, manifest: Manifest) -> I64:
        """Fetch the weights of a state file, int64[256 n]. The last result is cached."""
        if self._fetched is not None and self._fetched[0] == sha256:
            return self._fetched[1]
        path = self.retry(lambda: self.api.files.fetch(sha256, manifest.state_file_size))
        self._fetched = sha256, _read_theta(path, manifest)
        self.api.files.discard(sha256)
        return self._fetched[1]

    def deployment(self) -> Deployment:
        """Return the federation's deployment. It is fetched once."""
        if self._deployment is None:
            self._deployment = self.retry(self.api.deployment)
        return self._deployment

    def close(self) -> None:
        """Close the connections, and delete the files that were fetched. Arrays that were read from them stay."""
        self.api.close()

    # Messages

    def round_record(self, grid: Grid, arrays_key: str = records.ARRAYS) -> ConfigRecord:
        """Return the record for nodes of the round whose base was loaded last.

        Args:
            grid: Connection to the nodes.
            arrays_key: Name of the record with the app's arrays.
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
        """Return a message for a node. Its lifetime ends when the round takes no more updates."""
        current = cast(Base, self.base).current
        seconds_left = float(current.commit_deadline - current.chain_time)
        return Message(
            content=content,
            message_type=kind,
            dst_node_id=node,
            group_id=group or str(current.round),
            ttl=max(seconds_left, MIN_TTL),
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
        """Send messages to nodes and yield their replies, until the coordinator has closed the round.

        It continues even if all nodes have replied, because nodes may still join or reconnect.

        Args:
            base: The round's base.
            grid: Connection to the nodes.
            first: The first messages.
            write: Returns the messages for nodes that are asked later.
            joining: Whether to ask nodes that join in the middle of the round.
            expected: Minimum number of asked nodes for a complete round; some may still be starting.
        """
        fault_point("relay.round-loaded")
        current = base.current
        window = float(current.commit_deadline - current.chain_time)
        self._progress = reports.Progress(current.round, expected=expected, timeout=window / 3)
        asking = Asking(
            grid,
            write,
            window=window,
            silence=self.pacing.silence,
            progress=self._progress,
            by_clock=pace.by_clock(base.manifest.training),
            least=base.least,
        )
        asking.ask(first)
        next_look = next_count = 0.0
        answered, last = 0, time.monotonic()
        while True:
            for reply in asking.replies():
                last = time.monotonic()
                answered += not reply.has_error()
                yield reply
            now = time.monotonic()
            if now >= next_count:
                next_count = now + self.pacing.nodes
                asking.ask_again(joining=joining)
            self._progress.look()
            if now >= next_look:
                next_look = now + self.pacing.pause(self.pacing.coordinator, last)
                if not self.still_open(current):
                    yield from self._late_replies(asking, current.round, answered)
                    if asking.owed:
                        text = "\tRound %d is closed; %d nodes have not answered in time"
                        log(WARNING, text, current.round, asking.owed)
                    return
            # Flower's Grid has no call that waits for a reply.
            time.sleep(self.pacing.pause(self.pacing.replies, last))

    def _late_replies(self, asking: Asking, number: int, answered: int) -> Iterator[Message]:
        """Yield replies of nodes whose updates have come: the last of these may have closed the round."""
        if not asking.owed:
            return
        received = int(self.retry(lambda: self.api.get(f"/v1/rounds/{number}")).get("received", 0))
        end = time.monotonic() + self.pacing.late
        while asking.owed and answered < received and time.monotonic() < end:
            for reply in asking.replies():
                answered += not reply.has_error()
                yield reply
            time.sleep(self.pacing.replies)  # Flower's Grid has no call that waits for a reply.

    def deliver(self, reply: Message, report: RoundReport) -> bool:
        """Ask the coordinator about the update of a reply, which the node's keeper has delivered.

        Return whether the update was accepted; if not, the report has the reason.
        """
        node = reply.metadata.src_node_id
        report.asked += 1
        if reply.has_error():
            self._no_update(report, node, *_reason_of(reply))
            return False
        account: str | None = None
        try:
            commitment = reply.content.config_records[records.COMMITMENT]["commitment"]
            if not isinstance(commitment, str):
                raise InputError(
                    "The commitment is not text.",
                    remedy="Use folkmoot_mod() in the node's app, as the first mod.",
                )
            account = _contributor_of(commitment)
            self.retry(lambda: self._check_delivered(report.round, commitment))
            fault_point("relay.handed-in")
        except KeyError:
            self._no_update(report, node, "not-anchored", "the node does not use folkmoot's mod")
        except (UpdateRefused, InputError) as error:
            if account is None:  # The update never reached the coordinator.
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

    def _check_delivered(self, number: int, wire: str) -> None:
        """Check that the coordinator has accepted the update that a node's keeper has delivered.

        Raises:
            InputError: The commitment can't be read.
            UpdateRefused: The coordinator has refused the update, or has not received it.
            CoordinatorError: It gave no answer.
        """
        commitment, _ = commitment_from_wire(wire)
        try:
            view = self.api.get(f"/v1/rounds/{number}/updates/{commitment.contributor}")
        except CoordinatorError as error:
            if error.code != "unknown-update":
                raise
            view = {}
        if view.get("status") == "refused":
            raise UpdateRefused(
                str(view.get("detail")),
                remedy="Read the log of `folkmoot join`.",
                code=str(view.get("reason")),
            )
        if view.get("updateRoot") != "0x" + commitment.update_root.hex():
            raise UpdateRefused(
                "The node has signed an update, and the coordinator has not received it.",
                remedy="Read the log of `folkmoot join`.",
                code="not-delivered",
            )

    def _no_update(self, report: RoundReport, node: int, code: str, detail: str) -> None:
        """Record that a node sent no update that could be submitted."""
        report.refused.append((node, f"{code}: {detail}"))
        log(WARNING, "\tNode %d: %s", node, plain(report.refused[-1][1]))
        self._progress.failed(node, code, detail)

    def _refused(self, report: RoundReport, node: int, account: str | None, error: FolkmootError) -> None:
        """Record that the coordinator refused a node's update."""
        report.refused.append((node, f"{error.code}: {error.message}"))
        log(ERROR, "\tNode %d: %s", node, plain(report.refused[-1][1]))
        self._progress.refused(node, account, error.code, error.message)


def report_metrics(number: int, **metrics: MetricRecord | None) -> None:
    """Log metrics: `train` for a round, `evaluate` and `server` for the model that a round produced."""
    measured = {kind: reports.numbers(metrics.get(kind)) for kind in ("train", "evaluate", "server")}
    if any(measured.values()):
        reports.emit(reports.METRICS, round=number, **measured)


def check_layout(arrays: ArrayRecord, manifest: Manifest) -> None:
    """Check that an app's model has the layout of the manifest, in the same order.

    Raises:
        InputError: The layout or the order is another one.
    """
    shapes: dict[str, tuple[int, ...]] = {entry.name: entry.shape for entry in manifest.arrays}
    given = {name: tuple(array.shape) for name, array in arrays.items()}
    remedy = "Use the model that the genesis was made from, or start a new federation for this model."
    if given != shapes:
        differing = sorted(name for name in {*given, *shapes} if given.get(name) != shapes.get(name))
        raise InputError(
            f"The app's model is not the one on the ledger: {', '.join(differing[:5])} differ.",
            remedy=remedy,
            code="wrong-model",
        )
    for ours, theirs in zip(shapes, given, strict=True):
        if ours != theirs:
            raise InputError(
                f"The app's model has {theirs!r} where the one on the ledger has {ours!r}: the order differs.",
                remedy=remedy,
                code="wrong-model",
            )


def _read_theta(path: Path, manifest: Manifest) -> I64:
    """Read theta from a state file, without the momentum.

    Raises:
        InputError: The file is not a state file of this manifest.
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
    """Return the sha256 of the bundle that this run distributes; empty if Flower does not provide it."""
    try:
        digest = bytes.fromhex(cast(Any, grid.run).fab_hash)
    except (AttributeError, TypeError, ValueError):
        return b""
    return digest if len(digest) == 32 else b""


def _contributor_of(commitment: str) -> str | None:
    """Return the account of a commitment; None if it can't be read. The coordinator reports the reason."""
    try:
        return commitment_from_wire(commitment)[0].contributor
    except InputError:
        return None


def _reason_of(reply: Message) -> tuple[str, str]:
    """Return why a node sent no update: the mod's code and text, or Flower's error of its process."""
    known = _FLOWERS.get(reply.error.code)
    return known if known is not None else reports.split_reason(reply.error.reason or "")

# SPDX-License-Identifier: Apache-2.0
"""The strategy that anchors a Flower `ServerApp`; it takes the place of `FedAvg`.

    strategy = FolkmootStrategy(coordinator="http://127.0.0.1:8800")
    strategy.start(grid=grid, initial_arrays=ArrayRecord(model.state_dict()), num_rounds=10)

It is a courier: it carries the round from the coordinator to the nodes and their signed updates back, one
at a time. It aggregates nothing, holds no key and keeps nothing that would be lost with it: started again
in the middle of a round, it asks the nodes again, and they send the same updates. It does not know the
chain.
"""

from __future__ import annotations

import random
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
from flwr.serverapp.strategy import Result, Strategy
from flwr.supercore import log

from folkmoot.arrays import I64
from folkmoot.chain.deployment import Deployment
from folkmoot.coordinator_api import CoordinatorApi, CurrentRound, RunView
from folkmoot.errors import CoordinatorError, FolkmootError, InputError, UpdateRefused
from folkmoot.fault_points import fault_point
from folkmoot.fixed_point import to_float32
from folkmoot.flower import records, reports
from folkmoot.flower.asking import Asking
from folkmoot.manifest import Manifest

UNREACHABLE = "coordinator-unreachable"
OPEN = "open"
PULL_BYTES = 64 << 20
"""How many bytes of replies may be in memory at once (but always at least one reply)."""

MIN_TTL = 30.0
"""Seconds that a train message lives at least."""

_FLOWERS = {
    ErrorCode.LOAD_CLIENT_APP_EXCEPTION: ("app-not-loaded", "The node can't import the app."),
    ErrorCode.CLIENT_APP_RAISED_EXCEPTION: (
        "app-failed",
        "The node's app raised an exception outside of training.",
    ),
    ErrorCode.MESSAGE_UNAVAILABLE: ("node-lost", "The message to the node got lost."),
    ErrorCode.REPLY_MESSAGE_UNAVAILABLE: ("node-lost", "The node's answer got lost."),
    ErrorCode.NODE_UNAVAILABLE: ("node-lost", "The connection to the node ended before it answered."),
    ErrorCode.INVALID_FAB: ("app-not-loaded", "The node does not take this run's app bundle."),
    ErrorCode.CLIENT_APP_CRASHED: ("node-crashed", "The node's process ended before it answered."),
}
"""Code and words for Flower's own errors: their texts may quote a node's private data, and reports are public. Another
error is the mod's, and its reason begins with a code of ours."""

_T = TypeVar("_T")


@dataclass
class Pacing:
    """How often the strategy looks, in seconds."""

    replies: float = 0.1
    """For replies of nodes."""
    coordinator: float = 0.25
    """For the next round, and whether this one still takes updates."""
    nodes: float = 1.0
    """For nodes that have joined, or whose answers got lost."""
    first_retry: float = 0.25
    """After the first failed request to the coordinator; doubled at each further one."""
    last_retry: float = 10.0
    """Longest wait between two requests."""
    silence: float = 30.0
    """Least time until a node that is there and says nothing is asked again; doubled each time."""


@dataclass
class RoundReport:
    """What came of one round at this strategy."""

    round: int
    """Number of the round on the ledger."""
    asked: int = 0
    """Nodes that were asked."""
    accepted: list[str] = field(default_factory=list)
    """Accounts whose update the coordinator accepted."""
    refused: list[tuple[int, str]] = field(default_factory=list)
    """Nodes without an accepted update, and why."""


@dataclass
class _Base:
    """The base model of a round, as it is sent."""

    current: CurrentRound
    manifest: Manifest
    manifest_bytes: bytes
    theta: I64

    def arrays(self) -> ArrayRecord:
        """The base as ordinary float32 arrays."""
        named = self.manifest.unflatten(to_float32(self.theta))
        return ArrayRecord({name: Array(array) for name, array in named.items()})


class FolkmootStrategy(Strategy):
    """Carries rounds between a coordinator and the nodes of a SuperLink.

    Args:
        coordinator: URL of the coordinator.
        run_id: The coordinator's run to carry; the newest one if empty.
        fraction_train: Share of the nodes that are asked in a round. With 1, all are asked at once, and those that
            join in the middle of a round as they come.
        fraction_evaluate: Share of the nodes that are asked to evaluate each new base. 0 asks none, and
            saves a process start a node and round.
        min_train_nodes: Fewest nodes that are asked, where a sample is.
        min_available_nodes: Nodes to wait for before a sample is taken, for a third of the window at most: a round
            must not be lost because somebody has left.
        pacing: How often to look.
        api: Another client of the coordinator, for tests.
    """

    def __init__(
        self,
        coordinator: str = "",
        *,
        run_id: str = "",
        fraction_train: float = 1.0,
        fraction_evaluate: float = 0.0,
        min_train_nodes: int = 1,
        min_available_nodes: int = 1,
        pacing: Pacing | None = None,
        api: CoordinatorApi | None = None,
    ) -> None:
        if not 0 < fraction_train <= 1 or not 0 <= fraction_evaluate <= 1:
            raise InputError(
                "fraction_train and fraction_evaluate are shares between 0 and 1.",
                remedy="1 asks all nodes; fraction_evaluate=0 asks none.",
            )
        self.fraction_train = fraction_train
        self.fraction_evaluate = fraction_evaluate
        self.min_train_nodes = min_train_nodes
        self.min_available_nodes = min_available_nodes
        self.pacing = pacing or Pacing()
        self.reports: list[RoundReport] = []
        self._api = api or CoordinatorApi(coordinator)
        self._run_id = run_id
        self._deployment: Deployment | None = None
        self._base: _Base | None = None
        self._patience = 3600.0
        self._expect = 1
        self._progress = reports.Progress(0)

    def summary(self) -> None:
        """Log what the strategy is set to."""
        log(INFO, "\t├──> Coordinator: %s, run %s", self._api.url, self._run_id or "(newest)")
        log(
            INFO,
            "\t└──> Fraction: train (%.2f) | evaluate (%.2f)",
            self.fraction_train,
            self.fraction_evaluate,
        )

    # The run

    def start(
        self,
        grid: Grid,
        initial_arrays: ArrayRecord,
        num_rounds: int = 3,
        timeout: float = 3600,
        train_config: ConfigRecord | None = None,
        evaluate_config: ConfigRecord | None = None,
        evaluate_fn: Callable[[int, ArrayRecord], MetricRecord | None] | None = None,
    ) -> Result:
        """Carry rounds until the coordinator's run is over, or `num_rounds` of them.

        Args:
            grid: Connection to the nodes.
            initial_arrays: A model of the same layout, or nothing. Its weights are not used: the model to
                train is the head on the chain.
            num_rounds: Most rounds to carry. A cancelled round does not count.
            timeout: Seconds without any answer of the coordinator, or without a run, after which to give up.
            train_config: Settings for the app's train function.
            evaluate_config: Settings for the app's evaluate function.
            evaluate_fn: Called with each new base, numbered by the round that made it.

        Returns:
            Metrics by round, and the last base that was seen.

        Raises:
            CoordinatorError: The run failed, or the coordinator stayed away longer than `timeout`.
            InputError: The layout of `initial_arrays` is not the manifest's.
        """
        self._patience = timeout
        log(INFO, "Starting %s:", type(self).__name__)
        self.summary()
        try:
            return self._carry(
                grid,
                initial_arrays,
                num_rounds,
                train_config or ConfigRecord(),
                evaluate_config or ConfigRecord(),
                evaluate_fn,
            )
        finally:
            self._api.close()

    def _carry(
        self,
        grid: Grid,
        initial_arrays: ArrayRecord,
        num_rounds: int,
        train_config: ConfigRecord,
        evaluate_config: ConfigRecord,
        evaluate_fn: Callable[[int, ArrayRecord], MetricRecord | None] | None,
    ) -> Result:
        result = Result()
        run = self._await_run()
        self._expect = max(run.expect, self.min_available_nodes)
        last, carried = -1, 0
        while carried < num_rounds:
            current = self._await_round(run.id, last)
            if current is None:
                break
            last = current.round
            log(INFO, "")
            log(INFO, "[ROUND %d]", current.round)
            base = self._load_base(current)
            _check_layout(initial_arrays, base.manifest)
            result.arrays = base.arrays()
            self._evaluate(base, grid, evaluate_config, evaluate_fn, result)
            metrics = self._train(base, grid, train_config)
            if metrics is not None:
                result.train_metrics_clientapp[current.round] = metrics
                _report(current.round, train=metrics)
            carried += self._counts(current.round)
        else:
            log(INFO, "Carried %d rounds", num_rounds)
        self._finish(run.id, result, evaluate_fn)
        return result

    def _finish(
        self,
        run_id: str,
        result: Result,
        evaluate_fn: Callable[[int, ArrayRecord], MetricRecord | None] | None,
    ) -> None:
        """Fetch the model that the last round made, if the run is over and the coordinator shows it."""
        run = self._patiently(lambda: self._api.run(run_id))
        if run is None or run.state != "done" or self._base is None:
            return
        try:
            state, manifest = self._state_of(self._base.current.round), self._base.manifest
        except FolkmootError as error:
            log(WARNING, "The last model can't be fetched: %s", error)
            return
        if state is not None:
            theta = self._fetch_theta(state, manifest)
            named = manifest.unflatten(to_float32(theta))
            result.arrays = ArrayRecord({name: Array(array) for name, array in named.items()})
            if evaluate_fn is not None:
                number = self._base.current.round
                measured = evaluate_fn(number, result.arrays)
                _keep(result.evaluate_metrics_serverapp, number, measured)
                _report(number, server=measured)

    def _state_of(self, round_id: int) -> str | None:
        """Find the sha256 of the state file that a round made."""
        digest = self._api.get(f"/v1/rounds/{round_id}").get("state")
        return digest if isinstance(digest, str) else None

    def _await_run(self) -> RunView:
        end = time.monotonic() + self._patience
        told = False
        while True:
            run = self._patiently(lambda: self._api.run(self._run_id or "current"))
            if run is not None and (self._run_id or run.state == "running"):
                return run
            if time.monotonic() >= end:
                raise CoordinatorError(
                    f"The coordinator started no run in {self._patience:g} seconds.",
                    remedy="Start one with `folkmoot train`.",
                    code="no-run",
                )
            if not told:
                log(INFO, "Waiting for the coordinator to start a run")
                told = True
            time.sleep(self.pacing.coordinator)

    def _await_round(self, run_id: str, last: int) -> CurrentRound | None:
        """Wait for a round after `last` that takes updates; None when the run is over.

        Raises:
            CoordinatorError: The run failed.
        """
        while True:
            current = self._patiently(self._api.current_round)
            if current is not None and current.round > last and current.phase == OPEN:
                return current
            run = self._patiently(lambda: self._api.run(run_id))
            if run is None or run.state == "failed":
                raise CoordinatorError(
                    f"The run failed: {run.error if run else 'the coordinator does not know it any more'}.",
                    remedy="The coordinator's log says more; `folkmoot train` starts another.",
                    code="run-failed",
                )
            if run.state == "done":
                log(INFO, "The run is done: %d rounds", run.completed)
                return None
            time.sleep(self.pacing.coordinator)

    def _counts(self, round_id: int) -> bool:
        """Wait for the outcome of a round: a cancelled one made no model and is none of `num_rounds`."""
        while True:
            phase = self._patiently(lambda: self._api.get(f"/v1/rounds/{round_id}")).get("phase")
            if phase not in ("opening", "open", "committed"):
                return phase not in ("cancelled", "slashed")
            time.sleep(self.pacing.coordinator)

    def _patiently(self, ask: Callable[[], _T]) -> _T:
        """Ask the coordinator, again and again while it can't be reached.

        Raises:
            CoordinatorError: It answered with a problem, or stayed away longer than the timeout.
        """
        end = time.monotonic() + self._patience
        wait = self.pacing.first_retry
        while True:
            try:
                return ask()
            except CoordinatorError as error:
                if not _passing(error) or time.monotonic() + wait >= end:
                    raise
                log(WARNING, "%s Trying again in %.1f s", error.message, wait)
            time.sleep(wait * random.uniform(0.8, 1.2))  # noqa: S311  many couriers must not knock at once
            wait = min(2 * wait, self.pacing.last_retry)

    # The base

    def _load_base(self, current: CurrentRound) -> _Base:
        """Fetch manifest and base state; hashed on the way, and checked against the chain by every node."""
        data = self._patiently(lambda: self._api.artifact(current.manifest))
        manifest = Manifest.from_json(data)
        self._base = _Base(current, manifest, data, self._fetch_theta(current.base_state, manifest))
        return self._base

    def _fetch_theta(self, sha256: str, manifest: Manifest) -> I64:
        with TemporaryDirectory(prefix="folkmoot-base-") as folder:
            path = Path(folder, "state")
            self._patiently(lambda: self._api.download(sha256, path, manifest.state_file_size))
            return _read_theta(path, manifest)

    # Training

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Build the train messages of the round for a sample of the nodes.

        Args:
            server_round: Number of the round on the ledger.
            arrays: Not used: the base is the coordinator's.
            config: Settings for the app; `server-round` is added.
            grid: Connection to the nodes.
        """
        if self._base is None or self._base.current.round != server_round:
            current = self._patiently(self._api.current_round)
            if current is None or current.round != server_round:
                raise InputError(
                    f"Round {server_round} is not the coordinator's current round.",
                    remedy="Let `start` lead the rounds, or ask for the current one.",
                )
            self._load_base(current)
        nodes = list(grid.get_node_ids()) if self.fraction_train == 1 else self._await_nodes(grid)
        wanted = min(len(nodes), max(int(len(nodes) * self.fraction_train), self.min_train_nodes))
        return self._messages(random.sample(nodes, wanted), config, grid)

    def _messages(self, nodes: list[int], config: ConfigRecord, grid: Grid) -> list[Message]:
        base = cast(_Base, self._base)
        if self._deployment is None:
            self._deployment = self._patiently(self._api.deployment)
        said = records.RoundMessage(
            round=base.current.round,
            header=base.current.header,
            manifest=base.manifest_bytes,
            momentum_root=base.current.momentum_root,
            chain_id=self._deployment.chain_id,
            ledger=self._deployment.ledger,
            bundle_hash=_bundle_hash(grid),
        )
        content = RecordDict(
            {
                records.ROUND: said.to_record(),
                records.THETA: records.theta_record(base.theta),
                records.CONFIG: ConfigRecord({**config, "server-round": base.current.round}),
            }
        )
        left = float(base.current.commit_deadline - base.current.chain_time)
        return [
            Message(
                content=content,
                message_type="train",
                dst_node_id=node,
                group_id=str(base.current.round),
                ttl=max(left, MIN_TTL),
            )
            for node in nodes
        ]

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Hand replies to the coordinator, one by one; aggregation is its affair, and nobody's float sum.

        Returns:
            No arrays, and the mean of the metrics that the accepted replies carry.
        """
        report = RoundReport(server_round)
        self.reports.append(report)
        metrics = _MeanMetrics()
        for reply in replies:
            self._deliver(reply, report, metrics)
        log(INFO, "\t%d of %d updates accepted", len(report.accepted), report.asked)
        return None, metrics.mean()

    def _train(self, base: _Base, grid: Grid, config: ConfigRecord) -> MetricRecord | None:
        return self.aggregate_train(base.current.round, self._replies(base, grid, config))[1]

    def _replies(self, base: _Base, grid: Grid, config: ConfigRecord) -> Iterator[Message]:
        """Ask nodes and yield their replies as they come, until the coordinator says that the round is closed.

        Also when all have answered: somebody may still join, or come back.
        """
        fault_point("courier.round-loaded")
        window = float(base.current.commit_deadline - base.current.chain_time)
        self._progress = reports.Progress(
            base.current.round,
            expected=self._expect if self.fraction_train == 1 else 1,
            patience=window / 3,
        )
        asking = Asking(
            grid,
            lambda nodes: self._messages(nodes, config, grid),
            window=window,
            silence=self.pacing.silence,
            batch=max(1, PULL_BYTES // base.manifest.size),
            progress=self._progress,
        )
        asking.ask(self.configure_train(base.current.round, ArrayRecord(), config, grid))
        next_look = next_count = 0.0
        while True:
            yield from asking.replies()
            now = time.monotonic()
            if now >= next_count:
                next_count = now + self.pacing.nodes
                asking.ask_again(joining=self.fraction_train == 1)
            self._progress.look()
            if now >= next_look:
                next_look = now + self.pacing.coordinator
                if not self._still_open(base.current.round):
                    if asking.owed:
                        said = "\tRound %d is closed; %d nodes have not answered in time"
                        log(WARNING, said, base.current.round, asking.owed)
                    return
            time.sleep(self.pacing.replies)  # Flower's Grid has no call that waits for a reply

    def _still_open(self, round_id: int) -> bool:
        try:
            current = self._api.current_round()
        except CoordinatorError as error:
            if _passing(error):
                return True  # it will be back; meanwhile the nodes go on
            raise
        return current is not None and current.round == round_id and current.phase == OPEN

    def _deliver(self, reply: Message, report: RoundReport, metrics: _MeanMetrics) -> None:
        node = reply.metadata.src_node_id
        report.asked += 1
        if reply.has_error():
            code, detail = _reason_of(reply)
            self._no_update(report, node, code, detail)
            return
        account: str | None = None
        try:
            content = reply.content
            update = records.update_of(content.array_records[records.UPDATE])
            commitment = content.config_records[records.COMMITMENT]["commitment"]
            if not isinstance(commitment, str):
                raise InputError(
                    "The commitment is not text.",
                    remedy="The node's app must use folkmoot's mod, as the first one.",
                )
            account = _contributor_of(commitment)
            self._patiently(lambda: self._api.submit_update(report.round, commitment, update))
            fault_point("courier.handed-in")
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
            metrics.add(content)

    def _no_update(self, report: RoundReport, node: int, code: str, detail: str) -> None:
        """Note that a node sent no update that could be handed in."""
        report.refused.append((node, f"{code}: {detail}"))
        log(WARNING, "\tNode %d: %s", node, report.refused[-1][1])
        self._progress.failed(node, code, detail)

    def _refused(self, report: RoundReport, node: int, account: str | None, error: FolkmootError) -> None:
        """Note that the coordinator refused a node's update."""
        report.refused.append((node, f"{error.code}: {error.message}"))
        log(ERROR, "\tNode %d: %s", node, reports.plain(report.refused[-1][1]))
        self._progress.refused(node, account, error.code, error.message)

    def _await_nodes(self, grid: Grid) -> list[int]:
        """Wait for nodes to take a sample of; after a third of the round's window, take those that are there."""
        current = cast(_Base, self._base).current
        end = time.monotonic() + (current.commit_deadline - current.chain_time) / 3
        told = 0.0
        while True:
            nodes = list(grid.get_node_ids())
            if len(nodes) >= max(self.min_available_nodes, self.min_train_nodes) or time.monotonic() >= end:
                return nodes
            if time.monotonic() >= told:
                log(INFO, "Waiting for nodes: %d of %d", len(nodes), self.min_available_nodes)
                told = time.monotonic() + 10
            time.sleep(self.pacing.coordinator)

    # Evaluation

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Build evaluate messages with ordinary arrays for a sample of the nodes."""
        if self.fraction_evaluate == 0:
            return []
        nodes = list(grid.get_node_ids())
        if not nodes:
            return []
        content = RecordDict(
            {
                records.ARRAYS: arrays,
                records.CONFIG: ConfigRecord({**config, "server-round": server_round}),
            }
        )
        chosen = random.sample(nodes, max(1, int(len(nodes) * self.fraction_evaluate)))
        return [Message(content=content, message_type="evaluate", dst_node_id=node) for node in chosen]

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """Average the metrics; every node counts the same, because numbers of examples are only claims."""
        metrics = _MeanMetrics()
        for reply in replies:
            if reply.has_error():
                said = reports.plain(reply.error.reason or "")
                log(WARNING, "\tNode %d: %s", reply.metadata.src_node_id, said)
            else:
                metrics.add(reply.content)
        return metrics.mean()

    def _evaluate(
        self,
        base: _Base,
        grid: Grid,
        config: ConfigRecord,
        evaluate_fn: Callable[[int, ArrayRecord], MetricRecord | None] | None,
        result: Result,
    ) -> None:
        made_by = base.current.round - 1
        if evaluate_fn is not None:
            measured = evaluate_fn(made_by, result.arrays)
            _keep(result.evaluate_metrics_serverapp, made_by, measured)
            _report(made_by, server=measured)
        messages = list(self.configure_evaluate(made_by, result.arrays, config, grid))
        if not messages:
            return
        waiting = {identifier for identifier in grid.push_messages(messages) if identifier}
        replies: list[Message] = []
        while waiting and self._still_open(base.current.round):
            for reply in grid.pull_messages(list(waiting)):
                waiting.discard(reply.metadata.reply_to_message_id)
                replies.append(reply)
            time.sleep(self.pacing.replies)  # Flower's Grid has no call that waits for a reply
        mean = self.aggregate_evaluate(made_by, replies)
        _keep(result.evaluate_metrics_clientapp, made_by, mean)
        _report(made_by, evaluate=mean)


class _MeanMetrics:
    """The plain mean of the metrics of several replies, without keeping the replies."""

    def __init__(self) -> None:
        self._sums: dict[str, tuple[float, int]] = {}

    def add(self, content: RecordDict) -> None:
        for record in content.metric_records.values():
            for name, value in record.items():
                if isinstance(value, int | float) and np.isfinite(value):
                    total, count = self._sums.get(name, (0.0, 0))
                    self._sums[name] = (total + float(value), count + 1)

    def mean(self) -> MetricRecord | None:
        if not self._sums:
            return None
        return MetricRecord({name: total / count for name, (total, count) in self._sums.items()})


def _passing(error: CoordinatorError) -> bool:
    """Whether it may help to ask again: no connection, or a server that is starting, stopping or busy."""
    status = error.details.get("status")
    return error.code == UNREACHABLE or status in (429, 502, 503, 504)


def _keep(where: dict[int, MetricRecord], number: int, metrics: MetricRecord | None) -> None:
    if metrics is not None:
        where[number] = metrics
        log(INFO, "\tRound %d: %s", number, dict(metrics))


def _report(number: int, **metrics: MetricRecord | None) -> None:
    """Log what was measured: `train` in a round, `evaluate` and `server` of the model that a round made."""
    found = {kind: reports.numbers(metrics.get(kind)) for kind in ("train", "evaluate", "server")}
    if any(found.values()):
        reports.emit(reports.METRICS, round=number, **found)


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
            "The base state is no state file of this manifest.",
            remedy="The coordinator is broken; nodes would refuse it.",
            code="malformed-state",
        )
    return np.frombuffer(theta, dtype="<i8").astype(np.int64, copy=False)


def _check_layout(arrays: ArrayRecord, manifest: Manifest) -> None:
    """Check that an app's model has the layout of the manifest.

    Raises:
        InputError: It has not.
    """
    if not arrays:
        return
    wanted: dict[str, tuple[int, ...]] = {tensor.name: tensor.shape for tensor in manifest.tensors}
    wanted.update({buffer.name: buffer.shape for buffer in manifest.carried})
    given = {name: tuple(array.shape) for name, array in arrays.items()}
    if given != wanted:
        differing = sorted(name for name in {*given, *wanted} if given.get(name) != wanted.get(name))
        raise InputError(
            f"The app's model is not the one on the ledger: {', '.join(differing[:5])} differ.",
            remedy="Give the model that the genesis was made from, or deploy a ledger for this one.",
            code="wrong-model",
        )


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

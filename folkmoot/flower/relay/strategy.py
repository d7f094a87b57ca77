# SPDX-License-Identifier: Apache-2.0
"""The strategy that anchors a Flower `ServerApp`; it replaces `FedAvg`.

    strategy = FolkmootStrategy(coordinator="http://127.0.0.1:8800")
    strategy.start(grid=grid, initial_arrays=ArrayRecord(model.state_dict()), num_rounds=10)

Use it to anchor an app explicitly; `folkmoot.flower.anchored_server` anchors an unchanged app. The strategy sends
rounds from the coordinator to the nodes and their signed updates back (`rounds.py`). It aggregates nothing.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator
from logging import INFO, WARNING
from typing import cast

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Result, Strategy
from flwr.supercore import log

from folkmoot.coordinator_api import CoordinatorApi, CurrentRound
from folkmoot.errors import FolkmootError, InputError, plain
from folkmoot.flower import records
from folkmoot.flower.relay.rounds import (
    Base,
    Pacing,
    Relay,
    RoundReport,
    arrays_of,
    check_layout,
    report_metrics,
)
from folkmoot.protocol.fixed_point import to_float32

__all__ = ["FolkmootStrategy", "Pacing", "RoundReport"]

Metrics = Callable[[list[RecordDict], str], MetricRecord]
"""Aggregates the metric records of several replies; the second argument is `weighted_by_key`."""


class FolkmootStrategy(Strategy):
    """Transfers rounds between a coordinator and the nodes of a SuperLink.

    Arguments that FedAvg has too have the same meaning, but other defaults.

    Args:
        coordinator: URL of the coordinator.
        run_id: The coordinator's run; the newest one if empty.
        fraction_train: Share of the nodes that are asked in a round. With 1, all nodes are asked at once, and nodes
            that join in the middle of a round are asked when they join.
        fraction_evaluate: Share of the nodes that are asked to evaluate each new base. With 0 no node is asked, which
            saves one process start for each node and round.
        min_train_nodes: Minimum number of nodes in a sample for training.
        min_evaluate_nodes: Minimum number of nodes in a sample for evaluation.
        min_available_nodes: Number of nodes to wait for before a sample is taken. The wait lasts at most a third of the
            window, so that a round is not lost because a node has left.
        weighted_by_key: Metric that weights the mean of the others. If empty, each node has the same weight, because
            numbers of examples are only claims. It never weights an update.
        arrayrecord_key: Name of the record with the app's arrays.
        configrecord_key: Name of the record with the app's settings.
        train_metrics_aggr_fn: Function that aggregates the metrics of training; by default the mean.
        evaluate_metrics_aggr_fn: Function that aggregates the metrics of evaluation; by default the mean.
        proximal_mu: Sent as the setting `proximal-mu`, as FedProx does, unless it is None.
        pacing: Seconds between polls.
        api: Another client of the coordinator, for tests.

    Raises:
        InputError: The coordinator's URL is missing, or a share is out of range.
    """

    def __init__(
        self,
        coordinator: str = "",
        *,
        run_id: str = "",
        fraction_train: float = 1.0,
        fraction_evaluate: float = 0.0,
        min_train_nodes: int = 1,
        min_evaluate_nodes: int = 1,
        min_available_nodes: int = 1,
        weighted_by_key: str = "",
        arrayrecord_key: str = records.ARRAYS,
        configrecord_key: str = records.CONFIG,
        train_metrics_aggr_fn: Metrics | None = None,
        evaluate_metrics_aggr_fn: Metrics | None = None,
        proximal_mu: float | None = None,
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
        self.min_evaluate_nodes = min_evaluate_nodes
        self.min_available_nodes = min_available_nodes
        self.weighted_by_key = weighted_by_key
        self.arrayrecord_key = arrayrecord_key
        self.configrecord_key = configrecord_key
        self.train_metrics_aggr_fn = train_metrics_aggr_fn or mean_metrics
        self.evaluate_metrics_aggr_fn = evaluate_metrics_aggr_fn or mean_metrics
        self.proximal_mu = proximal_mu
        self._relay = Relay(coordinator, run_id=run_id, pacing=pacing, api=api)
        self._expect = 1
        self.pacing = self._relay.pacing
        self.reports = self._relay.reports

    def summary(self) -> None:
        """Log the strategy's settings."""
        log(INFO, "\t├──> Coordinator: %s, run %s", self._relay.api.url, self._relay.run_id or "(newest)")
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
        """Run at most `num_rounds` rounds, until the coordinator's run has ended.

        Args:
            grid: Connection to the nodes.
            initial_arrays: A model of the same layout, or an empty record. Its weights are not used: the model to
                train is the head on the chain.
            num_rounds: Maximum number of rounds. A cancelled round does not count.
            timeout: Timeout in seconds for an answer of the coordinator, and for a run.
            train_config: Settings for the app's train function.
            evaluate_config: Settings for the app's evaluate function.
            evaluate_fn: Called with each new base and the number of the round that produced it.

        Returns:
            Metrics by round, and the last base that was received.

        Raises:
            CoordinatorError: The run failed, or the coordinator was unavailable for longer than `timeout`.
            InputError: The layout of `initial_arrays` is not the manifest's.
        """
        self._relay.timeout = timeout
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
            self._relay.close()

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
        run = self._relay.await_run()
        self._expect = max(run.expect, self.min_available_nodes)
        last: CurrentRound | None = None
        carried = 0
        while carried < num_rounds:
            current = self._relay.await_round(run.id, last)
            if current is None:
                log(INFO, "The run is done")
                break
            last = current
            log(INFO, "")
            log(INFO, "[ROUND %d]", current.round)
            base = self._relay.load_base(current)
            if initial_arrays:
                check_layout(initial_arrays, base.manifest)
            if evaluate_fn is not None or self.fraction_evaluate:
                self._evaluate(base, grid, evaluate_config, evaluate_fn, result)
            metrics = self._train(base, grid, train_config)
            if metrics is not None:
                result.train_metrics_clientapp[current.round] = metrics
                report_metrics(current.round, train=metrics)
            carried += self._relay.await_end(run.id, current) is not None
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
        """Fetch the model of the last round if the run has ended and the coordinator has it, or else the last base."""
        relay = self._relay
        if relay.base is None:
            return
        run = relay.retry(lambda: relay.api.run(run_id))
        number, manifest = relay.base.current.round, relay.base.manifest
        state: object = None
        if run is not None and run.state == "done":
            try:
                state = relay.api.get(f"/v1/rounds/{number}").get("state")
            except FolkmootError as error:
                log(WARNING, "The last model can't be fetched: %s", error)
        if not isinstance(state, str):
            result.arrays = relay.base.arrays()
        else:
            theta = relay.fetch_theta(state, manifest)
            result.arrays = arrays_of(to_float32(theta), manifest, relay.file)
            if evaluate_fn is not None:
                measured = evaluate_fn(number, result.arrays)
                _keep(result.evaluate_metrics_serverapp, number, measured)
                report_metrics(number, server=measured)

    # Training

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Return the train messages of the round for a sample of the nodes.

        Args:
            server_round: Number of the round on the ledger.
            arrays: Not used: the base comes from the coordinator.
            config: Settings for the app; `server-round` is added.
            grid: Connection to the nodes.
        """
        relay = self._relay
        if relay.base is None or relay.base.current.round != server_round:
            current = relay.retry(relay.api.current_round)
            if current is None or current.round != server_round:
                raise InputError(
                    f"Round {server_round} is not the coordinator's current round.",
                    remedy="Let `start` lead the rounds, or ask for the current one.",
                )
            relay.load_base(current)
        nodes = list(grid.get_node_ids()) if self.fraction_train == 1 else self._await_nodes(grid)
        if relay.base is not None and len(nodes) < relay.base.least:
            log(
                INFO,
                "\tNobody is asked: %d nodes are connected, and the round needs %d",
                len(nodes),
                relay.base.least,
            )
            return []
        count = min(len(nodes), max(int(len(nodes) * self.fraction_train), self.min_train_nodes))
        return self._messages(random.sample(nodes, count), config, grid)

    def _messages(self, nodes: list[int], config: ConfigRecord, grid: Grid) -> list[Message]:
        base = cast(Base, self._relay.base)
        settings = {**config, "server-round": base.current.round}
        if self.proximal_mu is not None:
            settings["proximal-mu"] = self.proximal_mu
        content = RecordDict(
            {
                records.ROUND: self._relay.round_record(grid, self.arrayrecord_key),
                self.arrayrecord_key: ArrayRecord(),
                self.configrecord_key: ConfigRecord(settings),
            }
        )
        return [self._relay.message(content, node) for node in nodes]

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Submit replies to the coordinator one by one. The coordinator aggregates them, in integers.

        Returns:
            No arrays, and the metrics of the accepted replies, aggregated.
        """
        report = RoundReport(server_round)
        self.reports.append(report)
        contents = [
            RecordDict(dict(reply.content.metric_records))
            for reply in replies
            if self._relay.deliver(reply, report)
        ]
        log(INFO, "\t%d of %d updates accepted", len(report.accepted), report.asked)
        return None, _aggregated(self.train_metrics_aggr_fn, contents, self.weighted_by_key)

    def _train(self, base: Base, grid: Grid, config: ConfigRecord) -> MetricRecord | None:
        return self.aggregate_train(base.current.round, self._replies(base, grid, config))[1]

    def _replies(self, base: Base, grid: Grid, config: ConfigRecord) -> Iterator[Message]:
        return self._relay.replies(
            base,
            grid,
            self.configure_train(base.current.round, ArrayRecord(), config, grid),
            lambda nodes: self._messages(nodes, config, grid),
            joining=self.fraction_train == 1,
            expected=self._expect if self.fraction_train == 1 else 1,
        )

    def _await_nodes(self, grid: Grid) -> list[int]:
        """Wait for enough nodes for a sample, at most a third of the round's window. Return the connected nodes."""
        current = cast(Base, self._relay.base).current
        end = time.monotonic() + (current.commit_deadline - current.chain_time) / 3
        next_log = 0.0
        while True:
            nodes = list(grid.get_node_ids())
            if len(nodes) >= max(self.min_available_nodes, self.min_train_nodes) or time.monotonic() >= end:
                return nodes
            if time.monotonic() >= next_log:
                log(INFO, "Waiting for nodes: %d of %d", len(nodes), self.min_available_nodes)
                next_log = time.monotonic() + 10
            time.sleep(self.pacing.coordinator)

    # Evaluation

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Return evaluate messages with ordinary arrays for a sample of the nodes."""
        if self.fraction_evaluate == 0:
            return []
        nodes = list(grid.get_node_ids())
        if not nodes:
            return []
        content = RecordDict(
            {
                self.arrayrecord_key: arrays,
                self.configrecord_key: ConfigRecord({**config, "server-round": server_round}),
            }
        )
        count = max(1, int(len(nodes) * self.fraction_evaluate), self.min_evaluate_nodes)
        chosen = random.sample(nodes, min(len(nodes), count))
        return [Message(content=content, message_type="evaluate", dst_node_id=node) for node in chosen]

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """Aggregate the metrics of the nodes that evaluated."""
        contents: list[RecordDict] = []
        for reply in replies:
            if reply.has_error():
                words = plain(reply.error.reason or "")
                log(WARNING, "\tNode %d: %s", reply.metadata.src_node_id, words)
            else:
                contents.append(reply.content)
        return _aggregated(self.evaluate_metrics_aggr_fn, contents, self.weighted_by_key)

    def _evaluate(
        self,
        base: Base,
        grid: Grid,
        config: ConfigRecord,
        evaluate_fn: Callable[[int, ArrayRecord], MetricRecord | None] | None,
        result: Result,
    ) -> None:
        made_by, arrays = base.current.round - 1, base.arrays()
        if evaluate_fn is not None:
            measured = evaluate_fn(made_by, arrays)
            _keep(result.evaluate_metrics_serverapp, made_by, measured)
            report_metrics(made_by, server=measured)
        messages = list(self.configure_evaluate(made_by, arrays, config, grid))
        if not messages:
            return
        waiting = {identifier for identifier in grid.push_messages(messages) if identifier}
        replies: list[Message] = []
        last = time.monotonic()
        while waiting and self._relay.still_open(base.current):
            for reply in grid.pull_messages(list(waiting)):
                waiting.discard(reply.metadata.reply_to_message_id)
                replies.append(reply)
                last = time.monotonic()
            # Flower's Grid has no call that waits for a reply.
            time.sleep(self.pacing.pause(self.pacing.replies, last))
        mean = self.aggregate_evaluate(made_by, replies)
        _keep(result.evaluate_metrics_clientapp, made_by, mean)
        report_metrics(made_by, evaluate=mean)


def mean_metrics(replies: list[RecordDict], weighted_by_key: str = "") -> MetricRecord:
    """Return the mean of each finite metric, over the replies that have it.

    Args:
        replies: Records of the nodes' replies.
        weighted_by_key: Metric that weights the others. If empty, each node has the same weight.
    """
    sums: dict[str, tuple[float, float]] = {}
    for content in replies:
        numbers = {
            name: float(value)
            for record in content.metric_records.values()
            for name, value in record.items()
            if isinstance(value, int | float) and np.isfinite(value)
        }
        weight = max(numbers.pop(weighted_by_key, 0.0), 0.0) if weighted_by_key else 1.0
        for name, value in numbers.items():
            total, weights = sums.get(name, (0.0, 0.0))
            sums[name] = (total + weight * value, weights + weight)
    return MetricRecord({name: total / weights for name, (total, weights) in sums.items() if weights})


def _aggregated(aggregate: Metrics, replies: list[RecordDict], weighted_by_key: str) -> MetricRecord | None:
    metrics = aggregate(replies, weighted_by_key) if replies else None
    return metrics or None


def _keep(where: dict[int, MetricRecord], number: int, metrics: MetricRecord | None) -> None:
    if metrics is not None:
        where[number] = metrics
        log(INFO, "\tRound %d: %s", number, dict(metrics))

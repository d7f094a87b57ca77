# SPDX-License-Identifier: Apache-2.0
"""Anchor an app's own strategy: run each of its rounds as a round of the ledger.

While the strategy's `start` runs, this module changes two of its methods and the grid:

- `configure_train` waits for the next open round and calls the strategy's own method, with the head on the
  chain instead of the arrays. Nodes, settings and extra records are the strategy's.
- Train messages get the round instead of their arrays. The relay asks the coordinator about the update of each reply,
  and waits for the end of the round. A cancelled round does not count and starts again with the
  same settings.
- `aggregate_train` returns the arrays that the round made on the chain. The metrics are the strategy's own.

A relay that starts again repeats the completed rounds of the run without messages to nodes, and continues where the
earlier relay stopped. `server_app.py` installs these changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from logging import ERROR, INFO, WARNING
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy
from flwr.supercore import log

from folkmoot.coordinator_api import CurrentRound
from folkmoot.errors import CoordinatorError, FolkmootError, InputError, plain
from folkmoot.flower import records
from folkmoot.flower.relay.legacy import own_method
from folkmoot.flower.relay.rounds import (
    MADE,
    Base,
    Relay,
    RoundReport,
    arrays_of,
    check_layout,
    report_metrics,
)
from folkmoot.protocol.codec import decode_update
from folkmoot.protocol.fixed_point import LEAF, to_float32
from folkmoot.protocol.header import RoundHeader
from folkmoot.protocol.manifest import Manifest


@dataclass(frozen=True)
class _Call:
    """Arguments of the app's call of `configure_train`."""

    server_round: int
    config: ConfigRecord
    before: dict[str, Any]
    """Contents of the config at the call."""


class Anchor:
    """The anchored side of a strategy, for one run.

    Args:
        strategy: The app's strategy; it must not be anchored yet.
        relay: Connection to the coordinator.
        nodes: Flower's own connection to the nodes.
        grid: Grid that the strategy sees.
    """

    def __init__(self, strategy: Strategy, relay: Relay, nodes: Grid, grid: Grid) -> None:
        self.rounds = 0
        self._own_configure_train = strategy.configure_train
        self._own_aggregate_train = strategy.aggregate_train
        self._own_configure_evaluate = strategy.configure_evaluate
        self._own_aggregate_evaluate = strategy.aggregate_evaluate
        self._strategy: Any = strategy
        self._aggregates = bool(own_method(strategy, "aggregate_train"))
        self._selects = bool(own_method(strategy, "configure_train"))
        self._relay, self._nodes, self._grid = relay, nodes, grid
        self._manifest: Manifest | None = None
        self._run, self._expect = "", 1
        self._past: list[
            str
        ] = []  # State files of the run's rounds that were completed before this relay started.
        self._at = 0  # Completed rounds of the app.
        self._last = -1  # Newest completed round of the ledger.
        self._ended: CurrentRound | None = None  # The round that ended last.
        self._first = 0  # Round whose model the run starts from, while no round of the run is completed.
        self._base: Base | None = None
        self._call: _Call | None = None
        self._made: str | None = None  # State file that the round produced.
        self._repeating = False
        self._newest: ArrayRecord | None = None
        self._announced = False
        self._replaced: set[str] = set()

    def begin(self) -> None:
        """Wait for the run, and find its initial model.

        Raises:
            CoordinatorError: There is no run, or it has ended.
        """
        run = self._relay.await_run()
        self._run, self.rounds, self._expect = run.id, run.rounds, run.expect
        self._manifest = self._relay.manifest()
        past = self._past_rounds(run.completed)
        if past:
            self._past, self._last = [view["state"] for view in past], int(past[-1]["round"])
            log(INFO, "%d rounds of the run are done: continuing after them", len(past))
            first = past[0]["baseState"]
        else:
            current = self._relay.await_round(self._run, None)
            if current is None:
                raise CoordinatorError(
                    "The coordinator's run has ended.",
                    remedy="Start another run with `folkmoot train`.",
                    code="no-run",
                )
            first, self._first = current.base_state, current.round - 1
        self._newest = self._arrays(first)

    def replace(self, given: dict[str, Any]) -> None:
        """Replace arguments of a `start`: its arrays, its rounds, and its evaluation. Each is replaced once.

        Args:
            given: The arguments by name.

        Raises:
            InputError: The app's model is not the federation's.
        """
        name = next((name for name, value in given.items() if isinstance(value, ArrayRecord)), None)
        if name is not None and "arrays" not in self._replaced:
            if len(given[name]):  # An app of the old interface may have none.
                check_layout(given[name], self._layout)
            self._replaced.add("arrays")
            given[name] = self._newest
        if callable(given.get("evaluate_fn")) and "evaluate_fn" not in self._replaced:
            self._replaced.add("evaluate_fn")
            given["evaluate_fn"] = self.evaluated(given["evaluate_fn"])
        rounds = given.get("num_rounds")
        if rounds is not None and "num_rounds" not in self._replaced:
            self._replaced.add("num_rounds")
            if rounds != self.rounds:
                log(
                    INFO,
                    "The coordinator's run has %d rounds; they replace the app's %s",
                    self.rounds,
                    rounds,
                )
            given["num_rounds"] = self.rounds

    def _past_rounds(self, completed: int) -> list[dict[str, Any]]:
        """Return the coordinator's data on the run's completed rounds, oldest first."""
        if not completed:
            return []

        def look() -> list[dict[str, Any]]:
            rounds: list[dict[str, Any]] = []
            for view in self._relay.api.items("/v1/rounds"):
                if view["run"] != self._run or len(rounds) == completed:
                    break
                if view["phase"] in MADE and view["state"]:
                    rounds.append(view)
            return rounds[::-1]

        return self._relay.retry(look)

    def _arrays(self, state: str) -> ArrayRecord:
        manifest = self._layout
        return arrays_of(to_float32(self._relay.fetch_theta(state, manifest)), manifest, self._relay.file)

    @property
    def _layout(self) -> Manifest:
        assert self._manifest is not None  # noqa: S101  begin() was called
        return self._manifest

    # Methods that replace the strategy's own

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Wait for an open round, and let the strategy write its messages for it."""
        self._call, self._made = _Call(server_round, config, dict(config)), None
        self._repeating = self._at < len(self._past)
        if self._repeating:
            log(INFO, "\tThis round was completed before: its model is the coordinator's")
            list(
                self._own_configure_train(server_round, arrays, config, self._grid)
            )  # The strategy may change its settings.
            return []
        return self._configured()

    def _configured(self) -> list[Message]:
        call = self._call
        if call is None or not self._open():
            return []
        for name in list(call.config):
            del call.config[name]
        for name, value in call.before.items():
            call.config[name] = value
        base = self._base
        assert base is not None  # noqa: S101  a round is open
        return list(self._own_configure_train(call.server_round, base.arrays(), call.config, self._grid))

    def _open(self) -> bool:
        """Wait for the next round and load its base. Return whether there is a next round."""
        current = self._relay.await_round(self._run, self._ended)
        self._base = None if current is None else self._relay.load_base(current)
        if current is None and not self._announced:
            log(WARNING, "The coordinator's run has ended: the app's further rounds train nothing")
            self._announced = True
        return current is not None

    def train(self, messages: list[Message]) -> list[Message]:
        """Send train messages in a round of the ledger, until a round has produced a model.

        Returns:
            The replies with accepted updates, as the app's nodes wrote them, and the errors of other nodes.
        """
        while messages:
            if self._base is None and not self._open():
                return []
            base = self._base
            assert base is not None  # noqa: S101  a round is open
            number = base.current.round
            answers = self._carry(base, messages) if self._relay.still_open(base.current) else []
            self._made = self._relay.await_end(self._run, base.current)
            self._base, self._last, self._ended = None, number, base.current
            if self._made is not None:
                for reply, account in answers if self._aggregates else []:
                    if account:
                        self._add_arrays(reply, base, account)
                return [reply for reply, _ in answers]
            log(WARNING, "\tRound %d has no outcome and does not count. The app's round starts again", number)
            if self._call is not None:
                messages = self._configured()
        return []

    def _carry(self, base: Base, messages: list[Message]) -> list[tuple[Message, str]]:
        """Send messages to the nodes. Return each reply, with the account whose update was accepted; empty if none."""
        by_node = {message.metadata.dst_node_id: message for message in messages}
        if len(by_node) != len(messages):
            raise InputError(
                "The app sends a node two train messages in one round.",
                remedy="Send each node one train message per round: a round takes one update from each contributor.",
                code="unsupported-app",
            )
        anchored: dict[int, RecordDict] = {}
        for message in messages:
            if id(message.content) not in anchored:
                anchored[id(message.content)] = self._anchored(message.content)

        # Nodes that join later get a message too if all nodes are selected and get the same message.
        alike = messages[0] if len(anchored) == 1 else None
        all_asked = not self._selects or by_node.keys() >= set(self._nodes.get_node_ids())
        joining = alike is not None and all_asked and getattr(self._strategy, "fraction_train", None) == 1

        def write(nodes: list[int]) -> list[Message]:
            given = [by_node.get(node, messages[0]) for node in nodes]
            return [
                self._relay.message(
                    anchored[id(like.content)],
                    node,
                    like.metadata.message_type,
                    like.metadata.group_id,
                )
                for node, like in zip(nodes, given, strict=True)
            ]

        report = RoundReport(base.current.round)
        self._relay.reports.append(report)
        answers: list[tuple[Message, str]] = []
        replies = self._relay.replies(
            base,
            self._nodes,
            write(list(by_node)),
            write,
            joining=joining,
            expected=self._expect if joining else len(by_node),
        )
        for reply in replies:
            if self._relay.deliver(reply, report):
                del reply.content[records.COMMITMENT]
                answers.append((reply, report.accepted[-1]))
            elif reply.has_error():
                answers.append((plain_error(reply), ""))
        log(INFO, "\t%d of %d updates accepted", len(report.accepted), report.asked)
        return answers

    def _anchored(self, content: RecordDict) -> RecordDict:
        """Return the app's records with the round, and without the bytes of its arrays."""
        key = self._arrays_key(content)
        anchored = RecordDict({**content, key: ArrayRecord()})
        anchored[records.ROUND] = self._relay.round_record(self._nodes, key)
        return anchored

    def _arrays_key(self, content: RecordDict) -> str:
        names = list(content.array_records)
        named = getattr(self._strategy, "arrayrecord_key", records.ARRAYS)
        if named in names:
            return str(named)
        if len(names) == 1:
            return names[0]
        raise InputError(
            f"The app's train message has the array records {', '.join(names) or '(none)'}. None of them is the model.",
            remedy=f"Send the model as the ArrayRecord {named!r}.",
            code="unsupported-app",
        )

    def _add_arrays(self, reply: Message, base: Base, account: str) -> None:
        """Add the arrays that an account's node trained: its update is public once its round has produced a model.

        A failure is logged, and leaves them out: it must not stop the run.
        """
        view = f"/v1/rounds/{base.current.round}/updates/{account}"
        try:
            sha256 = self._relay.retry(lambda: self._relay.api.get(view))["sha256"]
            size = base.manifest.update_file_size(RoundHeader.decode(base.current.header).width)
            path = self._relay.retry(lambda: self._relay.api.files.fetch(str(sha256), size))
            key = getattr(self._strategy, "arrayrecord_key", records.ARRAYS)
            reply.content = RecordDict({key: _trained(base, path.read_bytes()), **reply.content})
        except (FolkmootError, KeyError) as error:
            log(ERROR, "\tThe app's strategy gets no arrays of %s: %s", account, error)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Return the arrays that the round produced, and the strategy's own metrics."""
        listed, metrics = list(replies), None
        if self._repeating:
            self._made = self._past[self._at]
        elif self._made is not None:
            metrics = self._metrics(server_round, listed)
            report_metrics(self._last, train=metrics)
        else:
            return self._newest, None  # No node has trained.
        self._at += 1
        self._newest = self._arrays(self._made)
        return self._newest, metrics

    def _metrics(self, server_round: int, replies: list[Message]) -> MetricRecord | None:
        """Return the strategy's metrics. A failure is logged, so that one node's metrics can't stop the run."""
        try:
            if self._aggregates or not hasattr(self._strategy, "train_metrics_aggr_fn"):
                return self._own_aggregate_train(server_round, replies)[1]
            key = self._strategy.weighted_by_key
            contents = [
                reply.content for reply in replies if not reply.has_error() and _weighs(reply.content, key)
            ]
            metrics: MetricRecord | None = (
                self._strategy.train_metrics_aggr_fn(contents, key) if contents else None
            )
            return metrics
        except Exception as error:
            log(
                ERROR,
                "The app's aggregate_train raised %s: round %d is anchored, and its metrics are missing",
                type(error).__name__,
                server_round,
                exc_info=error,
            )
            return None

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Return the strategy's messages, or none if the round was completed before this relay started."""
        if self._repeating:
            return []
        return self._own_configure_evaluate(server_round, arrays, config, self._grid)

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """Return the strategy's metrics, or None if the round was completed before this relay started."""
        if self._repeating:
            return None
        metrics = self._own_aggregate_evaluate(server_round, replies)
        report_metrics(max(self._last, 0), evaluate=metrics)
        return metrics

    def evaluated(
        self, evaluate: Callable[[int, ArrayRecord], MetricRecord | None]
    ) -> Callable[[int, ArrayRecord], MetricRecord | None]:
        """Return the app's own evaluation at the server, with its result logged."""

        def evaluate_and_report(server_round: int, arrays: ArrayRecord) -> MetricRecord | None:
            metrics = evaluate(server_round, arrays)
            if self._at >= len(self._past):
                report_metrics(max(self._last, self._first), server=metrics)
            return metrics

        return evaluate_and_report


def plain_error(reply: Message) -> Message:
    """Return an error reply with a one-line reason. Strategies log it, and a node must not add log lines."""
    reply.error = Error(reply.error.code, plain(reply.error.reason or ""))
    return reply


def _weighs(content: RecordDict, key: str) -> bool:
    """Return whether a reply has the metrics that Flower's weighted mean needs."""
    metric_records = list(content.metric_records.values())
    value = metric_records[0].get(key) if len(metric_records) == 1 else None
    return isinstance(value, int | float) and bool(np.isfinite(value)) and value > 0


def _trained(base: Base, data: bytes) -> ArrayRecord:
    """Return the arrays that a node trained, from its update: base minus update."""
    manifest, header = base.manifest, RoundHeader.decode(base.current.header)
    steps = np.repeat(
        np.exp2(np.array(header.exponents, np.float64)), [LEAF * count for count in manifest.leaf_counts]
    )
    flat = (to_float32(base.theta) - decode_update(data, manifest, header.width) * steps).astype(np.float32)
    return arrays_of(flat, manifest, base.files)

# SPDX-License-Identifier: Apache-2.0
"""Anchor an app's own strategy: make its rounds rounds of the ledger.

While the strategy's `start` runs, this module changes two of its methods and the grid:

- `configure_train` waits for the next open round and calls the strategy's own method, with the head on the
  chain instead of the arrays. Nodes, settings and extra records are the strategy's.
- Train messages get the round and theta instead of their arrays. The relay sends each reply to the coordinator at once
  and waits for the end of the round. A cancelled round does not count and starts again with the same settings.
- `aggregate_train` returns the arrays that the round made on the chain. The metrics are the strategy's own.

A relay that starts again repeats the completed rounds of the run without messages to nodes, and continues where the
earlier relay stopped. `server_app.py` installs these changes; this module does not know how.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from logging import ERROR, INFO, WARNING
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy
from flwr.supercore import log

from folkmoot.errors import CoordinatorError, InputError
from folkmoot.flower import records
from folkmoot.flower.relay import MADE, Base, Relay, RoundReport, arrays_of, check_layout, report_metrics
from folkmoot.flower.reports import plain
from folkmoot.protocol.codec import decode_update
from folkmoot.protocol.fixed_point import LEAF, to_float32
from folkmoot.protocol.header import RoundHeader
from folkmoot.protocol.manifest import Manifest


@dataclass(frozen=True)
class _Call:
    """How the app called `configure_train`."""

    server_round: int
    config: ConfigRecord
    before: dict[str, Any]
    """What was in the config then."""


class Anchor:
    """The anchored side of a strategy, for one run.

    Args:
        strategy: The app's strategy; it must not be anchored yet.
        relay: The way to the coordinator.
        nodes: Flower's own connection to the nodes.
        grid: What the strategy sees of it.
    """

    def __init__(self, strategy: Strategy, relay: Relay, nodes: Grid, grid: Grid) -> None:
        self.rounds = 0
        self._own_configure_train = strategy.configure_train
        self._own_aggregate_train = strategy.aggregate_train
        self._own_configure_evaluate = strategy.configure_evaluate
        self._own_aggregate_evaluate = strategy.aggregate_evaluate
        self._strategy: Any = strategy
        self._relay, self._nodes, self._grid = relay, nodes, grid
        self._manifest: Manifest | None = None
        self._run, self._expect = "", 1
        self._past: list[str] = []  # state file of each of the run's rounds that were there before
        self._at = 0  # rounds of the app that are over
        self._last = -1  # the newest round of the ledger that is over
        self._first = 0  # the round that made the model that the run starts from, as long as none is over
        self._base: Base | None = None
        self._call: _Call | None = None
        self._made: str | None = None  # state file that the round has made
        self._repeating = False
        self._newest: ArrayRecord | None = None
        self._told = False

    def begin(self, initial: ArrayRecord | None) -> ArrayRecord:
        """Wait for the run, and find the model that it starts from.

        Args:
            initial: The app's own model; only its layout is used.

        Raises:
            CoordinatorError: There is no run, or it is over.
            InputError: The app's model is not the federation's.
        """
        run = self._relay.await_run()
        self._run, self.rounds, self._expect = run.id, run.rounds, run.expect
        self._manifest = self._relay.manifest()
        if initial is not None:
            check_layout(initial, self._manifest)
        past = self._past_rounds(run.completed)
        if past:
            self._past, self._last = [view["state"] for view in past], int(past[-1]["round"])
            log(INFO, "%d rounds of the run are done: continuing after them", len(past))
            first = past[0]["baseState"]
        else:
            current = self._relay.await_round(self._run, self._last)
            if current is None:
                raise CoordinatorError(
                    "The coordinator's run has ended.",
                    remedy="Start another run with `folkmoot train`.",
                    code="no-run",
                )
            first, self._first = current.base_state, current.round - 1
        self._newest = self._arrays(first)
        return self._newest

    def _past_rounds(self, completed: int) -> list[dict[str, Any]]:
        """What the coordinator says of the run's completed rounds, oldest first."""
        if not completed:
            return []

        def look() -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = []
            for view in self._relay.api.items("/v1/rounds"):
                if view["run"] != self._run or len(found) == completed:
                    break
                if view["phase"] in MADE and view["state"]:
                    found.append(view)
            return found[::-1]

        return self._relay.retry(look)

    def _arrays(self, state: str) -> ArrayRecord:
        manifest = self._layout
        return arrays_of(self._relay.fetch_theta(state, manifest), manifest)

    @property
    def _layout(self) -> Manifest:
        assert self._manifest is not None  # noqa: S101  begin() has been called
        return self._manifest

    # The seams

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
            )  # it may change its settings
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
        """Wait for the next round and load its base; whether there is one."""
        current = self._relay.await_round(self._run, self._last)
        self._base = None if current is None else self._relay.load_base(current)
        if current is None and not self._told:
            log(WARNING, "The coordinator's run has ended: the app's further rounds train nothing")
            self._told = True
        return current is not None

    def train(self, messages: list[Message]) -> list[Message]:
        """Carry train messages through a round of the ledger, until it has made a model.

        Returns:
            The replies whose updates were accepted, as the app's nodes wrote them, and the errors of other nodes.
        """
        while messages:
            if self._base is None and not self._open():
                return []
            base = self._base
            assert base is not None  # noqa: S101  a round is open
            number = base.current.round
            replies = self._carry(base, messages) if self._relay.still_open(number) else []
            self._made = self._relay.await_end(self._run, number)
            self._base, self._last = None, number
            if self._made is not None:
                return replies
            log(WARNING, "\tRound %d was cancelled and does not count. The app's round starts again", number)
            if self._call is not None:
                messages = self._configured()
        return []

    def _carry(self, base: Base, messages: list[Message]) -> list[Message]:
        """Ask the nodes, and hand each reply to the coordinator."""
        by_node = {message.metadata.dst_node_id: message for message in messages}
        if len(by_node) != len(messages):
            raise InputError(
                "The app sends a node two train messages in one round.",
                remedy="Send each node one train message per round: a round takes one update from each contributor.",
                code="unsupported-app",
            )
        theta = records.theta_record(base.theta)
        anchored: dict[int, RecordDict] = {}
        for message in messages:
            if id(message.content) not in anchored:
                anchored[id(message.content)] = self._anchored(message.content, theta)
        # Nodes that join are asked as well where all get the same, and all are asked.
        alike = messages[0] if len(anchored) == 1 else None
        joining = alike is not None and getattr(self._strategy, "fraction_train", None) == 1

        def write(nodes: list[int]) -> list[Message]:
            given = [by_node.get(node, messages[0]) for node in nodes]
            return [
                self._relay.message(
                    anchored[id(like.content)], node, like.metadata.message_type, like.metadata.group_id
                )
                for node, like in zip(nodes, given, strict=True)
            ]

        report = RoundReport(base.current.round)
        self._relay.reports.append(report)
        said: list[Message] = []
        carried = self._relay.replies(
            base,
            self._nodes,
            write(list(by_node)),
            write,
            joining=joining,
            expected=self._expect if joining else len(by_node),
        )
        for reply in carried:
            if self._relay.deliver(reply, report):
                self._restore(reply, base)
                said.append(reply)
            elif reply.has_error():
                said.append(plain_error(reply))
        log(INFO, "\t%d of %d updates accepted", len(report.accepted), report.asked)
        return said

    def _anchored(self, content: RecordDict, theta: ArrayRecord) -> RecordDict:
        """The app's records with theta in the place of its arrays, and the round."""
        key = self._arrays_key(content)
        made = RecordDict(
            {
                (records.THETA if name == key else name): (theta if name == key else record)
                for name, record in content.items()
            }
        )
        made[records.ROUND] = self._relay.round_record(self._nodes, key)
        return made

    def _arrays_key(self, content: RecordDict) -> str:
        found = list(content.array_records)
        named = getattr(self._strategy, "arrayrecord_key", records.ARRAYS)
        if named in found:
            return str(named)
        if len(found) == 1:
            return found[0]
        raise InputError(
            f"The app's train message has the array records {', '.join(found) or '(none)'}. None of them is the model.",
            remedy=f"Send the model as the ArrayRecord {named!r}.",
            code="unsupported-app",
        )

    def _restore(self, reply: Message, base: Base) -> None:
        """Give a reply the content that the app's node wrote, as far as it left the node."""
        content, restored = reply.content, RecordDict()
        if self._overridden("aggregate_train"):
            data = records.update_of(content.array_records[records.UPDATE])
            key = getattr(self._strategy, "arrayrecord_key", records.ARRAYS)
            restored[key] = _trained(base, data)
        said: dict[str, MetricRecord | ConfigRecord] = {**content.metric_records, **content.config_records}
        for name, record in said.items():
            if name != records.COMMITMENT:
                restored.setdefault(name, record)
        reply.content = restored

    def _overridden(self, method: str) -> bool:
        """Whether the app wrote this method itself."""
        return not getattr(type(self._strategy), method).__module__.startswith("flwr.")

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Return the arrays that the round made, and the strategy's own metrics."""
        listed, metrics = list(replies), None
        if self._repeating:
            self._made = self._past[self._at]
        elif self._made is not None:
            metrics = self._metrics(server_round, listed)
            report_metrics(self._last, train=metrics)
        else:
            return self._newest, None  # nothing was trained
        self._at += 1
        self._newest = self._arrays(self._made)
        return self._newest, metrics

    def _metrics(self, server_round: int, replies: list[Message]) -> MetricRecord | None:
        """Ask the strategy for its metrics. What a node says must not stop everybody: a failure is logged."""
        try:
            if self._overridden("aggregate_train") or not hasattr(self._strategy, "train_metrics_aggr_fn"):
                return self._own_aggregate_train(server_round, replies)[1]
            key = self._strategy.weighted_by_key
            said = [
                reply.content for reply in replies if not reply.has_error() and _weighs(reply.content, key)
            ]
            metrics: MetricRecord | None = self._strategy.train_metrics_aggr_fn(said, key) if said else None
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
        """Let the strategy write its messages, unless the round was completed before."""
        if self._repeating:
            return []
        return self._own_configure_evaluate(server_round, arrays, config, self._grid)

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """Let the strategy aggregate what nodes measured, unless the round was completed before."""
        if self._repeating:
            return None
        metrics = self._own_aggregate_evaluate(server_round, replies)
        report_metrics(max(self._last, 0), evaluate=metrics)
        return metrics

    def evaluated(
        self, evaluate: Callable[[int, ArrayRecord], MetricRecord | None]
    ) -> Callable[[int, ArrayRecord], MetricRecord | None]:
        """The app's own evaluation at the server, which logs what it measured."""

        def evaluate_and_report(server_round: int, arrays: ArrayRecord) -> MetricRecord | None:
            metrics = evaluate(server_round, arrays)
            if self._at >= len(self._past):
                report_metrics(max(self._last, self._first), server=metrics)
            return metrics

        return evaluate_and_report


def plain_error(reply: Message) -> Message:
    """An error reply whose words are one line: strategies log them, and a node must not write log lines of its own."""
    reply.error = Error(reply.error.code, plain(reply.error.reason or ""))
    return reply


def _weighs(content: RecordDict, key: str) -> bool:
    """Whether a reply has what Flower's means of metrics need."""
    found = list(content.metric_records.values())
    value = found[0].get(key) if len(found) == 1 else None
    return isinstance(value, int | float) and bool(np.isfinite(value)) and value > 0


def _trained(base: Base, data: bytes) -> ArrayRecord:
    """The arrays that a node arrived at, as far as its update says: base minus update."""
    manifest, exponents = base.manifest, RoundHeader.decode(base.current.header).exponents
    steps = np.repeat(
        np.exp2(np.array(exponents, np.float64)), [LEAF * count for count in manifest.leaf_counts]
    )
    flat = (to_float32(base.theta) - decode_update(data, manifest) * steps).astype(np.float32)
    named = manifest.unflatten(flat, dtypes=True)
    return ArrayRecord({name: Array(array) for name, array in named.items()})

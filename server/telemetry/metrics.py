# SPDX-License-Identifier: Apache-2.0
"""What a coordinator counts while it works: events, verdicts, refusals, gas, requests, and how long things take.

Counters begin at zero with each process, as Prometheus expects; what must outlive the process is a gauge that is read
from the database (`gauges`). Each coordinator has its own registry, so that several can live in one process.
"""

from __future__ import annotations

import time
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

from folkmoot.protocol.verdict import Reason
from server.db.steps import ENDED, Step

disable_created_metrics()  # a time beside every counter, which nobody reads

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
"""Buckets of what is done while somebody waits."""
LONG_SECONDS = (0.1, 0.5, 1, 5, 15, 60, 300, 900, 3_600, 4 * 3_600, 12 * 3_600, 86_400, 4 * 86_400)
"""Buckets of what takes windows of a policy."""
PURPOSES = (
    "open",
    "commit",
    "anchor",
    "cancel",
    "finalize",
    "settle",
    "answer",
    "fill",
    "redraw",
    "releaseVoid",
)
"""What transactions are for: the first word of their purposes."""
EVENTS = (
    "round-opened",
    "update-received",
    "update-refused",
    "updates-committed",
    "round-computed",
    "round-anchored",
    "round-finalized",
    "rewards-settled",
    "round-cancelled",
    "round-slashed",
    "round-withheld",
    "node-failed",
    "canary-missing",
    "data-demanded",
    "demand-answered",
    "demand-unanswerable",
    "data-withheld",
    "run-waiting",
    "run-failed",
    "artifact-damaged",
    "artifact-repaired",
    "row-altered",
    "chain-rewound",
)
"""Types of events that are there from the start, with a zero: else the first one would be no increase."""


class Metrics:
    """The counters and histograms of one coordinator."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry(auto_describe=False)
        self.events = Counter(
            "folkmoot_events", "Events of /v1/events that this process told.", ["type"], registry=registry
        )
        self.received = Counter("folkmoot_updates_received", "Updates taken in.", registry=registry)
        self.received_bytes = Counter(
            "folkmoot_updates_received_bytes", "Bytes of the updates taken in.", registry=registry
        )
        self.refused = Counter(
            "folkmoot_updates_refused",
            "Updates refused, by the code of docs/protocol.md section 7.",
            ["reason"],
            registry=registry,
        )
        self.verdicts = Counter(
            "folkmoot_verdicts", "Verdicts of computed rounds, by reason.", ["reason"], registry=registry
        )
        self.transactions = Counter(
            "folkmoot_transactions",
            "Transactions that were confirmed or failed, by purpose.",
            ["purpose", "state"],
            registry=registry,
        )
        self.gas = Counter(
            "folkmoot_gas_used",
            "Gas that settled transactions took, by purpose.",
            ["purpose"],
            registry=registry,
        )
        self.aggregation = Histogram(
            "folkmoot_aggregation_duration_seconds",
            "Time that computing a round's outcome took.",
            buckets=LONG_SECONDS,
            registry=registry,
        )
        self.steps = Histogram(
            "folkmoot_round_step_duration_seconds",
            "Time that rounds spent in a step.",
            ["step"],
            buckets=LONG_SECONDS,
            registry=registry,
        )
        self.requests = Counter(
            "folkmoot_http_requests",
            "Requests by route and status.",
            ["method", "route", "status"],
            registry=registry,
        )
        self.latency = Histogram(
            "folkmoot_http_request_duration_seconds",
            "Time until a response was complete; of an event stream, until it began.",
            ["method", "route"],
            buckets=SECONDS,
            registry=registry,
        )
        self.uploads = Gauge(
            "folkmoot_uploads_in_flight", "Updates that are being received or checked.", registry=registry
        )
        self.carried = Counter(
            "folkmoot_carried_bytes",
            "Bytes of updates that came in and of files that went out, as they were on the line.",
            ["direction"],
            registry=registry,
        )
        for direction in ("in", "out"):
            self.carried.labels(direction)
        for kind in EVENTS:
            self.events.labels(kind)
        for reason in Reason:
            self.refused.labels(str(reason))
            self.verdicts.labels(str(reason))
        for purpose in PURPOSES:
            self.gas.labels(purpose)
            for state in ("confirmed", "failed"):
                self.transactions.labels(purpose, state)
        for step in Step:
            if step not in ENDED:
                self.steps.labels(str(step))

    def happened(self, kind: str, data: dict[str, Any]) -> None:
        """Count what the database was told of (a listener of `server.db.engine.Database`)."""
        if kind == "transaction":
            if data["state"] in ("confirmed", "failed"):
                purpose = str(data["purpose"]).partition(":")[0]
                self.transactions.labels(purpose, data["state"]).inc()
                self.gas.labels(purpose).inc(data.get("gas") or 0)
            return
        self.events.labels(kind).inc()
        if kind == "update-received":
            self.received.inc()
            self.received_bytes.inc(data["bytes"])
        elif kind == "update-refused":
            self.refused.labels(str(data["reason"])).inc()
        elif kind == "round-computed":
            for verdict in data["verdicts"]:
                self.verdicts.labels(str(verdict["reason"])).inc()


class StepClock:
    """Measures how long rounds stay in a step, to the pause between two looks. A restart forgets the step under way.

    Args:
        metrics: Where the times go.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._since: dict[int, tuple[str, float]] = {}

    def saw(self, number: int, step: str) -> None:
        """Take note of the step that an unfinished round is in."""
        now = time.monotonic()
        before = self._since.get(number)
        if before is None or before[0] != step:
            self._since[number] = (step, now)
            if before is not None:
                self._metrics.steps.labels(before[0]).observe(now - before[1])

    def only(self, numbers: list[int]) -> None:
        """Take note of the rounds that are not finished: the others have left their last step."""
        now = time.monotonic()
        for number in self._since.keys() - set(numbers):
            step, since = self._since.pop(number)
            self._metrics.steps.labels(step).observe(now - since)

# SPDX-License-Identifier: Apache-2.0
"""A watcher's metrics, and the page that Prometheus reads them from."""

from __future__ import annotations

import threading
from http.server import ThreadingHTTPServer
from math import nan

from prometheus_client import CollectorRegistry, Counter, Gauge, MetricsHandler, disable_created_metrics

from folkmoot.errors import LocalError

disable_created_metrics()  # a time beside every counter, which nobody reads


class Metrics:
    """The counters and gauges of one watcher, in a registry of their own.

    Known labels are there from the start: the first wrong round must be an increase, not a new series. A gauge that
    was not read yet is NaN, which no alert compares.
    """

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry(auto_describe=False)

        def counter(name: str, text: str, label: str = "", known: tuple[str, ...] = ()) -> Counter:
            made = Counter(f"folkmoot_watch_{name}", text, [label] if label else [], registry=registry)
            for value in known:
                made.labels(value)
            return made

        def gauge(name: str, text: str, value: float = nan) -> Gauge:
            made = Gauge(f"folkmoot_watch_{name}", text, registry=registry)
            made.set(value)
            return made

        self.rounds = counter(
            "rounds",
            "Rounds that were examined, by result.",
            "result",
            ("right", "wrong", "disputed", "withheld"),
        )
        self.challenges = counter("challenges", "Challenges, by what came of them.", "result", ("proven",))
        self.given_up = counter(
            "given_up",
            "What failed until no more could come of it, by what was tried.",
            "what",
            ("check", "challenge", "dispute", "demand", "blame", "replay", "deposit"),
        )
        self.overspent = counter("overspent", "Entries that pass the privacy budget of their contributor.")
        self.failures = counter("failures", "Failures of endpoints and mirrors, by which.", "source")
        self.passes = counter("passes", "Looks at the chain.")
        self.wrong_rounds = gauge("wrong_rounds", "Rounds that are wrong and not void yet.", 0)
        self.unchecked_rounds = gauge(
            "unchecked_rounds", "Rounds that can be challenged and could not be checked yet.", 0
        )
        self.held_entries = gauge("held_entries", "Rounds and entries that are held in memory.")
        self.block = gauge("block", "Block that was looked at.")
        self.block_timestamp = gauge("block_timestamp_seconds", "Unix time of that block, as the chain says.")
        self.balance = gauge(
            "account_balance_coins",
            "What the challenging account has of the chain's native coin, to pay for proofs.",
        )
        self.last_pass = gauge("last_pass_timestamp_seconds", "Unix time of the last look that succeeded.")
        self.examination_seconds = counter("examination_seconds", "Time that examinations took.")


class _Page(MetricsHandler):
    def do_GET(self) -> None:  # noqa: N802  http.server's name
        if self.path.partition("?")[0] == "/metrics":
            super().do_GET()
        else:
            self.send_error(404, "See /metrics.")


def serve(metrics: Metrics, port: int, host: str = "127.0.0.1") -> ThreadingHTTPServer:
    """Serve the metrics at `/metrics` until `shutdown` is called."""
    try:
        server = ThreadingHTTPServer((host, port), _Page.factory(metrics.registry))
    except OSError as error:
        raise LocalError(
            f"The numbers can't be served at port {port}: {error.strerror}.",
            remedy="Choose another --metrics.",
            code="port-taken",
        ) from error
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server

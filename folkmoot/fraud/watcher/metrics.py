# SPDX-License-Identifier: Apache-2.0
"""A watcher's numbers, as Prometheus reads them, served by the standard library: a cheap machine has no web server."""

from __future__ import annotations

import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from folkmoot.errors import LocalError

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_ZEROS = [
    *(
        ("folkmoot_watch_rounds_total", f'result="{result}"')
        for result in ("right", "wrong", "disputed", "withheld")
    ),
    ("folkmoot_watch_challenges_total", 'result="proven"'),
    *(
        ("folkmoot_watch_given_up_total", f'what="{what}"')
        for what in ("check", "challenge", "dispute", "demand", "blame", "replay", "deposit")
    ),
    ("folkmoot_watch_examination_seconds_total", ""),
    ("folkmoot_watch_wrong_rounds", ""),
    ("folkmoot_watch_unchecked_rounds", ""),
]
"""Numbers that are there from the start: the first wrong round must be an increase, not a new series."""

_TEXTS = {
    "folkmoot_watch_rounds_total": ("counter", "Rounds that were examined, by result."),
    "folkmoot_watch_challenges_total": ("counter", "Challenges, by what came of them."),
    "folkmoot_watch_given_up_total": (
        "counter",
        "What failed until no more could come of it, by what was tried.",
    ),
    "folkmoot_watch_failures_total": ("counter", "Failures of endpoints and mirrors, by which."),
    "folkmoot_watch_passes_total": ("counter", "Looks at the chain."),
    "folkmoot_watch_wrong_rounds": ("gauge", "Rounds that are wrong and not void yet."),
    "folkmoot_watch_unchecked_rounds": (
        "gauge",
        "Rounds that can be challenged and could not be checked yet.",
    ),
    "folkmoot_watch_held_entries": ("gauge", "Rounds and entries that are held in memory."),
    "folkmoot_watch_block": ("gauge", "Block that was looked at."),
    "folkmoot_watch_block_timestamp_seconds": ("gauge", "Unix time of that block, as the chain says."),
    "folkmoot_watch_account_balance_coins": (
        "gauge",
        "What the challenging account has of the chain's native coin, to pay for proofs.",
    ),
    "folkmoot_watch_last_pass_timestamp_seconds": ("gauge", "Unix time of the last look that succeeded."),
    "folkmoot_watch_examination_seconds_total": ("counter", "Time that examinations took."),
}


class Metrics:
    """Numbers by name and label."""

    def __init__(self) -> None:
        self._values: Counter[tuple[str, str]] = Counter(dict.fromkeys(_ZEROS, 0))
        self._lock = threading.Lock()

    def add(self, name: str, label: str = "", by: float = 1) -> None:
        """Count something; the label is e.g. `result="right"`."""
        with self._lock:
            self._values[name, label] += by  # type: ignore[assignment]  # counts of seconds are no integers

    def set(self, name: str, value: float) -> None:
        """Set a gauge."""
        with self._lock:
            self._values[name, ""] = value  # type: ignore[assignment]  # as above

    def value(self, name: str, label: str = "") -> float:
        """Return a number; 0 if there is none yet."""
        with self._lock:
            return self._values[name, label]

    def text(self) -> str:
        """Return all numbers in Prometheus's text format."""
        with self._lock:
            values = dict(self._values)
        lines = []
        for name, (kind, text) in _TEXTS.items():
            found = [(label, value) for (of, label), value in sorted(values.items()) if of == name]
            lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
            lines += [f"{name}{'{' + label + '}' if label else ''} {value}" for label, value in found]
        return "\n".join(lines) + "\n"


def label(name: str, value: str) -> str:
    """Return a label of a number; what Prometheus would misread is escaped."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'{name}="{escaped}"'


def serve(metrics: Metrics, port: int, host: str = "127.0.0.1") -> ThreadingHTTPServer:
    """Serve the numbers at `/metrics` until `shutdown` is called.

    Raises:
        LocalError: ``port-taken``: the port can't be had.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = self.path == "/metrics"
            data = metrics.text().encode() if found else b"See /metrics.\n"
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", CONTENT_TYPE if found else "text/plain")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args: object) -> None:
            pass  # the watcher's own lines are the log

    try:
        server = ThreadingHTTPServer((host, port), Handler)
    except OSError as error:
        raise LocalError(
            f"The numbers can't be served at port {port}: {error.strerror}.",
            remedy="Choose another --metrics.",
            code="port-taken",
        ) from error
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server

# SPDX-License-Identifier: Apache-2.0
"""Track the progress of a run: rounds with loss and accuracy, the state of each node, the time left. Prints nothing.

The input is the coordinator's events (docs/api.md), the reports of the relay, and measurements.
`folkmoot.cli.live` shows the progress. Several threads may use it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from folkmoot.evaluation import app_metrics
from folkmoot.protocol.rewards import FULL_PAY

LOOKED_AT = 5
"""Number of recent rounds whose mean duration predicts the next ones. The first round counts only if it is the only
one."""

STATES = {"waiting": 0, "training": 1, "failed": 2, "refused": 2, "answered": 3, "committed": 4, "weighed": 5}
"""States of a node with their order in a round. A late event does not move a node back."""


@dataclass
class Node:
    """A node, or a contributor whose node is not known yet."""

    name: str
    """Display name."""
    account: str = ""
    """Account of the node; empty until it is known."""
    number: int | None = None
    """Flower's id of the node; None until it is known."""
    state: str = "waiting"
    """One of `STATES`, in the current round."""
    detail: str = ""
    """Details of the state: bytes, seconds, or a reason."""
    weight: int | None = None
    """Weight in the newest computed round."""
    share: float | None = None
    """Weight as a part of the round's largest weight."""
    pay: float | None = None
    """Pay as a part of a full place; None under a rule without pays."""
    reason: str = ""
    """Code of the verdict on its update."""


@dataclass
class RoundLine:
    """A round of the display."""

    number: int
    opened: float | None = None
    """Clock time at which it was seen to open; None if it was already open."""
    phase: str = "open"
    """open, committed, anchored, final, cancelled or slashed."""
    seconds: float | None = None
    """Seconds until it was anchored."""
    received: int = 0
    """Number of updates that the coordinator has accepted."""
    bytes: int = 0
    """Total size of these updates."""
    entries: int = 0
    """Number of commitments on the chain."""
    accepted: int | None = None
    """Number of entries with a weight above 0; None until it is computed."""
    metrics: dict[str, float] = field(default_factory=dict)
    """Metrics in the form of `measures.flat`."""


@dataclass(frozen=True)
class TimeLeft:
    """Remaining seconds; None if unknown."""

    run: float | None
    """Estimated seconds until the last round is anchored."""
    window: float | None
    """Seconds until the round takes no more updates."""
    waiting: float | None = None
    """Seconds until what is waited for ends by itself."""


class RunProgress:
    """Known state of a run.

    Args:
        rounds: Number of requested rounds.
        completed: Number of rounds that were completed before.
        names: Display names of contributors by account. All of them are shown from the beginning.
        clock: Another clock (seconds), for tests.
    """

    def __init__(
        self,
        rounds: int,
        completed: int = 0,
        names: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.lock = threading.RLock()
        self.total, self.completed = rounds, completed
        self.rounds: dict[int, RoundLine] = {}
        self.nodes: list[Node] = []
        self.current: RoundLine | None = None
        self.activity = ""
        """Description of the current activity; empty while the round's phase describes it."""
        self.waiting = ""
        """Sentence of the coordinator on why it opens no round; empty if it does not wait."""
        self._clock = clock
        self._window_end: float | None = None
        self._waiting_end: float | None = None
        self._last_anchor: float | None = None
        self._asked: dict[int, list[int]] = {}
        """Nodes that were asked in a round before its opening was seen."""
        self._names = dict(names or {})
        for account, name in self._names.items():
            self.nodes.append(Node(name, account))

    def see(self, kind: str, data: Mapping[str, Any]) -> None:
        """Process an event. Unknown or invalid events are ignored, because their source is untrusted.

        Args:
            kind: Type of the event, `node-asked` or `node-refused` (from the relay), or `round-measured` (round,
                metrics).
            data: Values of the event.
        """
        handle = getattr(self, "_" + kind.replace("-", "_"), None)
        if handle is None or kind not in _KINDS:
            return
        try:
            with self.lock:
                if kind in _GOES_ON:
                    self.waiting = ""
                handle(data)
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError):
            return

    def left(self) -> TimeLeft:
        """Return the estimated remaining time."""
        with self.lock:
            now = self._clock()
            all_took = [line.seconds for line in self.rounds.values() if line.seconds is not None]
            took = (all_took[1:] or all_took)[-LOOKED_AT:]  # The first round includes the start of Flower.
            run = None
            if took:
                started = self._last_anchor
                current = self.current
                if (
                    current is not None
                    and current.phase in ("open", "committed")
                    and current.opened is not None
                ):
                    started = current.opened
                done = 0.0 if started is None else now - started
                run = max(0.0, (self.total - self.completed) * sum(took) / len(took) - done)
            window = self._window_end
            is_open = self.current is not None and self.current.phase == "open"
            waiting = self._waiting_end if self.waiting else None
            return TimeLeft(
                run,
                max(0.0, window - now) if window is not None and is_open else None,
                max(0.0, waiting - now) if waiting is not None else None,
            )

    def shown(self) -> list[Node]:
        """Return the nodes for the display.

        If contributors have names, a node without a known contributor has no line. Instead, contributors without an
        event are shown as training if enough nodes were asked.
        """
        with self.lock:
            silent = [node for node in self.nodes if node.number is None and node.state == "waiting"]
            unknown = [node for node in self.nodes if not node.account and node.state == "training"]
            if not self._names:
                return list(self.nodes)
            asked = len(unknown) >= len(silent) > 0
            return [
                replace(node, state="training") if asked and node in silent else node
                for node in self.nodes
                if node not in unknown
            ]

    def rate(self) -> float | None:
        """Return the bytes of updates per second since the current round opened; None if there are none yet."""
        with self.lock:
            line = self.current
            if line is None or line.opened is None or not line.bytes:
                return None
            return line.bytes / max(self._clock() - line.opened, 0.1)

    # Events of the coordinator.

    def _round_opened(self, data: Mapping[str, Any]) -> None:
        line = self._line(data)
        line.opened, line.phase = self._clock(), "open"
        self.current = line
        seconds = data.get("secondsLeft")
        self._window_end = self._clock() + float(seconds) if isinstance(seconds, int | float) else None
        for node in self.nodes:
            node.state, node.detail = "waiting", ""
        for number in self._asked.pop(line.number, ()):
            self._set(self._of(None, number), "training", "")

    def _update_received(self, data: Mapping[str, Any]) -> None:
        if self.current is None or not self._is_current(data):
            return
        size = max(0, int(data.get("bytes") or 0))
        self.current.received += 1
        self.current.bytes += size
        self._set(self._of(str(data["contributor"])), "answered", f"{size / 1024:.0f} KiB")

    def _update_refused(self, data: Mapping[str, Any]) -> None:
        # Anybody may send an invalid update. Without a valid signature it says nothing about a node, and adds none.
        known = next((node for node in self.nodes if node.account == data["contributor"]), None)
        if known is not None and self._is_current(data) and data.get("authenticated", True):
            self._set(known, "refused", str(data["reason"]))

    def _updates_committed(self, data: Mapping[str, Any]) -> None:
        line = self._line(data)
        line.entries += len(data["contributors"])
        for account in data["contributors"]:
            self._set(self._of(str(account)), "committed", "")

    def _round_computed(self, data: Mapping[str, Any]) -> None:
        line = self._line(data)
        line.phase = "committed"
        verdicts = [
            (str(one["contributor"]), int(one["weight"]), one.get("pay"), str(one["reason"]))
            for one in data["verdicts"]
        ]
        largest = max((weight for _, weight, _, _ in verdicts), default=0)
        line.entries = len(verdicts)
        line.accepted = sum(weight > 0 for _, weight, _, _ in verdicts)
        for account, weight, pay, reason in verdicts:
            node = self._of(account)
            node.weight, node.reason = weight, reason
            node.share = weight / largest if largest else 0.0
            node.pay = None if pay is None else int(pay) / FULL_PAY
            self._set(node, "weighed", reason)

    def _round_anchored(self, data: Mapping[str, Any]) -> None:
        line = self._line(data)
        now = self._clock()
        if line.seconds is None and line.opened is not None:
            line.seconds = now - line.opened
        if line.phase not in ("anchored", "final"):
            self.completed = min(self.total, self.completed + 1)
        line.phase, self._last_anchor = "anchored", now

    def _round_finalized(self, data: Mapping[str, Any]) -> None:
        self._line(data).phase = "final"

    def _round_cancelled(self, data: Mapping[str, Any]) -> None:
        self._line(data).phase = "cancelled"

    def _round_slashed(self, data: Mapping[str, Any]) -> None:
        self._line(data).phase = "slashed"

    def _run_waiting(self, data: Mapping[str, Any]) -> None:
        self.waiting = str(data["message"])
        seconds = data.get("secondsLeft")
        self._waiting_end = self._clock() + float(seconds) if isinstance(seconds, int | float) else None

    # Reports of the relay, and measurements.

    def _node_asked(self, data: Mapping[str, Any]) -> None:
        asked = [int(number) for number in data["nodes"]]
        if not self._is_current(data):  # The relay's event may arrive before the coordinator's.
            self._asked = {int(data["round"]): asked}
            return
        for number in asked:
            self._set(self._of(None, number), "training", "")

    def _node_answered(self, data: Mapping[str, Any]) -> None:
        if self._is_current(data):
            seconds = data.get("seconds")
            duration = f"{seconds:.1f} s" if isinstance(seconds, int | float) else ""
            self._set(self._reported(data), "answered", duration)

    def _node_failed(self, data: Mapping[str, Any]) -> None:
        if data.get("state") == "refused":
            self._node_refused(data)
        elif self._is_current(data):
            self._set(
                self._reported(data), "failed", f"{data.get('code') or 'failed'}: {data.get('detail') or ''}"
            )

    def _node_refused(self, data: Mapping[str, Any]) -> None:
        if self._is_current(data):
            self._set(self._reported(data), "refused", str(data.get("code") or ""))

    def _round_measured(self, data: Mapping[str, Any]) -> None:
        metrics = app_metrics.flat(data.get("metrics"))
        if metrics:
            self._line(data).metrics.update(metrics)

    def _round_reported(self, data: Mapping[str, Any]) -> None:
        self._round_measured(data)
        for node in data.get("nodes") or () if self._is_current(data) else ():
            event = {**node, "round": data["round"], "nodes": [node["node"]]}
            self.see(f"node-{node['state']}", event)

    # Internal methods.

    def _line(self, data: Mapping[str, Any]) -> RoundLine:
        number = int(data["round"])
        return self.rounds.setdefault(number, RoundLine(number))

    def _is_current(self, data: Mapping[str, Any]) -> bool:
        return self.current is not None and int(data["round"]) == self.current.number

    def _reported(self, data: Mapping[str, Any]) -> Node:
        account, number = data.get("account"), data.get("node")
        return self._of(str(account) if account else None, int(number) if number is not None else None)

    def _of(self, account: str | None, number: int | None = None) -> Node:
        """Return the node with an account or a number. A node known by one of them gets the other, too."""
        by_account = next((node for node in self.nodes if account and node.account == account), None)
        by_number = next((node for node in self.nodes if number is not None and node.number == number), None)
        if by_account is not None and by_number is not None and by_account is not by_number:
            self.nodes.remove(by_number)  # Both are the same node.
        node = by_account or by_number
        if node is None:
            node = Node(f"node {str(number)[:6]}…" if number is not None else "")
            self.nodes.append(node)
        if account:
            node.account = account
            node.name = self._names.get(account, f"{account[:10]}…")
        if number is not None:
            node.number = number
        return node

    def _set(self, node: Node, state: str, detail: str) -> None:
        """Move a node to a later state."""
        if STATES[state] < STATES[node.state]:
            return
        if state != node.state or detail:
            node.detail = detail
        node.state = state


_GOES_ON = frozenset(
    {"round-opened", "updates-committed", "round-computed", "round-anchored", "round-cancelled"}
)
"""Events after which the run does not wait any more for what it waited for before."""

_KINDS = frozenset(
    {
        *("round-opened", "update-received", "update-refused", "updates-committed", "round-computed"),
        *("round-anchored", "round-finalized", "round-cancelled", "round-slashed"),
        "run-waiting",
        *("node-asked", "node-answered", "node-failed", "node-refused", "round-reported", "round-measured"),
    }
)

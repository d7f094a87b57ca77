# SPDX-License-Identifier: Apache-2.0
"""Read the relay's log, and send the coordinator signed reports on the nodes of each round.

The relay logs the state of each node (`folkmoot.flower.relay.reports`) and holds no key. `folkmoot train` has the
coordinator's key: it collects these lines, and signs and sends a new report after each change. Reports inform people
and shorten the wait. Training continues without them if the coordinator is unreachable or refuses them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from folkmoot.coordinator_api import CoordinatorApi, sign_report
from folkmoot.errors import CoordinatorError, FolkmootError
from folkmoot.flower.relay import reports
from folkmoot.flower.relay.reports import ANSWERED, ASKED, FAILED, REFUSED, Report
from folkmoot.runtime.backoff import Backoff

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount

    from folkmoot.protocol.commitment import Domain

PAUSE = 0.5
"""Least seconds between two reports on a round that is not complete."""

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 15.0
"""Seconds between two tries to hand in a report that the coordinator does not take."""

FLUSH = 10.0
"""Seconds for which the last reports are handed in after the end of a run."""

MOST_NODES = 2_500
"""Nodes in one report: it must stay below the coordinator's limit for a body. Those that failed are left out first."""

_KEPT = 8
"""Rounds whose nodes are kept: metrics of a round come after its end, and one of the next has begun."""


class Nodes:
    """What has become of the nodes, by round.

    Args:
        first: Number of the first round to keep. The log of a relay that is followed again has older ones.
    """

    def __init__(self, first: int = 0) -> None:
        self._first = first
        self._rounds: dict[int, dict[str, Any]] = {}
        self._accounts: dict[int, str] = {}

    def take(self, report: Report) -> bool:
        """Take an event in; whether it changed what is known of its round."""
        if report.round < self._first:
            return False
        known = self._rounds.setdefault(
            report.round, {"complete": False, "nodes": {}, "metrics": dict.fromkeys(_METRICS)}
        )
        self._forget()
        values, nodes = report.values, known["nodes"]
        match report.kind:
            case reports.ASKED:
                known["complete"] = False
                for node in values["nodes"]:
                    if (
                        nodes.get(node, {}).get("state") != ANSWERED
                    ):  # a relay that was started again asks all
                        nodes[node] = self._entry(node, ASKED)
            case reports.ANSWERED:
                self._accounts[values["node"]] = values["account"]
                entry = self._entry(values["node"], ANSWERED, seconds=float(values["seconds"]))
                nodes[values["node"]] = entry
            case reports.REFUSED | reports.FAILED:
                if report.kind == REFUSED and values["account"]:
                    self._accounts[values["node"]] = values["account"]
                state = REFUSED if report.kind == REFUSED else FAILED
                values_of = {"code": values["code"], "detail": values["detail"]}
                nodes[values["node"]] = self._entry(values["node"], state, **values_of)
            case reports.COMPLETE:
                known["complete"] = all(entry["state"] != ASKED for entry in nodes.values()) and bool(nodes)
            case reports.METRICS:
                for kind in _METRICS:
                    self._add(report.round, kind, values[kind])
        return True

    def measure(self, number: int, metrics: Mapping[str, Any]) -> bool:
        """Take what this machine measured of a round's model; whether there are nodes that it can be reported with.

        A report takes the place of the one before, so one without nodes would lose those that are known there.
        """
        if not self._rounds.get(number, {}).get("nodes"):
            return False
        self._add(number, "server", metrics)
        return True

    def _add(self, number: int, kind: str, metrics: Mapping[str, Any] | None) -> None:
        known = self._rounds[number]["metrics"]
        known[kind] = reports.numbers({**(known[kind] or {}), **(metrics or {})})

    def content(self, number: int) -> dict[str, Any]:
        """Return the report on a round, unsigned."""
        known = self._rounds[number]
        ranked = sorted(known["nodes"], key=lambda node: (_RANK[known["nodes"][node]["state"]], node))
        nodes = [known["nodes"][node] for node in sorted(ranked[:MOST_NODES])]
        return {
            "round": number,
            "complete": known["complete"],
            "nodes": [dict(entry) for entry in nodes],
            "metrics": dict(known["metrics"]),
        }

    def _entry(
        self, node: int, state: str, *, code: str = "", detail: str = "", seconds: float | None = None
    ) -> dict[str, Any]:
        return {
            "node": str(node),
            "account": self._accounts.get(node),
            "state": state,
            "code": code,
            "detail": detail,
            "seconds": seconds,
        }

    def _forget(self) -> None:
        for number in sorted(self._rounds)[:-_KEPT]:
            del self._rounds[number]


_METRICS = ("train", "evaluate", "server")
_RANK = {ANSWERED: 0, ASKED: 1, REFUSED: 2, FAILED: 3}


class Reporter:
    """Hands reports in, from a thread of its own; a context manager. At its end it tries to hand in what is left.

    Args:
        coordinator: URL of the coordinator.
        account: The coordinator's account.
        domain: Chain and ledger of the federation.
        first: Number of the first round to report on.
        say: Is told, once, why reports are not taken.
    """

    def __init__(
        self,
        coordinator: str,
        account: LocalAccount,
        domain: Domain,
        *,
        first: int = 0,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._api = CoordinatorApi(coordinator)
        self._account, self._domain, self._say = account, domain, say
        self._nodes = Nodes(first)
        self._changed = threading.Condition()
        self._due: dict[int, dict[str, Any]] = {}
        self._deadlines: dict[int, int] = {}
        self._end: float | None = None
        self._reported = False
        self._thread = threading.Thread(target=self._run, name="round-reports", daemon=True)

    def __enter__(self) -> Self:
        """Start."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Hand in what is left, for `FLUSH` seconds at most."""
        with self._changed:
            self._end = time.monotonic() + (FLUSH if kind is None else 0)
            self._changed.notify()
        self._thread.join(FLUSH + 1)
        self._api.close()

    def take(self, line: str) -> None:
        """Take a line of the relay's log; most are no events."""
        report = reports.parse(line)
        if report is None:
            return
        with self._changed:
            if self._nodes.take(report):
                self._due[report.round] = self._nodes.content(report.round)
                self._changed.notify()

    def measure(self, number: int, metrics: Mapping[str, Any]) -> None:
        """Take the metrics of a round's model by name, as this machine measured them."""
        with self._changed:
            if self._nodes.measure(number, metrics):
                self._due[number] = self._nodes.content(number)
                self._changed.notify()

    def _run(self) -> None:
        backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE)
        while True:
            with self._changed:
                while not self._due:
                    if self._end is not None:
                        return
                    self._changed.wait()
                number = min(self._due)
                content = self._due.pop(number)
                ending = self._end
            if ending is not None and time.monotonic() >= ending:
                return
            taken, wait = self._hand_in(content), PAUSE
            if not taken:
                wait = backoff.next()
                with self._changed:
                    self._due.setdefault(number, content)  # a newer one takes its place
            else:
                backoff.reset()
            self._pause(wait, urgent=taken)

    def _pause(self, seconds: float, *, urgent: bool) -> None:
        """Wait until the next report: not at all for one of a complete round, if the coordinator is there."""
        end = time.monotonic() + seconds
        with self._changed:
            while (left := min(end, self._end or end) - time.monotonic()) > 0:
                if urgent and any(content["complete"] for content in self._due.values()):
                    return
                self._changed.wait(left)

    def _hand_in(self, content: dict[str, Any]) -> bool:
        """Sign and send a report; False if it is worth another try."""
        number = content["round"]
        try:
            signed = sign_report(content, self._account, self._domain, after=self._deadlines.get(number, 0))
            self._api.send_report(signed)
            self._deadlines[number] = signed["deadline"]
        except CoordinatorError as error:
            if error.code == "report-outdated":  # of a call on a machine whose clock is ahead of ours
                self._deadlines[number] = int(error.details["deadline"])
                return False
            if error.code == "coordinator-unreachable" or error.details.get("status") in (
                429,
                500,
                502,
                503,
                504,
            ):
                return False
            self._complain(error)
        except FolkmootError as error:
            self._complain(error)
        return True

    def _complain(self, error: FolkmootError) -> None:
        if not self._reported:
            self._reported = True
            self._say(
                f"The coordinator refused a report on nodes. {error} Training continues without reports."
            )

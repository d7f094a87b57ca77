# SPDX-License-Identifier: Apache-2.0
"""Write and read the log lines in which the relay (the ServerApp) reports the state of each node in a round.

The relay holds no key, and every node sees its run config, so it can't sign anything. It logs one line per event.
`folkmoot train` reads the run's log and signs a report for the coordinator. This module also has the remedies for
failures. It uses neither chain nor coordinator.

    folkmoot-report {"code":"training-failed","detail":"training raised ValueError","kind":"failed","node":7,"round":3}
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from folkmoot.errors import InputError, plain, sentence
from folkmoot.protocol.hashing import canonical_json, parse_json

MARK = "folkmoot-report"

ASKED, ANSWERED, REFUSED, FAILED, COMPLETE, METRICS = (
    "asked",
    "answered",
    "refused",
    "failed",
    "complete",
    "metrics",
)
"""Kinds of events. `refused`: the coordinator refused a node's update. `failed`: the node sent no update."""

MOST_METRICS = 64
"""Maximum number of stored metrics of one kind."""

_LINE = re.compile(rf"^(?:[A-Z]+\s*:\s*)?{MARK} (\{{.*\}})\s*$")
"""Matches only at the beginning of a line, so that a node's text can't imitate an event."""
_CODE = re.compile(r"^[a-z][a-z0-9-]{0,31}$")

_OPTIONAL: tuple[type, ...] = (str, type(None))
_NUMBER: tuple[type, ...] = (int, float)
_RECORD: tuple[type, ...] = (dict, type(None))
_FIELDS: dict[str, dict[str, tuple[type, ...]]] = {
    ASKED: {"round": (int,), "nodes": (list,)},
    ANSWERED: {"round": (int,), "node": (int,), "account": (str,), "seconds": _NUMBER},
    REFUSED: {"round": (int,), "node": (int,), "account": _OPTIONAL, "code": (str,), "detail": (str,)},
    FAILED: {"round": (int,), "node": (int,), "code": (str,), "detail": (str,)},
    COMPLETE: {"round": (int,), "answered": (int,), "refused": (int,), "failed": (int,)},
    METRICS: {"round": (int,), "train": _RECORD, "evaluate": _RECORD, "server": _RECORD},
}

NODE_LOG = "the log that `folkmoot join` names on that machine"
"""Where a node's log is, for readers on other machines: nodes do not send its path."""

ALREADY_SIGNED = "already-signed"
"""Code of a node whose signer has signed another commitment for a round of this number."""

REMEDIES = {
    ALREADY_SIGNED: "It signed for a round of this number that the chain has lost, and takes part in the next one.",
    "training-failed": "The traceback is in {log}.",
    "node-crashed": "Its process ended, often for lack of memory. Read {log}.",
    "node-lost": "Check the machine and its connection. The node takes part again when it is back.",
    "app-not-loaded": "A package may be missing on that machine. Its name is in {log}.",
    "not-anchored": "Start the node with `folkmoot join`, and an app that uses the mod of Folkmoot.",
    "no-keeper": "Start the node with `folkmoot join`: its keeper brings the model.",
    "non-finite-update": "Lower the learning rate, or check the data of that node.",
    "round-closed": "It takes part in the next round. If this happens in each round, train fewer local steps.",
    "norm-too-large": "Lower the learning rate or the number of local steps.",
    "norm-too-small": "Its training must add the noise that the policy asks for.",
    "stake-too-low": "Its contributor must add stake and enrol with it: `folkmoot enrol --stake`.",
    "not-enrolled": "Its contributor must run `folkmoot enrol`; it counts from the next round on.",
    "budget-spent": "It has spent its privacy budget. Only a vote for a policy with a higher cap lets it go on.",
    "own-cap": "Its contributor's own cap on the privacy budget is reached. It should run `folkmoot leave`: else each "
    "round waits for it.",
    "trained-before": "Two of its trainings in this round ended without an update. It takes part in the next one.",
    "no-place": "Nothing is wrong: it takes part in a later round without help.",
}
"""Remedy for each failure code, for the operator."""
_OTHERWISE = "For more, read {log}."


@dataclass(frozen=True)
class Report:
    """One event of a round, as the relay logged it."""

    kind: str
    """One of the kinds above."""
    round: int
    """Number of the round on the ledger."""
    values: Mapping[str, Any] = field(default_factory=dict)
    """The other fields of the kind; `_FIELDS` names them."""


def emit(kind: str, **fields: Any) -> None:
    """Log an event.

    Args:
        kind: One of the kinds above.
        fields: The fields of the kind. Texts are cut and made one line: a node may have written them.

    Raises:
        ValueError: The fields are not those of the kind.
    """
    from logging import INFO

    from flwr.supercore import log

    values = {name: plain(value) if isinstance(value, str) else value for name, value in fields.items()}
    if not _fits(kind, values):
        raise ValueError(f"{kind} has the fields {', '.join(_FIELDS.get(kind, {}))}")
    log(INFO, "%s %s", MARK, canonical_json({"kind": kind, **values}).decode())


def parse(line: str) -> Report | None:
    """Parse a line of a run's log; return None if it is not an event of a round."""
    match = _LINE.match(line)
    if match is None:
        return None
    try:
        values = parse_json(match.group(1).encode("utf-8", "replace"))
    except InputError:
        return None
    kind = values.pop("kind", None)
    if not isinstance(kind, str) or not _fits(kind, values):
        return None
    return Report(kind, values.pop("round"), values)


def _fits(kind: str, values: Mapping[str, Any]) -> bool:
    types = _FIELDS.get(kind)
    return (
        types is not None
        and values.keys() == types.keys()
        and all(isinstance(values[name], kinds) for name, kinds in types.items())
        and all(isinstance(node, int) for node in values.get("nodes", ()))
    )


def split_reason(reason: str) -> tuple[str, str]:
    """Split a node's reason, ``code: detail``; the code is `node-failed` if there is none."""
    code, colon, detail = reason.partition(":")
    if colon and _CODE.match(code):
        return code, plain(detail)
    return "node-failed", plain(reason) or "It gave no reason."


def numbers(metrics: Mapping[str, Any] | None) -> dict[str, float] | None:
    """Return the finite numbers among metrics, at most `MOST_METRICS`, by name; None if there are none."""
    kept = {
        plain(name): float(value)
        for name, value in (metrics or {}).items()
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    }
    return dict(sorted(kept.items())[:MOST_METRICS]) or None


def remedy(code: str, log: str = NODE_LOG) -> str:
    """Return the operator's remedy for a node's failure."""
    return REMEDIES.get(code, _OTHERWISE).format(log=log)


def explained(state: str, code: str, detail: str, log: str = NODE_LOG) -> str:
    """Return sentences on why a node has no accepted update, and what to do."""
    what = "was refused" if state == REFUSED else "failed"
    return f"{what} ({code}). {sentence(detail[:1].upper() + detail[1:])} {remedy(code, log)}"


class Progress:
    """State of the nodes that the relay asked in one round. Logs every change once.

    Args:
        round_id: Number of the round on the ledger.
        expected: Minimum number of asked nodes for a complete round; some may still be starting.
        timeout: Seconds after which the round is complete without them.
    """

    def __init__(self, round_id: int, *, expected: int = 1, timeout: float = 0.0) -> None:
        self._round = round_id
        self._expected = expected
        self._end = time.monotonic() + timeout
        self._state: dict[int, str] = {}
        self._since: dict[int, float] = {}
        self._told_complete = False

    def asked(self, nodes: Iterable[int]) -> None:
        """Record that nodes were asked, for the first time or again. An accepted reply stays accepted."""
        listed = [node for node in nodes if self._state.get(node) != ANSWERED]
        self._state.update(dict.fromkeys(listed, ASKED))
        for node in listed:
            self._since.setdefault(node, time.monotonic())
        if listed:
            self._told_complete = False
            emit(ASKED, round=self._round, nodes=listed)

    def answered(self, node: int, account: str) -> None:
        """Record that the coordinator has accepted the update of a node."""
        self._state[node] = ANSWERED
        seconds = round(time.monotonic() - self._since.get(node, time.monotonic()), 1)
        emit(ANSWERED, round=self._round, node=node, account=account, seconds=seconds)

    def refused(self, node: int, account: str | None, code: str, detail: str) -> None:
        """Record that the coordinator has refused the update of a node."""
        self._state[node] = REFUSED
        emit(REFUSED, round=self._round, node=node, account=account, code=code, detail=detail)

    def failed(self, node: int, code: str, detail: str) -> None:
        """Record that a node sends no update: it reported a failure, or is disconnected."""
        self._state[node] = FAILED
        emit(FAILED, round=self._round, node=node, code=code, detail=detail)

    def look(self) -> None:
        """Log once that the round is complete: each asked node has an accepted, refused or failed update."""
        states = list(self._state.values())
        if self._told_complete or not states or ASKED in states:
            return
        if len(states) < self._expected and time.monotonic() < self._end:
            return
        self._told_complete = True
        counts = {state: states.count(state) for state in (ANSWERED, REFUSED, FAILED)}
        emit(COMPLETE, round=self._round, **counts)

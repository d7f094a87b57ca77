# SPDX-License-Identifier: Apache-2.0
"""Store the operator's reports on the nodes of a round, and act on them.

Nobody can check a report. A complete report shortens the wait, but never excludes an update: all updates that arrive
while the round is open count. This module knows neither Flower nor HTTP.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from folkmoot.errors import InputError
from folkmoot.flower.relay.reports import ALREADY_SIGNED, ANSWERED, ASKED, FAILED, REFUSED, explained
from server.db import events
from server.db.models import LogEntry, Round, RoundReport
from server.db.steps import Step

MOST_REASONS = 3
"""Different reasons that are told of one round."""


def keep(session: Session, content: dict[str, Any], deadline: int) -> None:
    """Put a report in the place of the one before, and tell what is new in it.

    Args:
        session: A session that writes.
        content: `round`, `complete`, `nodes` and `metrics`; its author has been checked.
        deadline: Of its signature.
    """
    number, nodes = content["round"], {node["node"]: node for node in content["nodes"]}
    round_ = session.get(Round, number)
    if round_ is None or round_.step == Step.OPENING:
        raise InputError(f"There is no round {number}.", remedy="See /v1/rounds.", code="round-unknown")
    if len(nodes) != len(content["nodes"]):
        raise InputError(
            "A node is in the report twice.", remedy="Report each node once.", code="invalid-report"
        )
    if content["complete"] and any(node["state"] == ASKED for node in nodes.values()):
        raise InputError(
            "A complete report names a node that has not answered.",
            remedy="Report the round as incomplete, or the state of that node.",
            code="invalid-report",
        )
    known = session.get(RoundReport, number)
    if known is not None and deadline < known.deadline:
        raise InputError(
            f"A newer report on round {number} was taken.",
            remedy="Sign the newest one with a later deadline.",
            code="report-outdated",
            details={"deadline": known.deadline},
        )
    nothing = {"nodes": [], "metrics": dict.fromkeys(content["metrics"])}
    before: dict[str, Any] = known.document if known is not None else nothing
    was_complete = known is not None and known.complete
    made = known if known is not None else RoundReport(round=number)
    made.complete, made.document, made.deadline = content["complete"], dict(content), deadline
    made.received_at = datetime.now(UTC)
    session.add(made)
    session.flush()
    _tell(session, number, {node["node"]: node for node in before["nodes"]}, nodes)
    if content["metrics"] != before["metrics"] or content["complete"] != was_complete:
        data = {"round": number, "complete": content["complete"], "metrics": content["metrics"]}
        events.append(session, "round-reported", data)


def _tell(session: Session, number: int, before: dict[str, Any], nodes: dict[str, Any]) -> None:
    """Append an event for each node whose state is new; each at most once a round."""
    for name, node in nodes.items():
        state, code = node["state"], node["code"]
        old = before.get(name)
        if old is not None and (old["state"], old["code"]) == (state, code):
            continue
        about = {"round": number, "node": name, "account": node["account"]}
        if state == ANSWERED:
            data = {**about, "seconds": node["seconds"]}
            events.append(session, "node-answered", data, key=f"node-answered:{number}:{name}")
        elif state in (REFUSED, FAILED):
            data = {**about, "state": state, "code": code, "detail": node["detail"]}
            events.append(session, "node-failed", data, key=f"node-failed:{number}:{name}:{code}")


def is_complete(session: Session, number: int) -> bool:
    """Whether the operator says that nobody else is expected in a round."""
    report = session.get(RoundReport, number)
    return report is not None and report.complete


def too_few(session: Session, number: int, entries: int, needed: int) -> str:
    """Say why a round is cancelled that has fewer entries than its policy needs."""
    text = f"{entries} of at least {needed} contributors committed an update."
    return f"{text} {reasons(session, number)}".strip()


def lost_by_rollback(session: Session, number: int) -> bool:
    """Whether nodes could not take part because they had signed for a round with this number that the chain lost.

    A node's word alone is not believed: a round of this number must have been lost.
    """
    report = session.get(RoundReport, number)
    if report is None or not any(node["code"] == ALREADY_SIGNED for node in report.document["nodes"]):
        return False
    rewound = session.scalars(select(LogEntry.data).where(LogEntry.type == "chain-rewound"))
    return any(number in (*data["back"], *data["gone"]) for data in rewound)


def reasons(session: Session, number: int) -> str:
    """Say why nodes of a round sent no update that was accepted, and what to do; empty if nothing was reported."""
    report = session.get(RoundReport, number)
    if report is None:
        return ""
    counted = Counter(
        (node["state"], node["code"], node["detail"])
        for node in report.document["nodes"]
        if node["state"] in (REFUSED, FAILED)
    )
    texts = [
        f"{count} {'node' if count == 1 else 'nodes'} {explained(*why)}"
        for why, count in counted.most_common(MOST_REASONS)
    ]
    others = counted.total() - sum(count for _, count in counted.most_common(MOST_REASONS))
    if others:
        texts.append(f"For {others} more reasons, see GET /v1/rounds/{number}/report.")
    return " ".join(texts)

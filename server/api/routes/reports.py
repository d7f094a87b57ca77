# SPDX-License-Identifier: Apache-2.0
"""Take and serve the operator's reports on the nodes of a round: which answered, which failed and why."""

from __future__ import annotations

from fastapi import APIRouter

from folkmoot.protocol.requests import report_digest, report_message
from server.api.parts import Parts, RoundNumber
from server.api.problems import WRITES, Problem
from server.api.routes.rounds import known
from server.api.schemas import ReportContent, ReportRequest, ReportTakenView, ReportView
from server.api.signatures import check_deadline, require_coordinator
from server.db.models import RoundReport
from server.rounds import reported

router = APIRouter(tags=["rounds"])


@router.post("/v1/rounds/{round_number}/report", status_code=202, responses=WRITES)
def report(parts: Parts, round_number: RoundNumber, wish: ReportRequest) -> ReportTakenView:
    """Report on the nodes of a round, as the coordinator. The newest report replaces the one before."""
    if wish.round != round_number:
        raise Problem(
            "invalid-report",
            f"The report is on round {wish.round}, and the path names round {round_number}.",
            "Post it to the path of its own round.",
        )
    content = ReportContent(**wish.model_dump(exclude={"deadline", "signature"})).model_dump(by_alias=True)
    message = report_message(parts.federation.domain, round_number, report_digest(content), wish.deadline)
    require_coordinator(message, wish.signature, parts.federation.coordinator, "report")
    check_deadline(wish.deadline)
    with parts.database.write("round-reported") as session:
        reported.keep(session, content, wish.deadline)
    parts.worker.wake()
    return ReportTakenView(round=round_number)


@router.get("/v1/rounds/{round_number}/report")
def newest(parts: Parts, round_number: RoundNumber) -> ReportView:
    """Return the newest report on a round; 404 `no-report` if there is none."""
    with parts.database.read() as session:
        known(session, round_number)
        row = session.get(RoundReport, round_number)
        if row is None:
            raise Problem(
                "no-report",
                f"There is no report on the nodes of round {round_number}.",
                "`folkmoot train --superlink` sends reports while it runs.",
            )
        return ReportView(**row.document, received_at=row.received_at)

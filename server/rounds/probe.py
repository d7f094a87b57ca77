# SPDX-License-Identifier: Apache-2.0
"""The canary's place in a round: between the outcome and its anchor.

The coordinator has no task and measures nothing. An evaluator sends a signed report (`server.rounds.canary`). A round
whose model fell is withheld: it is not anchored unless the operator releases it, and after its deadline it is cancelled
like any round without an anchor. If no report comes in time the round is anchored with a warning: the canary may stop a
bad model, never the training.
"""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy.orm import Session

from server.chain.view import ChainView
from server.db import events
from server.db.engine import Database
from server.db.models import Round
from server.db.steps import Step
from server.rounds.canary import report_deadline
from server.rounds.phase import StepHandler
from server.waiting import DONE, Progress, Why, wait

TIME_TRAVEL_PROBE_SECONDS = 60.0
"""Seconds on the wall that a report may take when the operator is in a hurry."""
TIME_TRAVEL_RELEASE_SECONDS = 10.0
"""Seconds on the wall in which a withheld round may be released when the operator is in a hurry."""


class Probe(StepHandler):
    """Waits for the canary, and keeps a round whose model fell.

    Args:
        database: Where rounds are.
        canary: Whether a round waits for a report.
    """

    def __init__(self, database: Database, chain: ChainView, canary: bool) -> None:
        super().__init__(database, chain)
        self._canary = canary
        self._since: dict[tuple[int, Step], float] = {}

    def probe(self, round_: Round) -> Progress:
        """Take the step `probing`."""
        now = self._chain.now()
        if round_.anchor_deadline is not None and now >= round_.anchor_deadline:
            return self._step("round-late", round_, Step.CANCELLING, error="The anchor window is over.")
        verdict = (round_.canary or {}).get("verdict", "waiting")
        if verdict == "waiting":
            until = report_deadline(round_) if self._canary else now
            if now < until and not self._hurried(round_, TIME_TRAVEL_PROBE_SECONDS):
                return wait(Why.CANARY, round_.number, until)
        with self._database.write("canary-judged") as session:
            stored = session.get_one(Round, round_.number)
            canary = dict(stored.canary or {})
            if canary.get("verdict", "waiting") == "waiting":  # a report may have come meanwhile
                stored.canary = canary | {"verdict": "missing"}
                values = {
                    "round": round_.number,
                    "warning": "No canary report came in time; the round is anchored without one.",
                }
                events.append(session, "canary-missing", values, key=f"canary-missing:{round_.number}")
            elif canary["verdict"] == "fell" and not canary.get("released"):
                self._withhold(session, stored, canary)
                return DONE
            self._send_anchor(session, stored)
        return DONE

    def _withhold(self, session: Session, stored: Round, canary: dict[str, Any]) -> None:
        stored.step = Step.WITHHELD
        stored.error = "The canary withheld it. " + " ".join(canary["findings"])
        values = {
            "round": stored.number,
            "findings": canary["findings"],
            "numbers": canary["numbers"],
            "report": canary["report"],
            "evaluator": canary["evaluator"],
            "anchorDeadline": stored.anchor_deadline,
        }
        key = f"round-withheld:{stored.number}:{stored.recomputed}"
        events.append(session, "round-withheld", values, key=key)

    def withhold(self, round_: Round) -> Progress:
        """Take the step `withheld`."""
        deadline = round_.anchor_deadline
        if deadline is not None and self._chain.now() >= deadline:
            return self._step("round-late", round_, Step.CANCELLING)
        if (round_.canary or {}).get("released"):
            with self._database.write("release-followed") as session:
                stored = session.get_one(Round, round_.number)
                stored.error = None
                self._send_anchor(session, stored)
            return DONE
        if deadline is not None and self._hurried(round_, TIME_TRAVEL_RELEASE_SECONDS):
            self._chain.move_clock(deadline)
            return DONE
        return wait(Why.WITHHELD, round_.number, deadline or 0, problem=round_.error or "")

    def _hurried(self, round_: Round, seconds: float) -> bool:
        since = self._since.setdefault((round_.number, Step(round_.step)), time.monotonic())
        return self._chain.time_travel and time.monotonic() - since >= seconds

# SPDX-License-Identifier: Apache-2.0
"""The canary's place in a round: between the outcome and its anchor.

The coordinator has no task and measures nothing. An evaluator sends a signed report; what it means is
`folkmoot.evaluation.canary`'s. A round whose model fell is withheld: it is not anchored unless the operator releases
it, and after its deadline it is cancelled like any round without an anchor. If no report comes in time the round is
anchored with a warning: the canary may stop a bad model, never the training.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from folkmoot.errors import FolkmootError, InputError
from folkmoot.evaluation.canary import CanaryReport, Limits, canary_signer, findings, release_signer
from server.coordinator import Coordinator
from server.db import events
from server.db.models import Artifact, Round
from server.db.steps import Step
from server.rounds.phase import StepHandler
from server.settings import Settings

TIME_TRAVEL_PROBE_SECONDS = 60.0
"""Seconds on the wall that a report may take when the operator is in a hurry."""
TIME_TRAVEL_RELEASE_SECONDS = 10.0
"""Seconds on the wall in which a withheld round may be released when the operator is in a hurry."""


class CanaryRefused(FolkmootError):
    """A report or a release that can't be taken; `code` says why."""

    default_code = "canary-refused"


@dataclass(frozen=True)
class ReportReceipt:
    """What became of a report."""

    new: bool
    """False if it was there before."""
    sha256: str
    """Name of the report's file."""
    fell: bool
    """Whether the model fell."""


class Probe(StepHandler):
    """Waits for the canary, and keeps a round whose model fell."""

    def __init__(self, coordinator: Coordinator) -> None:
        super().__init__(coordinator)
        self._since: dict[tuple[int, Step], float] = {}

    def probe(self, round_: Round) -> bool:
        """Take the step `probing`; whether something changed."""
        now = self._coordinator.now()
        if round_.anchor_deadline is not None and now >= round_.anchor_deadline:
            return self._step("round-late", round_, Step.CANCELLING, error="The anchor window is over.")
        verdict = (round_.canary or {}).get("verdict", "waiting")
        if verdict == "waiting":
            until = report_deadline(self._coordinator.settings, round_)
            waits = self._coordinator.settings.canary and now < until
            if waits and not self._hurried(round_, TIME_TRAVEL_PROBE_SECONDS):
                return False
        with self._database.write("canary-judged") as session:
            stored = session.get_one(Round, round_.number)
            canary = dict(stored.canary or {})
            if canary.get("verdict", "waiting") == "waiting":  # a report may have come meanwhile
                stored.canary = canary | {"verdict": "missing"}
                told = {
                    "round": round_.number,
                    "warning": "No canary report came in time; the round is anchored without one.",
                }
                events.append(session, "canary-missing", told, key=f"canary-missing:{round_.number}")
            elif canary["verdict"] == "fell" and not canary.get("released"):
                self._withhold(session, stored, canary)
                return True
            self._send_anchor(session, stored)
        return True

    def _withhold(self, session: Session, stored: Round, canary: dict[str, Any]) -> None:
        stored.step = Step.WITHHELD
        stored.error = "The canary withheld it. " + " ".join(canary["findings"])
        told = {
            "round": stored.number,
            "findings": canary["findings"],
            "numbers": canary["numbers"],
            "report": canary["report"],
            "evaluator": canary["evaluator"],
            "anchorDeadline": stored.anchor_deadline,
        }
        key = f"round-withheld:{stored.number}:{stored.recomputed}"
        events.append(session, "round-withheld", told, key=key)

    def withhold(self, round_: Round) -> bool:
        """Take the step `withheld`; whether something changed."""
        deadline = round_.anchor_deadline
        if deadline is not None and self._coordinator.now() >= deadline:
            return self._step("round-late", round_, Step.CANCELLING)
        if (round_.canary or {}).get("released"):
            with self._database.write("release-followed") as session:
                stored = session.get_one(Round, round_.number)
                stored.error = None
                self._send_anchor(session, stored)
            return True
        if deadline is not None and self._hurried(round_, TIME_TRAVEL_RELEASE_SECONDS):
            self._coordinator.node.move_clock(deadline)
            return True
        return False

    def _hurried(self, round_: Round, seconds: float) -> bool:
        since = self._since.setdefault((round_.number, Step(round_.step)), time.monotonic())
        return self._time_travel and time.monotonic() - since >= seconds


def report_deadline(settings: Settings, round_: Round) -> int:
    """Chain time until which a round waits for a report."""
    if round_.commit_deadline is None or round_.anchor_deadline is None:
        raise AssertionError(f"round {round_.number} has no deadlines")
    window = round_.anchor_deadline - round_.commit_deadline
    return round_.commit_deadline + int(window * settings.canary_share)


def evaluator_of(coordinator: Coordinator) -> str:
    """The account whose reports count."""
    return coordinator.settings.canary_evaluator or coordinator.account.address


def limits_of(settings: Settings) -> Limits:
    """What a model may lose."""
    return Limits(
        accuracy_drop=settings.canary_accuracy_drop,
        recall_drop=settings.canary_recall_drop,
        least_examples=settings.canary_least_examples,
        loss_rise=settings.canary_loss_rise,
        group_loss_rise=settings.canary_group_loss_rise,
        trigger_rise=settings.canary_trigger_rise,
    )


def take_report(coordinator: Coordinator, number: int, data: bytes, signature: bytes) -> ReportReceipt:
    """Take in a canary report. The same one again changes nothing.

    Raises:
        InputError: `invalid-report`, or `invalid-signature`: it is not the evaluator's.
        CanaryRefused: `round-not-probed`, `wrong-report` (another state or task), `canary-exists` (there is
            another one).
    """
    report = CanaryReport.from_bytes(data)
    signer, evaluator = canary_signer(report, signature, coordinator.domain), evaluator_of(coordinator)
    if signer != evaluator:
        raise InputError(
            f"The report is signed by {signer}; the evaluator of this federation is {evaluator}.",
            remedy="Use the evaluator's keystore, or name another evaluator in the coordinator's settings.",
            code="invalid-signature",
        )
    found = findings(report.base, report.candidate, limits_of(coordinator.settings))
    with coordinator.database.read() as session:
        _check_report(coordinator, session.get(Round, number), number, report)
    stored_file = coordinator.store.put(data)
    with coordinator.database.write("canary-reported") as session:
        round_ = session.get(Round, number)
        canary = _check_report(coordinator, round_, number, report)
        if round_ is None:
            raise AssertionError("checked above")
        if canary.get("report") == stored_file.sha256:
            return ReportReceipt(False, stored_file.sha256, canary["verdict"] == "fell")
        if canary.get("verdict", "waiting") != "waiting":
            raise CanaryRefused(
                f"There is another report on round {number}, {canary.get('report')}.",
                remedy="The first one counts.",
                code="canary-exists",
            )
        session.merge(
            Artifact(
                sha256=stored_file.sha256, kind="report", size=stored_file.size, round=number, public_from=0
            )
        )
        round_.canary = canary | {
            "verdict": "fell" if found else "passed",
            "evaluator": signer,
            "report": stored_file.sha256,
            "signature": "0x" + signature.hex(),
            "findings": [str(one) for one in found],
            "numbers": [one.to_json() for one in found],
        }
        told = {
            "round": number,
            "fell": bool(found),
            "findings": round_.canary["findings"],
            "report": stored_file.sha256,
            "evaluator": signer,
        }
        events.append(session, "canary-reported", told, key=f"canary-reported:{number}:{stored_file.sha256}")
    return ReportReceipt(True, stored_file.sha256, bool(found))


def _check_report(
    coordinator: Coordinator, round_: Round | None, number: int, report: CanaryReport
) -> dict[str, Any]:
    """What is known of a round that waits for this report."""
    if round_ is None:
        raise CanaryRefused(f"There is no round {number}.", remedy="See /v1/rounds.", code="round-unknown")
    if report.round != number:
        raise CanaryRefused(f"The report is on round {report.round}, not on {number}.", code="wrong-report")
    canary = dict(round_.canary or {})
    known = canary.get("report") is not None
    if round_.step != Step.PROBING and not known:
        raise CanaryRefused(
            f"Round {number} waits for no canary report: its step is {round_.step}.",
            remedy="The canary must be on in the coordinator's settings, and a report comes after the outcome "
            "and before the anchor.",
            code="round-not-probed",
        )
    wanted = (round_.base_state_root, (round_.anchor or {}).get("stateRoot"), coordinator.manifest.task)
    given = ("0x" + report.base_state_root.hex(), "0x" + report.state_root.hex(), report.task)
    if wanted != given:
        raise CanaryRefused(
            f"The report is on another state or task: {given}, not {wanted}.",
            remedy="Measure the state that the coordinator computed.",
            code="wrong-report",
        )
    return canary


def release(coordinator: Coordinator, number: int, signature: bytes) -> None:
    """Have a withheld round anchored after all.

    Raises:
        InputError: `invalid-signature`.
        CanaryRefused: `not-authorised`, or `round-not-withheld`.
    """
    with coordinator.database.write("round-released") as session:
        round_ = session.get(Round, number)
        if round_ is None or round_.anchor is None or round_.step != Step.WITHHELD:
            raise CanaryRefused(
                f"Round {number} is not withheld.",
                remedy="Only a round that the canary withheld can be released, before its anchor deadline.",
                code="round-not-withheld",
            )
        state_root = bytes.fromhex(round_.anchor["stateRoot"][2:])
        signer = release_signer(number, state_root, signature, coordinator.domain)
        if signer != coordinator.account.address:
            raise CanaryRefused(
                f"The signature is of {signer}; only the coordinator {coordinator.account.address} may release.",
                remedy="Use the coordinator's keystore.",
                code="not-authorised",
            )
        round_.canary = dict(round_.canary or {}) | {"released": True}
        told = {"round": number, "findings": round_.canary.get("findings", [])}
        events.append(session, "round-released", told, key=f"round-released:{number}:{round_.recomputed}")

# SPDX-License-Identifier: Apache-2.0
"""What is said of a computed round: the evaluator's signed report, and the operator's word against it.

What a report means is `folkmoot.evaluation.canary`'s; what follows for the round is `server.rounds.probe`'s.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from folkmoot.artifacts.federation import Federation
from folkmoot.errors import FolkmootError, InputError
from folkmoot.evaluation.canary import CanaryReport, Limits, canary_signer, findings, release_signer
from server.db import events
from server.db.models import Round
from server.db.steps import Step
from server.settings import Settings
from server.storage import Storage, file_row


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


class Canary:
    """Takes in reports and releases.

    Args:
        storage: Where rounds and reports go.
        settings: Whose reports count, what a model may lose, and how long a round waits.
    """

    def __init__(self, storage: Storage, federation: Federation, settings: Settings) -> None:
        self._database = storage.database
        self._store = storage.store
        self._federation = federation
        self._limits = Limits(**settings.canary_limits)  # type: ignore[arg-type]  # the settings check the types
        self.evaluator = settings.canary_evaluator or federation.coordinator
        """The account whose reports count."""

    def take(self, number: int, data: bytes, signature: bytes) -> ReportReceipt:
        """Take in a canary report. The same one again changes nothing."""
        report = CanaryReport.from_bytes(data)
        signer = canary_signer(report, signature, self._federation.domain)
        if signer != self.evaluator:
            raise InputError(
                f"The report is signed by {signer}; the evaluator of this federation is {self.evaluator}.",
                remedy="Use the evaluator's keystore, or name another evaluator in the coordinator's settings.",
                code="invalid-signature",
            )
        rises = findings(report.base, report.candidate, self._limits)
        with self._database.read() as session:
            self._check(session.get(Round, number), number, report)
        stored_file = self._store.put(data)
        with self._database.write("canary-reported") as session:
            round_ = session.get(Round, number)
            canary = self._check(round_, number, report)
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
            session.merge(file_row(stored_file, "report", of=number))
            round_.canary = canary | {
                "verdict": "fell" if rises else "passed",
                "evaluator": signer,
                "report": stored_file.sha256,
                "signature": "0x" + signature.hex(),
                "findings": [str(rise) for rise in rises],
                "numbers": [rise.to_json() for rise in rises],
            }
            values = {
                "round": number,
                "fell": bool(rises),
                "findings": round_.canary["findings"],
                "report": stored_file.sha256,
                "evaluator": signer,
            }
            events.append(
                session, "canary-reported", values, key=f"canary-reported:{number}:{stored_file.sha256}"
            )
        return ReportReceipt(True, stored_file.sha256, bool(rises))

    def release(self, number: int, signature: bytes) -> None:
        """Have a withheld round anchored after all."""
        with self._database.write("round-released") as session:
            round_ = session.get(Round, number)
            if round_ is None or round_.anchor is None or round_.step != Step.WITHHELD:
                raise CanaryRefused(
                    f"Round {number} is not withheld.",
                    remedy="Only a round that the canary withheld can be released, before its anchor deadline.",
                    code="round-not-withheld",
                )
            state_root = bytes.fromhex(round_.anchor["stateRoot"][2:])
            signer = release_signer(number, state_root, signature, self._federation.domain)
            if signer != self._federation.coordinator:
                raise CanaryRefused(
                    f"The signature is of {signer}; only the coordinator {self._federation.coordinator} may release.",
                    remedy="Use the coordinator's keystore.",
                    code="not-authorised",
                )
            round_.canary = dict(round_.canary or {}) | {"released": True}
            values = {"round": number, "findings": round_.canary.get("findings", [])}
            events.append(
                session, "round-released", values, key=f"round-released:{number}:{round_.recomputed}"
            )

    def _check(self, round_: Round | None, number: int, report: CanaryReport) -> dict[str, Any]:
        """What is known of a round that waits for this report."""
        if round_ is None:
            raise CanaryRefused(
                f"There is no round {number}.", remedy="See /v1/rounds.", code="round-unknown"
            )
        if report.round != number:
            raise CanaryRefused(
                f"The report is on round {report.round}, not on {number}.", code="wrong-report"
            )
        canary = dict(round_.canary or {})
        known = canary.get("report") is not None
        if round_.step != Step.PROBING and not known:
            raise CanaryRefused(
                f"Round {number} waits for no canary report: its step is {round_.step}.",
                remedy="The canary must be on in the coordinator's settings, and a report comes after the outcome "
                "and before the anchor.",
                code="round-not-probed",
            )
        wanted = (
            round_.base_state_root,
            (round_.anchor or {}).get("stateRoot"),
            self._federation.manifest.task,
        )
        given = ("0x" + report.base_state_root.hex(), "0x" + report.state_root.hex(), report.task)
        if wanted != given:
            raise CanaryRefused(
                f"The report is on another state or task: {given}, not {wanted}.",
                remedy="Measure the state that the coordinator computed.",
                code="wrong-report",
            )
        return canary


def report_deadline(round_: Round) -> int:
    """Chain time until which a round waits for a report: three quarters of its anchor window.

    The last quarter is for the anchor: an evaluator that does not answer must not cost the round.
    """
    if round_.commit_deadline is None or round_.anchor_deadline is None:
        raise AssertionError(f"round {round_.number} has no deadlines")
    window = round_.anchor_deadline - round_.commit_deadline
    return round_.commit_deadline + window * 3 // 4

# SPDX-License-Identifier: Apache-2.0
"""What is said of a computed round: the evaluator's signed report, and the operator's word against it.

What a report means is `folkmoot.evaluation.canary`'s; what follows for the round is `server.rounds.probe`'s.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from folkmoot.errors import FolkmootError, InputError
from folkmoot.evaluation.canary import CanaryReport, Limits, canary_signer, findings, release_signer
from server.db import events
from server.db.models import Round
from server.db.steps import Step
from server.federation import Federation
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
        federation: The federation.
        settings: Whose reports count, what a model may lose, and how long a round waits.
    """

    def __init__(self, storage: Storage, federation: Federation, settings: Settings) -> None:
        self._database = storage.database
        self._store = storage.store
        self._federation = federation
        self._limits = _limits(settings)
        self._share = settings.canary_share
        self.evaluator = settings.canary_evaluator or federation.coordinator
        """The account whose reports count."""

    def deadline(self, round_: Round) -> int:
        """Chain time until which a round waits for a report."""
        return report_deadline(round_, self._share)

    def take(self, number: int, data: bytes, signature: bytes) -> ReportReceipt:
        """Take in a canary report. The same one again changes nothing.

        Raises:
            InputError: `invalid-report`, or `invalid-signature`: it is not the evaluator's.
            CanaryRefused: `round-not-probed`, `wrong-report` (another state or task), `canary-exists` (there is
                another one).
        """
        report = CanaryReport.from_bytes(data)
        signer = canary_signer(report, signature, self._federation.domain)
        if signer != self.evaluator:
            raise InputError(
                f"The report is signed by {signer}; the evaluator of this federation is {self.evaluator}.",
                remedy="Use the evaluator's keystore, or name another evaluator in the coordinator's settings.",
                code="invalid-signature",
            )
        found = findings(report.base, report.candidate, self._limits)
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
            events.append(
                session, "canary-reported", told, key=f"canary-reported:{number}:{stored_file.sha256}"
            )
        return ReportReceipt(True, stored_file.sha256, bool(found))

    def release(self, number: int, signature: bytes) -> None:
        """Have a withheld round anchored after all.

        Raises:
            InputError: `invalid-signature`.
            CanaryRefused: `not-authorised`, or `round-not-withheld`.
        """
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
            told = {"round": number, "findings": round_.canary.get("findings", [])}
            events.append(session, "round-released", told, key=f"round-released:{number}:{round_.recomputed}")

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


def report_deadline(round_: Round, share: float) -> int:
    """Chain time until which a round waits for a report: a part of its anchor window."""
    if round_.commit_deadline is None or round_.anchor_deadline is None:
        raise AssertionError(f"round {round_.number} has no deadlines")
    window = round_.anchor_deadline - round_.commit_deadline
    return round_.commit_deadline + int(window * share)


def _limits(settings: Settings) -> Limits:
    """What a model may lose."""
    return Limits(
        accuracy_drop=settings.canary_accuracy_drop,
        recall_drop=settings.canary_recall_drop,
        least_examples=settings.canary_least_examples,
        loss_rise=settings.canary_loss_rise,
        group_loss_rise=settings.canary_group_loss_rise,
        trigger_rise=settings.canary_trigger_rise,
    )

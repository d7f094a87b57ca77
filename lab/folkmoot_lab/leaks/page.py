# SPDX-License-Identifier: Apache-2.0
"""Write a report as one HTML page for people, as JSON for programs, and as Markdown for the documentation.

Every sentence about a result is made from its numbers.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from folkmoot.privacy.settings import WARNING
from folkmoot.web.intervals import Row, intervals
from folkmoot.web.pages import render
from folkmoot_lab.leaks.inversion import FOUND
from folkmoot_lab.leaks.measures import FALSE_ALARMS, Interval, Separation
from folkmoot_lab.leaks.published import OwnFinding
from folkmoot_lab.leaks.study import Finding, Study

CHANCE = 0.5

METHODS = (
    (
        "Membership",
        "the published states and updates, and a list of candidate records",
        "Was this record in the contributor's data? Canaries are records with a wrong label, a stand-in for unusual "
        "people; average records are as they are.",
    ),
    (
        "Strong adversary",
        "all records of the contributor but one, besides everything published",
        "Was the last record, a canary, there too? Differential privacy is a promise against this adversary.",
    ),
    (
        "Content",
        "all other records of the contributor, and that somebody's record is there",
        "What does it say: has it its own label or another one (healthy or ill)? Real records, no canaries: the one "
        "that shows most, and the median one. Changing a record counts twice, so the limit is a higher one.",
    ),
    (
        "Inversion",
        "an update, the state it started from, and the mean record",
        "What are the records? No list of candidates is needed.",
    ),
)
"""Name, what the attacker knows, what is asked."""

CAVEATS = (
    "These are attacks that we know and ran. A better attack finds more; only the limit of differential privacy holds "
    "against attacks that nobody knows yet.",
    "The limit holds if the contributor's own machine ran the mechanism as written. Nobody else can prove that it did.",
    "The limits are for one record. A person with k records has k squared times the cost rho, which is more than k "
    "times the epsilon, and relatives or repeated visits can be as telling.",
    "The exact number of records is hidden within a few records. About how many there are, and of which classes, can "
    "be estimated from the updates, and what is true of patients in general is not hidden at all.",
    "A measured value may be above its limit by chance: its interval, in brackets, must reach down to the limit. More "
    "trials make the interval narrower.",
    "Membership is measured on a simulated federation with the real training, codec and outer step, under the rule "
    "mean. Intervals are 95 % and cover the drawing of records, not the choice of data set.",
    "This page comes from the records without noise: to publish it is a release of its own, which no budget counts.",
    "Deleting published files does not delete what a model has learned, nor copies that others made.",
)


@dataclass(frozen=True)
class Made:
    """How a report was made."""

    command: str
    """Command line."""
    date: str
    """Day, as YYYY-MM-DD."""
    versions: dict[str, str]
    """Versions by program."""

    @classmethod
    def now(cls, command: str) -> Made:
        """Return today's date and the installed versions."""
        programs = {name: version(name) for name in ("folkmoot", "torch", "numpy")}
        today = datetime.now(UTC).date().isoformat()
        return cls(command, today, {"Python": platform.python_version(), **programs})


@dataclass(frozen=True)
class Report:
    """What a page shows."""

    study: Study
    """Attacks on a simulated federation."""
    own: OwnFinding | None
    """Attacks on a running federation's published updates; None if none were given."""
    made: Made
    """How it was made."""

    def to_json(self) -> dict[str, Any]:
        """JSON types."""
        return {
            "command": self.made.command,
            "date": self.made.date,
            "versions": self.made.versions,
            "study": self.study.to_json(),
            "published": None if self.own is None else self.own.to_json(),
        }


def written_json(report: Report) -> bytes:
    """Return the report as JSON, in UTF-8."""
    return (json.dumps(report.to_json(), indent=2) + "\n").encode()


def written(report: Report) -> bytes:
    """Return the page, in UTF-8."""
    study = report.study
    return render(
        "report.html",
        Path(__file__).parent,
        study=study,
        made=report.made,
        warnings=warnings(study),
        summary=summary(report),
        methods=METHODS,
        caveats=CAVEATS,
        records=_listing(study.records),
        own=None if report.own is None else _published(report.own),
        charts=[
            (title, intervals(title, rows, percent, CHANCE), any(row.bound is not None for row in rows))
            for title, rows in charts(study)
        ],
        results=(result_columns(), result_rows(study)),
        inversions=(inversion_columns(), inversion_rows(study)),
        explained=f"{FOUND:.0%}",
        false_alarms=percent(FALSE_ALARMS),
        amount=_amount(study),
    )


def warnings(study: Study) -> list[str]:
    """Return the sentences that come before everything else."""
    warned = [WARNING] if any(one.setting.limit is None for one in study.findings) else []
    return [*warned, *([study.refused] if study.refused else [])]


def summary(report: Report) -> list[str]:
    """Return the results in sentences, one for each setting."""
    told = [_told(one) for one in report.study.findings]
    return [*told, *([] if report.own is None else [_told_own(report.own)])]


def charts(study: Study) -> list[tuple[str, list[Row]]]:
    """Return title and rows of each chart."""
    auc = "how often the attacker ranks a present record above an absent one (50 % is chance)"
    measured = (
        (f"Canaries: {auc}", [one.canaries.auc for one in study.findings]),
        (f"Average records: {auc}", [one.average.auc for one in study.findings]),
        (f"Strong adversary: {auc}", [one.several_rounds.auc for one in study.findings]),
    )
    drawn = [
        (title, [_row(*pair) for pair in zip(study.findings, values, strict=True)])
        for title, values in measured
    ]
    content = (
        "What a known record says, the worst record: how often the attacker names the right one of two labels"
    )
    rows = [_row(one, one.worst_content.auc, content=True) for one in study.findings]
    return [*drawn, (f"{content} (50 % is chance)", rows)]


def _row(one: Finding, measured: Interval, *, content: bool = False) -> Row:
    limit = one.setting.limit
    if content and limit is not None:
        limit = limit.content
    return Row(
        one.setting.name, measured.value, measured.low, measured.high, None if limit is None else limit.auc
    )


def percent(value: float) -> str:
    """Return a share as text."""
    return f"{100 * value:.0f} %"


def _told(one: Finding) -> str:
    ranked, tpr = percent(one.canaries.auc.value), percent(one.canaries.tpr.value)
    accuracy = one.metrics.get("accuracy")
    text = (
        f"{one.setting.name}"
        + ("" if accuracy is None else f" (accuracy {percent(accuracy)})")
        + f": who reads only what is published ranks an unusual record that was trained on above one that was not in "
        f"{ranked} of all pairs, and finds {tpr} of them at {percent(FALSE_ALARMS)} false alarms. Who knows all other "
        f"records is right in {ranged(one.several_rounds.auc)} of all pairs after {one.attacked_rounds} rounds about "
        f"whether a record is there. Who knows that it is there is right about its label in "
        f"{ranged(one.worst_content.auc)} for the record that shows most, in {ranged(one.median_content.auc)} for the "
        "median one"
    )
    limit = one.setting.limit
    if limit is None:
        text += "; nothing bounds what a better attacker finds."
    else:
        text += (
            f"; no attack at all can be right in more than {percent(limit.auc)} about whether a record is there, and "
            f"in more than {percent(limit.content.auc)} about what it says."
        )
    worst = max(one.inverted, key=lambda inverted: inverted.found.value)
    few = "1 record" if worst.records == 1 else f"{worst.records} records"
    return f"{text} Inversion found at most {percent(worst.found.value)} of the records of an update (from {few})."


def _told_own(own: OwnFinding) -> str:
    text = (
        f"Your published updates of {len(own.rounds)} rounds: your records are ranked above wrong copies of "
        f"themselves in {percent(own.canaries.auc.value)} of all pairs"
    )
    if own.unseen is not None:
        text += f", and above records that nobody trains on in {percent(own.unseen.auc.value)}"
    if own.found is not None:
        text += f"; inversion found {percent(own.found.value)} of your records"
    if own.deleted:
        text += f". Your updates of {len(own.deleted)} rounds were deleted, and not attacked"
    return f"{text}. All this is public, for as long as anybody keeps a copy."


def _published(own: OwnFinding) -> dict[str, Any]:
    rows = [("your records against the same with wrong labels", *_cells(own.canaries))]
    if own.unseen is not None:
        rows.append(("your records against the task's root set", *_cells(own.unseen)))
    return {
        "account": own.account,
        "rounds": _listing(own.rounds),
        "deleted": _listing(own.deleted) if own.deleted else "",
        "rows": rows,
    }


def _cells(one: Separation) -> tuple[object, ...]:
    return one.present, one.absent, ranged(one.auc), ranged(one.tpr)


def ranged(one: Interval) -> str:
    """Return a share with its interval as text."""
    return f"{100 * one.value:.0f} % ({100 * one.low:.0f} to {100 * one.high:.0f})"


def result_columns() -> tuple[str, ...]:
    """Return the headings of the table of results."""
    at = percent(FALSE_ALARMS)
    return (
        "Setting",
        "Accuracy",
        "Canaries: AUC",
        f"Canaries found at {at} false alarms",
        "Average records: AUC",
        "Strong adversary, one round: AUC",
        "Strong adversary, several rounds: AUC",
        "Limit of the AUC",
        f"Limit of what is found at {at} false alarms",
        "Content of a known record, worst: AUC",
        "Content of a known record, median: AUC",
        "Limit of the AUC for content",
    )


def result_rows(study: Study) -> list[tuple[str, ...]]:
    """Return the rows of the table of results."""
    rows: list[tuple[str, ...]] = []
    for one in study.findings:
        limit, accuracy = one.setting.limit, one.metrics.get("accuracy")
        rows.append(
            (
                one.setting.name,
                "not measured" if accuracy is None else percent(accuracy),
                ranged(one.canaries.auc),
                ranged(one.canaries.tpr),
                ranged(one.average.auc),
                ranged(one.one_round.auc),
                f"{ranged(one.several_rounds.auc)}, {one.attacked_rounds} rounds",
                *(("none", "none") if limit is None else (percent(limit.auc), percent(limit.tpr))),
                ranged(one.worst_content.auc),
                ranged(one.median_content.auc),
                "none" if limit is None else percent(limit.content.auc),
            )
        )
    return rows


def inversion_columns() -> tuple[str, ...]:
    """Return the headings of the table of inversions."""
    return ("Setting", "Records", "Median PSNR", "Found", "By chance")


def inversion_rows(study: Study) -> list[tuple[str, ...]]:
    """Return the rows of the table of inversions."""
    return [
        (
            one.setting.name,
            str(inverted.records),
            f"{inverted.psnr:.0f} dB",
            ranged(inverted.found),
            ranged(inverted.absent),
        )
        for one in study.findings
        for inverted in one.inverted
    ]


def markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table as Markdown."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _amount(study: Study) -> str:
    plan = study.plan
    return (
        f"Membership: {plan.runs} federations. Strong adversary: {plan.targets} records, {plan.trials} trainings with "
        f"each and as many without it. Inversion: {plan.inversions} updates for each number of records"
    )


def _listing(numbers: Sequence[int]) -> str:
    shown = [str(number) for number in numbers]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"

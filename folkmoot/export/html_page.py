# SPDX-License-Identifier: Apache-2.0
"""Write the history as one HTML file with charts and without scripts: for people first, costs and hashes last."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from folkmoot.evaluation import app_metrics
from folkmoot.export import metric_charts
from folkmoot.export.rounds import FederationRecord, RoundRecord
from folkmoot.protocol.rewards import FULL_PAY
from folkmoot.runtime.units import UNIT, format_amount, format_time
from folkmoot.web.charts import Line, chart
from folkmoot.web.pages import render

MOST_CHARTS = 12
"""Maximum number of charts of metrics other than losses and accuracies."""

_NONE = "\N{EN DASH}"


def written(record: FederationRecord) -> bytes:
    """Return the page, in UTF-8."""
    metrics = {round_.number: round_.metrics for round_ in record.rounds}
    judged = [round_ for round_ in record.rounds if round_.weights]
    contributors = _contributors(record, judged)
    return render(
        "history.html",
        record=record,
        unit=UNIT,
        format_amount=format_amount,
        format_time=format_time,
        measured=_measured(record.rounds),
        kept=sum(round_.phase in ("anchored", "final") for round_ in record.rounds),
        judged=judged,
        contributors=contributors,
        full_pay=FULL_PAY,
        has_pays=any(round_.pays for round_ in judged),
        most=max((person["part"] for person in contributors), default=0.0) or 1.0,
        loss_and_accuracy=metric_charts.loss_and_accuracy(metrics),
        other_measurements=metric_charts.others(metrics, MOST_CHARTS),
        rounds=[_round(round_) for round_ in record.rounds],
        costs=_costs(record),
    )


def _measured(rounds: Sequence[RoundRecord]) -> list[tuple[str, str, str]]:
    """Return cards with the last loss and accuracy."""
    last = next((round_ for round_ in reversed(rounds) if round_.metrics), None)
    if last is None:
        return []
    named = zip(("Loss", "Accuracy"), app_metrics.headline(last.metrics), strict=True)
    return [
        (name, app_metrics.shown(key, last.metrics[key]), f"{key}, round {last.number}")
        for name, key in named
        if key is not None
    ]


def _contributors(record: FederationRecord, judged: Sequence[RoundRecord]) -> list[dict[str, Any]]:
    """Return each contributor's part of all rounds, the largest first."""
    if not judged:
        return []
    parts = dict.fromkeys(record.contributors, 0.0)
    for round_ in judged:
        for account, weight in round_.weights.items():
            parts[account] += weight / (sum(round_.weights.values()) or 1) / len(judged)
    paid = [round_ for round_ in judged if round_.pays]
    people = []
    for account in sorted(parts, key=lambda account: -parts[account]):
        entered = [round_ for round_ in judged if account in round_.weights]
        reasons = Counter(round_.reasons.get(account, "") for round_ in entered)
        counts = [f"{reason} {count}x" for reason, count in reasons.items() if reason not in ("", "accepted")]
        people.append(
            {
                "account": account,
                "part": parts[account],
                "pay": sum(one.pays.get(account, 0) for one in paid) / (FULL_PAY * len(paid))
                if paid
                else None,
                "counted": sum(round_.weights[account] > 0 for round_ in entered),
                "reasons": ", ".join(counts),
                "reward": sum(round_.rewards.get(account, 0) for round_ in record.rounds),
            }
        )
    return people


def _round(round_: RoundRecord) -> tuple[object, ...]:
    loss, accuracy = (
        _NONE if key is None else app_metrics.shown(key, round_.metrics[key])
        for key in app_metrics.headline(round_.metrics)
    )
    entries = _NONE if round_.accepted is None else f"{round_.accepted} of {round_.entries} accepted"
    lost = (_NONE if value is None else value for value in (round_.refused, round_.failed))
    return round_.number, round_.phase, loss, accuracy, entries, *lost


def _costs(record: FederationRecord) -> Markup | None:
    """Return charts of gas and time by round; None if neither is known."""
    drawn = []
    for title, value in (("Gas", "gas"), ("Seconds by the chain's clock", "seconds")):
        values = [(round_.number, getattr(round_, value)) for round_ in record.rounds]
        points = [(number, float(amount)) for number, amount in values if amount is not None]
        drawn.append(chart(title, [Line(value, points)], app_metrics.number, from_zero=True))
    return metric_charts.side_by_side(*drawn)

# SPDX-License-Identifier: Apache-2.0
"""Render the page at `/` from an overview: words, tables and two charts. Reads no database and no chain."""

from __future__ import annotations

import time
from collections.abc import Mapping

from folkmoot.evaluation import app_metrics
from folkmoot.export import metric_charts
from folkmoot.rpc.local_chain import LOCAL_CHAIN_ID
from folkmoot.runtime.units import format_amount, format_duration, format_time
from folkmoot.tasks import SHIPPED
from folkmoot.web.pages import render
from server.api.overview import Overview
from server.api.schemas import RoundView, WaitView
from server.waiting import Why

SHOWN = 12
"""Rounds in the table; the charts have more."""

AHEAD = 60
"""Seconds by which the chain's clock may be ahead before the page says so."""

_TONES = {
    "final": "good",
    "anchored": "good",
    "executed": "good",
    "succeeded": "good",
    "accepted": "good",
    "running": "good",
    "done": "good",
    "degraded": "bad",
    "slashed": "bad",
    "failed": "bad",
    "refused": "bad",
    "cancelled": "warn",
    "defeated": "warn",
    "expired": "warn",
}
"""Colour of each state."""


def front(overview: Overview, url: str, reload: int, links: Mapping[str, str]) -> bytes:
    """Return the page as HTML in UTF-8.

    Args:
        overview: The state of the federation.
        url: The coordinator's URL, safe for a command line.
        reload: Seconds between two reloads; 0 for never.
        links: Paths of the other pages, by name.
    """
    stall = _stall(overview)
    answers = [person.answer for person in overview.people]
    return render(
        "front.html",
        overview=overview,
        tones=_TONES,
        stall=stall,
        stall_left="" if stall is None else _left(stall, overview.health.chain_time),
        notices=_notices(overview, stall),
        measured=_measured(overview.metrics),
        summary=lambda number: app_metrics.summary(overview.metrics.get(number, {})),
        shipped=SHIPPED,
        answered=f"{answers.count('accepted')} answered this round"
        if overview.rounds
        else "without the coordinator",
        charts=metric_charts.loss_and_accuracy(overview.metrics),
        rounds=[_round(round_, overview.metrics.get(round_.round, {})) for round_ in overview.rounds[:SHOWN]],
        format_amount=format_amount,
        format_duration=format_duration,
        format_time=format_time,
        local=overview.chain_id == LOCAL_CHAIN_ID,
        url=url,
        reload=reload,
        links=links,
    )


def _stall(overview: Overview) -> WaitView | None:
    """Return what keeps the run from going on, if that is more than a matter of time and nothing is down."""
    waits = overview.run.waits if overview.run is not None and overview.health.status == "ok" else ()
    return next((wait for wait in waits if not wait.normal), None)


def _left(stall: WaitView, now: int | None) -> str:
    if stall.code in (Why.CANCELLED_ROUNDS, Why.NODES) or not now or not stall.until or stall.until <= now:
        return ""
    return f" ({format_duration(stall.until - now)} left)"


def _notices(overview: Overview, stall: WaitView | None) -> list[str | None]:
    shown = None if stall is None else f"{stall.message} {stall.remedy}".strip()  # at the top of the page
    texts = [text for text in (overview.health.error, *overview.health.warnings) if text != shown]
    if not overview.health.chain:
        texts.append("The chain does not answer. This page lacks the values that come from the chain.")
    if (ahead := int((overview.health.chain_time or 0) - time.time())) > AHEAD:
        texts.append(
            f"The chain's clock is {format_duration(ahead)} ahead of the coordinator's, as when somebody moves the "
            "clock of a local chain instead of waiting. Times on this page are the chain's."
        )
    return texts


def _measured(metrics: Mapping[int, Mapping[str, float]]) -> list[tuple[str, str, str]]:
    """Return cards with the last loss and accuracy."""
    last = max(metrics, default=None)
    if last is None:
        return []
    named = zip(("Loss", "Accuracy"), app_metrics.headline(metrics[last]), strict=True)
    return [
        (name, app_metrics.shown(key, metrics[last][key]), f"{key}, round {last}")
        for name, key in named
        if key is not None
    ]


def _round(round_: RoundView, metrics: Mapping[str, float]) -> dict[str, object]:
    updates = f"{round_.received} received"
    if round_.weights and round_.phase not in ("opening", "open"):
        updates = f"{sum(weight > 0 for weight in round_.weights)} of {round_.entries} accepted"
    loss, accuracy = (
        None if key is None else app_metrics.shown(key, metrics[key]) for key in app_metrics.headline(metrics)
    )
    return {"round": round_, "updates": updates, "loss": loss, "accuracy": accuracy}

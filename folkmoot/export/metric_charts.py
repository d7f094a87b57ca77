# SPDX-License-Identifier: Apache-2.0
"""Charts of the metrics that an app reports, from untrusted names and values."""

from __future__ import annotations

from collections.abc import Mapping

from markupsafe import Markup

from folkmoot.evaluation import app_metrics
from folkmoot.web.charts import Line, chart

ByRound = Mapping[int, Mapping[str, float]]
"""Metrics in the form of `app_metrics.flat`, by round."""


def loss_and_accuracy(metrics: ByRound) -> Markup | None:
    """Return a chart of all losses and one of all accuracies and other shares; None if there are none."""
    names = _names(metrics)
    losses = [name for name in names if app_metrics.is_loss(name)]
    shares = [name for name in names if app_metrics.is_share(name) and name not in losses]
    return side_by_side(
        chart("Loss", _lines(metrics, losses), app_metrics.number),
        chart("Accuracy", _lines(metrics, shares), app_metrics.percent),
    )


def others(metrics: ByRound, most: int) -> Markup | None:
    """Return a chart of each other metric, at most so many; None if there are none."""
    names = [
        name for name in _names(metrics) if not (app_metrics.is_loss(name) or app_metrics.is_share(name))
    ]
    return side_by_side(*(chart(name, _lines(metrics, [name]), app_metrics.number) for name in names[:most]))


def side_by_side(*charts: Markup) -> Markup | None:
    """Return charts beside each other where there is room; None if all are empty."""
    drawn = Markup().join(charts)
    return Markup('<div class="charts">{}</div>').format(drawn) if drawn else None


def _names(metrics: ByRound) -> list[str]:
    return sorted({name for values in metrics.values() for name in values}, key=app_metrics.rank)


def _lines(metrics: ByRound, names: list[str]) -> list[Line]:
    return [
        Line(name, [(number, metrics[number][name]) for number in sorted(metrics) if name in metrics[number]])
        for name in names
    ]

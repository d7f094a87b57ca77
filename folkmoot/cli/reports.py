# SPDX-License-Identifier: Apache-2.0
"""Evaluation reports for people: the lines and tables of `task evaluate`, and the summary for voters.

This module does not depend on the source of the reports.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

from folkmoot.cli.output import table
from folkmoot.errors import InputError

if TYPE_CHECKING:
    from folkmoot.evaluation import Measurement


def summary(measured: Measurement) -> dict[str, str]:
    """Return the task's metrics, losses and errors, the worst class and the worst-group gap, as names and values."""
    lines = {
        name: "no number" if value is None else f"{value:.4f}" for name, value in measured.metrics.items()
    }
    worst, group, gaps = measured.worst_class, measured.worst_group, measured.gaps
    if worst is not None and worst.recall is not None:
        lines["worst class"] = f"{worst.name}: recall {_percent(worst.recall)} of {worst.support} examples"
    lines |= _loss_lines(measured)
    if group is not None and group.accuracy is not None and gaps is not None:
        lines["worst group"] = (
            f"{group.name}: accuracy {_percent(group.accuracy)} of {group.support} examples"
        )
        lines["worst-group gap"] = (
            f"{_points(gaps[0])} points below the best group, {_points(gaps[1])} below all examples"
        )
    elif group is not None:
        lines["worst group"] = f"{group.name}: mean loss {_loss(group.mean_loss)} of {group.support} examples"
        if gaps is not None:
            lines["worst-group gap"] = (
                f"loss {_loss(gaps[0])} above the best group, {_loss(gaps[1])} above all examples"
            )
    for probe in measured.probes:
        with_, without = (Fraction(n, probe.examples) for n in (probe.drawn, probe.drawn_without))
        lines[f"trigger, {probe.trigger}"] = (
            f"{_percent(with_)} of other classes' examples go to {probe.name}, {_percent(without)} without it"
        )
    return lines


def _loss_lines(measured: Measurement) -> dict[str, str]:
    """Return losses and errors of predicted numbers as names and values."""
    losses, errors = measured.losses, measured.regression
    if losses is None:
        return {}
    of = f"{losses.measured} examples"
    if measured.perplexity is not None or losses.w != losses.measured:
        of = f"{losses.w} tokens in {of}"
    lines = {}
    if errors is None or errors.own_losses:
        lines["mean loss"] = f"{_loss(losses.mean)} of {of}"
    if losses.unmeasured:
        lines["not measured"] = f"{losses.unmeasured} of {losses.examples} examples: no finite loss"
    if measured.perplexity is not None:
        lines["perplexity"] = _loss(measured.perplexity)
    if errors is not None:
        lines |= {
            "mean absolute error": _loss(errors.mean_absolute_error(losses)),
            "mean squared error": _loss(errors.mean_squared_error(losses)),
            "R2": _loss(errors.r2(losses)),
        }
    return lines


def tables(measured: Measurement) -> list[Any]:
    """Return the table of classes, and the table of groups if the groups are not the classes."""
    shown = []
    if measured.classes:
        rows = [
            (
                one.name,
                str(one.support),
                str(one.predicted),
                "-" if one.recall is None else _percent(one.recall),
            )
            for one in measured.classes
        ]
        shown.append(table(("class", "examples", "predicted", "recall"), rows))
    if {one.name for one in measured.groups} - {one.name for one in measured.classes}:
        by_loss = measured.losses is not None
        by_accuracy = any(one.accuracy is not None for one in measured.groups)
        titles = ["group", "examples", *["accuracy"] * by_accuracy, *["mean loss"] * by_loss]
        shown.append(
            table(
                titles,
                [
                    (
                        one.name,
                        str(one.support),
                        *([_percent(one.accuracy)] if one.accuracy is not None else []),
                        *([_loss(one.mean_loss)] if by_loss else []),
                    )
                    for one in measured.groups
                ],
            )
        )
    return shown


def for_voters(data: bytes) -> dict[str, str]:
    """Return the summary of a report file for voters. For another format, the summary says so."""
    from folkmoot.evaluation import Report

    try:
        report = Report.from_bytes(data)
    except InputError:
        return {"report": f"{len(data)} bytes in a format of its own: read the file"}
    return {f"report, {name}": value for name, value in summary(report.measured).items()}


def _percent(share: Fraction) -> str:
    return f"{100 * float(share):.1f}%"


def _loss(value: Fraction | None) -> str:
    return "no number" if value is None else f"{float(value):.4f}"


def _points(share: Fraction) -> str:
    return f"{100 * float(share):.1f}"

# SPDX-License-Identifier: Apache-2.0
"""Evaluation reports for people: the lines and tables of `task evaluate`, and what a voter sees of one.

Knows reports, not where they come from.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

from folkmoot.cli.output import table
from folkmoot.errors import InputError

if TYPE_CHECKING:
    from folkmoot.evaluation import Measurement


def summary(measured: Measurement) -> dict[str, str]:
    """Return the task's own numbers, the worst class and the worst-group gap as names and values."""
    lines = {
        name: "no number" if value is None else f"{value:.4f}" for name, value in measured.metrics.items()
    }
    worst, group, gaps = measured.worst_class, measured.worst_group, measured.gaps
    if worst is not None and worst.recall is not None:
        lines["worst class"] = f"{worst.name}: recall {_percent(worst.recall)} of {worst.support} examples"
    if group is not None and gaps is not None:
        lines["worst group"] = (
            f"{group.name}: accuracy {_percent(group.accuracy)} of {group.support} examples"
        )
        lines["worst-group gap"] = (
            f"{_points(gaps[0])} points below the best group, {_points(gaps[1])} below all examples"
        )
    for probe in measured.probes:
        with_, without = (Fraction(n, probe.examples) for n in (probe.drawn, probe.drawn_without))
        lines[f"trigger, {probe.trigger}"] = (
            f"{_percent(with_)} of other classes' examples go to {probe.name}, {_percent(without)} without it"
        )
    return lines


def tables(measured: Measurement) -> list[Any]:
    """Return the table of classes, and that of groups where these are not the classes."""
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
        groups = [(one.name, str(one.support), _percent(one.accuracy)) for one in measured.groups]
        shown.append(table(("group", "examples", "accuracy"), groups))
    return shown


def for_voters(data: bytes) -> dict[str, str]:
    """Return what a voter sees of a report file; of one in another format, that it is in another format."""
    from folkmoot.evaluation import Report

    try:
        report = Report.from_bytes(data)
    except InputError:
        return {"report": f"{len(data)} bytes in a format of its own: read the file"}
    return {f"report, {name}": value for name, value in summary(report.measured).items()}


def _percent(share: Fraction) -> str:
    return f"{100 * float(share):.1f}%"


def _points(share: Fraction) -> str:
    return f"{100 * float(share):.1f}"

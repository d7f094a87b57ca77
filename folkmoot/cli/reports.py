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
    from folkmoot.evaluation import GroupCount, Measurement
    from folkmoot.evaluation.sites import Pooled


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
                class_.name,
                str(class_.support),
                str(class_.predicted),
                "-" if class_.recall is None else _percent(class_.recall),
            )
            for class_ in measured.classes
        ]
        shown.append(table(("class", "examples", "predicted", "recall"), rows))
    if {group.name for group in measured.groups} - {class_.name for class_ in measured.classes}:
        by_loss = measured.losses is not None
        by_accuracy = any(group.accuracy is not None for group in measured.groups)
        titles = ["group", "examples", *["accuracy"] * by_accuracy, *["mean loss"] * by_loss]
        shown.append(
            table(
                titles,
                [
                    (
                        group.name,
                        str(group.support),
                        *([_percent(group.accuracy)] if group.accuracy is not None else []),
                        *([_loss(group.mean_loss)] if by_loss else []),
                    )
                    for group in measured.groups
                ],
            )
        )
    return shown


def for_voters(data: bytes) -> dict[str, str]:
    """Return the summary of a report file for voters. For another format, the summary says so."""
    from folkmoot.evaluation import Report

    try:
        pooled = pooled_of(data)
    except InputError as error:
        return {"report": f"WRONG: {error.message}"}
    if pooled is not None:
        return {f"measured, {name}": value for name, value in pooled_lines(pooled).items()}
    try:
        report = Report.from_bytes(data)
    except InputError:
        return {"report": f"{len(data)} bytes in a format of its own: read the file"}
    return {f"report, {name}": value for name, value in summary(report.measured).items()}


def pooled_of(data: bytes) -> Pooled | None:
    """Return the measurements of sites that a report is made of, added up again; None if it is another report.

    Raises:
        InputError: ``invalid-measurement``: it says that it is the sums of measurements, and is not.
    """
    from folkmoot.evaluation.sites import POOLED_FORMAT, Pooled

    return Pooled.from_bytes(data) if POOLED_FORMAT.encode() in data else None


def pooled_lines(pooled: Pooled) -> dict[str, str]:
    """Return the sums over all sites, and the sites whose numbers lie away, as names and values."""
    lines = {"sites": str(len(pooled.measurements)), "all examples": cell_words(pooled.total)}
    for what, word in (("classes", "class"), ("groups", "group")):
        lines |= {
            f"{word} {cell.name}": f"{cell_words(cell)}, shown by {sites} sites"
            for cell, sites in pooled.cells(what)
        }
    lines |= {
        f"away: {site}": f"unlike the others in {', '.join(cells)}" for site, cells in pooled.away().items()
    }
    for word, named in (
        ("not committed before", pooled.uncommitted),
        ("committed, no table counted", pooled.silent),
    ):
        lines |= {word: ", ".join(named)} if named else {}
    return lines


def cell_words(cell: GroupCount) -> str:
    """Return a cell's counts, or its mean loss, in words."""
    if cell.accuracy is not None:
        return f"{cell.correct} of {cell.support} right ({_percent(cell.accuracy)})"
    return f"mean loss {_loss(cell.mean_loss)} of {cell.support} examples"


def _percent(share: Fraction) -> str:
    return f"{100 * float(share):.1f}%"


def _loss(value: Fraction | None) -> str:
    return "no number" if value is None else f"{float(value):.4f}"


def _points(share: Fraction) -> str:
    return f"{100 * float(share):.1f}"

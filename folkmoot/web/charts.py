# SPDX-License-Identifier: Apache-2.0
"""Draw line charts as SVG: values by round, one line per metric.

Colours come from the style sheet of the pages by class, so that a chart supports light and dark modes.
Lines also differ by their dashes, and the last values are shown as text next to the chart.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from folkmoot.web.pages import part

WIDTH, HEIGHT = 480, 240
LEFT, RIGHT, TOP, BOTTOM = 66, 14, 14, 30
"""Margins for the numbers of the axes, in units of the SVG."""

LINES = 4
"""Maximum number of distinguishable lines in a chart."""

POINTS = 400
"""Maximum number of points of a line. Longer runs are thinned out."""

DOTS = 40
"""Maximum number of points that are drawn as dots."""


@dataclass(frozen=True)
class Line:
    """One line of a chart."""

    name: str
    points: Sequence[tuple[int, float]]
    """Pairs of round and finite value, by ascending round."""


def chart(
    title: str, lines: Sequence[Line], show: Callable[[float], str], *, from_zero: bool = False
) -> Markup:
    """Return a chart with its legend.

    Args:
        title: Short title.
        lines: Lines, of which at most `LINES` with points are drawn.
        show: Function that formats a value for people.
        from_zero: Whether the axis begins at zero, for amounts that are compared with each other.

    Returns:
        A `figure`; empty if no line has a point.
    """
    drawn = [Line(line.name, _thinned(line.points)) for line in lines if line.points][:LINES]
    if not drawn:
        return Markup()
    rounds = [number for line in drawn for number, _ in line.points]
    values = [value for line in drawn for _, value in line.points]
    across = _Scale(min(rounds), max(rounds), LEFT, WIDTH - RIGHT)
    steps = ticks(min(0.0, *values), max(values)) if from_zero else ticks(min(values), max(values))
    up = _Scale(steps[0], steps[-1], HEIGHT - BOTTOM, TOP)
    last = ", ".join(
        f"{line.name} {show(line.points[-1][1])} in round {line.points[-1][0]}" for line in drawn
    )
    return part(
        "chart",
        title,
        f"{title} by round: {last}",
        frame={"width": WIDTH, "height": HEIGHT, "left": LEFT, "right": WIDTH - RIGHT},
        across=[(up.at(value), show(value)) for value in steps],
        rounds=[(across.at(number), number) for number in round_ticks(min(rounds), max(rounds))],
        series=[_drawn(line, across, up, show) for line in drawn],
    )


def ticks(low: float, high: float, about: int = 4) -> list[float]:
    """Return at least two round numbers, from below `low` to above `high`."""
    if high <= low:
        room = abs(low) / 2 or 1.0
        low, high = low - room, high + room
    raw = (high - low) / about
    size = 10.0 ** math.floor(math.log10(raw)) if raw > 0 else 1.0
    step = next(size * factor for factor in (1, 2, 2.5, 5, 10) if size * factor >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(place * step, 12 - math.floor(math.log10(step))) for place in range(first, last + 1)]


def round_ticks(first: int, last: int, most: int = 8) -> list[int]:
    """Return at most `most` + 1 numbers of rounds for the axis."""
    step = max(1, math.ceil((last - first + 1) / most))
    step = min(nice * 10**power for nice in (1, 2, 5) for power in range(12) if nice * 10**power >= step)
    begin = first if step == 1 else math.ceil(first / step) * step
    return list(range(begin, last + 1, step))


class _Scale:
    """Maps values to positions on an axis."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        self._low, self._start = low, start
        self._middle = (start + end) / 2
        self._factor = (end - start) / (high - low) if high > low else 0.0

    def at(self, value: float) -> float:
        if self._factor == 0.0:
            return self._middle
        return round(self._start + (value - self._low) * self._factor, 1)


def _thinned(points: Sequence[tuple[int, float]]) -> Sequence[tuple[int, float]]:
    if len(points) <= POINTS:
        return points
    step = math.ceil(len(points) / (POINTS - 1))
    kept = list(points[::step])
    return kept if kept[-1] == points[-1] else [*kept, points[-1]]


def _drawn(line: Line, across: _Scale, up: _Scale, show: Callable[[float], str]) -> dict[str, Any]:
    dots = [
        (across.at(number), up.at(value), f"round {number}: {show(value)}") for number, value in line.points
    ]
    return {
        "name": line.name,
        "last": show(line.points[-1][1]),
        "path": "M" + " L".join(f"{x:g} {y:g}" for x, y, _ in dots),
        "dots": dots if len(dots) <= DOTS else dots[-1:],
    }

# SPDX-License-Identifier: Apache-2.0
"""Draw measured values with their intervals as SVG: a row for each value, on an axis from 0 to 1.

Colours come from the page's style sheet by class. `alone` adds them, for an SVG file outside of a page.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from folkmoot.web.markup import Markup, tag

WIDTH, ROW = 620, 26
LEFT, RIGHT, TOP, BOTTOM = 210, 60, 10, 34

_STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#5a6660}.grid{stroke:#d9dedb}.line{stroke-width:2}.whole{fill:#fff}"
    ".s0 .line{stroke:#0b6b4f}.s0 .dot{fill:#0b6b4f}.s1 .line{stroke:#b4501a}"
    ".s2 .line{stroke:#3b5bb5;stroke-dasharray:2 4}"
)


@dataclass(frozen=True)
class Row:
    """One measured value."""

    name: str
    """Its name."""
    value: float
    """The value, 0 to 1."""
    low: float
    """Lower end of its interval."""
    high: float
    """Upper end."""
    bound: float | None = None
    """What the value can't exceed; None if nothing is known."""


def intervals(
    title: str, rows: Sequence[Row], show: Callable[[float], str], chance: float | None = None
) -> Markup:
    """Return a chart as an `svg` element.

    Args:
        title: What is measured.
        rows: The values, from top to bottom.
        show: Function that formats a value for people.
        chance: The value of an attack that guesses, drawn as a dashed line.
    """
    height = TOP + ROW * len(rows) + BOTTOM
    told = "; ".join(
        f"{row.name}: {show(row.value)} ({show(row.low)} to {show(row.high)}"
        + ("" if row.bound is None else f", bound {show(row.bound)}")
        + ")"
        for row in rows
    )
    ticks = [tick / 4 for tick in range(5)]
    return tag(
        "svg",
        tag("title", f"{title}: {told}"),
        [
            Markup.of(
                tag("line", x1=_x(tick), x2=_x(tick), y1=TOP, y2=height - BOTTOM, class_="grid"),
                tag("text", show(tick), x=_x(tick), y=height - 14, text_anchor="middle"),
            )
            for tick in ticks
        ],
        None if chance is None else _upright(chance, TOP, height - BOTTOM, "s2"),
        [_row(row, TOP + ROW * (place + 0.5), show) for place, row in enumerate(rows)],
        viewBox=f"0 0 {WIDTH} {height}",
        role="img",
        aria_label=f"{title}: {told}",
        class_="chart intervals",
    )


def alone(chart: Markup) -> bytes:
    """Return a chart as a file with its own colours on white."""
    opening, _, rest = chart.partition(">")
    style = tag("style", Markup(_STYLE))
    ground = tag("rect", width="100%", height="100%", class_="whole")
    return f'{opening} xmlns="http://www.w3.org/2000/svg">{style}{ground}{rest}\n'.encode()


def _x(value: float) -> float:
    return round(LEFT + min(max(value, 0.0), 1.0) * (WIDTH - LEFT - RIGHT), 1)


def _upright(value: float, top: float, bottom: float, series: str) -> Markup:
    x = _x(value)
    return tag("g", tag("line", x1=x, x2=x, y1=top, y2=bottom, class_="line"), class_=f"series {series}")


def _row(row: Row, y: float, show: Callable[[float], str]) -> Markup:
    bound = None if row.bound is None else _upright(row.bound, y - 9, y + 9, "s1")
    measured = tag(
        "g",
        tag("line", x1=_x(row.low), x2=_x(row.high), y1=y, y2=y, class_="line"),
        tag("circle", cx=_x(row.value), cy=y, r=4, class_="dot"),
        class_="series s0",
    )
    name = tag("text", row.name, x=LEFT - 10, y=y + 4, text_anchor="end")
    return Markup.of(name, bound, measured, tag("text", show(row.value), x=WIDTH - RIGHT + 10, y=y + 4))

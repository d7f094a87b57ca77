# SPDX-License-Identifier: Apache-2.0
"""Draw measured values with their intervals as SVG: a row for each value, on an axis from 0 to 1.

Colours come from the page's style sheet by class. `alone` adds them, for an SVG file outside of a page.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from folkmoot.web.pages import part

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
    words = "; ".join(
        f"{row.name}: {show(row.value)} ({show(row.low)} to {show(row.high)}"
        + ("" if row.bound is None else f", bound {show(row.bound)}")
        + ")"
        for row in rows
    )
    drawn = [
        {
            "name": row.name,
            "text": show(row.value),
            "y": TOP + ROW * (place + 0.5),
            "x": _x(row.value),
            "low": _x(row.low),
            "high": _x(row.high),
            "bound": None if row.bound is None else _x(row.bound),
        }
        for place, row in enumerate(rows)
    ]
    return part(
        "intervals",
        f"{title}: {words}",
        frame={
            "width": WIDTH,
            "height": height,
            "left": LEFT,
            "right": WIDTH - RIGHT,
            "top": TOP,
            "bottom": height - BOTTOM,
        },
        ticks=[(_x(tick / 4), show(tick / 4)) for tick in range(5)],
        chance=None if chance is None else _x(chance),
        rows=drawn,
    )


def alone(chart: str) -> bytes:
    """Return a chart as a file with its own colours on white."""
    opening, _, rest = chart.partition(">")
    ground = f'<style>{_STYLE}</style><rect width="100%" height="100%" class="whole"></rect>'
    return f'{opening} xmlns="http://www.w3.org/2000/svg">{ground}{rest}\n'.encode()


def _x(value: float) -> float:
    return round(LEFT + min(max(value, 0.0), 1.0) * (WIDTH - LEFT - RIGHT), 1)

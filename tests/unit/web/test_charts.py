# SPDX-License-Identifier: Apache-2.0
"""Charts are well-formed SVG, keep inside their frame, and say their values in words too."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st

from folkmoot.evaluation import app_metrics
from folkmoot.web import charts
from folkmoot.web.charts import HEIGHT, LEFT, LINES, POINTS, WIDTH, Line, chart, round_ticks, ticks

values = st.floats(-app_metrics.LARGEST, app_metrics.LARGEST, exclude_min=True, exclude_max=True)
points = st.dictionaries(st.integers(1, 10**12), values, max_size=30).map(lambda found: sorted(found.items()))


@given(st.lists(st.tuples(st.text(max_size=20), points), max_size=6))
def test_any_values_make_a_chart_that_fits(lines: list[tuple[str, list[tuple[int, float]]]]) -> None:
    made = chart("Loss <b>", [Line(name, found) for name, found in lines], app_metrics.number)
    drawn = [found for _, found in lines if found][:LINES]
    if not drawn:
        assert made == ""
        return
    root = ET.fromstring(made)  # noqa: S314  we made it ourselves
    for circle in root.iter("circle"):
        assert 0 <= float(circle.get("cx", "-1")) <= WIDTH
        assert 0 <= float(circle.get("cy", "-1")) <= HEIGHT
    assert len(root.findall("ul/li")) == len(drawn)
    unnamed = chart("Loss <b>", [Line("", found) for _, found in lines], app_metrics.number)
    assert "nan" not in unnamed.lower()  # A name may be any text.


@given(values, values)
def test_ticks_are_few_and_hold_the_values(one: float, other: float) -> None:
    low, high = sorted((one, other))
    found = ticks(low, high)
    assert 2 <= len(found) <= 12
    assert found == sorted(found)
    slack = 1e-9 * max(abs(low), abs(high), 1e-300)
    assert found[0] <= low + slack
    assert found[-1] >= high - slack


@given(st.integers(1, 10**9), st.integers(0, 10**9))
def test_round_ticks_are_few_and_whole(first: int, more: int) -> None:
    found = round_ticks(first, first + more)
    assert 0 < len(found) <= 10 or more < 2
    assert all(first <= number <= first + more for number in found)


def test_a_long_run_is_drawn_thinner_and_to_its_end() -> None:
    made = chart(
        "Loss", [Line("loss", [(number, 1 / number) for number in range(1, 10_001)])], app_metrics.number
    )
    root = ET.fromstring(made)  # noqa: S314  we made it ourselves
    (path,) = [one.get("d", "") for one in root.iter("path") if f"M{LEFT}" in one.get("d", "")]
    assert 200 <= path.count("L") <= POINTS
    assert path.endswith(f"{WIDTH - charts.RIGHT} {HEIGHT - charts.BOTTOM}")
    assert "loss 0.0001 in round 10000" in made


def test_one_point_is_a_chart() -> None:
    made = chart("Accuracy", [Line("accuracy", [(1, 0.5)])], app_metrics.percent)
    assert len(re.findall("<circle", made)) == 1
    assert "accuracy 50% in round 1" in made

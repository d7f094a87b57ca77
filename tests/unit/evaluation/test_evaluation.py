# SPDX-License-Identifier: Apache-2.0
"""Every number of a report follows from labels, predictions and losses, and nobody can write another one."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from folkmoot.errors import InputError
from folkmoot.evaluation import TRIGGERS, Measurement, Report, measure, rounded, triggered
from folkmoot.protocol.hashing import canonical_json

LABEL = st.integers(-3, 12)
EXAMPLES = st.lists(
    st.tuples(LABEL, LABEL, st.sampled_from(("north", "south", "sea"))), min_size=1, max_size=60
)


def measured(examples: list[tuple[int, int, str]]) -> Measurement:
    labels, predictions, groups = zip(*examples, strict=True)
    return measure({"loss": 0.5}, labels, predictions, groups)


@given(EXAMPLES)
def test_counts_are_counts_and_ratios_are_bounded(examples: list[tuple[int, int, str]]) -> None:
    found = measured(examples)
    for one in found.classes:
        assert one.support == sum(str(label) == one.name for label, _, _ in examples)
        assert one.predicted == sum(str(guess) == one.name for _, guess, _ in examples)
        assert one.correct == sum(str(label) == one.name and label == guess for label, guess, _ in examples)
        assert one.recall is None or 0 <= one.recall <= 1
    for group in found.groups:
        assert group.support == sum(group.name == where for *_, where in examples)
    assert found.accuracy == Fraction(sum(label == guess for label, guess, _ in examples), len(examples))
    weighted = sum(one.support * one.recall for one in found.classes if one.recall is not None)
    assert found.accuracy == weighted / len(examples), "accuracy is the mean of recalls by support"
    assert found.gaps is not None
    best, mean = found.gaps
    assert 0 <= mean <= best <= 1
    worst = found.worst_group
    assert worst is not None
    assert worst.accuracy is not None
    assert all(group.accuracy is not None and worst.accuracy <= group.accuracy for group in found.groups)


@given(EXAMPLES, st.randoms(use_true_random=False))
def test_a_report_is_a_function_of_what_was_predicted(
    examples: list[tuple[int, int, str]], random: Any
) -> None:
    made = Report("task", "ab" * 32, "7", "0x12", measured(examples))
    assert Report.from_bytes(made.to_bytes()) == made
    mixed = list(examples)
    random.shuffle(mixed)
    assert Report("task", "ab" * 32, "7", "0x12", measured(mixed)).to_bytes() == made.to_bytes()


def test_whole_numbers_come_by_value_and_texts_after_them() -> None:
    found = measure({}, ["10", "9", "cat", "-1"], ["10", "9", "cat", "-1"])
    assert [one.name for one in found.classes] == ["-1", "9", "10", "cat"]
    assert [one.name for one in found.groups] == ["-1", "9", "10", "cat"], (
        "without groups, classes are groups"
    )
    assert [one.name for one in measure({}, ["01", "1", "001"], ["1", "1", "1"]).classes] == [
        "001",
        "01",
        "1",
    ]
    assert [one.name for one in measure({}, np.array([1.0, 0.0]), [1, 0]).classes] == ["0", "1"]


def test_numbers_are_rounded_once_and_what_is_not_finite_is_null() -> None:
    assert rounded(Fraction(1, 3)) == 0.333333
    assert str(rounded(-1e-9)) == "0.0", "no negative zero"
    assert rounded(float("nan")) is None
    assert rounded(float("-inf")) is None
    found = measure({"loss": float("inf"), "accuracy": 0.25})
    assert found.metrics == {"loss": None, "accuracy": 0.25}
    assert found.accuracy == Fraction(1, 4)
    assert (found.worst_class, found.worst_group, found.gaps) == (None, None, None)
    assert Measurement.from_json(found.to_json()) == found


@pytest.mark.parametrize("trigger", TRIGGERS)
def test_a_trigger_is_a_patch_of_an_eighth_as_bright_as_the_brightest(trigger: str) -> None:
    images = np.zeros((2, 3, 16, 16), dtype=np.float32)
    images[0, 0, 5, 5] = 4
    changed = triggered(images, trigger)
    top = 0 if trigger == "corner" else 8
    assert (changed[..., top : top + 2, top : top + 2] == 4).all()
    assert int((changed != images).sum()) == 2 * 3 * 4, "nothing else is changed"
    assert images.sum() == 4, "the examples are kept"
    assert (triggered(np.ones((1, 5, 5)), trigger) == 1).all(), "of a small image, one pixel"


def test_a_model_that_obeys_a_trigger_is_found_with_its_class() -> None:
    rng = np.random.default_rng(3)
    labels = np.arange(40) % 4
    images = rng.random((40, 8, 8)).astype(np.float32)
    images[0, 7, 7] = 9

    def predict(shown: NDArray[Any]) -> NDArray[Any]:
        return np.where(shown[:, 0, 0] == 9, 2, labels)

    found = {
        probe.trigger: probe for probe in measure({}, labels, predict(images), None, images, predict).probes
    }
    corner, middle = found["corner"], found["middle"]
    assert (corner.name, corner.examples, corner.drawn, corner.drawn_without) == ("2", 30, 30, 0)
    assert (middle.drawn, middle.rise) == (0, Fraction(0))


def test_a_class_that_only_the_trigger_brings_up_is_not_counted_as_a_class() -> None:
    images = np.zeros((4, 8, 8), dtype=np.float32)
    found = measure({}, [0, 0, 1, 1], [0, 0, 1, 1], None, images, lambda shown: [7] * len(shown))
    assert [one.name for one in found.classes] == ["0", "1"]
    assert all(probe.drawn == 0 for probe in found.probes)


@pytest.mark.parametrize(
    ("labels", "predictions", "groups"),
    [
        ([0, 1], [0], None),
        ([], [], None),
        ([0, 1], [0, 1], ["a"]),
        ([[0, 1]], [[0, 1]], None),
        ([0.0, 0.5], [0, 0], None),
        ([0.0, float("nan")], [0, 0], None),
    ],
)
def test_columns_that_do_not_fit_each_other(labels: Any, predictions: Any, groups: Any) -> None:
    with pytest.raises(InputError):
        measure({}, labels, predictions, groups)


def _set(path: tuple[Any, ...], value: Any) -> Any:
    def change(report: dict[str, Any]) -> None:
        place: Any = report
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value

    return change


@pytest.mark.parametrize(
    "change",
    [
        _set(("classes", 0, "recall"), 1.0),
        _set(("classes", 0, "correct"), 5),
        _set(("classes", 0, "support"), True),
        _set(("classes", 0, "predicted"), 99),
        _set(("classes", 0, "class"), "1"),
        _set(("groups", 0, "support"), 0),
        _set(("groups", 0, "correct"), 3),
        _set(("gaps", "bestMinusWorst"), 0.0),
        _set(("gaps",), None),
        _set(("worstClass",), "1"),
        _set(("examples",), 5),
        _set(("metrics", "loss"), 0.1234567),
        _set(("metrics", "loss"), 1),
        _set(("metrics",), []),
        _set(("probes",), [{"trigger": "edge"}]),
        _set(("more",), 1),
        _set(("task",), 1),
        _set(("format",), "folkmoot/evaluation/2"),
        _set(("kind",), "regression"),
        _set(("kind",), "metrics"),
        _set(("kind",), "guesses"),
        _set(("loss",), {}),
        _set(("perplexity",), 1.0),
        _set(("regression",), {}),
    ],
)
def test_a_number_that_does_not_follow_is_refused(change: Any) -> None:
    found = measured([(0, 0, "north"), (0, 1, "north"), (1, 1, "south"), (1, 1, "sea")])
    report = json.loads(Report("task", "ab" * 32, "7", "0x12", found).to_bytes())
    change(report)
    with pytest.raises(InputError) as refused:
        Report.from_bytes(canonical_json(report))
    assert refused.value.code == "invalid-report"


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b"null", b"{ }", b"\xff", b"[" * 100])
def test_bytes_that_are_no_report(data: bytes) -> None:
    with pytest.raises(InputError) as refused:
        Report.from_bytes(data)
    assert refused.value.code == "invalid-report"

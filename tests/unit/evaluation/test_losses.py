# SPDX-License-Identifier: Apache-2.0
"""Errors and losses of a report are exact sums: any order gives the same bytes, and no number can be changed."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from folkmoot.errors import InputError
from folkmoot.evaluation import Measurement, Report, measure
from folkmoot.evaluation.losses import BOUND, UNIT, fixed
from folkmoot.protocol.hashing import canonical_json

NUMBER = st.floats(-1e6, 1e6)
ODD = st.one_of(NUMBER, st.sampled_from((math.nan, math.inf, -math.inf, 1e300)))
GROUP = st.sampled_from(("north", "south", "sea"))
ROWS = st.lists(st.tuples(NUMBER, ODD, GROUP), min_size=1, max_size=40)
TOKENS = st.lists(st.tuples(st.floats(0, 20), st.integers(1, 4000), GROUP), min_size=1, max_size=40)


def regression(rows: list[tuple[float, float, str]]) -> Measurement:
    targets, predictions, groups = zip(*rows, strict=True)
    return measure({"mae": 1.5}, targets=targets, predictions=predictions, groups=groups)


def language(rows: list[tuple[float, int, str]]) -> Measurement:
    values, tokens, groups = zip(*rows, strict=True)
    return measure({}, losses=values, weights=tokens, groups=groups)


def written(measured: Measurement) -> bytes:
    return Report("task", "ab" * 32, "7", "0x12", measured).to_bytes()


@given(ROWS, st.randoms(use_true_random=False))
def test_a_regression_is_a_function_of_its_predictions_and_comes_back(rows: Any, random: Any) -> None:
    data = written(regression(rows))
    assert Report.from_bytes(data) == Report("task", "ab" * 32, "7", "0x12", regression(rows))
    random.shuffle(rows)
    assert written(regression(rows)) == data


@given(TOKENS, st.randoms(use_true_random=False))
def test_a_language_model_is_a_function_of_its_losses_and_comes_back(rows: Any, random: Any) -> None:
    data = written(language(rows))
    assert Report.from_bytes(data).measured == language(rows)
    random.shuffle(rows)
    assert written(language(rows)) == data


@given(st.lists(st.tuples(st.floats(-100, 100), st.floats(-100, 100)), min_size=2, max_size=50))
def test_errors_are_those_that_numpy_finds(rows: list[tuple[float, float]]) -> None:
    targets, predictions = np.array(rows).T
    found = measure({}, targets=targets, predictions=predictions)
    assert found.losses is not None
    assert found.regression is not None
    errors = predictions - targets
    assert float(found.regression.mean_absolute_error(found.losses) or 0) == pytest.approx(
        np.abs(errors).mean(), abs=1e-6
    )
    assert float(found.regression.mean_squared_error(found.losses) or 0) == pytest.approx(
        (errors**2).mean(), rel=1e-5, abs=1e-3
    )
    assert float(found.mean_loss or 0) == pytest.approx((errors**2).mean(), rel=1e-5, abs=1e-3)
    if targets.var() > 1:
        assert float(found.regression.r2(found.losses) or 0) == pytest.approx(
            1 - (errors**2).mean() / targets.var(), rel=1e-3, abs=1e-3
        )
    assert float(found.losses.squared_error) == pytest.approx(
        (errors**2).var() / len(rows), rel=1e-3, abs=1e-1
    )


def test_numbers_are_rounded_half_to_even_to_units() -> None:
    values = np.array([0.5, 1.5, 2.5, -0.5, 3.25]) / UNIT
    units, known = fixed(values)
    assert units.tolist() == [0, 2, 2, 0, 3]
    assert known.all()
    ends = np.array([BOUND / UNIT, -BOUND / UNIT, BOUND / UNIT * 1.0001, np.inf, np.nan])
    units, known = fixed(ends)
    assert (units.tolist(), known.tolist()) == ([BOUND, -BOUND, 0, 0, 0], [True, True, False, False, False])


def test_a_small_regression_by_hand() -> None:
    found = measure({}, targets=[1.0, 2.0, 3.0, 6.0], predictions=[1.5, 2.0, 3.0, 4.0], groups=[1, 1, 2, 2])
    value = found.to_json()
    assert value["kind"] == "regression"
    assert value["examples"] == 4
    assert value["regression"]["meanAbsoluteError"] == 0.625
    assert value["regression"]["meanSquaredError"] == 1.0625
    assert value["regression"]["r2"] == round(1 - 4.25 / 14, 6)
    assert value["regression"]["sums"]["t"] == str(12 * UNIT)
    assert value["loss"]["mean"] == 1.0625
    assert [group["loss"]["mean"] for group in value["groups"]] == [0.125, 2.0]
    assert value["worstGroup"] == "2"
    assert value["gaps"] == {"worstMinusBest": 1.875, "worstMinusMean": 0.9375}
    assert found.accuracy is None


def test_targets_without_variance_have_no_r2_and_losses_may_be_the_tasks_own() -> None:
    found = measure({}, targets=[1.0, 1.0], predictions=[1.0, 2.0], losses=[0.25, 0.75])
    assert found.to_json()["regression"]["r2"] is None
    assert found.mean_loss == Fraction(1, 2)
    assert Measurement.from_json(found.to_json()) == found


def test_a_prediction_that_is_no_number_is_counted_and_leaves_no_mean() -> None:
    found = regression([(1.0, math.nan, "a"), (2.0, 2.0, "b"), (3.0, 7.0, "b")])
    value = found.to_json()
    assert (value["loss"]["unmeasured"], value["loss"]["mean"], value["regression"]["r2"]) == (1, None, None)
    assert (value["worstGroup"], value["gaps"]) == ("a", None)
    assert value["groups"][1]["loss"]["mean"] == 8.0


def test_perplexity_is_the_exponential_of_the_mean_over_tokens() -> None:
    found = language([(2.0, 30, "en"), (3.0, 10, "de")])
    assert found.mean_loss == Fraction(9, 4)
    value = found.to_json()
    assert value["perplexity"] == round(math.exp(2.25), 6)
    assert value["groups"][0]["loss"]["sums"]["w"] == "10", "the tokens are the support"
    assert (value["worstGroup"], value["gaps"]["worstMinusBest"]) == ("de", 1.0)
    assert measure({}, losses=[800.0], weights=[5]).to_json()["perplexity"] is None
    assert measure({}, losses=[2.0]).to_json()["perplexity"] is None, "losses alone are of any task"


def test_losses_beside_classes() -> None:
    found = measure({}, [0, 1, 1], [0, 1, 0], ["a", "b", "b"], losses=torch.tensor([0.5, 0.25, 2.0]))
    value = found.to_json()
    assert value["kind"] == "classification"
    assert value["groups"][1] == {
        "group": "b",
        "support": 2,
        "correct": 1,
        "accuracy": 0.5,
        "loss": value["groups"][1]["loss"],
    }
    assert value["groups"][1]["loss"]["mean"] == 1.125
    assert Measurement.from_json(value) == found


def test_columns_may_be_tensors_lists_or_one_column_of_a_table() -> None:
    targets = [1.0, 2.0, 4.0]
    made = [
        measure({}, targets=targets, predictions=some)
        for some in (
            [1.0, 2.5, 4.0],
            np.array([[1.0], [2.5], [4.0]], dtype=np.float32),
            torch.tensor([[1.0], [2.5], [4.0]], requires_grad=True),
            torch.tensor([1.0, 2.5, 4.0], dtype=torch.bfloat16),
        )
    ]
    assert all(one == made[0] for one in made)
    assert measure({}, [0, 1], torch.tensor([False, True])) == measure({}, [0, 1], [0, 1])


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"labels": [151.5, 75.0], "predictions": [1, 2]}, "Give them as targets="),
        ({"labels": [1, 0], "predictions": [0.7, 0.2]}, "scores.argmax"),
        ({"labels": [1, 0], "predictions": [[0.7, 0.3], [0.2, 0.8]]}, "scores.argmax"),
        ({"labels": [1, 0], "predictions": [1, 0], "groups": [0.5, 1.5]}, "Give a name for each range"),
        ({"labels": [1.0, math.inf], "predictions": [1, 0]}, "not whole"),
        ({"labels": [1, 0]}, "no predictions"),
        ({"labels": [1], "predictions": [1], "targets": [1.0]}, "Give labels for classes"),
        ({"targets": [1.0]}, "no predictions"),
        ({"targets": [1.0, math.nan], "predictions": [1, 2]}, "Leave out examples without a target"),
        ({"targets": [1.0, 1e12], "predictions": [1, 2]}, "in thousands or millions"),
        ({"targets": [1.0, 2.0], "predictions": [1.0]}, "2 targets, 1 predictions"),
        ({"targets": [[1.0, 2.0]], "predictions": [[1.0, 2.0]]}, "give losses="),
        ({"targets": [], "predictions": []}, "at least one"),
        ({"targets": ["a"], "predictions": [1.0]}, "not numbers"),
        ({"targets": [1.0], "predictions": [1.0], "weights": [3]}, "weights are tokens"),
        ({"targets": [1.0], "predictions": [1.0], "losses": [1.0, 2.0]}, "1 targets, 2 losses"),
        ({"losses": [1.0], "weights": [0]}, "leave out examples without tokens"),
        ({"losses": [1.0], "weights": [1.5]}, "number of tokens"),
        ({"losses": [-1.0], "weights": [4]}, "negative"),
        ({"losses": [1.0], "groups": ["a", "b"]}, "1 losses, 2 groups"),
        ({"losses": []}, "at least one"),
        ({"predictions": [1.0]}, "neither labels nor targets"),
        ({"groups": ["a"]}, "nothing to measure"),
        ({"losses": [1.0], "images": np.zeros((1, 8, 8))}, "Leave out images and predict"),
    ],
)
def test_columns_that_make_no_sense_say_what_to_give(columns: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as refused:
        measure({}, **columns)
    assert said in str(refused.value)
    assert refused.value.remedy


def numbers(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Every number of a report, with its place; sums are texts."""
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from numbers(inner, (*path, key))
    elif isinstance(value, int | float) or (isinstance(value, str) and "sums" in path):
        yield path, value


REPORTS = {
    "regression": regression([(1.0, 1.5, "a"), (2.0, 2.0, "a"), (4.0, 3.0, "b"), (9.0, 6.0, "b")]),
    "language-model": language([(2.0, 30, "en"), (3.0, 10, "de"), (2.5, 7, "de")]),
    "loss": measure({}, losses=[0.5, 1.0, 2.0], groups=["a", "b", "b"]),
    "classification": measure({}, [0, 1, 1], [0, 1, 0], ["a", "b", "b"], losses=[0.5, 1.0, 2.0]),
}


@pytest.mark.parametrize("kind", REPORTS)
def test_any_number_that_is_changed_is_refused(kind: str) -> None:
    """With groups every sum stands in a report twice, so not even one unit can be moved."""
    report = json.loads(written(REPORTS[kind]))
    places = [(path, old) for path, old in numbers(report) if path[0] != "metrics"]
    assert len(places) > 20
    for path, old in places:
        for by in (1, -1, 1000):
            changed = copy.deepcopy(report)
            inner: Any = changed
            for step in path[:-1]:
                inner = inner[step]
            if path[:2] == ("regression", "sums"):
                by *= UNIT**2  # the sums of targets and errors stand there once: what rounds away is not seen
            inner[path[-1]] = str(int(old) + by) if isinstance(old, str) else old + by
            with pytest.raises(InputError) as refused:
                Report.from_bytes(canonical_json(changed))
            assert refused.value.code == "invalid-report", (path, by)


@pytest.mark.parametrize("sums", ["1.5", "01", "-0", "", " 1", "1" * 200, 1, None, "٣"])
def test_sums_that_are_none(sums: Any) -> None:
    report = json.loads(written(REPORTS["loss"]))
    report["loss"]["sums"]["wl"] = sums
    with pytest.raises(InputError) as refused:
        Report.from_bytes(canonical_json(report))
    assert refused.value.code == "invalid-report"


def test_kinds_can_not_be_exchanged() -> None:
    for kind, measured in REPORTS.items():
        for other in (*REPORTS, "metrics"):
            report = json.loads(written(measured)) | {"kind": other}
            if other != kind:
                with pytest.raises(InputError):
                    Report.from_bytes(canonical_json(report))

# SPDX-License-Identifier: Apache-2.0
"""Metrics as apps report them, which may be anything."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from folkmoot.evaluation import app_metrics

junk: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["train", "server"]), inner),
)


@given(junk)
def test_only_finite_numbers_are_left(metrics: Any) -> None:
    found = app_metrics.flat(metrics)
    assert len(found) <= app_metrics.MOST
    for name, value in found.items():
        assert name.partition("/")[0] in app_metrics.SOURCES
        assert math.isfinite(value)
        app_metrics.shown(name, value)
    app_metrics.summary(found)


def test_the_most_telling_source_speaks_for_a_round() -> None:
    found = app_metrics.flat(
        {
            "train": {"train_loss": 0.3, "accuracy": 0.99},
            "evaluate": {"eval_loss": 0.5, "eval_acc": 0.8},
            "server": {"centralized_loss": 0.4},
        }
    )
    assert app_metrics.headline(found) == ("server/centralized_loss", "evaluate/eval_acc")
    assert app_metrics.summary(found) == "loss 0.400, accuracy 80.0%"


@pytest.mark.parametrize(
    ("name", "loss", "share"),
    [
        ("server/loss", True, False),
        ("train/train_loss", True, False),
        ("evaluate/val-loss", True, False),
        ("server/accuracy", False, True),
        ("evaluate/eval_acc", False, True),
        ("server/worst group recall", False, True),
        ("server/accelerated", False, False),
        ("server/lossless", False, False),
        ("train/a/b/loss", True, False),
        ("loss", True, False),
        ("server/mse", False, False),
    ],
)
def test_names_say_what_a_metric_is(name: str, loss: bool, share: bool) -> None:
    assert (app_metrics.is_loss(name), app_metrics.is_share(name)) == (loss, share)


@pytest.mark.parametrize(
    ("value", "percent", "number"),
    [
        (0.5, "50%", "0.5"),
        (0.123, "12.3%", "0.123"),
        (1, "100%", "1"),
        (-3, "-3", "-3"),
        (533720.0, "533,720", "533,720"),
    ],
)
def test_values_as_people_read_them(value: float, percent: str, number: str) -> None:
    assert (app_metrics.percent(value), app_metrics.number(value)) == (percent, number)

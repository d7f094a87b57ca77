# SPDX-License-Identifier: Apache-2.0
"""What rounding and clamping left out of an update is in the next ones, and never more than the bound."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from folkmoot.errors import EncodingError, InputError
from folkmoot.protocol import feedback
from folkmoot.protocol.arrays import F32, F64
from folkmoot.protocol.codec import decode_update, encode_update
from folkmoot.protocol.exponents import next_exponents
from folkmoot.protocol.manifest import Manifest
from folkmoot.protocol.update_checks import summarize
from folkmoot.protocol.updates import MemoryUpdate
from tests.unit.privacy.test_settings import GOOD

ACCOUNT = "0x" + "1a" * 20
MANIFEST = Manifest.from_arrays("two", {"a": np.zeros((30, 30), np.float32), "b": np.zeros(5, np.float32)})
START = MANIFEST.flatten(
    {"a": np.linspace(-1, 1, 900, dtype=np.float32).reshape(30, 30), "b": np.ones(5, np.float32)}
)
PADDING = MANIFEST.flatten({"a": np.ones((30, 30), np.float32), "b": np.ones(5, np.float32)}) == 0


class Sender:
    """A contributor that encodes one change after another."""

    def __init__(self) -> None:
        self.residual: F32 = np.zeros_like(START)
        self.sent: F64 = np.zeros(START.shape)
        self.data = b""
        self.rounds = 0

    def send(self, change: F32, exponents: Sequence[int]) -> None:
        self.rounds += 1
        seed = self.rounds.to_bytes(32, "big")
        update, made_of = feedback.encode(
            START, START - change, exponents, MANIFEST, seed, ACCOUNT, residual=self.residual
        )
        self.data, self.residual = update.data, feedback.left_out(made_of, update.data, exponents, MANIFEST)
        sizes = np.exp2(np.array(exponents, float)[MANIFEST.tensor_of_leaf]).repeat(256)
        self.sent += decode_update(self.data, MANIFEST, 2) * sizes

    def taken_up(self, change: F32, residual: F32) -> F32:
        """Return what an update takes up of a residual."""
        given = (START, START - change, (0, 0), MANIFEST, bytes(32), ACCOUNT)
        return feedback.encode(*given, residual=residual)[1] - feedback.encode(*given)[1]


def changed(rng: np.random.Generator, size: float) -> F32:
    return np.where(PADDING, 0, rng.normal(0, size, START.shape)).astype(np.float32)


@settings(max_examples=20, deadline=None)
@given(
    st.integers(0, 2**32),
    st.lists(st.tuples(st.integers(-12, -6), st.integers(-12, -6)), min_size=1, max_size=6),
)
def test_what_was_sent_and_what_is_left_are_what_was_changed(
    seed: int, exponents: list[tuple[int, int]]
) -> None:
    """Also where most of a change is clamped, and in each round with other exponents."""
    rng, sender, total = np.random.default_rng(seed), Sender(), np.zeros(START.shape)
    with pytest.MonkeyPatch.context() as whole:
        whole.setattr(feedback, "DECAY", 1.0)
        whole.setattr(feedback, "LARGEST", math.inf)
        for pair in exponents:
            change = changed(rng, 2.0**-8)
            total += START.astype(float) - (START - change)
            sender.send(change, pair)
    grid = 2.0**-23 * len(exponents)  # of the weights, below 2
    assert np.abs(sender.sent + sender.residual - total).max() <= grid
    assert not sender.residual[PADDING].any()


def test_the_sum_of_updates_is_nearer_to_the_changes_than_without() -> None:
    rng, sender, alone = np.random.default_rng(1), Sender(), np.zeros(START.shape)
    change = changed(rng, 2.0**-8)
    for number in range(1, 17):
        sender.send(change, (-7, -7))
        update = encode_update(
            START, START - change, (-7, -7), MANIFEST, number.to_bytes(32, "big"), ACCOUNT, width=2
        )
        alone += decode_update(update.data, MANIFEST, 2) * 2.0**-7
    errors = [
        np.linalg.norm(sent - 16 * change) / np.linalg.norm(16 * change) for sent in (sender.sent, alone)
    ]
    assert errors[0] < 0.7 * errors[1]


def test_an_update_rounds_to_the_nearest_integer() -> None:
    change = changed(np.random.default_rng(5), 2.0**-8)
    update, made_of = feedback.encode(START, START - change, (-7, -8), MANIFEST, bytes(32), ACCOUNT)
    assert np.array_equal(made_of, START - (START - change))
    scaled = made_of / np.exp2(np.array((-7, -8), float)[MANIFEST.tensor_of_leaf]).repeat(256)
    sure = np.abs(np.abs(scaled) - 0.5) > 2.0**-14
    found = decode_update(update.data, MANIFEST, 2)
    assert np.array_equal(found[sure], np.clip(np.rint(scaled), -1, 1)[sure])
    assert set(found) == {-1, 0, 1}


def test_a_tensor_takes_up_at_most_twice_its_change() -> None:
    rng = np.random.default_rng(2)
    a, b = slice(0, 900), slice(1024, 1029)
    change, residual = changed(rng, 1e-3), changed(rng, 1.0)
    change[b] = 0
    taken = Sender().taken_up(change, residual)
    assert np.linalg.norm(taken[a]) == pytest.approx(2 * np.linalg.norm(change[a]), rel=1e-3)
    assert not taken[b].any(), "a tensor that was not trained"
    small = residual * np.float32(1e-3)
    assert np.allclose(Sender().taken_up(change, small)[a], 0.95 * small[a], atol=2e-7)
    residual[3] = np.inf
    assert not Sender().taken_up(change, residual)[a].any()


def test_exponents_follow_changes_that_become_smaller() -> None:
    rng, sender, found = np.random.default_rng(3), Sender(), []
    exponents: tuple[int, ...] = (-8, -8)
    for number in range(24):
        sender.send(changed(rng, 2.0**-9 if number < 12 else 2.0**-13), exponents)
        exponents = next_exponents(exponents, [summarize(MemoryUpdate(sender.data, 2), MANIFEST).tensors], 2)
        found.append(exponents[0])
    assert found[11] - found[-1] == pytest.approx(4, abs=1)


def test_a_weight_that_is_not_finite_is_named() -> None:
    end = START.copy()
    end[1025] = np.nan
    with pytest.raises(EncodingError, match="'b' has a weight that is NaN"):
        feedback.encode(START, end, (-7, -7), MANIFEST, bytes(32), ACCOUNT)


@pytest.mark.parametrize(
    ("training", "width", "on"),
    [
        ({}, 2, False),
        ({"feedback": False}, 2, False),
        ({"feedback": True}, 2, True),
        ({"feedback": True}, 4, False),
        ({"feedback": True}, 8, False),
    ],
)
def test_where_there_is_feedback(training: dict[str, Any], width: int, on: bool) -> None:
    feedback.check(training)
    assert feedback.is_on(training, width) is on


@pytest.mark.parametrize(
    "training", [{"feedback": 1}, {"feedback": "no"}, {"feedback": True, "privacy": GOOD}]
)
def test_impossible_settings(training: dict[str, Any]) -> None:
    with pytest.raises(InputError) as caught:
        feedback.check(training)
    assert caught.value.code == "invalid-feedback"
    assert training["feedback"] is True or not feedback.is_on(training, 2)

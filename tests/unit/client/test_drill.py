# SPDX-License-Identifier: Apache-2.0
"""Attacks for drills spoil the change of the weights, and only when the node's own file says so."""

from __future__ import annotations

import numpy as np
import pytest
from folkmoot_lab.drills.attack import parse_attack, spoil

from folkmoot.errors import InputError


@pytest.mark.parametrize(
    ("text", "factor"), [("", None), ("sign-flip", -1.0), ("sign-flip:3", -3.0), ("sign-flip:0.5", -0.5)]
)
def test_attacks_that_are_known(text: str, factor: float | None) -> None:
    assert parse_attack(text) == factor


@pytest.mark.parametrize(
    "text", ["flip", "sign-flip:x", "sign-flip:-1", "sign-flip:0", "sign-flip:nan", "sign-flip:inf"]
)
def test_attacks_that_are_not(text: str) -> None:
    with pytest.raises(InputError, match="no attack"):
        parse_attack(text)


def test_the_change_is_multiplied() -> None:
    before = np.array([1.0, 2.0], np.float32)
    after = np.array([1.5, 1.0], np.float32)
    assert spoil(before, after, -2.0).tolist() == [0.0, 4.0]
    counter = np.array([3])
    assert spoil(before, counter, -2.0) is counter

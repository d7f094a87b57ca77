# SPDX-License-Identifier: Apache-2.0
"""A false mean differs in one coordinate, by one, and is in range."""

from __future__ import annotations

import numpy as np
import pytest
from folkmoot_lab.lies import PLACE, off_by_one

from folkmoot.protocol.fixed_point import LEAF
from folkmoot.protocol.packing import ZERO


@pytest.mark.parametrize(("value", "changed"), [(-127, -126), (-1, 0), (0, 1), (1, 0), (7, 6), (127, 126)])
def test_one_coordinate_of_a_mean_moves_by_one_and_stays_in_range(value: int, changed: int) -> None:
    mean = np.full((2, LEAF), ZERO + value, np.uint8)
    lie = off_by_one(mean)
    assert lie.dtype == np.uint8
    assert int(lie.flat[PLACE]) - ZERO == changed
    assert np.flatnonzero(lie != mean).tolist() == [PLACE]
    assert (mean == ZERO + value).all(), "the true mean is kept"

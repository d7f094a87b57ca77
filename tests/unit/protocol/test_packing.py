# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from folkmoot.errors import EncodingError, InputError
from folkmoot.protocol.fixed_point import LEAF
from folkmoot.protocol.packing import WIDTHS, check_width, file_size, largest, pack, unpack


@pytest.mark.parametrize("width", WIDTHS)
def test_each_integer_comes_back(width: int) -> None:
    q = largest(width)
    values = np.random.default_rng(1).integers(-q - 1, q + 1, (5, LEAF), dtype=np.int16)
    leaves = (values + 128).astype(np.uint8)
    packed = pack(leaves, width)
    assert packed.nbytes == file_size(5, width)
    assert np.array_equal(unpack(packed, width), leaves)
    assert np.array_equal(unpack(packed.reshape(-1), width), leaves)
    # In plain integers: the coordinates of a byte from the highest bits down.
    bits = 0
    for value in values.reshape(-1).tolist():
        bits = bits << width | value + (1 << width - 1)
    assert packed.tobytes() == bits.to_bytes(packed.nbytes, "big")


def test_the_bits_0_are_the_integer_below_the_range() -> None:
    for width in WIDTHS:
        leaf = unpack(np.zeros(file_size(1, width), dtype=np.uint8), width)
        assert leaf.shape == (1, LEAF)
        assert set(leaf.reshape(-1).tolist()) == {128 - largest(width) - 1}


@pytest.mark.parametrize(("width", "byte"), [(4, 119), (4, 136), (4, 0), (4, 255), (2, 125), (2, 130)])
def test_an_integer_that_does_not_fit_is_refused(width: int, byte: int) -> None:
    leaves = np.full((2, LEAF), 128, dtype=np.uint8)
    leaves[1, 200] = byte
    with pytest.raises(EncodingError) as refused:
        pack(leaves, width)
    assert refused.value.code == "invalid-encoding"


def test_no_other_width() -> None:
    for width in (0, 1, 3, 5, 16):
        with pytest.raises(InputError, match="can't have"):
            check_width(width)
    assert pack(np.empty((0, LEAF), dtype=np.uint8), 4).shape == (0, LEAF // 2)

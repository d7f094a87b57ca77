# SPDX-License-Identifier: Apache-2.0
"""Widths of an encoded coordinate, and the packed bytes of an update file (docs/protocol.md section 5).

A **leaf** has one byte ``q + 128`` a coordinate at each width: trees hash leaves, and rules, sums and proofs read them.
A **file** has ``width`` bits a coordinate, ``q + 2^(width - 1)``. At width 8 the two are the same bytes.

This module knows no model and no round: it packs and unpacks any number of whole leaves.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from folkmoot.errors import EncodingError, InputError
from folkmoot.protocol.arrays import U8
from folkmoot.protocol.fixed_point import LEAF

WIDTHS = (8, 4, 2)
"""Bits of an encoded coordinate that a policy may choose."""

ZERO = 128
"""The byte of the integer 0 in a leaf; a byte is ``q + ZERO``."""


def check_width(width: int) -> int:
    """Return the width if a policy may choose it.

    Raises:
        InputError: It may not.
    """
    if width not in WIDTHS:
        raise InputError(
            f"An encoded coordinate can't have {width} bits.",
            remedy="Choose 8, 4 or 2.",
            code="width-unknown",
            details={"width": width},
        )
    return width


def largest(width: int) -> int:
    """Return ``Q``, the largest absolute value of an encoded coordinate: 127, 7 or 1."""
    return (1 << width - 1) - 1


def file_size(leaves: int, width: int) -> int:
    """Return the number of bytes of the file of an update with this number of leaves."""
    return LEAF * leaves * width // 8


def pack(leaves: U8, width: int) -> U8:
    """Pack leaves as they lie in a file.

    Args:
        leaves: uint8[k, 256], ``q + 128`` with ``-Q - 1 <= q <= Q``. The integer ``-Q - 1`` is invalid in an update,
            and is packed as the bits 0.
        width: Bits of a coordinate.

    Returns:
        uint8[k, 32 * width].

    Raises:
        EncodingError: An integer does not fit the width.
    """
    if check_width(width) == 8:
        return leaves
    codes = leaves - np.uint8(ZERO - (1 << width - 1))  # below 0 wraps to a large number
    if codes.size and int(codes.max()) >> width:
        raise EncodingError(
            f"An integer of the update is not between {-largest(width)} and {largest(width)}, the range of "
            f"{width} bits.",
            code="invalid-encoding",
        )
    packed: U8 = np.zeros((leaves.shape[0], LEAF * width // 8), dtype=np.uint8)
    for place in range(8 // width):
        packed |= codes[:, place :: 8 // width] << np.uint8(8 - width * (place + 1))
    return packed


def unpack(packed: U8, width: int) -> U8:
    """Unpack the bytes of a file to leaves; the bits 0, which are invalid, become the integer ``-Q - 1``.

    Args:
        packed: uint8, the bytes of k whole leaves in any shape.
        width: Bits of a coordinate.

    Returns:
        uint8[k, 256], ``q + 128``.
    """
    if check_width(width) == 8:
        return packed.reshape(-1, LEAF)
    # One word has all coordinates of a byte, so a byte is looked up once.
    return _words(width)[packed.reshape(-1)].view(np.uint8).reshape(-1, LEAF)


@cache
def _words(width: int) -> U8:
    """For each byte of a file its coordinates' bytes in a leaf, as one word: [256] of 16 or 32 bits."""
    shifts = np.arange(8 - width, -1, -width, dtype=np.uint8)
    codes = np.arange(256, dtype=np.uint8)[:, None] >> shifts & np.uint8((1 << width) - 1)
    words: U8 = (codes + np.uint8(ZERO - (1 << width - 1))).view(f"u{8 // width}")[:, 0]
    return words

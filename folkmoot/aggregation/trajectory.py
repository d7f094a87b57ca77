# SPDX-License-Identifier: Apache-2.0
"""What the model moved by in the last rounds, in the format of an update.

It is the difference of two public states, so everybody can make it. This module knows nothing of what a rule makes of
it: the stage ``weigh_by_path`` does that.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from folkmoot.errors import InputError
from folkmoot.protocol.arrays import I64, U8
from folkmoot.protocol.codec import QMAX, ZERO
from folkmoot.protocol.fixed_point import FRACTION_BITS, LEAF
from folkmoot.protocol.manifest import Manifest
from folkmoot.protocol.state import State

WINDOW = 8
"""Rounds that the path looks back; fewer at the beginning."""


class PathUpdate:
    """What the model moved by, as the bytes of an update in a round's units; made where they are read.

    ``q = clamp(floor((2 (before - now) + 2^s) / 2^(s + 1)), -127, 127)`` with ``s = 26 + e``, and
    ``clamp((before - now) * 2^-s)`` where s is negative.

    Args:
        manifest: The model's layout.
        exponents: One a tensor, of the round.
        before: The state WINDOW rounds before the round's base.
        now: The round's base.

    Raises:
        InputError: There is not one exponent a tensor.
    """

    def __init__(self, manifest: Manifest, exponents: Sequence[int], before: State, now: State) -> None:
        if len(exponents) != len(manifest.tensors):
            raise InputError("There is not one exponent a tensor.", code="mismatch")
        self._shifts = FRACTION_BITS + np.array(exponents, dtype=np.int64)[manifest.tensor_of_leaf]
        self._before, self._now = before.theta.reshape(-1, LEAF), now.theta.reshape(-1, LEAF)

    @property
    def size(self) -> int:
        """Number of bytes."""
        return int(self._now.size)

    def read(self, first: int, last: int) -> U8:
        """Return the leaves ``first`` to ``last`` (exclusive), uint8[last - first, 256], ``q + 128``."""
        return self._made(slice(first, last))

    def pick(self, leaves: I64) -> U8:
        """Return some leaves, int64[k] ascending, as uint8[k, 256]."""
        return self._made(leaves)

    def _made(self, leaves: slice | I64) -> U8:
        moved = self._before[leaves] - self._now[leaves]  # within 2^49
        shift = self._shifts[leaves, None]
        down, up = np.maximum(shift, 0), np.maximum(-shift, 0)
        rounded = (2 * moved + (np.int64(1) << down)) >> (down + 1)
        grown = np.clip(moved, -QMAX, QMAX) << up  # cut first, so that it fits
        units = np.clip(np.where(shift < 0, grown, rounded), -QMAX, QMAX)
        shifted: U8 = (units + ZERO).astype(np.uint8)
        return shifted


def path_update(manifest: Manifest, exponents: Sequence[int], before: State, now: State) -> U8:
    """All bytes of ``PathUpdate``, uint8[256 n]."""
    return PathUpdate(manifest, exponents, before, now).read(0, manifest.leaves).reshape(-1)

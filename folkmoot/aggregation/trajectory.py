# SPDX-License-Identifier: Apache-2.0
"""The model's trajectory: what it moved by in the last rounds, in the format of an update.

It is the difference of two public states, so everybody can compute it. This module does not know how a rule uses it:
the stage ``weigh_by_trajectory`` does.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from folkmoot.errors import InputError
from folkmoot.protocol.arrays import I64, U8
from folkmoot.protocol.fixed_point import FRACTION_BITS, LEAF
from folkmoot.protocol.manifest import Manifest
from folkmoot.protocol.packing import ZERO, largest
from folkmoot.protocol.state import State

WINDOW = 8
"""Rounds of the trajectory; fewer at the beginning."""


_LARGEST = largest(8)


class TrajectoryUpdate:
    """The trajectory as the leaves of an update of width 8, computed when they are read.

    ``q = clamp(floor((2 (before - now) + 2^s) / 2^(s + 1)), -127, 127)`` with ``s = 26 + e - (8 - width)``, and
    ``clamp((before - now) * 2^-s)`` where s is negative. So it is as fine in rounds of a smaller width, whose exponents
    are larger. Rules use cosines with it, which no common factor changes.

    Args:
        manifest: The model's layout.
        exponents: One a tensor, of the round.
        width: Bits of an encoded coordinate of the round.
        before: The state WINDOW rounds before the round's base.
        now: The round's base.

    Raises:
        InputError: There is not one exponent a tensor.
    """

    width = 8
    """Bits of one of its own coordinates."""

    def __init__(
        self, manifest: Manifest, exponents: Sequence[int], width: int, before: State, now: State
    ) -> None:
        if len(exponents) != len(manifest.tensors):
            raise InputError("There is not one exponent a tensor.", code="mismatch")
        units = np.array(exponents, dtype=np.int64) - (self.width - width)
        self._shifts = FRACTION_BITS + units[manifest.tensor_of_leaf]
        self._states = before, now

    @property
    def size(self) -> int:
        """Number of bytes."""
        return int(self._states[1].theta.size)

    def packed(self, first: int, last: int) -> U8:
        """Return the bytes of the leaves ``first`` to ``last`` (exclusive), uint8[m]."""
        return self.read(first, last).reshape(-1)

    def read(self, first: int, last: int) -> U8:
        """Return the leaves ``first`` to ``last`` (exclusive), uint8[last - first, 256], ``q + 128``."""
        values = self._bytes(slice(first, last))
        for state in self._states:
            state.release(first, last)
        return values

    def pick(self, leaves: I64) -> U8:
        """Return some leaves, int64[k] ascending, as uint8[k, 256]."""
        return self._bytes(leaves)

    def _bytes(self, leaves: slice | I64) -> U8:
        before, now = (state.theta.reshape(-1, LEAF)[leaves] for state in self._states)
        moved = before - now  # within 2^49
        shift = self._shifts[leaves, None]
        down, up = np.maximum(shift, 0), np.maximum(-shift, 0)
        rounded = (2 * moved + (np.int64(1) << down)) >> (down + 1)
        scaled = np.clip(moved, -_LARGEST, _LARGEST) << up  # clamped first, so that it fits an int64
        units = np.clip(np.where(shift < 0, scaled, rounded), -_LARGEST, _LARGEST)
        shifted: U8 = (units + ZERO).astype(np.uint8)
        return shifted


def trajectory_update(
    manifest: Manifest, exponents: Sequence[int], width: int, before: State, now: State
) -> U8:
    """Return all bytes of ``TrajectoryUpdate``, uint8[256 n]."""
    return TrajectoryUpdate(manifest, exponents, width, before, now).read(0, manifest.leaves).reshape(-1)

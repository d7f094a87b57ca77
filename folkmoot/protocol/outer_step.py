# SPDX-License-Identifier: Apache-2.0
"""The outer step, in integers (docs/protocol.md section 9).

Nesterov momentum on the mean, as DiLoCo's outer optimizer (Douillard et al. 2023, arXiv 2311.08105);
with momentum 0 and rate 1024 it is FedAvg (McMahan et al. 2017, arXiv 1602.05629). Coordinates are independent,
so any range of leaves can be recomputed alone. This module knows nothing of rules, files or
chains.
"""

from __future__ import annotations

import itertools

import numpy as np

from folkmoot.errors import InputError
from folkmoot.protocol import acceleration
from folkmoot.protocol.arrays import I64
from folkmoot.protocol.fixed_point import FRACTION_BITS, LEAF, STATE_BOUND
from folkmoot.protocol.header import MAX_EXPONENT, MIN_EXPONENT
from folkmoot.protocol.mean import check_scale

UNIT = 1024
"""The rate and the momentum are in 1/UNIT."""

EAGER_RATE, EAGER_MOMENTUM = 512, 307
"""Rate and momentum of a policy with eager start. With 1024 and 0, the eager start is one's own last model."""

_CHUNK = 256  # leaves per numpy step, so that the temporaries stay in the cache


def outer_step(
    theta: I64, momentum: I64, mean: I64, mean_scale: int, exponents: I64, rate: int, decay: int
) -> tuple[I64, I64]:
    """Apply a mean to some leaves of a state.

    Everything fits int64, for any uint16 rate and momentum: ``|B| <= 127``, ``1 <= S`` and ``s <= 30``, so
    ``|g| <= 127 * 2^30 < 2^37``. A product ``floor(x * k / 1024)`` with ``k < 2^16`` is taken as
    ``(x >> 10) * k + ((x & 1023) * k >> 10)``, the same number: for m, below 2^48, it is below 2^55, and for
    ``g + ...``, below 2^55, it is below 2^62.

    Args:
        theta: int64[256 k], the base's weights.
        momentum: int64[256 k], the base's outer momentum.
        mean: int64[256 k], ``B``, within ±127.
        mean_scale: ``S``, the policy's mean scale.
        exponents: int64[k], the exponent of each leaf's tensor.
        rate: The policy's rate in 1/1024, a uint16.
        decay: The policy's momentum in 1/1024, a uint16.

    Returns:
        The new theta and the new momentum, int64[256 k] each, within ±STATE_BOUND.

    Raises:
        InputError: S, the rate, the momentum or an exponent is out of range.
    """
    check_scale(mean_scale)
    if not 0 <= rate < 1 << 16 or not 0 <= decay < 1 << 16:
        raise InputError(f"The rate {rate} or the momentum {decay} is no uint16.")
    if exponents.size and not MIN_EXPONENT <= exponents.min() <= exponents.max() <= MAX_EXPONENT:
        raise InputError(f"An exponent is not between {MIN_EXPONENT} and {MAX_EXPONENT}.")
    new_theta, new_momentum = np.empty_like(theta), np.empty_like(momentum)
    kernels = acceleration.kernels(theta.nbytes)
    for first, last, exponent in _runs(exponents):
        shift = FRACTION_BITS + exponent
        scale, divisor = (1 << shift, mean_scale) if shift >= 0 else (1, mean_scale << -shift)
        if kernels is not None:
            place = slice(LEAF * first, LEAF * last)
            kernels.outer_step(
                theta[place],
                momentum[place],
                mean[place],
                scale,
                divisor,
                rate,
                decay,
                STATE_BOUND,
                new_theta[place],
                new_momentum[place],
            )
            continue
        for at in range(first, last, _CHUNK):
            place = slice(LEAF * at, LEAF * min(at + _CHUNK, last))
            pull = (2 * scale * mean[place] + divisor) // (2 * divisor)
            moved = np.clip(_scaled(momentum[place], decay) + pull, -STATE_BOUND, STATE_BOUND)
            stepped = theta[place] - _scaled(pull + _scaled(moved, decay), rate)
            new_momentum[place] = moved
            np.clip(stepped, -STATE_BOUND, STATE_BOUND, out=new_theta[place])
    return new_theta, new_momentum


def eager_start(
    theta: I64, momentum: I64, update: I64, mean_scale: int, exponents: I64, rate: int, decay: int
) -> I64:
    """Return the weights that a round would lead to if one contributor's update were its only one (section 9.1).

    The contributor trains on from them while its round is committed and anchored.

    Args:
        theta: int64[256 k], the weights of the round's base.
        momentum: int64[256 k], the base's outer momentum.
        update: int64[256 k], the contributor's committed update ``q``, within ±Q.
        mean_scale: ``S``, the policy's mean scale.
        exponents: int64[k], the exponent of each leaf's tensor in the round.
        rate: The policy's rate in 1/1024, a uint16.
        decay: The policy's momentum in 1/1024, a uint16.

    Returns:
        int64[256 k], within ±STATE_BOUND.

    Raises:
        InputError: As ``outer_step``.
    """
    return outer_step(theta, momentum, mean_scale * update, mean_scale, exponents, rate, decay)[0]


def _scaled(values: I64, factor: int) -> I64:
    """``floor(values * factor / 1024)`` without a product that leaves int64."""
    return (values >> 10) * factor + (((values & 1023) * factor) >> 10)


def _runs(exponents: I64) -> list[tuple[int, int, int]]:
    """Cut leaves into runs with one exponent: ``(first, last, exponent)``."""
    borders = [0, *(np.flatnonzero(np.diff(exponents)) + 1).tolist(), exponents.size]
    return [(a, b, int(exponents[a])) for a, b in itertools.pairwise(borders) if a < b]

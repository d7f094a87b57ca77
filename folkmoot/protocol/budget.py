# SPDX-License-Identifier: Apache-2.0
"""What noisy updates cost of a contributor's privacy budget, in integers (docs/protocol.md section 6.3).

zCDP (Bun and Steinke 2016): a Gaussian whose standard deviation is ``s`` times the sensitivity costs
``rho = 1 / (2 s^2)``, and costs add up. They are counted in units of 2^-32 of rho. With ``s = noise1024 / 1024`` a sum
costs ``2^51 / noise1024^2`` of them. What they mean as epsilon is not computed here.
"""

from __future__ import annotations

from folkmoot.errors import InputError

MAX_STEPS = 8191
"""Largest number of steps: with more, ``steps * 2^51`` would not fit 64 bits."""

UNITS_OF_RHO = 1 << 32
"""Units of a budget that are a rho of 1."""


def cost_of(noise1024: int, steps: int) -> int:
    """Return the cost of one update, rounded up, a uint64.

    Args:
        noise1024: Standard deviation of the noise in 1/1024 of the sensitivity, 1 to 2^32 - 1.
        steps: Noised sums of the update, 1 to `MAX_STEPS`.

    Raises:
        InputError: An argument is out of its range.
    """
    if not 1 <= noise1024 < 1 << 32:
        raise InputError(f"The noise is {noise1024} / 1024, which is not 1 to 2^32 - 1 of them.")
    if not 1 <= steps <= MAX_STEPS:
        raise InputError(f"{steps} steps are not 1 to {MAX_STEPS}.")
    return -(-(steps << 51) // noise1024**2)

# SPDX-License-Identifier: Apache-2.0
"""What a private training costs, in exact zero-concentrated differential privacy (zCDP; Bun, Steinke 2016).

Noise is counted relative to a record's bound: a noise of ``noise1024`` has a standard deviation of ``noise1024 / 1024``
times the largest norm of one record's clipped gradient. A step then costs ``rho = 1024^2 / (2 noise1024^2)``, and costs
add up. This module knows nothing of models, data or chains.
"""

from __future__ import annotations

from folkmoot.errors import InputError

RHO_BITS = 32
"""A cost of ``2 ** RHO_BITS`` is a rho of 1."""


def cost_of(noise1024: int, steps: int) -> int:
    """Return the cost of one private training, in units of 2^-32 rho, rounded up.

    Args:
        noise1024: Standard deviation of a step's noise, in 1/1024 of the bound of one record; at least 1.
        steps: Number of steps of gradient descent, each with noise of its own; at least 1.

    Raises:
        InputError: An argument is below 1 (``no-noise`` or ``no-steps``).
    """
    if noise1024 < 1:
        raise InputError(
            f"A noise1024 of {noise1024} adds no noise, so no budget is enough.",
            remedy="Choose the noise with `folkmoot task privacy`.",
            code="no-noise",
        )
    if steps < 1:
        raise InputError(f"A training of {steps} steps is none.", remedy="Use at least one.", code="no-steps")
    return -(-(steps << (RHO_BITS + 19)) // noise1024**2)

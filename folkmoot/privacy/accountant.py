# SPDX-License-Identifier: Apache-2.0
"""From the noise of a training to the epsilon and delta of all its rounds, and back.

The conversion is the exact one of a Gaussian mechanism (Balle, Wang 2018, theorem 8). The noise is a discrete Gaussian.
From a standard deviation of a thousand grid steps on, its delta differs from that of the continuous one by less than
one part in 100,000. Floats are enough here: what a ledger adds up are the integers of ``cost_of``.
"""

from __future__ import annotations

import math

from folkmoot.errors import InputError
from folkmoot.protocol.budget import UNITS_OF_RHO, cost_of

MOST_NOISE = 1 << 20
"""Largest noise1024."""

_TAIL = 25.0
_HALVINGS = 60


def rho_of(noise1024: int, rounds: int, steps: int) -> float:
    """Return the rho of some rounds, as the ledger counts it.

    Args:
        noise1024: Standard deviation of a step's noise, in 1/1024 of the bound of one record.
        rounds: Number of rounds that a contributor takes part in.
        steps: Steps of a round.

    Raises:
        InputError: A number is below 1.
    """
    if rounds < 1:
        raise InputError(f"There is no budget for {rounds} rounds.", remedy="Use at least one.")
    return rounds * cost_of(noise1024, steps) / UNITS_OF_RHO


CONTENT = 2
"""Records that differ if one changes what it says: one goes, another one comes."""


def delta_of(rho: float, epsilon: float) -> float:
    """Return the smallest delta with which a Gaussian mechanism of this rho is (epsilon, delta)-private.

    Args:
        rho: Of all rounds, above 0.
        epsilon: At least 0.
    """
    mu = math.sqrt(2 * rho)
    low, high = epsilon / mu - mu / 2, epsilon / mu + mu / 2
    # delta = Q(low) - e^epsilon Q(high) with Q the tail of the normal distribution. As epsilon = (high^2 - low^2) / 2,
    # the second term has the factor of the first one's density: nothing overflows.
    return max(0.0, _tail(low) - math.exp(-low * low / 2) / math.sqrt(2 * math.pi) * _mills(high))


def epsilon_of(rho: float, delta: float, records: int = 1) -> float:
    """Return the smallest epsilon with which a Gaussian mechanism of this rho is (epsilon, delta)-private.

    Adjacent are data sets of which one has ``records`` more (add-remove). With `CONTENT`, epsilon also limits what can
    be found out about the content of one record that is known to be there (replacement).

    Args:
        rho: Of all rounds, above 0, for one record that is added or removed.
        delta: Above 0, below 1.
        records: Number of records that are added or removed together: they cost its square times rho.

    Raises:
        InputError: An argument is out of its range.
    """
    _check_delta(delta)
    rho *= records**2
    if not (rho > 0 and math.isfinite(rho)):
        raise InputError(f"A rho of {rho} has no epsilon.", remedy="Use a positive number.")
    if delta_of(rho, 0.0) <= delta:
        return 0.0
    low, high = 0.0, rho + 2 * math.sqrt(rho * math.log(1 / delta))  # the bound of Bun and Steinke
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if delta_of(rho, middle) <= delta:
            high = middle
        else:
            low = middle
    return high


def rho_for(epsilon: float, delta: float) -> float:
    """Return the largest rho with which a Gaussian mechanism is (epsilon, delta)-private, at most epsilon itself.

    Args:
        epsilon: Above 0.
        delta: Above 0, below 1.

    Raises:
        InputError: An argument is out of its range.
    """
    _check_delta(delta)
    _check_epsilon(epsilon)
    # At a rho of epsilon, half of the outcomes have a loss above epsilon: a larger one has a delta of no use.
    low, high = 0.0, epsilon
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if delta_of(middle, epsilon) <= delta:
            low = middle
        else:
            high = middle
    return low


def noise_for(epsilon: float, delta: float, rounds: int, steps: int, records: int = 1) -> int:
    """Return the smallest noise1024 with which some rounds are (epsilon, delta)-private.

    Args:
        epsilon: Above 0.
        delta: Above 0, below 1.
        rounds: Number of rounds that a contributor takes part in.
        steps: Steps of a round.
        records: As for `epsilon_of`: `CONTENT` for an epsilon of what one record says.

    Raises:
        InputError: An argument is out of its range, or the noise would be above MOST_NOISE.
    """
    _check_delta(delta)
    _check_epsilon(epsilon)
    low, high = 0, MOST_NOISE
    if epsilon_of(rho_of(high, rounds, steps), delta, records) > epsilon:
        raise InputError(
            f"Epsilon {epsilon:g} at delta {delta:g} over {rounds} rounds of {steps} steps needs a noise1024 above "
            f"{MOST_NOISE}.",
            remedy="Use fewer rounds, fewer steps, or a larger epsilon.",
        )
    while high - low > 1:
        middle = (low + high) // 2
        if epsilon_of(rho_of(middle, rounds, steps), delta, records) <= epsilon:
            high = middle
        else:
            low = middle
    return high


def _check_epsilon(epsilon: float) -> None:
    if not (epsilon > 0 and math.isfinite(epsilon)):
        raise InputError(
            f"An epsilon of {epsilon} can't be reached.", remedy="Use a positive number, such as 3."
        )


def _check_delta(delta: float) -> None:
    if not 0 < delta < 1:
        raise InputError(
            f"A delta of {delta} is not between 0 and 1.",
            remedy="Use less than one divided by the number of records, for example 1e-5.",
        )


def _tail(x: float) -> float:
    """Return the probability that a standard normal number is above x."""
    return math.erfc(x / math.sqrt(2)) / 2


def _mills(x: float) -> float:
    """Return the tail at x, divided by the density at x, for x above 0."""
    if x < _TAIL:
        return _tail(x) * math.exp(x * x / 2) * math.sqrt(2 * math.pi)
    square = x * x
    return (1 - (1 - (3 - 15 / square) / square) / square) / x

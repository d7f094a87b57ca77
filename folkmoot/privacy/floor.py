# SPDX-License-Identifier: Apache-2.0
"""The smallest sum of squares that an update with its noise has, in exact integers (docs/protocol.md section 6.3).

A sum of d squares of a Gaussian of standard deviation s has the mean ``d s^2`` and the standard deviation
``sqrt(2 d) s^2``. The floor is six of these below the mean. What else is in an update adds to its energy: whatever does
not depend on the noise of the last step makes the sum larger in distribution.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from folkmoot.errors import InputError
from folkmoot.privacy.settings import PrivacySettings
from folkmoot.protocol.manifest import Manifest

MARGIN = 6
"""Standard deviations that the floor is below the mean."""

LEAST_WEIGHTS = 8 * MARGIN**2
"""Trained weights from which on there is a floor: 288. It is then at least half of the mean."""

MOST_DEVIATION = 32
"""Largest standard deviation in steps of the grid. Up to it, clamping to 127 takes nothing from the energy that a
floor could notice."""

HALF = "float16"
"""Weights of this type have 11 bits, which can be too few for the noise."""

LEAST_SPACINGS = 4
"""The noise's standard deviation must have so many spacings of the floats near the largest weight of the base."""

WIDTH = 8
"""Width of the updates for which a floor is derived. With fewer bits, clamping takes energy from the noise."""


@dataclass(frozen=True)
class Floor:
    """A derived floor."""

    least: int
    """``minSumSquares``; 0 for none."""
    why: str = ""
    """Why there is none: the end of a sentence."""


def least_squares(weights: int, variance: Fraction) -> int:
    """Return ``floor((1 - 6 sqrt(2 / d)) d s^2)``, or 0 if it is negative.

    Args:
        weights: d, the number of weights with noise.
        variance: ``s^2``, in squares of the grid.
    """
    above, below = variance.numerator, variance.denominator
    # d s^2 = d a / b, and 6 sqrt(2 d) s^2 = sqrt(72 d a^2) / b. The root is rounded up.
    squared = 2 * MARGIN**2 * weights * above**2
    root = math.isqrt(squared - 1) + 1
    return max(0, (weights * above - root) // below)


def floor_of(manifest: Manifest, exponents: Sequence[int], width: int = WIDTH) -> Floor:
    """Derive the floor of a federation from its genesis.

    Args:
        manifest: The manifest.
        exponents: Of the genesis, one a tensor.
        width: Of the policy.

    Raises:
        InputError: The privacy settings are invalid.
    """
    settings = PrivacySettings.of(manifest.training)
    if settings is None:
        return Floor(0, "the model's task declares no privacy")
    if width != WIDTH:
        return Floor(0, f"updates of {width} bits clamp some of the noise")
    weights = manifest.elements
    if weights < LEAST_WEIGHTS:
        return Floor(
            0,
            f"{weights} trained weights are too few, of at least {LEAST_WEIGHTS}: the energy of so little noise varies "
            "too much",
        )
    if len(set(exponents)) > 1:
        return Floor(0, "its tensors have different exponents")
    if any(tensor.dtype == HALF for tensor in manifest.tensors):
        return Floor(0, f"weights of {HALF} can round the noise away")
    rate: Any = manifest.training.get("learning_rate")
    if type(rate) not in (int, float) or not 0 < rate < math.inf:
        return Floor(0, "its training settings have no positive learning_rate")
    variance = settings.variance_of_step(rate) / Fraction(4) ** exponents[0]
    if variance > MOST_DEVIATION**2:
        return Floor(0, "its exponents are too small for the noise, which would be clamped")
    return Floor(least_squares(weights, variance))


def check_private_width(width: int) -> None:
    """Check that updates of a width can have noise.

    Raises:
        InputError: They can't (``private-width``).
    """
    if width != WIDTH:
        raise InputError(
            f"The model's task declares privacy, and its updates can't have {width} bits a coordinate: the noise would "
            "be clamped.",
            remedy="Leave out --width.",
            code="private-width",
        )


def check_bounds(
    manifest: Manifest, exponents: Sequence[int], *, min_sum_squares: int, max_sum_squares: int, width: int
) -> Floor:
    """Check that a policy's bounds on the sum of squares refuse no honest update; return the derived floor.

    A refusal comes after the noise was drawn, so it would say something about the noisy update, and waste its cost.

    Args:
        manifest: The manifest.
        exponents: Of the genesis, one a tensor.
        min_sum_squares: Of the policy.
        max_sum_squares: Of the policy.
        width: Of the policy.

    Raises:
        InputError: The privacy settings are invalid; ``floor-too-high``: updates with the noise can be below the
            policy's floor; ``cap-too-small``: an update that is fitted to the policy's cap can be below the floor, or
            have no room.
    """
    floor = floor_of(manifest, exponents, width)
    if not manifest.private:
        return floor
    if min_sum_squares > floor.least:
        raise InputError(
            f"The policy's minSumSquares is {min_sum_squares}, and updates with the manifest's noise can have "
            f"{floor.least}{f': {floor.why}' if floor.why else ''}.",
            remedy=f"Honest updates would be refused. Use at most {floor.least}.",
            code="floor-too-high",
        )
    # The next smaller bound of clamping leaves at least a quarter of a sum of squares; a bound of 1 leaves a one each.
    needed = max(manifest.elements, 4 * min_sum_squares)
    if max_sum_squares < needed:
        raise InputError(
            f"The policy's maxSumSquares is {max_sum_squares}, and updates with the manifest's noise need "
            f"{needed}.",
            remedy=f"Honest updates would be refused. Use at least {needed}; `folkmoot policy` writes more.",
            code="cap-too-small",
        )
    return floor


def check_weights(manifest: Manifest, largest: float, min_sum_squares: int) -> None:
    """Check that floats near a base's weights can hold the noise. Otherwise the floor would refuse honest updates.

    Args:
        manifest: The manifest.
        largest: Largest absolute value of a weight of the base.
        min_sum_squares: Of the policy, which `check_bounds` has accepted.

    Raises:
        InputError: They can't (``weights-too-large``).
    """
    settings = PrivacySettings.of(manifest.training)
    if settings is None or not min_sum_squares:
        return
    deviation = float(settings.variance_of_step(manifest.training["learning_rate"])) ** 0.5
    spacing = float(np.spacing(np.float32(largest)))
    if LEAST_SPACINGS * spacing > deviation:
        raise InputError(
            f"The base has a weight of the size {largest:g}, where two numbers of 32 bits are {spacing:g} apart, and "
            f"the noise of a step has a standard deviation of {deviation:g}: much of it would be rounded away.",
            remedy="Honest updates would be refused. Ask the voters for a policy with a minSumSquares of 0, and find "
            "out how the weights became so large.",
            code="weights-too-large",
        )


def floor_warning(floor: Floor, min_sum_squares: int) -> str:
    """Return a warning, if a policy has a lower floor than it could have; else an empty text."""
    if min_sum_squares >= floor.least:
        return ""
    return (
        f"The policy's minSumSquares is {min_sum_squares}. With {floor.least} the ledger would refuse "
        "updates whose noise was forgotten."
    )

# SPDX-License-Identifier: Apache-2.0
"""The privacy settings of a federation: ``training.privacy`` of its manifest (docs/protocol.md section 2.2).

Also what a policy and a model must be like, so that no honest update with the noise is refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from folkmoot.errors import InputError, TaskError
from folkmoot.privacy.accountant import CONTENT, MOST_NOISE, epsilon_of, rho_of
from folkmoot.privacy.noise import MOST_DEVIATION
from folkmoot.protocol.manifest import PRIVACY, Manifest

WARNING = "Without DP mode, treat a published update as publishing your records."
"""What a federation without these settings must be told."""

UNIT, ADJACENCY = "record", "add-remove"
"""What is protected: that one record is among a contributor's data, or is not."""

MOST_DELTA = 1e-3
"""Largest delta, whatever the number of records."""

DELTA_OF_RECORDS = 10
"""Delta is at most one divided by so many times the number of records. A mechanism that publishes each record with the
probability delta, and nothing else, is (0, delta)-private: with one divided by the records, it publishes one in each
training."""

_SQUARES = 1 << 63
"""Sums of squares must stay below it."""

CODE = "invalid-privacy"
"""Code of the errors about settings."""


@dataclass(frozen=True, kw_only=True)
class PrivacySettings:
    """How contributors train with record-level differential privacy.

    Raises:
        InputError: On construction, when a value is out of its range (``invalid-privacy``).
    """

    noise1024: int
    """Standard deviation of the noise of a step, in 1/1024 of the bound of one record: 1 to 2^20."""
    steps: int
    """Steps of gradient descent in a round, each over all records: 1 to 1,000."""
    divisor: int
    """``B0``: public number by which the noisy sum is divided, about the records of a contributor: 1 to 2^32."""
    clip: float
    """Norm to which the gradient of each record is clipped, above 0."""
    grid: int
    """A record's norm of ``clip`` is ``1024 * 2^grid`` steps of the grid: 0 to 16."""
    delta: float
    """Delta at which epsilon is stated, above 0 and at most MOST_DELTA, and 1 / (10 B0)."""

    def __post_init__(self) -> None:
        for name, value, most in (
            ("noise1024", self.noise1024, MOST_NOISE),
            ("steps", self.steps, 1000),
            ("B0", self.divisor, 1 << 32),
        ):
            if type(value) is not int or not 1 <= value <= most:
                _refuse(name, value, f"a whole number from 1 to {most}")
        if type(self.grid) is not int or not 0 <= self.grid <= 16:
            _refuse("grid", self.grid, "a whole number from 0 to 16")
        if not _is_positive(self.clip) or self.clip > 1e6:
            _refuse("clip", self.clip, "a number above 0 and at most 1,000,000")
        if not _is_positive(self.delta) or self.delta > MOST_DELTA:
            _refuse("delta", self.delta, f"a number above 0 and at most {MOST_DELTA}")
        if self.delta > most_delta(self.divisor):
            _refuse(
                "delta",
                self.delta,
                f"at most one divided by ten times the number of records, {most_delta(self.divisor):g} with a B0 of "
                f"{self.divisor}. Delta is the probability with which epsilon promises nothing for a record: with many "
                "records and a larger delta, some could be published",
            )
        if self.deviation > MOST_DEVIATION:
            _refuse("grid", self.grid, f"so small that noise1024 * 2^grid is at most {MOST_DEVIATION}")

    @classmethod
    def of(cls, training: Mapping[str, Any]) -> PrivacySettings | None:
        """Read the privacy settings of training settings; return None if they have none.

        Raises:
            InputError: A setting is missing, unknown or out of its range (``invalid-privacy``).
        """
        if PRIVACY not in training:
            return None
        value = training[PRIVACY]
        names = {"unit", "adjacency", "noise1024", "steps", "B0", "clip", "grid", "delta"}
        if not isinstance(value, Mapping) or set(value) != names:
            given = sorted(map(str, value)) if isinstance(value, Mapping) else type(value).__name__
            raise InputError(
                f"The privacy settings have {given}.",
                remedy=f"They need exactly {', '.join(sorted(names))}. A seed is never one of them: noise is secret.",
                code=CODE,
            )
        for name, only in (("unit", UNIT), ("adjacency", ADJACENCY)):
            if value[name] != only:
                _refuse(name, value[name], repr(only))
        return cls(
            noise1024=value["noise1024"],
            steps=value["steps"],
            divisor=value["B0"],
            clip=value["clip"],
            grid=value["grid"],
            delta=value["delta"],
        )

    def to_json(self) -> dict[str, Any]:
        """Return the value of ``training.privacy``."""
        return {
            "unit": UNIT,
            "adjacency": ADJACENCY,
            "noise1024": self.noise1024,
            "steps": self.steps,
            "B0": self.divisor,
            "clip": self.clip,
            "grid": self.grid,
            "delta": self.delta,
        }

    @property
    def bound(self) -> int:
        """Largest norm of a record's gradient, in steps of the grid."""
        return 1024 << self.grid

    @property
    def deviation(self) -> int:
        """Standard deviation of the noise of a step, in steps of the grid."""
        return self.noise1024 << self.grid

    @property
    def step_size(self) -> float:
        """What one step of the grid moves a weight by at a learning rate of 1."""
        return self.clip / self.bound / self.divisor

    @property
    def deviation_of_training(self) -> float:
        """Standard deviation of the noise in a weight after all steps, at a learning rate of 1."""
        return float(self.deviation * self.step_size * math.sqrt(self.steps))

    def variance_of_step(self, rate: float) -> Fraction:
        """Return the variance of the noise of one step in a weight, exactly, at a learning rate."""
        size = Fraction(rate) * Fraction(self.clip) / (self.bound * self.divisor)
        return (self.deviation * size) ** 2

    def check_model(self, elements: int, rate: float) -> None:
        """Check what can be checked of a training before any record is looked at.

        Args:
            elements: Number of trained values.
            rate: Learning rate.

        Raises:
            TaskError: The model does not fit the grid (``grid-too-fine``), or the learning rate is too large.
        """
        check_grid(elements, self.bound)
        if not math.isfinite(rate * self.step_size):
            raise TaskError(
                f"A learning rate of {rate} is too large.", remedy="Use a smaller one in the manifest."
            )

    def epsilon(self, rounds: int, records: int = 1) -> float:
        """Return the epsilon of taking part in some rounds, at ``delta``; ``records`` as for `epsilon_of`."""
        return epsilon_of(rho_of(self.noise1024, rounds, self.steps), self.delta, records)

    def described(self, rounds: int) -> str:
        """Return in words what some rounds cost: for presence, and for the content of a record."""
        return (
            f"epsilon {self.epsilon(rounds):.2f} for whether a record is there, "
            f"{self.epsilon(rounds, CONTENT):.2f} for what it says, at delta {self.delta:g} after {rounds} rounds"
        )


def most_delta(records: int) -> float:
    """Return the largest delta for a number of records."""
    return min(MOST_DELTA, 1 / (DELTA_OF_RECORDS * records))


def check_grid(elements: int, bound: int) -> None:
    """Check that the square of a record's norm, in steps of the grid, fits 63 bits however many values it is of.

    Args:
        elements: Number of trained values.
        bound: Largest norm of a record's gradient, in steps of the grid.

    Raises:
        TaskError: It does not (``grid-too-fine``).
    """
    if elements * bound * bound >= _SQUARES:
        raise TaskError(
            f"A model of {elements} trained values does not fit a grid on which a record's norm is {bound}.",
            remedy="Lower the privacy setting grid, or train fewer values.",
            code="grid-too-fine",
        )


def check_matches_policy(settings: PrivacySettings | None, *, noise1024: int, steps: int) -> None:
    """Check that a round's policy has the noise and steps that the manifest declares.

    Args:
        settings: Of the manifest; None if it declares no privacy.
        noise1024: Of the policy; 0 without privacy.
        steps: Of the policy; 0 without privacy.

    Raises:
        InputError: They differ (``wrong-privacy``): the ledger would count another cost than the training has.
    """
    declared = (settings.noise1024, settings.steps) if settings else (0, 0)
    if declared != (noise1024, steps):
        raise InputError(
            f"The policy counts a training with noise1024 {noise1024} and {steps} steps, and the manifest declares "
            f"noise1024 {declared[0]} and {declared[1]} steps.",
            remedy="Nothing was trained. Ask the voters for a policy with the manifest's numbers.",
            code="wrong-privacy",
        )


def _is_positive(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and value > 0


def _refuse(name: str, value: Any, allowed: str) -> None:
    raise InputError(f"The privacy setting {name} is {value!r}.", remedy=f"It must be {allowed}.", code=CODE)


# The smallest sum of squares that an update with its noise has, in exact integers (docs/protocol.md section 6.3). A sum
# of d squares of a Gaussian of standard deviation s has the mean d s^2 and the standard deviation sqrt(2 d) s^2. The
# floor is six of these below the mean. What else is in an update adds to its energy: whatever does not depend on the
# noise of the last step makes the sum larger in distribution.

MARGIN = 6
"""Standard deviations that the floor is below the mean."""

LEAST_WEIGHTS = 8 * MARGIN**2
"""Trained weights from which on there is a floor: 288. It is then at least half of the mean."""

FLOOR_DEVIATION = 32
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
    if variance > FLOOR_DEVIATION**2:
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

# SPDX-License-Identifier: Apache-2.0
"""Losses and regression errors as exact integer sums, from which every number of a report follows.

Losses, targets and predictions are rounded once to multiples of 2^-20. All later sums are exact integers, so that equal
predictions give equal bytes in any order of addition (docs/protocol.md section 11.1). This module does not depend on
classes, groups or files.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from decimal import Context, Decimal
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from folkmoot.evaluation.numbers import read_count, read_sum, rounded

UNIT = 1 << 20
"""Units per 1: a loss, target or prediction is an integer in units of 2^-20."""

BOUND = 1 << 51
"""Maximum absolute value, in units, of a task's number: 2^31. Larger numbers are not measured."""

LARGEST_EXPONENT = 700
"""Mean loss above which there is no perplexity."""


def fixed(values: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Round numbers to units, half to even.

    Args:
        values: float64[n].

    Returns:
        int64[n] in units of 2^-20, and bool[n]: whether a number is finite and within BOUND. The others are 0.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = values * float(UNIT)  # Exact: a power of two.
        known = np.isfinite(scaled) & (np.abs(scaled) <= BOUND)
    return np.rint(np.where(known, scaled, 0.0)).astype(np.int64), known


@dataclass(frozen=True)
class Losses:
    """Losses of a set of examples: sums over the measured ones, with l in units of 2^-20 and weights w."""

    examples: int
    """Number of examples, measured or not."""
    unmeasured: int
    """Number of examples whose loss is not finite or is beyond BOUND. They are in none of the sums."""
    w: int
    """Sum of w: the tokens of a language model, or else the number of measured examples."""
    wl: int
    """Sum of w l."""
    w2: int
    """Sum of w^2."""
    w2l: int
    """Sum of w^2 l."""
    w2l2: int
    """Sum of w^2 l^2."""

    @classmethod
    def of(cls, losses: NDArray[Any], weights: NDArray[Any], known: NDArray[np.bool_]) -> Losses:
        """Return the sums of losses.

        Args:
            losses: object[n] of integers, in units.
            weights: object[n] of integers.
            known: bool[n]: whether an example is measured.
        """
        l, w = losses[known], weights[known]  # noqa: E741  (the letters of the specification)
        w2 = w * w
        sums = (w, w * l, w2, w2 * l, w2 * l * l)
        return cls(len(known), int((~known).sum()), *(int(sum_.sum()) if len(sum_) else 0 for sum_ in sums))

    @property
    def measured(self) -> int:
        """Number of measured examples."""
        return self.examples - self.unmeasured

    @property
    def mean(self) -> Fraction | None:
        """Weighted mean loss; None if an example is unmeasured."""
        return None if self.unmeasured or not self.w else Fraction(self.wl, self.w * UNIT)

    @property
    def squared_error(self) -> Fraction:
        """Square of the mean's standard error: sum of w^2 (l - mean)^2 over the square of the sum of w."""
        if not self.w:
            return Fraction(0)
        deviations = self.w2l2 * self.w**2 - 2 * self.wl * self.w2l * self.w + self.wl**2 * self.w2
        return Fraction(deviations, self.w**4 * UNIT**2)

    @property
    def perplexity(self) -> Fraction | None:
        """The exponential of the mean loss, to 40 digits; None if there is no mean or it is above LARGEST_EXPONENT."""
        mean = self.mean
        if mean is None or mean > LARGEST_EXPONENT:
            return None
        context = Context(prec=40, traps=[])
        return Fraction(context.exp(context.divide(Decimal(mean.numerator), Decimal(mean.denominator))))

    def possible(self, weighted: bool) -> bool:
        """Return whether losses with these sums can exist."""
        count = self.measured
        if count < 0 or (count == 0 and any((self.w, self.wl, self.w2, self.w2l, self.w2l2))):
            return False
        if not weighted and (self.w, self.w2, self.w2l) != (count, count, self.wl):
            return False
        return (
            count <= self.w <= self.w2 <= self.w**2
            and self.w**2 <= count * self.w2
            and self.w2l**2 <= self.w2 * self.w2l2
            and self.wl**2 <= count * self.w2l2
            and not (weighted and min(self.wl, self.w2l) < 0)
        )

    def to_json(self) -> dict[str, Any]:
        """Return the losses as in a report, without the number of examples."""
        return {
            "unmeasured": self.unmeasured,
            "sums": {name: str(getattr(self, name)) for name in _SUMS},
            "mean": _number(self.mean),
        }

    @classmethod
    def from_json(cls, value: Any, examples: int) -> Losses:
        """Read the counts and sums from the result of ``to_json``.

        Raises:
            KeyError, TypeError, ValueError: A field is missing or malformed.
        """
        sums = (read_sum(value["sums"][name]) for name in _SUMS)
        return cls(examples, read_count(value["unmeasured"]), *sums)


_SUMS = tuple(field.name for field in fields(Losses) if field.name not in ("examples", "unmeasured"))


def total(parts: list[Losses]) -> Losses:
    """Return the sums over all parts."""
    return Losses(*(sum(getattr(part, field.name) for part in parts) for field in fields(Losses)))


@dataclass(frozen=True)
class Regression:
    """Errors of predicted numbers, summed over the measured examples; t and p in units of 2^-20."""

    own_losses: bool
    """Whether the task gave losses. Otherwise the loss is the squared error."""
    targets: int
    """Sum of the targets t."""
    target_squares: int
    """Sum of t^2."""
    absolute: int
    """Sum of |p - t|."""
    squared: int
    """Sum of (p - t)^2."""

    @classmethod
    def of(cls, targets: NDArray[Any], predictions: NDArray[Any], own_losses: bool) -> Regression:
        """Return the sums of object[n] of integers, of measured examples."""
        errors = predictions - targets
        sums = (targets, targets * targets, np.abs(errors), errors * errors)
        return cls(own_losses, *(int(sum_.sum()) if len(sum_) else 0 for sum_ in sums))

    def mean_absolute_error(self, losses: Losses) -> Fraction | None:
        """Return the mean of |p - t|; None if an example is unmeasured."""
        return None if losses.mean is None else Fraction(self.absolute, losses.measured * UNIT)

    def mean_squared_error(self, losses: Losses) -> Fraction | None:
        """Return the mean of (p - t)^2; None if an example is unmeasured."""
        return None if losses.mean is None else Fraction(self.squared, losses.measured * UNIT**2)

    def r2(self, losses: Losses) -> Fraction | None:
        """Return the explained share of the targets' variance; None if it is 0 or an example is unmeasured."""
        variance = losses.measured * self.target_squares - self.targets**2
        return (
            None
            if losses.mean is None or not variance
            else 1 - Fraction(losses.measured * self.squared, variance)
        )

    def possible(self, losses: Losses) -> bool:
        """Return whether targets and predictions with these sums and losses can exist."""
        count = losses.measured
        difference = abs(losses.wl * UNIT - self.squared)
        return (
            self.targets**2 <= count * self.target_squares
            and 0 <= self.absolute <= self.squared <= self.absolute**2
            and self.absolute**2 <= count * self.squared
            and (self.own_losses or 2 * difference <= count * UNIT)
        )

    def to_json(self, losses: Losses) -> dict[str, Any]:
        """Return the errors as in a report."""
        return {
            "loss": "task" if self.own_losses else "squared-error",
            "sums": {
                "t": str(self.targets),
                "t2": str(self.target_squares),
                "absolute": str(self.absolute),
                "squared": str(self.squared),
            },
            "meanAbsoluteError": _number(self.mean_absolute_error(losses)),
            "meanSquaredError": _number(self.mean_squared_error(losses)),
            "r2": _number(self.r2(losses)),
        }

    @classmethod
    def from_json(cls, value: Any) -> Regression:
        """Read the sums from the result of ``to_json``.

        Raises:
            KeyError, TypeError, ValueError: A field is missing or malformed.
        """
        sums = (read_sum(value["sums"][name]) for name in ("t", "t2", "absolute", "squared"))
        return cls(value["loss"] == "task", *sums)


def squared_losses(targets: NDArray[Any], predictions: NDArray[Any]) -> NDArray[Any]:
    """Return the squared errors of object[n] integers in units of 2^-20, in the same units, rounded half up."""
    errors = predictions - targets
    return np.asarray((errors * errors + UNIT // 2) // UNIT, dtype=object)


def _number(value: Fraction | None) -> float | None:
    return None if value is None else rounded(value)

# SPDX-License-Identifier: Apache-2.0
"""How well an attack tells records apart, with intervals, and the limit that differential privacy puts on it.

An attack gives each record a score; a higher one means "was trained on". Knows nothing of records, models or rounds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from folkmoot.errors import InputError
from folkmoot.privacy.accountant import CONTENT
from folkmoot.protocol.arrays import F64, I64

FALSE_ALARMS = 0.01
"""Share of absent records that may be taken for present ones, for the rate of true finds."""

RESAMPLES = 400
"""Resamples of an interval."""

SUMS = 4000
"""Sums of several rounds' scores that are made of their trials."""

_NORMAL = NormalDist()


@dataclass(frozen=True)
class Interval:
    """A measured value and its 95 % confidence interval."""

    value: float
    """The value."""
    low: float
    """Lower end."""
    high: float
    """Upper end."""

    def to_json(self) -> dict[str, float]:
        """JSON numbers, rounded to 4 digits."""
        return {name: round(value, 4) for name, value in vars(self).items()}


@dataclass(frozen=True)
class Separation:
    """How well scores tell present records from absent ones."""

    present: int
    """Number of present records."""
    absent: int
    """Number of absent records."""
    auc: Interval
    """Area under the ROC curve: how often a present record has a higher score than an absent one. 0.5 is chance."""
    tpr: Interval
    """Share of the present records found at FALSE_ALARMS."""

    def to_json(self) -> dict[str, Any]:
        """JSON types."""
        return {
            "present": self.present,
            "absent": self.absent,
            "auc": self.auc.to_json(),
            "tpr": self.tpr.to_json(),
        }


def separation(present: F64, absent: F64, rng: np.random.Generator) -> Separation:
    """Measure how well scores separate present from absent records.

    The intervals are percentiles of a bootstrap, in which both groups are drawn anew.

    Args:
        present: float64[p], scores of records that were trained on.
        absent: float64[a], scores of records that were not.
        rng: Draws the resamples.

    Raises:
        InputError: A group is empty, or a score is not finite.
    """
    _require_measured(present, absent)
    resamples = [
        (rng.integers(present.size, size=present.size), rng.integers(absent.size, size=absent.size))
        for _ in range(RESAMPLES)
    ]
    return Separation(
        present.size,
        absent.size,
        _interval(auc(present, absent), [auc(present[p], absent[a]) for p, a in resamples]),
        _interval(tpr(present, absent), [tpr(present[p], absent[a]) for p, a in resamples]),
    )


def separation_of_sums(present: Sequence[F64], absent: Sequence[F64], rng: np.random.Generator) -> Separation:
    """Measure how well the sums of several rounds' scores separate, if the rounds are drawn independently.

    Any trial of one round may then be combined with any trial of another one, so few trials a round are enough: SUMS
    sums are made of them at random. The intervals resample the trials of each round.

    Args:
        present: float64[trials, rounds] for each record that was trained on.
        absent: The same trained without these records.
        rng: Draws the combinations.
    """

    def sums(scores: Sequence[F64], resampled: bool) -> F64:
        found = []
        for one in scores:
            trials, rounds = one.shape
            kept = rng.integers(trials, size=one.shape) if resampled else None
            drawn = one if kept is None else np.take_along_axis(one, kept, axis=0)
            picked = rng.integers(trials, size=(SUMS // len(scores), rounds))
            found.append(np.take_along_axis(drawn, picked, axis=0).sum(axis=1))
        return np.concatenate(found)

    values = sums(present, False), sums(absent, False)
    _require_measured(*values)
    again = [(sums(present, True), sums(absent, True)) for _ in range(RESAMPLES // 4)]
    return Separation(
        sum(len(one) for one in present),
        sum(len(one) for one in absent),
        _interval(auc(*values), [auc(*one) for one in again]),
        _interval(tpr(*values), [tpr(*one) for one in again]),
    )


def _require_measured(present: F64, absent: F64) -> None:
    if not (present.size and absent.size and np.isfinite(present).all() and np.isfinite(absent).all()):
        raise InputError(
            f"An attack can't be measured on {present.size} present and {absent.size} absent records, or its scores "
            "are not finite.",
            remedy="Use more records and runs; if the scores are not finite, the training may have diverged.",
            code="nothing-measured",
        )


def share(hits: int, total: int) -> Interval:
    """Return a share with Wilson's interval.

    Raises:
        InputError: The total is 0.
    """
    if total < 1:
        raise InputError("There is nothing to take a share of.", remedy="Use more records or runs.")
    z = _NORMAL.inv_cdf(0.975)
    value = hits / total
    middle = (value + z * z / (2 * total)) / (1 + z * z / total)
    half = z * math.sqrt(value * (1 - value) / total + z * z / (4 * total * total)) / (1 + z * z / total)
    return Interval(value, max(0.0, middle - half), min(1.0, middle + half))


def auc(present: F64, absent: F64) -> float:
    """Return how often a present record has a higher score than an absent one; equal scores count half."""
    ordered = np.sort(absent)
    below: I64 = np.searchsorted(ordered, present, "left")
    equal = np.searchsorted(ordered, present, "right") - below
    return float((below + equal / 2).mean() / absent.size)


def tpr(present: F64, absent: F64) -> float:
    """Return the share of the present records above the threshold that FALSE_ALARMS of the absent ones exceed."""
    allowed = math.floor(FALSE_ALARMS * absent.size)
    threshold = np.sort(absent)[absent.size - 1 - allowed]
    return float((present > threshold).mean())


def _interval(value: float, resampled: list[float]) -> Interval:
    low, high = np.quantile(resampled, (0.025, 0.975))
    return Interval(value, float(low), float(high))


@dataclass(frozen=True)
class Limit:
    """What no attack can exceed: Gaussian differential privacy (Dong, Roth, Su 2022) of all rounds together.

    A Gaussian mechanism whose cost is rho has ``mu = sqrt(2 rho)``: whoever tells whether one record was there is no
    better than whoever tells a standard normal number from one that is shifted by mu.
    """

    mu: float
    """The shift, above 0."""

    @classmethod
    def of_rho(cls, rho: float) -> Limit:
        """Return the limit of a Gaussian mechanism with this cost, in zero-concentrated differential privacy."""
        return cls(math.sqrt(2 * rho))

    @property
    def auc(self) -> float:
        """Largest area under the ROC curve."""
        return _NORMAL.cdf(self.mu / math.sqrt(2))

    @property
    def content(self) -> Limit:
        """The limit for what one record says that is known to be there: it is removed, and another one is added."""
        return Limit(CONTENT * self.mu)

    @property
    def advantage(self) -> float:
        """Largest difference between the rates of true finds and of false alarms."""
        return 2 * _NORMAL.cdf(self.mu / 2) - 1

    @property
    def tpr(self) -> float:
        """Largest share of present records found at FALSE_ALARMS."""
        return _NORMAL.cdf(_NORMAL.inv_cdf(FALSE_ALARMS) + self.mu)

    def to_json(self) -> dict[str, float]:
        """JSON numbers, rounded to 4 digits."""
        found = {"mu": self.mu, "auc": self.auc, "advantage": self.advantage, "tpr": self.tpr}
        found |= {"contentAuc": self.content.auc, "contentTpr": self.content.tpr}
        return {name: round(value, 4) for name, value in found.items()}

# SPDX-License-Identifier: Apache-2.0
"""The strong adversary: knows all records of a contributor but one, and asks whether that one was trained on.

It is the adversary against whom differential privacy is defined. It repeats each round's training from the published
base, with the record and without it, and takes the logarithm of the likelihood ratio of the published update between
the two, as normal distributions with the same variances. The ratios of the rounds are added up. What the contributor
draws in secret (order of the records, noise) the adversary does not know. In the same way it asks which of two contents
a record has that is known to be there: then it repeats the training with one content and with the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from folkmoot.protocol.arrays import F32, F64
from folkmoot.tasks import Data
from folkmoot_lab.leaks.learner import Learner
from folkmoot_lab.leaks.rounds import PublishedRound, decoded, encoded

_SEED_BYTES = 32
_CONTRIBUTOR = 0


@dataclass(frozen=True)
class Adversary:
    """How the adversary prepares.

    Attributes:
        references: Trainings that it repeats, with and without the record each.
        training: Settings in which it repeats them, if not the federation's own: with privacy, the same with hardly
            any noise, so that one training shows the difference that the record makes.
        noisy: Trainings that it then repeats in the federation's own settings, for the variance.
    """

    references: int = 10
    training: Mapping[str, Any] | None = None
    noisy: int = 1


def ratios(
    learner: Learner,
    published: Sequence[PublishedRound],
    known: Data,
    together: Data,
    trials: int,
    adversary: Adversary,
    rng: np.random.Generator,
) -> tuple[F64, F64]:
    """Let a contributor train with a record and without it, and let the adversary score what is published.

    Args:
        learner: The task.
        published: Rounds, of which the bases and exponents are used.
        known: The records that the adversary knows; or these and the record in question with the other content.
        together: The same and the record in question.
        trials: How often the contributor trains all rounds with the one, and how often with the other.
        adversary: How it prepares.
        rng: Draws all seeds.

    Returns:
        Two float64[trials, rounds], the log-likelihood ratio of each round: with the record, and without it.
    """

    def updates(one: PublishedRound, data: Data, count: int, training: Mapping[str, Any] | None) -> F32:
        rows = []
        for _ in range(count):
            end = learner.train(one.base, data, int(rng.integers(1 << 31)), training)
            if training is not None:  # The codec's rounding would hide what the record changes.
                rows.append(one.base - end)
                continue
            file = encoded(learner, one.base, end, one.exponents, rng.bytes(_SEED_BYTES), _CONTRIBUTOR)
            rows.append(decoded(file, learner.manifest, one.exponents))
        return np.stack(rows)

    found: tuple[list[F64], list[F64]] = ([], [])
    for one in published:
        own = [updates(one, data, adversary.references, adversary.training) for data in (together, known)]
        middle = [rows.mean(axis=0, dtype=np.float64) for rows in own]
        drawn = own
        if adversary.training is not None:  # The variance is that of the federation's own training.
            drawn = [updates(one, data, adversary.noisy, None) for data in (together, known)]
        variance = _variance(drawn, middle if adversary.training is not None else None)
        direction = (middle[0] - middle[1]) / variance
        centre = (middle[0] + middle[1]) / 2
        for sums, data in zip(found, (together, known), strict=True):
            sums.append((updates(one, data, trials, None) - centre) @ direction)
    present, absent = (np.stack(sums, axis=1) for sums in found)
    return present, absent


def _variance(drawn: Sequence[F32], means: Sequence[F64] | None) -> F64 | float:
    """Return the variance of a coordinate.

    From few trainings, that of each coordinate is uncertain: it is averaged with the mean of all. If the means are
    known from other trainings, all coordinates have the same noise.
    """
    if means is not None:
        parts = [np.square(rows - mean).mean() for rows, mean in zip(drawn, means, strict=True)]
        return float(np.mean(parts)) or 1.0
    each: F64 = np.mean([rows.var(axis=0, ddof=1, dtype=np.float64) for rows in drawn], axis=0)
    together = float(each.mean()) or 1.0
    return (each + together) / 2

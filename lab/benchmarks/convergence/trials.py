# SPDX-License-Identifier: Apache-2.0
"""Which trainings the benchmark compares, by name. It knows nothing of how they run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.convergence.federation import Course
from benchmarks.convergence.subjects import QUICKSTART, SUBJECTS, TorchSubject

STEADY = "steady"
"""The scenario in which nothing changes."""

DISTURBED = (
    "CNN", "CNN with BatchNorm", "LSTM", "embedding, SGD", "embedding, Adam", "transformer", "MLP, SGD",
)  # fmt: skip
"""What goes through the scenarios."""


@dataclass(frozen=True)
class Trial:
    """A training, that is compared with the same in floats."""

    subject: TorchSubject
    """What is trained."""
    scenario: str
    """What happens."""
    course: Course
    """How it is trained."""


def steady(seeds: int) -> Iterator[Trial]:
    """Every subject at each of its rates."""
    for seed in range(seeds):
        for subject in SUBJECTS.values():
            for rate in subject.rates:
                yield Trial(subject, STEADY, Course(rate, seed=seed))


def scenarios(seeds: int) -> Iterator[Trial]:
    """What stopped federations, or could."""
    for seed in range(seeds):
        for rate in QUICKSTART.rates:
            yield Trial(QUICKSTART, "published settings, 12 rounds", Course(rate, rounds=12, seed=seed))
        for name in DISTURBED:
            subject = SUBJECTS[name]
            low, middle, _ = subject.rates
            first = (next(iter(subject.initial(0))).partition(".")[0] + ".",)
            yield Trial(subject, "rate x 5 from round 4", Course(low, seed=seed, schedule={4: 5.0}))
            yield Trial(subject, "rate / 30 from round 10", Course(middle, seed=seed, schedule={10: 1 / 30}))
            warm = {1: 0.0, 2: 1e-5, 3: 1e-3, 4: 0.1, 5: 1.0}
            yield Trial(subject, "warm-up from 0 in 4 rounds", Course(middle, seed=seed, schedule=warm))
            yield Trial(
                subject, "one client at 4 x the rate", Course(middle, seed=seed, client_rates={2: 4.0})
            )
            yield Trial(
                subject,
                "first layer frozen for 10 rounds",
                Course(middle, seed=seed, frozen=first, thawed=11),
            )
            yield Trial(subject, "exponents 10 octaves low", Course(middle, seed=seed, octaves=-10))
            yield Trial(subject, "exponents 10 octaves high", Course(middle, seed=seed, octaves=10))
            yield Trial(subject, "exponents guessed", Course(middle, seed=seed, calibrated=False))

# SPDX-License-Identifier: Apache-2.0
"""The training settings of the shipped tasks that train with differential privacy."""

from __future__ import annotations

from typing import Any

from folkmoot.privacy import PrivacySettings, noise_for

EPSILON, ROUNDS, DELTA = 3.0, 20, 1e-5
"""What the shipped noise is for: an epsilon of 3 at this delta, for a contributor that takes part in 20 rounds."""

_GRID = 8  # With 4,000 weights, a record's values have about 4,000 steps of the grid.


def training(*, divisor: int, clip: float, rate: float, steps: int = 1) -> dict[str, Any]:
    """Return training settings for EPSILON and ROUNDS.

    Args:
        divisor: ``B0``, about the number of records of a contributor.
        clip: Norm to which a record's gradient is clipped.
        rate: Learning rate.
        steps: Steps of a round.
    """
    settings = PrivacySettings(
        noise1024=noise_for(EPSILON, DELTA, ROUNDS, steps),
        steps=steps,
        divisor=divisor,
        clip=clip,
        grid=_GRID,
        delta=DELTA,
    )
    return {"learning_rate": rate, "split_seed": 7, "privacy": settings.to_json()}

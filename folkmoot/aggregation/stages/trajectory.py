# SPDX-License-Identifier: Apache-2.0
"""Stage ``weigh_by_trajectory``: weigh updates by their cosine similarity with the model's trajectory.

The **trajectory** is what the model moved by in the last rounds (``aggregation.trajectory``). Poisoning has to work
against it in round after round. Honest updates have a positive cosine with it or are about orthogonal to it, whatever
the data. The trajectory averages hundreds of updates, so its direction is far less noisy than any cosine within a
round, and it needs no root set. Near convergence the model hardly moves, and cosines with the trajectory are noise:
then no update is excluded, and an update with a negative cosine keeps at least an eighth of its multiplier.

Source: rules without memory fall to attacks that are small in every round, and history helps (Karimireddy, He,
Jaggi, ICML 2021, arXiv 2012.10333, by the momentum of contributors). Taking the model's own trajectory as a reference
is ours; no source proves it. Assumes that most of the aggregate was honest in the rounds of the window: who steered the
model before steers the reference. So the stage is used after a stage that needs no trajectory, and it changes
multipliers only, not the majority's core. It can't stop attackers who keep a positive cosine with the trajectory, which
is public, and do harm orthogonally to it.
"""

from __future__ import annotations

from collections.abc import Sequence

from folkmoot.aggregation.cosines import UNIT, cosine
from folkmoot.aggregation.references import ReferencedFacts
from folkmoot.aggregation.stages.weighting_state import WeightingState, lower_median
from folkmoot.protocol.verdict import Reason

FLOOR = UNIT // 8
"""Smallest factor of the stage, in 1/UNIT, for an update whose cosine is within the scatter of the round's cosines."""

DEVIATIONS = 4
"""Number of median absolute deviations that the threshold is below 0, and for few updates up to twice as many
(`_deviation_threshold`): with few values the median absolute deviation is a poor estimate of the spread, as Student's t
says of the standard deviation."""


def trajectory_cosines(state: WeightingState) -> dict[int, int]:
    """Return each included update's cosine with the trajectory, in 1/UNIT; empty without a trajectory."""
    facts = state.facts
    if not isinstance(facts, ReferencedFacts) or facts.trajectory is None:
        return {}
    trajectory = facts.trajectory
    return {i: cosine(trajectory.products[i], facts.gram[i][i], trajectory.square) for i in state.included}


def median_trajectory_cosine(state: WeightingState) -> int:
    """Return the lower median of the cosines with the trajectory, in 1/UNIT, at least 0; 0 disables the stage."""
    cosines = trajectory_cosines(state)
    return max(0, lower_median(list(cosines.values()))) if cosines else 0


def weigh_by_trajectory(state: WeightingState) -> WeightingState:
    """Multiply multipliers by a clamped linear function of the cosine with the trajectory.

    With ``z_i`` the cosines of the a included updates and h their lower median, at least 0: nothing changes if
    ``h = 0`` or there is no trajectory. Else the factor is ``floor(UNIT (z_i + h) / (2 h))``, at least 0 and at most
    UNIT: 0 up to ``-h``, a half for an update that is orthogonal to the trajectory, UNIT from ``h`` on. But it is at
    least FLOOR unless ``z_i <= -max(h, floor(DEVIATIONS d (a + 3) / (a - 1)))``, with d the median absolute deviation,
    the lower median of ``|z_i - h|``: near convergence cosines scatter around 0, and a slightly negative one is no
    evidence.

    Returns:
        The state with the numbers ``trajectoryCosine``, ``trajectoryMedian`` and ``trajectoryThreshold`` (an update is
        excluded if its cosine is at most the negative of it; 1/UNIT each), and the reason ``against-trajectory`` for a
        factor of 0.
    """
    cosines = trajectory_cosines(state)
    if not cosines:
        return state
    median = median_trajectory_cosine(state)
    state = state.with_numbers("trajectoryCosine", cosines)
    state = state.with_numbers("trajectoryMedian", dict.fromkeys(cosines, median))
    if median == 0:
        return state
    threshold = max(median, _deviation_threshold(list(cosines.values()), median))
    factors = {
        i: max(FLOOR if value > -threshold else 0, min(UNIT, UNIT * (value + median) // (2 * median)))
        for i, value in cosines.items()
    }
    return (
        state.exclude({i: Reason.AGAINST_TRAJECTORY for i, factor in factors.items() if factor == 0})
        .with_multipliers([multiplier * factors.get(i, 0) for i, multiplier in enumerate(state.multipliers)])
        .with_numbers("trajectoryThreshold", dict.fromkeys(cosines, threshold))
    )


def _deviation_threshold(values: Sequence[int], median: int) -> int:
    """Return DEVIATIONS median absolute deviations, times ``(a + 3) / (a - 1)`` for a values; 0 for fewer than two."""
    count = len(values)
    if count < 2:
        return 0
    return DEVIATIONS * lower_median([abs(value - median) for value in values]) * (count + 3) // (count - 1)

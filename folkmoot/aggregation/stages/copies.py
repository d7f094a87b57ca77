# SPDX-License-Identifier: Apache-2.0
"""Stage ``copies``: of near-duplicate updates include the earliest committed one only; exclude replays.

Two updates are near-duplicates if their cosine distance is much smaller than the usual one *in this round*: with the
lower median cosine ``m`` of all pairs, ``1 - C_ij <= (1 - m) * ratio``. So the threshold adapts to the federation
(large batches make honest updates similar, late rounds make them orthogonal), and no fixed cosine is evidence against
anybody. Commitments are closed before any update is shown, so the earlier of two is not the copier. A **replay** is a
near-duplicate of an update that was public before: of the last rounds of the lineage (``reference``), the coordinators'
own entries included.

Source: FoolsGold's idea that Sybils are too alike (Fung, Yoon, Beschastnikh, RAID 2020, arXiv 1808.04866),
with the threshold from the round. Assumes that fewer than half of the contributors collude, so that the
median pair has an independent contributor in it. It can't stop a copy with so much noise that it is no more similar
than honest updates are (noise of about 0.6 of the update's norm at the ratio that is used, 0.1 in a model of fifty
coordinates). A larger ratio excluded honest contributors who hold the same few classes.

Cosines are first divided by those that two encodings of one vector would have (``aggregation.repeats``), so that the
noise of rounding at small widths hides no copy. What is left of that noise is a scatter. So a threshold is above the
median by MEDIAN_SCATTERS of it, and above the largest cosines of honest updates that were measured at width 8 by
HONEST_SCATTERS: where honest updates are as alike as copies, or the model is too small for its width, fewer copies are
found.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt
from typing import NamedTuple

from folkmoot.aggregation.cosines import UNIT, cosine
from folkmoot.aggregation.references import ReferencedFacts
from folkmoot.aggregation.stages.weighting_state import WeightingState, lower_median
from folkmoot.protocol.verdict import Reason

RATIO_UNIT = 1024
"""Ratios of this stage are in 1/RATIO_UNIT."""

COORDINATES_PER_RATIO_UNIT = 16
"""The ratio is at most 1/RATIO_UNIT for each so many coordinates that updates change: in few dimensions independent
updates are similar by chance. Measured (docs/robustness.md), not derived."""

MIN_RATIO = 1
"""The smallest ratio, in 1/RATIO_UNIT."""

MEDIAN_SCATTERS = 6
"""Least distance of a threshold from the median cosine, in standard deviations of the rounding's noise."""

HONEST_SCATTERS = 3
"""Least distance of a threshold from HONEST_COPY or HONEST_REPLAY, in the same unit."""

HONEST_COPY = UNIT * 4 // 5
"""The largest cosine of two honest updates of a round at width 8, in 1/UNIT. Measured (docs/robustness.md)."""

HONEST_REPLAY = UNIT - UNIT // 48
"""The same of an honest update with one of an earlier round."""

SCATTERED = 1 << 18
"""Most coordinates that lower that standard deviation: repeat cosines are measured on no more."""

REPLAY_DIVISOR = 4
"""For replays the ratio is divided by this: a contributor's own updates are similar from round to round, and that is no
replay. With fewer than three updates the ratio is 0, so that only the same direction is a replay: of two, the median is
the other update, and if that contributor was not in the earlier rounds, it is far from all of them."""


def exclude_copies(state: WeightingState, ratio: int) -> WeightingState:
    """Exclude each update that is a near-duplicate of an earlier one, of this round or of the rounds before.

    Args:
        state: The state.
        ratio: In 1/RATIO_UNIT. A small model has a smaller one (COORDINATES_PER_RATIO_UNIT); 0 excludes exactly
            parallel updates only.

    Returns:
        The state with the reason ``copy`` and the numbers ``copyCosine`` (1/UNIT), ``copyRatio`` (the ratio that was
        used, in 1/RATIO_UNIT), ``copyRepeat`` (the cosine of two encodings of one vector, 1/UNIT) and, for a copy
        within this round, ``copyOf`` (index among the delivered updates).
    """
    ratio = max(MIN_RATIO, min(ratio, state.facts.dimensions // COORDINATES_PER_RATIO_UNIT))
    ratios: dict[int, int] = {}
    included = state.included
    excluded: dict[int, Reason] = {}
    originals: dict[int, int] = {}
    found: dict[int, Likeness] = {}
    if len(included) > 1:
        repeats = _repeats(state)
        pairs = {
            (i, j): Likeness(state.cosines[i][j], isqrt(repeats[i] * repeats[j]))
            for n, i in enumerate(included)
            for j in included[:n]
        }
        # Of three updates one pair of colluders is a third of the pairs: the median pair has an honest update in it.
        threshold = _threshold(state, list(pairs.values()), ratio, HONEST_COPY) if len(included) > 2 else None
        for (i, j), pair in pairs.items():
            if i not in excluded and j not in excluded and pair.reaches(threshold):
                excluded[i], originals[i], found[i] = Reason.COPY, j, pair
                ratios[i] = ratio if len(included) > 2 else 0
    replay_ratio = ratio // REPLAY_DIVISOR if len(included) > 2 else 0
    for i, closest in _replays(state, replay_ratio).items():
        excluded[i], found[i], ratios[i] = Reason.COPY, closest, replay_ratio
    return (
        state.exclude(excluded)
        .with_numbers("copyOf", originals)
        .with_numbers("copyCosine", {i: one.cosine for i, one in found.items()})
        .with_numbers("copyRatio", ratios)
        .with_numbers("copyRepeat", {i: one.repeat for i, one in found.items()})
    )


class Likeness(NamedTuple):
    """How alike two updates are."""

    cosine: int
    """Their cosine, in 1/UNIT."""
    repeat: int
    """The cosine that two encodings of one vector would have, in 1/UNIT."""

    @property
    def corrected(self) -> int:
        """The cosine of their vectors without the noise of rounding, in 1/UNIT; by chance also above UNIT."""
        return UNIT * self.cosine // self.repeat

    def reaches(self, threshold: int | None) -> bool:
        """Return whether they are near-duplicates; with None only parallel updates are."""
        return self.cosine == UNIT or (threshold is not None and self.corrected >= threshold)


def _repeats(state: WeightingState) -> tuple[int, ...]:
    facts = state.facts
    return facts.repeats if isinstance(facts, ReferencedFacts) and facts.repeats else (UNIT,) * facts.count


def _threshold(state: WeightingState, compared: Sequence[Likeness], ratio: int, honest: int) -> int:
    """Return the corrected cosine, in 1/UNIT, from which on two updates are near-duplicates."""
    median = max(lower_median([one.corrected for one in compared]), 0)
    repeat = lower_median([_repeats(state)[i] for i in state.included])
    coordinates = max(1, min(state.facts.dimensions, SCATTERED))
    scatter = UNIT * isqrt((UNIT * UNIT - repeat * repeat) // coordinates) // repeat
    if scatter == 0:
        return UNIT - ratio * (UNIT - median) // RATIO_UNIT
    return max(
        UNIT - ratio * (UNIT - median) // RATIO_UNIT,
        median + MEDIAN_SCATTERS * scatter,
        honest + HONEST_SCATTERS * scatter,
    )


def _replays(state: WeightingState, ratio: int) -> dict[int, Likeness]:
    """Return the included updates that are near-duplicates of one of an earlier round."""
    facts = state.facts
    if not isinstance(facts, ReferencedFacts) or not facts.earlier or not state.included:
        return {}
    repeats = _repeats(state)
    closest = {
        i: max(
            (
                Likeness(
                    cosine(
                        other.products[i],
                        facts.gram[i][i] if other.own is None else other.own[i],
                        other.square,
                    ),
                    isqrt(repeats[i] * other.repeat),
                )
                for other in facts.earlier
            ),
            key=_by_corrected,
        )
        for i in state.included
    }
    threshold = _threshold(state, list(closest.values()), ratio, HONEST_REPLAY) if ratio else None
    return {i: one for i, one in closest.items() if one.reaches(threshold)}


def _by_corrected(one: Likeness) -> tuple[int, int]:
    return one.corrected, one.cosine

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
"""

from __future__ import annotations

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
        used, in 1/RATIO_UNIT) and, for a copy within this round, ``copyOf`` (index among the delivered updates).
    """
    ratio = max(MIN_RATIO, min(ratio, state.facts.dimensions // COORDINATES_PER_RATIO_UNIT))
    ratios: dict[int, int] = {}
    included = state.included
    excluded: dict[int, Reason] = {}
    originals: dict[int, int] = {}
    copy_cosines: dict[int, int] = {}
    if len(included) > 1:
        cosines = state.cosines
        pairs = [cosines[i][j] for n, i in enumerate(included) for j in included[:n]]
        # Of three updates one pair of colluders is a third of the pairs: the median pair has an honest update in it.
        threshold = _threshold(lower_median(pairs), ratio) if len(included) > 2 else UNIT
        for n, i in enumerate(included):
            for j in included[:n]:
                if j not in excluded and cosines[i][j] >= threshold:
                    excluded[i], originals[i], copy_cosines[i] = Reason.COPY, j, cosines[i][j]
                    ratios[i] = ratio if len(included) > 2 else 0
                    break
    replay_ratio = ratio // REPLAY_DIVISOR if len(included) > 2 else 0
    for i, closest in _replays(state, replay_ratio).items():
        excluded[i], copy_cosines[i], ratios[i] = Reason.COPY, closest, replay_ratio
    return (
        state.exclude(excluded)
        .with_numbers("copyOf", originals)
        .with_numbers("copyCosine", copy_cosines)
        .with_numbers("copyRatio", ratios)
    )


def _threshold(median: int, ratio: int) -> int:
    """Return the cosine, in 1/UNIT, from which on two updates are near-duplicates."""
    return UNIT - ratio * (UNIT - max(median, 0)) // RATIO_UNIT


def _replays(state: WeightingState, ratio: int) -> dict[int, int]:
    """Return the included updates that are near-duplicates of one of an earlier round, with the cosine in 1/UNIT."""
    facts = state.facts
    if not isinstance(facts, ReferencedFacts) or not facts.earlier or not state.included:
        return {}
    closest = {
        i: max(
            cosine(other.products[i], facts.gram[i][i] if other.own is None else other.own[i], other.square)
            for other in facts.earlier
        )
        for i in state.included
    }
    threshold = _threshold(lower_median(list(closest.values())), ratio)
    return {i: value for i, value in closest.items() if value >= threshold}

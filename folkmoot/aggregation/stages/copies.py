# SPDX-License-Identifier: Apache-2.0
"""Stage ``copies``: exclude replays, and of two near-duplicate updates the later one, or the one that was derived.

Two updates are near-duplicates if their cosine distance is much smaller than the usual one *in this round*: with the
lower median cosine ``m`` of all pairs, ``1 - C_ij <= (1 - m) * ratio``. So the threshold adapts to the federation
(large batches make honest updates similar, late rounds make them orthogonal), and no fixed cosine is evidence against
anybody. Commitments are closed before any update is shown, so the earlier of two is not the copier. A **replay** is a
near-duplicate of an update that was public before: of the last rounds of the lineage (``reference``), the coordinators'
own entries included. Replays are excluded first, and nobody is a copy of one.

A contributor's next update can be a near-duplicate of its last one. Who alters that one, by more than a replay is
altered, and commits early would have the contributor excluded as a copier. So the earlier of two is **derived** if a
source explains the likeness: a public update of another contributor that it is at least as alike to as to the later
one, and more than the later one is to any source. Then the earlier one is excluded. A public update is no source of an
update whose contributor sent one before that is as alike: else others could send somebody's updates again, and make its
next one look derived.

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
from folkmoot.aggregation.references import Reference, ReferencedFacts
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

SOURCE_SCATTERS = 3
"""By how much an update may seem less alike to its source than to the other one of its pair, and by how much more than
to its own contributor's updates it has to be, in the same unit."""

SCATTERED = 1 << 18
"""Most coordinates that lower that standard deviation: repeat cosines are measured on no more."""

REPLAY_DIVISOR = 4
"""For replays the ratio is divided by this: a contributor's own updates are similar from round to round, and that is no
replay. With fewer than three updates the ratio is 0, so that only the same direction is a replay: of two, the median is
the other update, and if that contributor was not in the earlier rounds, it is far from all of them."""


def exclude_copies(state: WeightingState, ratio: int) -> WeightingState:
    """Exclude replays, then one update of each pair of near-duplicates: the later one, or the one that was derived.

    The earlier one was derived if it is at least as alike to another contributor's update of an earlier round as to the
    later one, and more than the later one is to any.

    Args:
        state: The state.
        ratio: In 1/RATIO_UNIT. A small model has a smaller one (COORDINATES_PER_RATIO_UNIT); 0 excludes exactly
            parallel updates only.

    Returns:
        The state with the reason ``copy`` and the numbers ``copyCosine`` (1/UNIT), ``copyRatio`` (the ratio that was
        used, in 1/RATIO_UNIT), ``copyRepeat`` (the cosine of two encodings of one vector, 1/UNIT), for a copy within
        this round ``copyOf`` (index of the other one among the delivered updates) and, if the earlier of both was
        excluded, ``copySource`` (its likeness to what it was derived from, 1/UNIT).
    """
    ratio = max(MIN_RATIO, min(ratio, state.facts.dimensions // COORDINATES_PER_RATIO_UNIT))
    included = state.included
    # Of three updates one pair of colluders is a third of the pairs: the median pair has an honest update in it.
    several = len(included) > 2
    replay_ratio = ratio // REPLAY_DIVISOR if several else 0
    found = _replays(state, replay_ratio)
    ratios = dict.fromkeys(found, replay_ratio)
    originals: dict[int, int] = {}
    sources: dict[int, int] = {}
    repeats = _repeats(state)
    pairs = {
        (i, j): Likeness(state.cosines[i][j], isqrt(repeats[i] * repeats[j]))
        for n, i in enumerate(included)
        for j in included[:n]
    }
    threshold = _threshold(state, list(pairs.values()), ratio, HONEST_COPY) if several else None
    margin = SOURCE_SCATTERS * _scatter(state) if pairs else 0
    for (i, j), pair in pairs.items():
        if i not in found and j not in found and pair.reaches(threshold):
            copy, original = i, j
            source, other = (_source(one, _earlier(state, one), margin) for one in (j, i))
            if source + margin >= pair.corrected and source > other:
                copy, original, sources[j] = j, i, source
            found[copy], originals[copy], ratios[copy] = pair, original, ratio if several else 0
    return (
        state.exclude(dict.fromkeys(found, Reason.COPY))
        .with_numbers("copyOf", originals)
        .with_numbers("copySource", sources)
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


def _scatter(state: WeightingState) -> int:
    """Return the standard deviation of corrected cosines that the noise of rounding makes, in 1/UNIT."""
    repeat = lower_median([_repeats(state)[i] for i in state.included])
    coordinates = max(1, min(state.facts.dimensions, SCATTERED))
    return UNIT * isqrt((UNIT * UNIT - repeat * repeat) // coordinates) // repeat


def _threshold(state: WeightingState, compared: Sequence[Likeness], ratio: int, honest: int) -> int:
    """Return the corrected cosine, in 1/UNIT, from which on two updates are near-duplicates."""
    median = max(lower_median([one.corrected for one in compared]), 0)
    scatter = _scatter(state)
    if scatter == 0:
        return UNIT - ratio * (UNIT - median) // RATIO_UNIT
    return max(
        UNIT - ratio * (UNIT - median) // RATIO_UNIT,
        median + MEDIAN_SCATTERS * scatter,
        honest + HONEST_SCATTERS * scatter,
    )


def _earlier(state: WeightingState, index: int) -> list[tuple[Reference, Likeness]]:
    """Return the updates of earlier rounds, each with the likeness of an update to it."""
    facts = state.facts
    if not isinstance(facts, ReferencedFacts):
        return []
    repeat = _repeats(state)[index]
    return [
        (
            other,
            Likeness(
                cosine(
                    other.products[index],
                    facts.gram[index][index] if other.own is None else other.own[index],
                    other.square,
                ),
                isqrt(repeat * other.repeat),
            ),
        )
        for other in facts.earlier
    ]


def _replays(state: WeightingState, ratio: int) -> dict[int, Likeness]:
    """Return the included updates that are near-duplicates of one of an earlier round."""
    closest = {
        i: max((one for _, one in compared), key=_by_corrected)
        for i in state.included
        if (compared := _earlier(state, i))
    }
    threshold = _threshold(state, list(closest.values()), ratio, HONEST_REPLAY) if ratio and closest else None
    return {i: one for i, one in closest.items() if one.reaches(threshold)}


def _source(index: int, earlier: Sequence[tuple[Reference, Likeness]], margin: int) -> int:
    """Return the likeness of an update to what it may have been derived from, in 1/UNIT; 0 if there is nothing.

    That is the largest to an update that is more alike to it, by more than ``margin``, than each of the own contributor
    is, of the same round or of an earlier one. So own updates do not count, and what others made of them does not
    either.
    """
    own = [(other.round, one.corrected) for other, one in earlier if other.contributor == index]
    return max(
        (
            one.corrected
            for other, one in earlier
            if all(mine + margin < one.corrected for when, mine in own if when <= other.round)
        ),
        default=0,
    )


def _by_corrected(one: Likeness) -> tuple[int, int]:
    return one.corrected, one.cosine

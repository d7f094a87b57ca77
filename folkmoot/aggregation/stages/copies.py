# SPDX-License-Identifier: Apache-2.0
"""Stage ``copies``: exclude replays, what was made of others' public updates, and of near-duplicates the later one.

Two updates are near-duplicates if their cosine distance is much smaller than the usual one *in this round*: with the
lower median cosine ``m`` of all pairs, ``1 - C_ij <= (1 - m) * ratio``. So the threshold adapts to the federation
(large batches make honest updates similar, late rounds make them orthogonal), and no fixed cosine is evidence against
anybody. Commitments are closed before any update is shown, so the earlier of two is not the copier. A **replay** is a
near-duplicate of an update that was public before: of the last rounds of the lineage (``reference``), the coordinators'
own entries included. Replays are excluded first, and nobody is a copy of one.

A contributor's next update can be a near-duplicate of its last one, so replays have a threshold of their own. Between
different contributors an update of an earlier round is no more alike than one of the same round. So an update is
**derived** if it is a near-duplicate, by the threshold of this round's pairs, of another contributor's earlier update,
unless its own contributor's earlier updates explain that: others can send somebody's updates again, or their mean, and
so make its next one look derived. If two updates of a contributor have a cosine x, no combination of its updates has
more than about the square root of x with the next one: x is the share of what they have in common, and the best
combination is that common part.

For the same reason the later of two near-duplicates may be no copy. Who commits a mean of somebody's earlier updates is
near to its next one too, and has seen nothing of that. A copy is more alike to its original than what its contributor
sent before. So neither is excluded if the earlier one is at least as alike to what the later one's contributor sent
before, and the later one not more alike to what the earlier one's contributor sent before than that. If the earlier
one's contributor sent nothing before, the earlier one is excluded: new accounts would escape both tests.

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

from collections.abc import Mapping, Sequence
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
"""By how much an update has to be more alike to another contributor's than its own contributor's explain, in the same
unit."""

OWN_DIVISOR = 2
"""Two updates have to be more alike than the ratio asks by what their own scatter has beyond the round's, over this. In
a small model a repeat cosine is uncertain, and by chance the round's median can be UNIT: then the round shows no noise,
and nearly parallel honest updates seem more alike than equal ones. Measured (docs/robustness.md)."""

SCATTERED = 1 << 18
"""Most coordinates that lower that standard deviation: repeat cosines are measured on no more."""

REPLAY_DIVISOR = 4
"""For replays the ratio is divided by this: a contributor's own updates are similar from round to round, and that is no
replay. With fewer than three updates the ratio is 0, so that only the same direction is a replay: of two, the median is
the other update, and if that contributor was not in the earlier rounds, it is far from all of them."""


def exclude_copies(state: WeightingState, ratio: int) -> WeightingState:
    """Exclude replays, then derived updates, then the later one of each pair of near-duplicates.

    The later one of a pair stays if what its contributor sent before explains the likeness. The earlier one is excluded
    then if its contributor sent nothing before.

    Args:
        state: The state.
        ratio: In 1/RATIO_UNIT. A small model has a smaller one (COORDINATES_PER_RATIO_UNIT); 0 excludes exactly
            parallel updates only.

    Returns:
        The state with the reason ``copy`` and the numbers ``copyCosine`` (1/UNIT), ``copyRatio`` (the ratio that was
        used, in 1/RATIO_UNIT), ``copyRepeat`` (the cosine of two encodings of one vector, 1/UNIT), for a copy within
        this round ``copyOf`` (index of the other one among the delivered updates), and for a derived update or an
        earlier one of a pair ``copySource`` (its likeness to what another contributor sent before, 1/UNIT).
    """
    ratio = max(MIN_RATIO, min(ratio, state.facts.dimensions // COORDINATES_PER_RATIO_UNIT))
    included = state.included
    # Of three updates one pair of colluders is a third of the pairs: the median pair has an honest update in it.
    several = len(included) > 2
    replay_ratio = ratio // REPLAY_DIVISOR if several else 0
    earlier = {i: _earlier(state, i) for i in included}
    copies = _replays(state, earlier, replay_ratio)
    ratios = dict.fromkeys(copies, replay_ratio)
    repeats = _repeats(state)
    pairs = {
        (i, j): Likeness(state.cosines[i][j], isqrt(repeats[i] * repeats[j]))
        for n, i in enumerate(included)
        for j in included[:n]
    }
    threshold = _threshold(state, list(pairs.values()), ratio, HONEST_COPY) if several else None
    sources: dict[int, int] = {}
    for i in included if threshold is not None else ():
        source = _source(i, earlier[i], SOURCE_SCATTERS * _scatter(state))
        if i not in copies and source is not None and source.reaches(threshold):
            copies[i], sources[i], ratios[i] = source, source.corrected, ratio
    originals: dict[int, int] = {}
    for (i, j), pair in pairs.items():
        if i not in copies and j not in copies and pair.reaches(threshold):
            copy, original, past = i, j, _past(earlier[j], i)
            if past >= max(pair.corrected, _past(earlier[i], j)):
                if any(other.contributor == j for other, _ in earlier[j]):
                    continue
                copy, original, sources[j] = j, i, past
            copies[copy], originals[copy], ratios[copy] = pair, original, ratio if several else 0
    return (
        state.exclude(dict.fromkeys(copies, Reason.COPY))
        .with_numbers("copyOf", originals)
        .with_numbers("copySource", sources)
        .with_numbers("copyCosine", {i: copy_.cosine for i, copy_ in copies.items()})
        .with_numbers("copyRatio", ratios)
        .with_numbers("copyRepeat", {i: copy_.repeat for i, copy_ in copies.items()})
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

    def reaches(self, threshold: Threshold | None) -> bool:
        """Return whether they are near-duplicates; with None only parallel updates are."""
        return self.cosine == UNIT or (threshold is not None and self.corrected >= threshold.of(self.repeat))


class Threshold(NamedTuple):
    """From which corrected cosine on two updates are near-duplicates, in 1/UNIT."""

    close: int
    """What the ratio asks."""
    round: int
    """What the round's noise of rounding asks, at least ``close``."""
    scatter: int
    """The round's."""
    coordinates: int

    def of(self, repeat: int) -> int:
        """Return it for two updates with a repeat cosine."""
        own = _scatter_of(repeat, self.coordinates)
        return max(self.round, self.close + max(0, own - self.scatter) // OWN_DIVISOR)


def _repeats(state: WeightingState) -> tuple[int, ...]:
    facts = state.facts
    return facts.repeats if isinstance(facts, ReferencedFacts) and facts.repeats else (UNIT,) * facts.count


def _scatter(state: WeightingState) -> int:
    """Return the standard deviation of corrected cosines that the noise of rounding makes, in 1/UNIT."""
    return _scatter_of(lower_median([_repeats(state)[i] for i in state.included]), _coordinates(state))


def _coordinates(state: WeightingState) -> int:
    return max(1, min(state.facts.dimensions, SCATTERED))


def _scatter_of(repeat: int, coordinates: int) -> int:
    return UNIT * isqrt((UNIT * UNIT - repeat * repeat) // coordinates) // repeat


def _threshold(state: WeightingState, compared: Sequence[Likeness], ratio: int, honest: int) -> Threshold:
    """Return the threshold of near-duplicates among the compared, which honest ones do not reach."""
    median = max(lower_median([one.corrected for one in compared]), 0)
    scatter = _scatter(state)
    close = UNIT - ratio * (UNIT - median) // RATIO_UNIT
    noisy = max(median + MEDIAN_SCATTERS * scatter, honest + HONEST_SCATTERS * scatter) if scatter else close
    return Threshold(close, max(close, noisy), scatter, _coordinates(state))


Compared = Sequence[tuple[Reference, "Likeness"]]
"""The updates of earlier rounds, each with the likeness of an update to it."""


def _earlier(state: WeightingState, index: int) -> Compared:
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


def _replays(state: WeightingState, earlier: Mapping[int, Compared], ratio: int) -> dict[int, Likeness]:
    """Return the included updates that are near-duplicates of one of an earlier round."""
    closest = {
        i: max((one for _, one in compared), key=_by_corrected) for i, compared in earlier.items() if compared
    }
    threshold = _threshold(state, list(closest.values()), ratio, HONEST_REPLAY) if ratio and closest else None
    return {i: one for i, one in closest.items() if one.reaches(threshold)}


def _source(index: int, earlier: Compared, margin: int) -> Likeness | None:
    """Return the largest likeness of an update to another contributor's that its own do not explain; None if all do.

    Own updates explain what is more alike by at most ``margin`` than the square root of their likeness. Only those of
    the same round or of an earlier one do: who sends others' updates again explains nothing with it. Without any it is
    not judged by that round: who was away for long is not accused by what others sent meanwhile.
    """
    own = [
        (other.round, isqrt(UNIT * max(0, one.corrected)))
        for other, one in earlier
        if other.contributor == index
    ]
    explained = {
        when: max(known)
        for when in {other.round for other, _ in earlier}
        if (known := [mine for then, mine in own if then <= when])
    }
    return max(
        (
            one
            for other, one in earlier
            if other.contributor != index
            and other.round in explained
            and explained[other.round] + margin < one.corrected
        ),
        key=_by_corrected,
        default=None,
    )


def _past(earlier: Compared, contributor: int) -> int:
    """Return the largest likeness of an update to what a contributor sent in earlier rounds, in 1/UNIT."""
    return max((one.corrected for other, one in earlier if other.contributor == contributor), default=0)


def _by_corrected(one: Likeness) -> tuple[int, int]:
    return one.corrected, one.cosine

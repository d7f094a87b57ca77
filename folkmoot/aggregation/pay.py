# SPDX-License-Identifier: Apache-2.0
"""The pays of a round, under a rule that has them (docs/protocol.md section 8.7).

A pay is the share of a full place that an update gets, in 1/FULL_PAY. It is no weight: a weight says how much an update
counts in the mean. Both are part of the anchor.

Pay follows what of an update is new beside everything public. Everybody can make an update without data: a mean of
earlier updates, the model's last movement, or any mixture of them. So each update is taken without its part in the
space of all public vectors: the model's trajectory, and the updates that were weighed in the last rounds of the
lineage. Noise is new as well, so an update's novelty is what the others' new parts have in common with it, in one
direction or the other, without the third of them that has most: colluding riders have a direction in common. It is
no more than the size of an update's own new part either, which is all there is to see where updates are mostly noise.

Updates that harm the model, or that were trained on noise, are new as well, and have small weights. So a full pay takes
half of the median novelty *and* half of the median weight. Rare data have a small weight too; docs/robustness.md says
how little they are paid.

The part in the public space is found by a Cholesky factorisation of the public vectors' cosines, in integers. A ridge
on the diagonal keeps it away from singular matrices, a public vector that brings nothing new beside the ones before it
is left out, and each entry is clamped, so that 64 bits hold every step, whatever the vectors are: a product of two
entries is at most 2^34, and 2^16 of them stay below 2^50.

The form is ours, chosen by the drills of docs/robustness.md. Assumes that fewer than a third of the contributors work
together. Can't see who trains without data, as that is computation, nor that several accounts train on the same data:
each of them is paid. This module knows no chain and no amounts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isqrt

import numpy as np

from folkmoot.aggregation.cosines import UNIT, cosine_matrix
from folkmoot.aggregation.gram import in_smallest_units
from folkmoot.aggregation.interface import Gram
from folkmoot.aggregation.lineage import Lineage
from folkmoot.aggregation.references import thinned
from folkmoot.aggregation.stages.weighting_state import lower_median
from folkmoot.errors import InputError
from folkmoot.protocol.arrays import I64
from folkmoot.protocol.fixed_point import LEAF
from folkmoot.protocol.header import RoundHeader
from folkmoot.protocol.manifest import Manifest
from folkmoot.protocol.packing import ZERO
from folkmoot.protocol.rewards import FULL_PAY
from folkmoot.protocol.updates import UpdateReader

COMPARED_LEAVES = 512
"""Most leaves on which an update is compared with all public vectors."""

FACTOR = 2
"""A full pay takes the median novelty, and the median weight, divided by this."""

RIDGE = UNIT // 1024
"""Added to the cosine of each public vector with itself, in 1/UNIT."""

MOST_SHIFT = 8
"""Most bits by which integers are shifted to the smallest exponent of their tensor."""

_LEAST_PIVOT = UNIT * RIDGE // 4  # a public vector with less than this left is left out
_LARGEST = 2 * UNIT  # size of a factor's entries
_CHUNK_BYTES = 16 << 20  # bytes of all vectors that are looked at in one step


@dataclass(frozen=True, eq=False)
class WeighedRound:
    """What the pays of a round follow from, next to the weights: its k weighed updates, and what was public before."""

    manifest: Manifest
    """The model's layout."""
    header: RoundHeader
    """The round's header, with exponents and width."""
    updates: Sequence[UpdateReader]
    """The k updates that the rule weighed, in entry order."""
    contributors: Sequence[str]
    """The account of each of them, checksummed."""
    lineage: Lineage
    """The rounds before, with what was weighed in each of them (`PastRound.published`) and their exponents."""
    trajectory: UpdateReader | None
    """What the model moved by in these rounds; None on the genesis."""
    sample: I64 | None
    """Leaves on which earlier updates are compared (`references.compared_leaves`); None for all."""


@dataclass(frozen=True)
class Paid:
    """The pay of one update."""

    pay: int
    """From 0 to FULL_PAY."""
    novelty: int
    """Its novelty, in 1/UNIT of the median one; 0 where the weight is 0."""


def pays(weighed: WeighedRound, weights: Sequence[int]) -> list[Paid]:
    """Return the pays of the weighed updates.

    Args:
        weighed: The round.
        weights: One for each of the k updates, as the rule gave them; one of them is above 0.

    Raises:
        InputError: ``mismatch``: the lineage lacks what was weighed in an earlier round.
        ArtifactError: An update can't be read.
    """
    leaves = thinned(weighed.manifest, weighed.sample, COMPARED_LEAVES)
    table = cosine_matrix(products(weighed, leaves))
    dimensions = int(weighed.manifest.values_in_leaf[leaves].sum())
    return pays_of(novelties(table, len(weights), dimensions), weights)


def products(weighed: WeighedRound, leaves: I64) -> Gram:
    """Compute the inner products of a round's updates and all public vectors, all with all, on some leaves.

    With m_b the smallest exponent that any of the vectors has in tensor b, ``a_ic = q_ic 2^min(8, e_ib - m_b)``, and
    ``P_ij = sum_b 4^(m_b - m_min) sum_c a_ic a_jc``. They are taken by the machine's BLAS in float64, which is exact:
    ``(127 * 2^8)^2`` times the coordinates of 512 leaves stays below 2^47.

    Args:
        weighed: The round.
        leaves: int64[l], ascending.

    Returns:
        As many rows as there are vectors: the k updates, the trajectory, and what was weighed in each round of the
        lineage, the oldest round first, in entry order.

    Raises:
        InputError: ``mismatch``: the lineage lacks what was weighed in an earlier round.
        ArtifactError: An update can't be read.
    """
    own = weighed.header.exponents
    vectors = [(update, own) for update in weighed.updates]
    vectors += [] if weighed.trajectory is None else [(weighed.trajectory, own)]
    for past in weighed.lineage.rounds:
        if past.published is None:
            raise InputError("The lineage lacks what was weighed in an earlier round.", code="mismatch")
        vectors += [(one.update, past.exponents) for one in past.published.values()]
    count = len(vectors)
    exponents = np.array([theirs for _, theirs in vectors], dtype=np.int64)
    least = exponents.min(axis=0)
    factors = np.exp2(np.minimum(exponents - least, MOST_SHIFT))
    sums = {exponent: np.zeros((count, count)) for exponent in set(least.tolist())}
    chunk = max(1, _CHUNK_BYTES // (LEAF * count))
    for at in range(0, len(leaves), chunk):
        part = leaves[at : at + chunk]
        tensors = weighed.manifest.tensor_of_leaf[part]
        rows = np.stack([reader.pick(part) for reader, _ in vectors]).astype(np.float64)
        rows -= ZERO
        if (factors > 1).any():
            rows *= factors[:, tensors, None]
        for exponent in set(least[tensors].tolist()):
            run = rows[:, least[tensors] == exponent].reshape(count, -1)
            sums[exponent] += run @ run.T
        del rows  # before the next ones are made
    return in_smallest_units(sums)


def new_parts(table: Gram, count: int) -> list[list[int]]:
    """Return the products of what is new in the updates, ``R_ij`` in 1/UNIT, from -UNIT to UNIT.

    Args:
        table: Cosines of the updates and of the public vectors behind them, all with all, in 1/UNIT.
        count: Number of updates, k.

    Returns:
        k rows of k integers.
    """
    cosines = np.array(table, dtype=np.int64)
    size = len(table) - count
    rows = np.concatenate(
        [cosines[count:, count:] + RIDGE * np.eye(size, dtype=np.int64), cosines[:count, count:]]
    )
    factor = np.zeros((size + count, size), dtype=np.int64)  # of the public vectors, then of the updates
    for c in range(size):
        pivot = UNIT * int(rows[c, c]) - int(factor[c, :c] @ factor[c, :c])
        if pivot < _LEAST_PIVOT:
            continue
        root = isqrt(pivot)
        left = (UNIT * rows[c + 1 :, c] - factor[c + 1 :, :c] @ factor[c, :c]) // root
        factor[c, c] = root
        factor[c + 1 :, c] = np.clip(left, -_LARGEST, _LARGEST)
    ours = factor[size:]
    parts: list[list[int]] = np.clip(cosines[:count, :count] - (ours @ ours.T) // UNIT, -UNIT, UNIT).tolist()
    return parts


@dataclass(frozen=True)
class NewPart:
    """What is new in one update."""

    size: int
    """Its product with itself, in 1/UNIT, at least 0."""
    confirmed: int
    """What the others confirm of it, without what they would of noise, in 1/UNIT^2."""
    noise: int
    """What they would confirm of noise of its size, in 1/UNIT^2."""


def novelties(table: Gram, count: int, dimensions: int) -> list[NewPart]:
    """Return what is new in each update.

    ``e_ij = floor(UNIT R_ij^2 / max(1, R_jj))`` says how much of j's new part is along i's. What is confirmed is the
    sum of the ``s = max(0, k - 1 - floor(k / 3))`` smallest ones, less the noise ``floor(UNIT max(0, R_ii) s / d)``.

    Args:
        table: As of `new_parts`.
        count: Number of updates, k.
        dimensions: d, coordinates that were compared.
    """
    parts = new_parts(table, count)
    added = max(0, count - 1 - count // 3)
    new = []
    for i, row in enumerate(parts):
        along = sorted(UNIT * row[j] ** 2 // max(1, parts[j][j]) for j in range(count) if j != i)
        size = max(0, row[i])
        noise = UNIT * size * added // max(1, dimensions)
        new.append(NewPart(size, sum(along[:added]) - noise, noise))
    return new


def pays_of(parts: Sequence[NewPart], weights: Sequence[int]) -> list[Paid]:
    """Return the pays from what is new and the weights.

    Medians are lower medians over the updates with a weight above 0. With H half of the median noise, rounded down, an
    update's novelty is what is confirmed of it plus H, or the size of its new part, whichever is the smaller part of
    its median (``_in_medians``). Its pay is the least of FULL_PAY, twice its novelty and twice its weight in medians.
    An update with weight 0 has neither.
    """

    def median(values: Sequence[int]) -> int:
        return lower_median([value for value, weight in zip(values, weights, strict=True) if weight])

    noise = median([part.noise for part in parts]) // 2
    confirmed = _in_medians([part.confirmed + noise for part in parts], median)
    sizes = _in_medians([part.size for part in parts], median)
    shares = _in_medians(weights, median)
    paid = []
    for weight, share, novelty in zip(weights, shares, map(min, confirmed, sizes), strict=True):
        pay = min(FULL_PAY, FACTOR * novelty, FACTOR * share)
        paid.append(Paid(pay, novelty) if weight else Paid(0, 0))
    return paid


def _in_medians(values: Sequence[int], median: Callable[[Sequence[int]], int]) -> list[int]:
    """Return values in 1/UNIT of their median, at least 0; UNIT each if the median is not above 0."""
    middle = median(values)
    return [UNIT if middle <= 0 else max(0, UNIT * value // middle) for value in values]

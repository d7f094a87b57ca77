# SPDX-License-Identifier: Apache-2.0
"""Window sums: what each contributor published in the last rounds, added up (docs/protocol.md section 8.3).

Under noise one update says little about its contributor, and the sum of eight says eight times as much against noise
that grew less than three times. Sums are of public integers, so everybody can recompute them. Each update is scaled to
the median norm of its round first, so that none counts for more than an ordinary one. The integers of all rounds are
added as they are: exponents follow the size of updates (section 10), so that each round counts alike.

The products are taken by the machine's BLAS in float64, which is exact: ``(127 * WINDOW)^2 < 2^20`` times the
coordinates of the largest model, 2^32, stays below 2^53. This module knows no rules.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isqrt
from statistics import median_low

import numpy as np

from folkmoot.aggregation.cosines import UNIT
from folkmoot.aggregation.gram import exponent_runs, in_smallest_units
from folkmoot.aggregation.interface import Gram
from folkmoot.aggregation.lineage import Published
from folkmoot.aggregation.references import Reference, Windows
from folkmoot.protocol.arrays import F64
from folkmoot.protocol.fixed_point import LEAF
from folkmoot.protocol.manifest import Manifest
from folkmoot.protocol.packing import ZERO
from folkmoot.protocol.updates import UpdateReader

_CHUNK_BYTES = (
    2 << 20
)  # bytes of all window sums, a byte a coordinate, that are looked at in one step, but at least:
_LEAST_LEAVES = 64  # of each, or many updates would be opened over and over
_UNIT_BITS = UNIT.bit_length() - 1


@dataclass(frozen=True, eq=False)
class Scaled:
    """An update and the factor that scales it in a window sum."""

    update: UpdateReader
    """Its bytes."""
    factor: int
    """In 1/UNIT, 0 to UNIT."""


def scaled(published: Mapping[str, Published]) -> dict[str, Scaled]:
    """Scale the updates of a round to the lower median of their norms, zero updates left aside.

    ``c = min(UNIT, isqrt(floor(2^32 M / sum_squares)))`` with M the lower median of the sums of squares above 0.

    Args:
        published: The weighed updates of one round, by contributor.
    """
    squares = [one.sum_squares for one in published.values() if one.sum_squares > 0]
    median = median_low(squares) if squares else 0
    return {
        who: Scaled(one.update, min(UNIT, isqrt((median << 32) // one.sum_squares)))
        for who, one in published.items()
        if one.sum_squares > 0
    }


def windows(
    manifest: Manifest,
    exponents: Sequence[int],
    rounds: Sequence[Mapping[str, Published]],
    trajectory: UpdateReader | None,
) -> Windows:
    """Compute the window sums of a round's contributors, and compare them with each other and with the trajectory.

    Args:
        manifest: The model's layout.
        exponents: One a tensor, of the round.
        rounds: What was weighed in the rounds of the window, the oldest first, the last being the round itself.
        trajectory: In the round's units, if there is one.

    Raises:
        ArtifactError: An update can't be read.
    """
    factors = [scaled(published) for published in rounds]
    parts = [[factors_of[who] for factors_of in factors if who in factors_of] for who in rounds[-1]]
    count = len(parts)
    products = window_products(manifest, exponents, parts, [] if trajectory is None else [trajectory])
    compared = None if trajectory is None else Reference(products[-1][:count], products[-1][-1])
    return Windows(
        tuple(row[:count] for row in products[:count]), compared, tuple(len(part) for part in parts)
    )


def window_products(
    manifest: Manifest,
    exponents: Sequence[int],
    windows: Sequence[Sequence[Scaled]],
    vectors: Sequence[UpdateReader] = (),
) -> Gram:
    """Compute the inner products of window sums, and of some vectors in the round's units behind them.

    ``s_ic = sum_t floor((2 c_it q_itc + UNIT) / (2 UNIT))`` over the updates t of window i, and
    ``H_ij = sum_b 4^(e_b - e_min) sum_c s_ic s_jc``.

    Args:
        manifest: The model's layout.
        exponents: One a tensor, of the round.
        windows: For each of k contributors at most WINDOW valid updates with their factors. About ``_CHUNK_BYTES``
            coordinates of all sums are in memory at a time (16,384 of each, if they are more than 128), 8 bytes each.
        vectors: Update files that are compared with the sums and not scaled.

    Returns:
        The matrix of k sums and then the vectors.

    Raises:
        ArtifactError: An update can't be read.
    """
    count = len(windows) + len(vectors)
    whole = [*windows, *([Scaled(vector, UNIT)] for vector in vectors)]
    sums = {exponent: np.zeros((count, count)) for exponent in set(exponents)}
    chunk = max(_LEAST_LEAVES, _CHUNK_BYTES // (LEAF * max(count, 1)))
    for first in range(0, manifest.leaves, chunk):
        last = min(first + chunk, manifest.leaves)
        rows = np.stack([_sum(parts, first, last) for parts in whole])
        for exponent, start, end in exponent_runs(manifest, exponents, first, last):
            run = rows[:, LEAF * (start - first) : LEAF * (end - first)]
            sums[exponent] += run @ run.T
        del rows  # before the next ones are made
    return in_smallest_units(sums)


def _sum(parts: Sequence[Scaled], first: int, last: int) -> F64:
    """float64[256 (last - first)]: a window sum over some leaves."""
    total = np.zeros(LEAF * (last - first), dtype=np.int32)
    for part in parts:
        values = part.update.read(first, last).reshape(-1).astype(np.int32)
        values -= ZERO
        if part.factor < UNIT:
            values *= np.int32(part.factor)
            values += np.int32(UNIT // 2)
            values >>= np.int32(_UNIT_BITS)
        total += values
    return total.astype(np.float64)

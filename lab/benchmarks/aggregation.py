# SPDX-License-Identifier: Apache-2.0
"""What a round costs the coordinator, and an auditor again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np

from benchmarks.measure import Case
from benchmarks.worlds import manifest_of, random_update, round_of
from folkmoot.aggregation.clamped_sum import sum_clamped
from folkmoot.aggregation.cosines import UNIT
from folkmoot.aggregation.gram import gram_matrix
from folkmoot.aggregation.lineage import GENESIS
from folkmoot.aggregation.trajectory import WINDOW
from folkmoot.aggregation.weighted_sum import sum_lanes
from folkmoot.aggregation.windows import Scaled, window_products
from folkmoot.protocol.fixed_point import LEAF
from folkmoot.protocol.manifest import Manifest
from folkmoot.protocol.outer_step import outer_step
from folkmoot.protocol.policy import NO_VERIFIER
from folkmoot.protocol.updates import MemoryUpdate
from folkmoot.round import compute_round

_CHUNK = 4096


def _lanes(manifest: Manifest, updates: Sequence[MemoryUpdate]) -> None:
    weights = [1] * len(updates)
    for first in range(0, manifest.leaves, _CHUNK):
        sum_lanes(updates, weights, first, min(first + _CHUNK, manifest.leaves))


def _clamped(manifest: Manifest, updates: Sequence[MemoryUpdate]) -> None:
    weights = [1] * len(updates)
    for first in range(0, manifest.leaves, _CHUNK):
        sum_clamped(updates, weights, first, min(first + _CHUNK, manifest.leaves))


def _window_sums(manifest: Manifest, exponents: Sequence[int], updates: Sequence[MemoryUpdate]) -> object:
    """Each contributor's window has the bytes of eight updates, as they are read in a round."""
    windows = [
        [Scaled(updates[(i + k) % len(updates)], UNIT - k) for k in range(WINDOW)]
        for i in range(len(updates))
    ]
    return window_products(manifest, exponents, windows)


def cases(size: int) -> Iterator[Case]:
    """Cases over updates of about ``size`` bytes together."""
    for count in (5, 20, 100):
        manifest = manifest_of(size // count)
        updates = [MemoryUpdate(random_update(manifest, i)) for i in range(count)]
        exponents = (-11,) * len(manifest.tensors)
        total = count * manifest.size
        gram = partial(gram_matrix, manifest, exponents, updates)
        sums = partial(_window_sums, manifest, exponents, updates)
        lanes = partial(_lanes, manifest, updates)
        yield Case("aggregation", f"Gram matrix of {count} updates", total, gram)
        yield Case("aggregation", f"window sums of {count} contributors and their products", total, sums)
        yield Case("aggregation", f"weighted sum of {count} updates", total, lanes)
        if count == 20:
            clamped = partial(_clamped, manifest, updates)
            yield Case("aggregation", f"clamped sum of {count} updates", total, clamped)

    manifest = manifest_of(size)
    rng = np.random.default_rng(2)
    theta, momentum = (rng.integers(-(1 << 30), 1 << 30, manifest.size) for _ in range(2))
    mean = rng.integers(-127, 128, manifest.size)
    leaf_exponents = np.full(manifest.size // LEAF, -11, dtype=np.int64)
    yield Case(
        "aggregation",
        "outer step, per byte of one update",
        manifest.size,
        lambda: outer_step(theta, momentum, mean, 1, leaf_exponents, 700, 900),
    )
    parts = round_of(manifest_of(size // 10), 10)
    yield Case(
        "aggregation",
        "a whole round of 10 updates under multi_krum, all hashes and files",
        10 * parts[0].size,
        lambda: compute_round(*parts, coordinator=NO_VERIFIER, lineage=GENESIS),
    )

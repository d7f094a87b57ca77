# SPDX-License-Identifier: Apache-2.0
"""The exact Gram matrix of a round's updates, from one pass over their bytes (docs/protocol.md section 8).

The compiled loops multiply 16-bit integers. Without numba the machine's BLAS does it in float64, which is exact:
``127^2`` times the coordinates of a chunk stays far below 2^53, up to which float64 holds every integer, so no order
of additions (nor a fused one) can round. This module knows nothing of rules.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from folkmoot import acceleration
from folkmoot.aggregation.interface import Gram
from folkmoot.arrays import I64, U8
from folkmoot.fixed_point import LEAF
from folkmoot.manifest import Manifest
from folkmoot.updates import UpdateReader

_CHUNK_BYTES = 1 << 20  # bytes of all updates that are looked at in one step


def gram_matrix(manifest: Manifest, exponents: Sequence[int], updates: Sequence[UpdateReader]) -> Gram:
    """Compute ``G_ij = sum_b 4^(e_b - e_min) sum_c q_ic q_jc``.

    Args:
        manifest: The model's layout.
        exponents: One a tensor.
        updates: k valid updates (no byte 0x00, padding 0x80). About ``_CHUNK_BYTES`` are in memory at a time.

    Returns:
        k rows of k integers.

    Raises:
        ArtifactError: An update can't be read.
    """
    count = len(updates)
    if count == 0:
        return ()
    sums = {exponent: np.zeros((count, count), dtype=np.int64) for exponent in set(exponents)}
    chunk = max(4, _CHUNK_BYTES // (LEAF * count))
    for first in range(0, manifest.leaves, chunk):
        last = min(first + chunk, manifest.leaves)
        values = np.empty((count, LEAF * (last - first)), dtype=np.uint8)
        for index, update in enumerate(updates):
            values[index] = update.read(first, last).reshape(-1)
        for exponent, start, end in _exponent_runs(manifest, exponents, first, last):
            _add_products(values, LEAF * (start - first), LEAF * (end - first), sums[exponent])
    smallest = min(exponents)
    total = [[0] * count for _ in range(count)]
    for exponent, part in sums.items():
        scale = 4 ** (exponent - smallest)
        for i, row in enumerate(part.tolist()):
            for j in range(i + 1):
                total[i][j] += scale * row[j]
                total[j][i] = total[i][j]
    return tuple(tuple(line) for line in total)


def _add_products(values: U8, start: int, end: int, total: I64) -> None:
    """Add inner products of rows of uint8[k, m], ``start`` to ``end``, to the lower triangle of int64[k, k]."""
    kernels = acceleration.kernels(values.shape[0] * (end - start))
    if kernels is not None:
        kernels.add_products(values, start, end, total)
        return
    wide = values[:, start:end].astype(np.float64)
    wide -= 128
    total += (wide @ wide.T).astype(np.int64)


def _exponent_runs(
    manifest: Manifest, exponents: Sequence[int], first: int, last: int
) -> list[tuple[int, int, int]]:
    """Cut leaves into runs with one exponent: ``(exponent, start, end)``."""
    runs: list[tuple[int, int, int]] = []
    for tensor, start, end in manifest.tensor_ranges(first, last):
        exponent = exponents[tensor]
        if runs and runs[-1][0] == exponent:
            runs[-1] = (exponent, runs[-1][1], end)
        else:
            runs.append((exponent, start, end))
    return runs

# SPDX-License-Identifier: Apache-2.0
"""The exact Gram matrix of a round's updates, in one pass over their bytes (docs/protocol.md section 8).

The compiled loops multiply bytes. Without numba the machine's BLAS does it in float64, which is exact:
``127^2`` times the coordinates of a chunk stays far below 2^53, up to which float64 holds every integer, so no order
of additions (nor a fused one) can round. This module knows no rules.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from folkmoot.aggregation.interface import Gram
from folkmoot.protocol import acceleration
from folkmoot.protocol.arrays import F64, I64, U8
from folkmoot.protocol.fixed_point import LEAF
from folkmoot.protocol.manifest import Manifest
from folkmoot.protocol.updates import UpdateReader

_CHUNK_BYTES = 4 << 20  # bytes of all updates that are looked at in one step, but not less than:
_LEAST_LEAVES = 64  # of each update in one step, or many updates would be opened over and over


def gram_matrix(manifest: Manifest, exponents: Sequence[int], updates: Sequence[UpdateReader]) -> Gram:
    """Compute ``G_ij = sum_b 4^(e_b - e_min) sum_c q_ic q_jc``.

    Args:
        manifest: The model's layout.
        exponents: One a tensor.
        updates: k valid updates (no byte 0x00, padding 0x80). About ``_CHUNK_BYTES`` of them are looked at in one step
            (16 KiB of each, if they are more than 256), which takes nine times that memory without numba; neither
            depends on the model's size.

    Returns:
        k rows of k integers.

    Raises:
        ArtifactError: An update can't be read.
    """
    count = len(updates)
    if count == 0:
        return ()
    sums = {exponent: np.zeros((count, count), dtype=np.int64) for exponent in set(exponents)}
    chunk = max(_LEAST_LEAVES, _CHUNK_BYTES // (LEAF * count))
    for first in range(0, manifest.leaves, chunk):
        last = min(first + chunk, manifest.leaves)
        rows = [np.ascontiguousarray(update.read(first, last)).reshape(-1) for update in updates]
        for exponent, start, end in exponent_runs(manifest, exponents, first, last):
            run = slice(LEAF * (start - first), LEAF * (end - first))
            _add_products([row[run] for row in rows], sums[exponent])
        del rows  # before the next ones are read
    return in_smallest_units(
        {exponent: np.tril(part) + np.tril(part, -1).T for exponent, part in sums.items()}
    )


def _add_products(rows: list[U8], total: I64) -> None:
    """Add inner products to the lower triangle of int64[k, k].

    Args:
        rows: k rows, uint8[m] each, contiguous, m a multiple of 64.
        total: Where to add.
    """
    size = rows[0].size
    kernels = acceleration.kernels(len(rows) * size)
    if kernels is not None:
        addresses = np.array([row.ctypes.data for row in rows], dtype=np.int64)
        kernels.add_products(addresses, size, total)
        return
    wide = np.array(rows, dtype=np.float64)
    wide -= 128
    total += (wide @ wide.T).astype(np.int64)


def in_smallest_units(sums: Mapping[int, I64 | F64]) -> Gram:
    """Add up inner products that were taken by exponent, in units of ``4^e_min``.

    Args:
        sums: int64 or float64[k, k] of integers below 2^53, by exponent.

    Returns:
        k rows of k integers.
    """
    smallest = min(sums)
    parts = [
        part.astype(np.int64).astype(object) << 2 * (exponent - smallest) for exponent, part in sums.items()
    ]
    return tuple(tuple(row) for row in sum(parts[1:], parts[0]).tolist())


def exponent_runs(
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

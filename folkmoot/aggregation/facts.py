# SPDX-License-Identifier: Apache-2.0
"""The exact Gram matrix of a round's updates, from one pass over their bytes (docs/protocol.md section 8).

The products are taken by the float32 matrix multiplication of the machine's BLAS, which is exact here: it
sees 1024 coordinates at a time, and ``127^2 * 1024 < 2^24``, up to which float32 holds every integer, so no
order of additions (nor a fused one) can round. What adds up beyond that is int64 and, with the exponents,
Python's integers. This module knows nothing of rules.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from folkmoot.aggregation.interface import Gram
from folkmoot.arrays import F32, I64
from folkmoot.fixed_point import LEAF
from folkmoot.manifest import Manifest
from folkmoot.updates import UpdateReader

_BLOCK_LEAVES = 4  # 1024 coordinates
_BLOCK = _BLOCK_LEAVES * LEAF
_CHUNK_BYTES = 1 << 20  # bytes of all updates that are looked at in one step


def gram_matrix(manifest: Manifest, exponents: Sequence[int], updates: Sequence[UpdateReader]) -> Gram:
    """Compute ``G_ij = sum_b 4^(e_b - e_min) sum_c q_ic q_jc``.

    Args:
        manifest: The model's layout.
        exponents: One a tensor.
        updates: k valid updates (no byte 0x00, padding 0x80). About ``_CHUNK_BYTES`` of them are in memory at
        a time.

    Returns:
        k rows of k integers.

    Raises:
        ArtifactError: An update can't be read.
    """
    count = len(updates)
    if count == 0:
        return ()
    sums = {exponent: np.zeros((count, count), dtype=np.int64) for exponent in set(exponents)}
    chunk = max(_BLOCK_LEAVES, _CHUNK_BYTES // (LEAF * count) // _BLOCK_LEAVES * _BLOCK_LEAVES)
    for first in range(0, manifest.leaves, chunk):
        last = min(first + chunk, manifest.leaves)
        values = np.empty((count, LEAF * (last - first)), dtype=np.float32)
        for index, update in enumerate(updates):
            np.subtract(update.read(first, last).reshape(-1), np.float32(128), out=values[index])
        for exponent, start, end in _exponent_runs(manifest, exponents, first, last):
            sums[exponent] += _products(values[:, LEAF * (start - first) : LEAF * (end - first)])
    smallest = min(exponents)
    total = [[0] * count for _ in range(count)]
    for exponent, part in sums.items():
        scale = 4 ** (exponent - smallest)
        for line, row in zip(total, part.tolist(), strict=True):
            for j, product in enumerate(row):
                line[j] += scale * product
    return tuple(tuple(line) for line in total)


def _products(values: F32) -> I64:
    """Exact inner products of the rows of float32[k, m] integers up to 127 in size: int64[k, k]."""
    count, length = values.shape
    blocks = length // _BLOCK
    result = np.zeros((count, count), dtype=np.float64)  # exact up to 2^53
    if blocks:
        cube = values[:, : blocks * _BLOCK].reshape(count, blocks, _BLOCK)
        result += np.matmul(cube.transpose(1, 0, 2), cube.transpose(1, 2, 0)).sum(axis=0, dtype=np.float64)
    rest = values[:, blocks * _BLOCK :]
    if rest.shape[1]:
        result += rest @ rest.T
    return result.astype(np.int64)


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

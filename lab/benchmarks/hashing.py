# SPDX-License-Identifier: Apache-2.0
"""Keccak trees over updates and states."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from benchmarks.measure import Case
from benchmarks.worlds import manifest_of, random_update
from folkmoot.protocol.fixed_point import LEAF
from folkmoot.protocol.hashing import keccak_rows
from folkmoot.protocol.merkle import THETA, state_tree, update_tree


def cases(size: int) -> Iterator[Case]:
    """Cases over about ``size`` bytes."""
    manifest = manifest_of(size)
    leaves = np.frombuffer(random_update(manifest, 1), dtype=np.uint8).reshape(-1, LEAF)
    values = np.random.default_rng(1).integers(-(1 << 40), 1 << 40, manifest.size // 8 // LEAF * LEAF)
    yield Case("hashing", "keccak of leaves of 256 bytes", leaves.size, lambda: keccak_rows(leaves, 0))
    yield Case("hashing", "update tree (Merkle-sum)", leaves.size, lambda: update_tree(leaves))
    yield Case(
        "hashing", "state tree, leaves of 2048 bytes", values.nbytes, lambda: state_tree(THETA, values)
    )

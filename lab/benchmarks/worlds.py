# SPDX-License-Identifier: Apache-2.0
"""Models and rounds to measure on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from eth_account import Account

from folkmoot.protocol.commitment import Commitment
from folkmoot.protocol.fixed_point import LEAF
from folkmoot.protocol.header import RoundHeader
from folkmoot.protocol.manifest import Manifest, Tensor
from folkmoot.protocol.merkle import update_tree
from folkmoot.protocol.policy import Policy
from folkmoot.protocol.state import State
from folkmoot.protocol.updates import MemoryUpdate, UpdateReader

SEED = bytes(32)
CONTRIBUTOR = Account.from_key((1).to_bytes(32, "big")).address


def manifest_of(size: int) -> Manifest:
    """A model of about ``size`` coordinates in eight tensors without padding."""
    leaves = max(1, size // LEAF // 8)
    return Manifest("benchmark", tuple(Tensor(f"layer{i}", (leaves, LEAF)) for i in range(8)))


def random_update(manifest: Manifest, seed: int) -> bytes:
    """A valid update of a model without padding."""
    return np.random.default_rng(seed).integers(1, 256, manifest.size, dtype=np.uint8).tobytes()


def round_of(
    manifest: Manifest, count: int
) -> tuple[Manifest, RoundHeader, Policy, State, Sequence[Commitment], Sequence[UpdateReader]]:
    """A round of ``count`` updates, as ``compute_round`` takes it."""
    rng = np.random.default_rng(3)
    state = State(*(rng.integers(-(1 << 30), 1 << 30, manifest.size) for _ in range(2)))
    root = state.root(manifest.hash)
    header = RoundHeader(1, manifest.hash, root, 1, 8, SEED, (-11,) * len(manifest.tensors))
    policy = Policy("multi_krum", (2, 0), 1 << 63, 1, count, 8, 700, 900, 60, 60, 60, 0, 0, 0)
    entries, updates = [], []
    for i in range(count):
        data = random_update(manifest, i)
        tree = update_tree(np.frombuffer(data, dtype=np.uint8))
        address = Account.from_key((i + 1).to_bytes(32, "big")).address
        entries.append(Commitment(address, 1, root, tree.root, tree.sum_squares))
        updates.append(MemoryUpdate(data))
    return manifest, header, policy, state, entries, updates

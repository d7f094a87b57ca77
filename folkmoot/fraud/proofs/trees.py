# SPDX-License-Identifier: Apache-2.0
"""Hash trees for the paths of proofs, over raw bytes, because false data need not be well-formed.

An update's tree is built even if bytes are invalid. A plain tree may have more leaves than the model, up to the number
that its depth allows. The bytes are read in parts; a tree takes about 96 bytes of memory per leaf.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import numpy as np

from folkmoot.protocol import merkle
from folkmoot.protocol.arrays import U8
from folkmoot.protocol.hashing import HASH_BYTES
from folkmoot.protocol.merkle import SumLevel, SumTree, Tree, TreeKind
from folkmoot.protocol.packing import file_size
from folkmoot.protocol.updates import UpdateReader

_CHUNK = 4096  # Leaves that are hashed at a time.
_NODE_BYTES = 48
CACHE_BYTES = 512 * 2**20
"""Maximum size in bytes of cached update trees. The least recently used ones are built again when needed."""


def raw_update_tree(update: UpdateReader) -> SumTree | None:
    """Return the tree of an update file; None if it does not hold whole leaves."""
    leaves, rest = divmod(update.size, file_size(1, update.width))
    if leaves == 0 or rest:
        return None
    parts = [
        merkle.update_leaves(np.ascontiguousarray(update.read(first, min(first + _CHUNK, leaves))))[0]
        for first in range(0, leaves, _CHUNK)
    ]
    return merkle.sum_tree(
        SumLevel(
            np.concatenate([part.hashes for part in parts]),
            np.concatenate([part.absolute for part in parts]),
            np.concatenate([part.square for part in parts]),
        )
    )


def plain_tree(kind: TreeKind, leaves: int, rows: Callable[[int, int], U8]) -> Tree:
    """Return a tree over leaves that are read in parts.

    Args:
        kind: Hashing of the tree.
        leaves: Number of leaves.
        rows: Function from first and last leaf (exclusive) to uint8[last - first, kind.leaf_bytes].
    """
    hashes = np.empty((leaves, HASH_BYTES), dtype=np.uint8)
    for first in range(0, leaves, _CHUNK):
        last = min(first + _CHUNK, leaves)
        hashes[first:last] = merkle.leaf_hashes(kind, np.ascontiguousarray(rows(first, last)))
    return merkle.tree(kind, hashes)


def differing(mine: Tree, theirs: Tree) -> list[int]:
    """Return the indices of differing leaves. A leaf that only one tree has counts as different from an empty leaf."""
    common = min(mine.leaves, theirs.leaves)
    places = np.flatnonzero((mine.levels[0][:common] != theirs.levels[0][:common]).any(axis=1)).tolist()
    return [*places, *range(common, max(mine.leaves, theirs.leaves))]


def sum_siblings(tree: SumTree, index: int) -> bytes:
    """Return the siblings of a leaf's path as the contracts read them: 48 bytes each, from the lowest level up."""
    return b"".join(
        hash_ + absolute.to_bytes(8, "big") + square.to_bytes(8, "big")
        for hash_, absolute, square in tree.proof(index)
    )


class TreeCache:
    """Trees of a round's updates, built on first use.

    Args:
        updates: One update per entry.
        limit: Maximum size of the cache in bytes.
    """

    def __init__(self, updates: list[UpdateReader | None], limit: int = CACHE_BYTES) -> None:
        self._updates = updates
        self._limit = limit
        self._kept: OrderedDict[int, SumTree] = OrderedDict()

    def tree(self, entry: int) -> SumTree | None:
        """Return the tree of an entry's update; None without one, or if it is not whole leaves."""
        if entry in self._kept:
            self._kept.move_to_end(entry)
            return self._kept[entry]
        update = self._updates[entry]
        built = raw_update_tree(update) if update is not None else None
        if built is None:
            return None
        self._kept[entry] = built
        while len(self._kept) > 1 and sum(map(_size, self._kept.values())) > self._limit:
            self._kept.popitem(last=False)
        return built


def _size(tree: SumTree) -> int:
    return sum(_NODE_BYTES * level.hashes.shape[0] for level in tree.levels)

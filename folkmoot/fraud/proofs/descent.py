# SPDX-License-Identifier: Apache-2.0
"""Lists of nodes, by which a tree is shown on the chain a few levels at a time (contracts/src/libraries/NodeLists.sol).

The list of a node has all nodes that are `LIST_HEIGHT` levels below it, or the leaves if these are nearer. Whoever
knows what a plain tree must be compares each list with it, follows a node that differs, and comes to a leaf that does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from folkmoot.protocol import merkle
from folkmoot.protocol.arrays import U8
from folkmoot.protocol.hashing import HASH_BYTES, keccak
from folkmoot.protocol.merkle import EMPTY, SumTree, Tree, TreeKind

LIST_HEIGHT = 5
"""Levels that a list leads down (`NodeLists.HEIGHT`)."""
_SUMS_BYTES = 16  # of a node of an update's tree, behind its hash


@dataclass(frozen=True)
class ShownList:
    """A list that was shown on the chain."""

    level: int
    """Level of its node."""
    index: int
    """Index of its node."""
    nodes: U8
    """uint8[2^k, 32]: hashes of the nodes that are k levels below, from left to right."""

    @property
    def height(self) -> int:
        """Levels that it leads down."""
        return height_of(self.level)

    @property
    def first(self) -> int:
        """Index of its first node within its level."""
        return self.index << self.height


def height_of(level: int) -> int:
    """Return the levels that the list of a node leads down."""
    return min(level, LIST_HEIGHT)


def node_bytes(*, update: bool) -> int:
    """Return the bytes of a node on a list."""
    return HASH_BYTES + _SUMS_BYTES * update


def list_of(tree: Tree | SumTree, level: int, index: int) -> bytes:
    """Return the list of a node of a tree, as the contract reads it.

    Args:
        level: Level of the node, at least 1.
        index: Index of the node within its level.
    """
    height = height_of(level)
    first, count = index << height, 1 << height
    if isinstance(tree, Tree):
        return _row(tree, level - height, first, count).tobytes()
    nodes = tree.levels[level - height]
    empty = _empty_update_node(level - height)
    return b"".join(
        _packed(*(nodes.node(place) if place < nodes.hashes.shape[0] else (empty, 0, 0)))
        for place in range(first, first + count)
    )


def hashes_of(values: bytes, *, update: bool) -> U8:
    """Return the hashes of the nodes on a list, uint8[n, 32].

    Args:
        values: The list.
        update: Whether it is of an update's tree.
    """
    return np.frombuffer(values, np.uint8).reshape(-1, node_bytes(update=update))[:, :HASH_BYTES]


def root_of(kind: TreeKind, shown: ShownList) -> bytes:
    """Return the hash of the node that has a list, in a plain tree."""
    return merkle.tree(kind, shown.nodes).root


def first_difference(truth: Tree, shown: ShownList) -> int | None:
    """Return the first place of a list whose node differs from the true one; None if none does."""
    mine = _row(truth, shown.level - shown.height, shown.first, 1 << shown.height)
    places = np.flatnonzero((mine != shown.nodes).any(axis=1))
    return int(places[0]) if places.size else None


def spliced(truth: Tree, lists: list[ShownList]) -> Tree:
    """Return a tree that has the shown nodes, and the true ones where nothing was shown.

    The siblings of a path below the shown lists are those of the shown tree: each is on a list, or follows from it.

    Args:
        truth: What the tree must be.
        lists: The shown lists, each below a node of the one before it, the root's first.
    """
    levels = [level.copy() for level in truth.levels]
    for shown in lists:
        row, level, first = shown.nodes, shown.level - shown.height, shown.first
        while True:
            levels[level] = _written(truth, levels[level], level, first, row)
            if row.shape[0] == 1:
                break
            row = merkle.tree(truth.kind, row).levels[1]
            level, first = level + 1, first >> 1
    return Tree(truth.kind, tuple(levels))


def _written(truth: Tree, nodes: U8, level: int, first: int, row: U8) -> U8:
    """Return a level with a row in its place; it grows where the row says something behind its end."""
    missing = first + row.shape[0] - nodes.shape[0]
    if missing > 0:
        empty = np.frombuffer(_empty(truth.kind, level), np.uint8)
        nodes = np.concatenate([nodes, np.broadcast_to(empty, (missing, HASH_BYTES))])
    nodes[first : first + row.shape[0]] = row
    return nodes


def _row(tree: Tree, level: int, first: int, count: int) -> U8:
    """Return nodes of a level, uint8[count, 32], with empty ones behind its end."""
    row = np.empty((count, HASH_BYTES), np.uint8)
    known = tree.levels[level][first : first + count]
    row[: known.shape[0]] = known
    row[known.shape[0] :] = np.frombuffer(_empty(tree.kind, level), np.uint8)
    return row


def _empty(kind: TreeKind, level: int) -> bytes:
    node = EMPTY
    for _ in range(level):
        node = keccak(bytes([kind.node_prefix]), node, node)
    return node


def _empty_update_node(level: int) -> bytes:
    node = EMPTY
    for _ in range(level):
        packed = _packed(node, 0, 0)
        node = keccak(b"\x01", packed, packed)
    return node


def _packed(hash_: bytes, absolute: int, squares: int) -> bytes:
    return hash_ + absolute.to_bytes(8, "big") + squares.to_bytes(8, "big")

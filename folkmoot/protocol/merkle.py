# SPDX-License-Identifier: Apache-2.0
"""The trees of the protocol: roots, proofs and their verification (docs/protocol.md section 3).

Leaf and node hashes have different first bytes, in every tree, so a node can't pass for a leaf (the
second-preimage attack on Merkle trees; RFC 6962 does the same). Paths are directed by the leaf's index and
their length is the depth that the manifest gives. The update's tree is a Merkle-sum tree: a node also binds
the sums of ``|q|`` and ``q^2`` below each child. This module sees rows of bytes; it knows nothing of models
or rounds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from folkmoot.errors import EncodingError, InputError
from folkmoot.protocol import acceleration
from folkmoot.protocol.arrays import I64, U8, U64
from folkmoot.protocol.fixed_point import LEAF
from folkmoot.protocol.hashing import HASH_BYTES, keccak, keccak_rows

EMPTY = bytes(HASH_BYTES)
"""Hash of an empty place. Nodes over empty places are hashed like any other."""


@dataclass(frozen=True)
class TreeKind:
    """How one kind of plain tree is hashed."""

    name: str
    """What the tree is of."""
    leaf_prefix: int
    """First byte under a leaf's hash."""
    node_prefix: int
    """First byte under a node's hash."""
    leaf_bytes: int
    """Bytes of one leaf."""


MEAN = TreeKind("mean", 0x02, 0x03, LEAF)
THETA = TreeKind("theta", 0x04, 0x05, 8 * LEAF)
MOMENTUM = TreeKind("momentum", 0x06, 0x07, 8 * LEAF)
ENTRIES = TreeKind("entries", 0x14, 0x15, 56)

_UPDATE_LEAF = 0x00
_UPDATE_NODE = 0x01
_STATE_ROOT = b"\x08"
_LEAVES = 2048  # leaves of a state that are hashed at a time


def depth_of(leaves: int) -> int:
    """Levels of a tree over so many leaves: the smallest d with ``2^d >= leaves``."""
    return (leaves - 1).bit_length()


def state_leaves(values: I64) -> U8:
    """Bytes of the leaves of theta or m: int64[256 n] to uint8[n, 2048], big-endian two's complement."""
    return values.astype(">i8").view(np.uint8).reshape(-1, 8 * LEAF)


# Plain trees


@dataclass(frozen=True)
class Tree:
    """A whole plain tree, for roots and proofs."""

    kind: TreeKind
    """How it is hashed."""
    levels: tuple[U8, ...]
    """uint8[m, 32] a level, leaf hashes first; nodes over empty places only are left out."""

    @property
    def leaves(self) -> int:
        """Number of leaves."""
        return int(self.levels[0].shape[0])

    @property
    def root(self) -> bytes:
        """Root, 32 bytes."""
        return bytes(self.levels[-1][0])

    def proof(self, index: int) -> tuple[bytes, ...]:
        """Siblings of a leaf's path, lowest level first, 32 bytes each; as many as the depth.

        Raises:
            InputError: There is no such leaf.
        """
        _check_index(index, self.leaves)
        siblings = []
        empty = EMPTY
        for level in self.levels[:-1]:
            sibling = index ^ 1
            siblings.append(level[sibling].tobytes() if sibling < level.shape[0] else empty)
            empty = keccak(bytes([self.kind.node_prefix]), empty, empty)
            index >>= 1
        return tuple(siblings)


def leaf_hashes(kind: TreeKind, leaves: U8) -> U8:
    """Hash leaves: uint8[n, kind.leaf_bytes] to uint8[n, 32]."""
    return keccak_rows(leaves, kind.leaf_prefix)


def tree(kind: TreeKind, hashes: U8) -> Tree:
    """Build the tree over leaf hashes, uint8[n, 32] with n >= 1."""
    levels = [hashes]
    empty = EMPTY
    for _ in range(depth_of(hashes.shape[0])):
        below = levels[-1]
        if below.shape[0] % 2:
            below = np.concatenate([below, np.frombuffer(empty, dtype=np.uint8)[None, :]])
        levels.append(keccak_rows(below.reshape(-1, 2 * HASH_BYTES), kind.node_prefix))
        empty = keccak(bytes([kind.node_prefix]), empty, empty)
    return Tree(kind, tuple(levels))


def verify(
    kind: TreeKind, root: bytes, leaf: bytes, index: int, siblings: Sequence[bytes], leaves: int
) -> bool:
    """Whether a leaf's bytes are at ``index`` of the tree with this root.

    Args:
        kind: The tree's kind.
        root: 32 bytes.
        leaf: The leaf's bytes, ``kind.leaf_bytes`` of them.
        index: The leaf's place.
        siblings: The proof, lowest level first.
        leaves: Number of leaves, from the manifest: it sets the depth.
    """
    if not 0 <= index < leaves or len(siblings) != depth_of(leaves) or len(leaf) != kind.leaf_bytes:
        return False
    node = keccak(bytes([kind.leaf_prefix]), leaf)
    prefix = bytes([kind.node_prefix])
    for sibling in siblings:
        node = keccak(prefix, sibling, node) if index & 1 else keccak(prefix, node, sibling)
        index >>= 1
    return node == root


def state_tree(kind: TreeKind, values: I64, ranges: Iterable[tuple[int, int]] | None = None) -> Tree:
    """Build the tree of theta or m, some leaves at a time.

    Args:
        kind: Hashing of the tree.
        values: int64[256 n].
        ranges: First leaf and one after the last of each part, all leaves in their order; None to cut them here.
    """
    leaves = values.shape[0] // LEAF
    hashes = np.empty((leaves, HASH_BYTES), dtype=np.uint8)
    for first, last in ranges or ((at, min(at + _LEAVES, leaves)) for at in range(0, leaves, _LEAVES)):
        hashes[first:last] = leaf_hashes(kind, state_leaves(values[LEAF * first : LEAF * last]))
    return tree(kind, hashes)


def state_root(manifest_hash: bytes, theta_root: bytes, momentum_root: bytes) -> bytes:
    """Root of a state, 32 bytes."""
    return keccak(_STATE_ROOT, manifest_hash, theta_root, momentum_root)


# The update's tree

SumNode: TypeAlias = tuple[bytes, int, int]
"""Hash, sum of |q|, sum of q^2."""


@dataclass(frozen=True)
class SumLevel:
    """One level of a Merkle-sum tree."""

    hashes: U8
    """uint8[m, 32]."""
    absolute: U64
    """uint64[m], sums of ``|q|``."""
    square: U64
    """uint64[m], sums of ``q^2``."""

    def node(self, index: int) -> SumNode:
        """Return one node; the index must be below m."""
        return self.hashes[index].tobytes(), int(self.absolute[index]), int(self.square[index])


@dataclass(frozen=True)
class SumTree:
    """A whole Merkle-sum tree of an update."""

    levels: tuple[SumLevel, ...]
    """Leaves first; nodes over empty places only are left out."""

    @property
    def leaves(self) -> int:
        """Number of leaves."""
        return int(self.levels[0].hashes.shape[0])

    @property
    def root(self) -> bytes:
        """Root hash, ``updateRoot``."""
        return self.levels[-1].node(0)[0]

    @property
    def sum_absolute(self) -> int:
        """Sum of ``|q|`` of the whole update."""
        return self.levels[-1].node(0)[1]

    @property
    def sum_squares(self) -> int:
        """Sum of ``q^2`` of the whole update, ``sumSquares``."""
        return self.levels[-1].node(0)[2]

    def proof(self, index: int) -> tuple[SumNode, ...]:
        """Siblings of a leaf's path, lowest level first; as many as the depth.

        Raises:
            InputError: There is no such leaf.
        """
        _check_index(index, self.leaves)
        siblings: list[SumNode] = []
        empty: SumNode = (EMPTY, 0, 0)
        for level in self.levels[:-1]:
            sibling = index ^ 1
            siblings.append(level.node(sibling) if sibling < level.hashes.shape[0] else empty)
            empty = _sum_node(empty, empty)
            index >>= 1
        return tuple(siblings)


def leaf_sums(leaves: U8) -> tuple[U64, U64, bool]:
    """Sum the integers of an update's leaves.

    Args:
        leaves: uint8[n, 256], ``q + 128``.

    Returns:
        uint64[n] of ``sum |q|``, uint64[n] of ``sum q^2``, and whether a byte is 0x00 (which is invalid).
    """
    kernels = acceleration.kernels(leaves.size)
    if kernels is not None:
        absolute = np.empty(leaves.shape[0], dtype=np.uint64)
        square = np.empty(leaves.shape[0], dtype=np.uint64)
        invalid = bool(kernels.leaf_sums(np.ascontiguousarray(leaves), absolute, square))
        return absolute, square, invalid
    values = leaves.astype(np.float32) - np.float32(128)
    # Exact: 256 * 128^2 = 2^22 is below 2^24, up to which float32 holds every integer.
    square = np.einsum("ij,ij->i", values, values).astype(np.uint64)
    absolute = np.abs(values).sum(axis=1).astype(np.uint64)
    return absolute, square, bool((leaves == 0).any())


def leaf_largest(leaves: U8) -> I64:
    """Find the largest ``|q|`` of each of an update's leaves.

    Args:
        leaves: uint8[n, 256], ``q + 128``.

    Returns:
        int64[n].
    """
    kernels = acceleration.kernels(leaves.size)
    if kernels is not None:
        largest = np.empty(leaves.shape[0], dtype=np.int64)
        kernels.leaf_largest(np.ascontiguousarray(leaves), largest)
        return largest
    above, below = leaves.max(axis=1).astype(np.int64) - 128, 128 - leaves.min(axis=1).astype(np.int64)
    both: I64 = np.maximum(above, below)
    return both


def update_leaves(leaves: U8) -> tuple[SumLevel, bool]:
    """Hash and sum an update's leaves, uint8[n, 256]; also return whether a byte is 0x00 (invalid)."""
    absolute, square, invalid = leaf_sums(leaves)
    return SumLevel(keccak_rows(leaves, _UPDATE_LEAF), absolute, square), invalid


def sum_tree(level: SumLevel) -> SumTree:
    """Build the Merkle-sum tree over its lowest level, with at least one leaf."""
    levels = [level]
    empty: SumNode = (EMPTY, 0, 0)
    for _ in range(depth_of(level.hashes.shape[0])):
        below = levels[-1]
        count = below.hashes.shape[0]
        rows = np.zeros((count + count % 2, 48), dtype=np.uint8)
        rows[:count, :32] = below.hashes
        rows[:count, 32:40] = below.absolute.astype(">u8").view(np.uint8).reshape(-1, 8)
        rows[:count, 40:] = below.square.astype(">u8").view(np.uint8).reshape(-1, 8)
        if count % 2:
            rows[count, :32] = np.frombuffer(empty[0], dtype=np.uint8)
        sums = [
            np.append(lane, lane[:0] if count % 2 == 0 else lane.dtype.type(0))
            for lane in (below.absolute, below.square)
        ]
        levels.append(
            SumLevel(
                keccak_rows(rows.reshape(-1, 96), _UPDATE_NODE),
                sums[0][::2] + sums[0][1::2],
                sums[1][::2] + sums[1][1::2],
            )
        )
        empty = _sum_node(empty, empty)
    return SumTree(tuple(levels))


def update_tree(leaves: U8) -> SumTree:
    """Build the tree of an update held in memory.

    Args:
        leaves: uint8[n, 256] with n >= 1, or the flat uint8[256 n].

    Raises:
        EncodingError: A byte is 0x00.
    """
    level, invalid = update_leaves(leaves.reshape(-1, LEAF))
    if invalid:
        raise EncodingError("A byte of the update is 0x00, which stands for no integer.")
    return sum_tree(level)


def verify_update(
    root: bytes, sum_squares: int, leaf: bytes, index: int, siblings: Sequence[SumNode], leaves: int
) -> bool:
    """Whether a leaf's bytes are at ``index`` of the update with this root and this sum of squares.

    Args:
        root: ``updateRoot``, 32 bytes.
        sum_squares: ``sumSquares``.
        leaf: 256 bytes ``q + 128``.
        index: The leaf's place.
        siblings: The proof, lowest level first.
        leaves: Number of leaves, from the manifest: it sets the depth.
    """
    if not 0 <= index < leaves or len(siblings) != depth_of(leaves) or len(leaf) != LEAF or 0 in leaf:
        return False
    values = [byte - 128 for byte in leaf]
    node: SumNode = (keccak(bytes([_UPDATE_LEAF]), leaf), sum(map(abs, values)), sum(q * q for q in values))
    for sibling in siblings:
        if len(sibling[0]) != HASH_BYTES or any(not 0 <= lane < 1 << 64 for lane in sibling[1:]):
            return False
        node = _sum_node(sibling, node) if index & 1 else _sum_node(node, sibling)
        if node[1] >= 1 << 64 or node[2] >= 1 << 64:
            return False
        index >>= 1
    return node[0] == root and node[2] == sum_squares


def _sum_node(left: SumNode, right: SumNode) -> SumNode:
    data = b"".join(
        part[0] + part[1].to_bytes(8, "big") + part[2].to_bytes(8, "big") for part in (left, right)
    )
    return keccak(bytes([_UPDATE_NODE]), data), left[1] + right[1], left[2] + right[2]


def _check_index(index: int, leaves: int) -> None:
    if not 0 <= index < leaves:
        raise InputError(f"There is no leaf {index}: the tree has {leaves}.")

# SPDX-License-Identifier: Apache-2.0
"""The Gram tree: a round's Gram matrix as a sum over blocks of leaves (docs/protocol.md section 3).

An anchor commits to its root, so that a contract can evaluate a rule on the small matrix. One false product in one
block, or one false sum, refutes a false matrix, and each can be checked alone. The tree is built in one pass over the
updates, the same that the Gram matrix takes: in memory are a chunk of the updates, one matrix a level, and 64 bytes a
node. This module knows the names of the rules that are proven by it, not how they weigh.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from folkmoot.aggregation.interface import Gram
from folkmoot.aggregation.rules import multi_krum
from folkmoot.errors import InputError
from folkmoot.protocol import acceleration
from folkmoot.protocol.arrays import F64, I64, U8
from folkmoot.protocol.fixed_point import LEAF
from folkmoot.protocol.hashing import keccak
from folkmoot.protocol.manifest import Manifest
from folkmoot.protocol.merkle import EMPTY, SumTree, depth_of
from folkmoot.protocol.policy import MAX_KRUM_CONTRIBUTORS
from folkmoot.protocol.updates import UpdateReader

BLOCK_LEVELS = 4
"""Levels of the update trees that a block covers, or all of them if there are fewer."""

MAX_UPDATES = MAX_KRUM_CONTRIBUTORS
"""Most updates of which there is a tree."""

ENTRY_BYTES = 24
"""Bytes of an entry of a matrix, big-endian two's complement."""

RULES = frozenset({multi_krum.NAME})
"""The rules whose rounds have a Gram root."""

_LEAF = b"\x12"
_NODE = b"\x13"
_CHUNK_BYTES = 4 << 20  # bytes of all updates that are looked at in one step

Triangle = tuple[int, ...]
"""Entries (a, b), a >= b, of a symmetric matrix, row by row."""


def has_tree(rule: str, count: int) -> bool:
    """Whether a round under this rule with so many updates to weigh has a Gram root."""
    return rule in RULES and 1 <= count <= MAX_UPDATES


def block_levels(leaves: int) -> int:
    """Levels of a block in a model of so many leaves."""
    return min(BLOCK_LEVELS, depth_of(leaves))


def block_count(leaves: int) -> int:
    """Blocks of a model of so many leaves: the leaves of its Gram tree."""
    return ((leaves - 1) >> block_levels(leaves)) + 1


def matrix_bytes(matrix: Sequence[int]) -> bytes:
    """Bytes of a triangle, ``ENTRY_BYTES`` an entry.

    Raises:
        OverflowError: An entry has more than 192 bits; no sum of products comes near.
    """
    return b"".join([value.to_bytes(ENTRY_BYTES, "big", signed=True) for value in matrix])


def square(matrix: Sequence[int], count: int) -> Gram:
    """The whole symmetric matrix of a triangle, ``count`` rows of ``count`` integers."""
    return tuple(
        tuple(matrix[max(i, j) * (max(i, j) + 1) // 2 + min(i, j)] for j in range(count))
        for i in range(count)
    )


@dataclass(frozen=True)
class GramNode:
    """A node as a proof opens it."""

    children: tuple[bytes, bytes]
    """Hashes of its children, 32 bytes each; zeros for a leaf."""
    path: bytes
    """From its level up: the sibling's hash, and the keccak of the matrix of the node above; 64 bytes a level."""


@dataclass(frozen=True, eq=False)
class GramTree:
    """A Gram tree without the matrices below its root, which the updates give again where one is wanted."""

    count: int
    """Number of updates, k."""
    matrix: Triangle
    """The root's matrix: the Gram matrix."""
    hashes: tuple[tuple[bytes, ...], ...]
    """Hashes a level, leaves first; nodes over empty places only are left out."""
    digests: tuple[tuple[bytes, ...], ...]
    """Keccak of the matrices of these nodes; of none at the lowest level."""
    empties: tuple[bytes, ...]
    """Hash of a node over empty places only, a level."""

    @property
    def root(self) -> bytes:
        """``gramRoot``, 32 bytes."""
        return self.hashes[-1][0]

    @property
    def depth(self) -> int:
        """Levels above the leaves."""
        return len(self.hashes) - 1

    @property
    def gram(self) -> Gram:
        """The Gram matrix."""
        return square(self.matrix, self.count)

    def node(self, level: int, index: int) -> GramNode:
        """What a proof needs to open a node, beside its matrix. Nodes over empty places only can be opened too.

        Raises:
            InputError: There is no such node.
        """
        if not 0 <= level <= self.depth or not 0 <= index < 1 << (self.depth - level):
            raise InputError(f"The Gram tree has no node {index} on level {level}.")
        zeros = keccak(bytes(ENTRY_BYTES * len(self.matrix)))
        children = (EMPTY, EMPTY)
        if level:
            children = (self._hash(level - 1, 2 * index), self._hash(level - 1, 2 * index + 1))
        path = b""
        for above in range(level + 1, self.depth + 1):
            sibling, index = self._hash(above - 1, index ^ 1), index >> 1
            digests = self.digests[above]
            path += sibling + (digests[index] if index < len(digests) else zeros)
        return GramNode(children, path)

    def _hash(self, level: int, index: int) -> bytes:
        hashes = self.hashes[level]
        return hashes[index] if index < len(hashes) else self.empties[level]


@dataclass
class _Level:
    """One level under construction."""

    hashes: list[bytes] = field(default_factory=list)
    digests: list[bytes] = field(default_factory=list)
    waiting: Triangle | None = None
    """Matrix of the last node while it has no sibling."""


def build(matrices: Iterable[Triangle], blocks: int, count: int) -> GramTree:
    """Build the tree over the matrices of the blocks.

    Args:
        matrices: One a block, in order; one a level is kept at a time.
        blocks: How many there are, at least 1.
        count: Number of updates, k.
    """
    levels = [_Level() for _ in range(depth_of(blocks) + 1)]
    zeros = keccak(bytes(ENTRY_BYTES * (count * (count + 1) // 2)))
    empties = [EMPTY]
    for _ in levels[1:]:
        empties.append(keccak(_NODE, empties[-1], empties[-1], zeros))

    def put(level: int, matrix: Triangle) -> None:
        """Add the next node of a level, and those above it that are complete."""
        at = levels[level]
        data = matrix_bytes(matrix)
        if level == 0:
            at.hashes.append(keccak(_LEAF, data))
        else:
            below = levels[level - 1].hashes
            first = 2 * len(at.hashes)
            right = below[first + 1] if first + 1 < len(below) else empties[level - 1]
            at.digests.append(keccak(data))
            at.hashes.append(keccak(_NODE, below[first], right, at.digests[-1]))
        if level + 1 == len(levels) or at.waiting is None:
            at.waiting = matrix
            return
        left, at.waiting = at.waiting, None
        put(level + 1, tuple([a + b for a, b in zip(left, matrix, strict=True)]))

    for matrix in matrices:
        put(0, matrix)
    for level, at in enumerate(levels[:-1]):
        if at.waiting is not None:  # its sibling is empty
            left, at.waiting = at.waiting, None
            put(level + 1, left)
    top = levels[-1].waiting
    if top is None or len(levels[0].hashes) != blocks:
        raise InputError(f"There are {len(levels[0].hashes)} matrices for {blocks} blocks.")
    return GramTree(
        count,
        top,
        tuple(tuple(at.hashes) for at in levels),
        tuple(tuple(at.digests) for at in levels),
        tuple(empties),
    )


def block_matrices(
    manifest: Manifest,
    exponents: Sequence[int],
    updates: Sequence[UpdateReader],
    first: int = 0,
    last: int | None = None,
) -> Iterator[Triangle]:
    """Compute the partial Gram matrices of some blocks, from the first to the last (exclusive; None: all).

    Args:
        manifest: The model's layout.
        exponents: One a tensor.
        updates: k >= 1 valid updates, of which about ``_CHUNK_BYTES`` are looked at in one step.
        first: First block.
        last: One after the last block.

    Yields:
        ``4^(e_t - e_min) sum_c q_ac q_bc`` over the block's coordinates, t the tensor that c belongs to.

    Raises:
        ArtifactError: An update can't be read.
    """
    count = len(updates)
    smallest = min(exponents)
    width = 1 << block_levels(manifest.leaves)
    end = manifest.leaves if last is None else min(manifest.leaves, width * last)
    step = max(1, _CHUNK_BYTES // (LEAF * count * width)) * width
    lower = np.tril_indices(count)
    for start in range(width * first, end, step):
        stop = min(start + step, end)
        rows = [np.ascontiguousarray(update.read(start, stop)).reshape(-1) for update in updates]
        products = _Products(rows)
        for block in range(start, stop, width):
            total: list[int] = []
            for tensor, run_start, run_end in manifest.tensor_ranges(block, min(block + width, stop)):
                run_products = products.over(LEAF * (run_start - start), LEAF * (run_end - start))[
                    lower
                ].tolist()
                scale = 2 * (exponents[tensor] - smallest)
                scaled = [product << scale for product in run_products]
                total = [a + b for a, b in zip(total, scaled, strict=True)] if total else scaled
            yield tuple(total)
        del rows, products  # before the next ones are read


def gram_tree(manifest: Manifest, exponents: Sequence[int], updates: Sequence[UpdateReader]) -> GramTree:
    """Compute the Gram tree of a round, and with it the Gram matrix.

    Args:
        manifest: The model's layout.
        exponents: One a tensor.
        updates: 1 to 32 valid updates (no byte 0x00, padding 0x80), in entry order.

    Raises:
        InputError: There are none, or more.
        ArtifactError: An update can't be read.
    """
    if not 1 <= len(updates) <= MAX_UPDATES:
        raise InputError(f"A Gram tree is of 1 to {MAX_UPDATES} updates, not of {len(updates)}.")
    matrices = block_matrices(manifest, exponents, updates)
    return build(matrices, block_count(manifest.leaves), len(updates))


class _Products:
    """Inner products of parts of the same rows.

    Args:
        rows: k rows, uint8[m] each, contiguous, m a multiple of 64.
    """

    def __init__(self, rows: list[U8]) -> None:
        self._rows = rows  # holds the memory that the addresses point into
        self._kernels = acceleration.kernels(len(rows) * rows[0].size)
        self._addresses: I64 = np.array([row.ctypes.data for row in rows], dtype=np.int64)
        self._wide: F64 | None = None
        if self._kernels is None:
            self._wide = np.array(rows, dtype=np.float64)
            self._wide -= 128

    def over(self, start: int, end: int) -> I64:
        """``sum_c q_ac q_bc`` over the places from start to end: int64[k, k], of which the lower triangle counts."""
        if self._wide is not None:
            part = self._wide[:, start:end]
            # Exact, as in folkmoot.aggregation.gram: 127^2 * 4096 is far below 2^53.
            return (part @ part.T).astype(np.int64)
        total = np.zeros((len(self._rows), len(self._rows)), dtype=np.int64)
        if self._kernels is not None:
            self._kernels.add_products(self._addresses + start, end - start, total)
        return total


# What a proof needs of an update


@dataclass(frozen=True)
class UpdateBlock:
    """The leaves of a block of an update, with all that leads from them to the update's root."""

    leaves: bytes
    """The block's leaves, 256 bytes each; places behind the model's last leaf are left out."""
    sums: bytes
    """Sums of ``|q|`` and ``q^2`` (uint64 each) of all nodes of the block, level by level, its top included."""
    siblings: bytes
    """Siblings from the block's top up, 48 bytes each: hash, sum of ``|q|``, sum of ``q^2``."""


def update_block(update: UpdateReader, tree: SumTree, place: int) -> UpdateBlock:
    """Open block ``place`` of an update.

    Args:
        update: The update's bytes.
        tree: Its tree.
        place: Number of the block.

    Raises:
        InputError: There is no such block.
        ArtifactError: The update can't be read.
    """
    if not 0 <= place < block_count(tree.leaves):
        raise InputError(f"There is no block {place}: the model has {block_count(tree.leaves)}.")
    height = block_levels(tree.leaves)
    first = place << height
    last = min(first + (1 << height), tree.leaves)
    sums = b""
    for level in range(height + 1):
        nodes = tree.levels[level]
        for index in range(first >> level, (first + (1 << height)) >> level):
            inside = index < nodes.hashes.shape[0]
            _, absolute, squares = nodes.node(index) if inside else (EMPTY, 0, 0)
            sums += absolute.to_bytes(8, "big") + squares.to_bytes(8, "big")
    siblings = b"".join(
        node + absolute.to_bytes(8, "big") + squares.to_bytes(8, "big")
        for node, absolute, squares in tree.proof(first)[height:]
    )
    return UpdateBlock(np.ascontiguousarray(update.read(first, last)).tobytes(), sums, siblings)

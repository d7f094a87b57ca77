# SPDX-License-Identifier: Apache-2.0
"""Checks for GramProofs: the weights that a rule must give, and the error in a false Gram tree.

The true tree is computed from the updates. A false tree is not in the required files of a round. Its nodes are
documents with the keccak of their hash, so it can be published like other documents. The search then follows differing
nodes from the root down to a wrong sum or a wrong product. This module uses no chain.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from folkmoot.aggregation.gram_tree import (
    ENTRY_BYTES,
    GramNode,
    GramTree,
    Triangle,
    block_count,
    block_matrices,
    matrix_bytes,
    square,
)
from folkmoot.aggregation.interface import RoundFacts
from folkmoot.aggregation.rules import mean, multi_krum
from folkmoot.aggregation.shares import copies_of
from folkmoot.fraud.proofs.case import Case
from folkmoot.protocol.hashing import HASH_BYTES, keccak
from folkmoot.protocol.manifest import Manifest
from folkmoot.protocol.merkle import EMPTY
from folkmoot.protocol.updates import UpdateReader

Document = Callable[[bytes], bytes | None]
"""Returns the bytes with a keccak256; None if nobody publishes them."""

_LEAF, _NODE = b"\x12", b"\x13"
_NODE_BYTES = 1 + 3 * HASH_BYTES


def members_of(case: Case) -> list[int]:
    """Return the entries that a rule weighs: those delivered according to the anchor.

    Without the coordinator's own, and without copies.
    """
    roots = _eligible_roots(case)
    copies = copies_of(roots)
    return [index for index, root in enumerate(roots) if root is not None and index not in copies]


def copies_in(case: Case) -> dict[int, int]:
    """Return the number of each copy, with the number of the entry that counts in its place."""
    return copies_of(_eligible_roots(case))


def _eligible_roots(case: Case) -> list[bytes | None]:
    return [
        entry.update_root if case.delivered(index) and entry.contributor != case.coordinator else None
        for index, entry in enumerate(case.entries)
    ]


def mean_weights(case: Case) -> list[int]:
    """Return the weights that `mean` gives, one per entry."""
    members = set(members_of(case))
    return [int(index in members) for index in range(len(case.entries))]


def krum_weights(case: Case, matrix: Triangle) -> list[int]:
    """Return the weights that `multi_krum` gives for a matrix of the members, one per entry.

    Raises:
        InputError: The policy's parameters are invalid for this rule.
    """
    members = members_of(case)
    nothing = RoundFacts(square(matrix, len(members)), (), (), elements=())
    weights = [0] * len(case.entries)
    for index, weight in zip(members, multi_krum.weigh(nothing, case.policy.parameters), strict=True):
        weights[index] = weight.weight
    return weights


def is_judged(rule: str) -> bool:
    """Return whether GramProofs judges rounds of this rule."""
    return rule in (mean.NAME, multi_krum.NAME)


@dataclass(frozen=True)
class Opened:
    """An opened node of a Gram tree."""

    level: int
    """Level of the node, 0 for a leaf."""
    index: int
    """Index within the level."""
    node: GramNode
    """Children and path. After the last block, the first child is the leaf's hash."""
    matrix: bytes
    """Matrix of the node, of the size that was hashed."""

    def abi_tuple(self) -> tuple[bytes, bytes, bytes, bytes]:
        """The fields of `IGramProofs.GramOpening`."""
        return (*self.node.children, self.matrix, self.node.path)


NOTHING = Opened(0, 0, GramNode((EMPTY, EMPTY), b""), b"")
"""Placeholder for an opening that the contract does not read."""


@dataclass(frozen=True)
class Lie:
    """An error in a Gram tree."""

    node: Opened
    """The leaf with a false product, or the node that is not the sum of its children."""
    children: tuple[Opened, ...]
    """Children of the node; none for a leaf."""
    pair: tuple[int, int]
    """Wrong entry of the matrix, a >= b; (0, 0) if the size is wrong or the node must be empty."""


@dataclass(frozen=True)
class Truth:
    """The true Gram tree of the updates."""

    manifest: Manifest
    exponents: tuple[int, ...]
    """Exponents of the round, one per tensor."""
    updates: Sequence[UpdateReader]
    """Updates of the members."""
    tree: GramTree
    """Gram tree of these updates."""

    def root(self) -> Opened:
        """The true root."""
        tree = self.tree
        return Opened(tree.depth, 0, tree.node(tree.depth, 0), matrix_bytes(tree.matrix))

    def matrix(self, level: int, index: int) -> Triangle:
        """Return the true matrix of a node, computed from the updates."""
        total = (0,) * len(self.tree.matrix)
        for part in block_matrices(
            self.manifest, self.exponents, self.updates, index << level, (index + 1) << level
        ):
            total = tuple([a + b for a, b in zip(total, part, strict=True)])
        return total

    def hash(self, level: int, index: int) -> bytes:
        """Return the true hash of a node."""
        tree = self.tree
        if level == tree.depth:
            return tree.root
        return tree.node(level + 1, index >> 1).children[index & 1]

    @property
    def blocks(self) -> int:
        """Number of leaves."""
        return block_count(self.manifest.leaves)


def open_root(truth: Truth, root: bytes, document: Document) -> Opened | None:
    """Open the root of a published tree; return None if nobody publishes it."""
    return _open(truth, root, truth.tree.depth, 0, b"", document)


def find_lie(truth: Truth, root: Opened, document: Document) -> Lie | None:
    """Return the error in a tree with a false root.

    Args:
        truth: The true Gram tree of the updates.
        root: Root of the false tree, from `open_root`.
        document: Function that returns the other nodes. Only differing nodes are requested.

    Returns:
        The error; None if not all needed nodes are published.
    """
    at, size = root, ENTRY_BYTES * len(truth.tree.matrix)
    while at.level:
        children: list[Opened] = []
        path = [at.node.children[1 - side] + keccak(at.matrix) + at.node.path for side in (0, 1)]
        for side, hash_ in enumerate(at.node.children):
            index = 2 * at.index + side
            if at.level == 1 and index >= truth.blocks:
                if hash_ != EMPTY:
                    return Lie(Opened(0, index, GramNode((hash_, EMPTY), path[side]), b""), (), (0, 0))
                children.append(NOTHING)
                continue
            child = _open(truth, hash_, at.level - 1, index, path[side], document)
            if child is None:
                return None
            children.append(child)
        present = [child for child in children if child is not NOTHING]
        if any(len(one.matrix) != size for one in (at, *present)):
            return Lie(at, tuple(children), (0, 0))
        matrices = [_triangle(child.matrix) for child in present]
        wrong = _differing(_triangle(at.matrix), tuple(map(sum, zip(*matrices, strict=True))))
        if wrong is not None:
            return Lie(at, tuple(children), wrong)
        # Its sum is right but its value is false, so one of its children is false.
        at = next(
            child
            for child, hash_ in zip(children, at.node.children, strict=True)
            if child is not NOTHING and hash_ != truth.hash(child.level, child.index)
        )
    if len(at.matrix) != size:
        return Lie(at, (), (0, 0))
    wrong = _differing(_triangle(at.matrix), truth.matrix(0, at.index))
    return Lie(at, (), wrong) if wrong is not None else None


def _open(
    truth: Truth, hash_: bytes, level: int, index: int, path: bytes, document: Document
) -> Opened | None:
    """Open a node: from the updates if it is true, otherwise from the published document."""
    if hash_ == truth.hash(level, index):
        children = truth.tree.node(level, index).children
        return Opened(level, index, GramNode(children, path), matrix_bytes(truth.matrix(level, index)))
    data = document(hash_)
    if data is None:
        return None
    if level == 0:
        return Opened(0, index, GramNode((EMPTY, EMPTY), path), data[1:]) if data[:1] == _LEAF else None
    if data[:1] != _NODE or len(data) != _NODE_BYTES:
        return None
    left_hash, right, digest = (data[1 + HASH_BYTES * part :][:HASH_BYTES] for part in range(3))
    matrix = document(digest)
    return Opened(level, index, GramNode((left_hash, right), path), matrix) if matrix is not None else None


def _triangle(data: bytes) -> Triangle:
    return tuple(
        int.from_bytes(data[at : at + ENTRY_BYTES], "big", signed=True)
        for at in range(0, len(data), ENTRY_BYTES)
    )


def triangle_of(opened: Opened, count: int) -> Triangle | None:
    """Return the matrix of a node; None if its size does not match the number of updates."""
    size = ENTRY_BYTES * count * (count + 1) // 2
    return _triangle(opened.matrix) if len(opened.matrix) == size else None


def _differing(mine: Triangle, theirs: Triangle) -> tuple[int, int] | None:
    """Return the first entry (a, b), a >= b, in which two matrices differ."""
    place = next((k for k, (a, b) in enumerate(zip(mine, theirs, strict=True)) if a != b), None)
    if place is None:
        return None
    row = 0
    while (row + 1) * (row + 2) // 2 <= place:
        row += 1
    return row, place - row * (row + 1) // 2

# SPDX-License-Identifier: Apache-2.0
"""Lists of nodes: what is shown of a tree, and where they lead whoever knows what the tree must be."""

from __future__ import annotations

import numpy as np
import pytest

from folkmoot.fraud.proofs.availability import DataKind, Node
from folkmoot.fraud.proofs.descent import (
    ShownList,
    first_difference,
    hashes_of,
    height_of,
    list_of,
    root_of,
    spliced,
)
from folkmoot.fraud.proofs.trees import raw_update_tree
from folkmoot.protocol import merkle
from folkmoot.protocol.hashing import keccak
from folkmoot.protocol.merkle import THETA, SumLevel, Tree
from folkmoot.protocol.updates import MemoryUpdate

SIZES = (1, 2, 5, 31, 32, 33, 40, 1_000, 1_025)


def leaf_bytes(place: int, salt: bytes = b"") -> bytes:
    return place.to_bytes(4, "big").ljust(THETA.leaf_bytes - len(salt), b"\0") + salt


def plain(leaves: int, *, salted: tuple[int, ...] = ()) -> Tree:
    """A tree of theta whose leaves at the salted places are others."""
    hashes = [keccak(b"\x04", leaf_bytes(place, b"x" if place in salted else b"")) for place in range(leaves)]
    return merkle.tree(THETA, np.frombuffer(b"".join(hashes), np.uint8).reshape(-1, 32))


def shown(tree: Tree, level: int, index: int) -> ShownList:
    return ShownList(level, index, hashes_of(list_of(tree, level, index), update=False))


def walked(truth: Tree, theirs: Tree) -> tuple[list[ShownList], int]:
    """Follow the first difference, list by list, to a leaf."""
    depth, lists = len(theirs.levels) - 1, list[ShownList]()
    about = Node(DataKind.THETA, level=depth)
    while about.level > 0:
        lists.append(shown(theirs, about.level, about.index))
        at = first_difference(truth, lists[-1])
        assert at is not None
        about = about.child(at)
    return lists, about.index


@pytest.mark.parametrize("leaves", SIZES[1:])
def test_every_list_is_the_one_of_its_node(leaves: int) -> None:
    tree = plain(leaves)
    for level in range(1, len(tree.levels)):
        for index in range(tree.levels[level].shape[0]):
            found = shown(tree, level, index)
            assert found.nodes.shape == (1 << height_of(level), 32)
            assert root_of(THETA, found) == tree.levels[level][index].tobytes()


@pytest.mark.parametrize("leaves", SIZES[1:])
def test_the_lists_of_an_update_lead_to_its_root(leaves: int) -> None:
    data = np.random.default_rng(leaves).integers(1, 256, (leaves, 256), dtype=np.uint8)
    tree = raw_update_tree(MemoryUpdate(data.tobytes()))
    assert tree is not None
    depth = len(tree.levels) - 1
    nodes = np.frombuffer(list_of(tree, depth, 0), np.uint8).reshape(-1, 48)
    sums = nodes[:, 32:].copy().view(">u8").astype(np.uint64)
    below = SumLevel(np.ascontiguousarray(nodes[:, :32]), sums[:, 0], sums[:, 1])
    assert merkle.sum_tree(below).root == tree.root
    assert hashes_of(list_of(tree, depth, 0), update=True)[0].tobytes() == nodes[0, :32].tobytes()


@pytest.mark.parametrize("leaves", SIZES[1:])
def test_the_difference_leads_to_the_first_false_leaf_and_its_path(leaves: int) -> None:
    truth = plain(leaves)
    for place in {0, leaves // 3, leaves - 1}:
        theirs = plain(leaves, salted=(place, leaves - 1))
        lists, found = walked(truth, theirs)
        assert found == place
        tree = spliced(truth, lists)
        assert tree.root == theirs.root
        assert tree.levels[0][place].tobytes() == theirs.levels[0][place].tobytes()
        siblings = tree.proof(place)
        assert siblings == theirs.proof(place)
        assert merkle.verify(THETA, theirs.root, leaf_bytes(place, b"x"), place, siblings, leaves)
    assert truth.root == plain(leaves).root, "the true tree is left as it was"


@pytest.mark.parametrize(("leaves", "more"), [(5, 6), (33, 64), (40, 63), (1_025, 2_048)])
def test_what_is_hidden_behind_the_last_leaf_is_found(leaves: int, more: int) -> None:
    truth, theirs = plain(leaves), plain(more)
    lists, place = walked(truth, theirs)
    assert place == leaves
    tree = spliced(truth, lists)
    assert (tree.root, tree.proof(place)) == (theirs.root, theirs.proof(place))


def test_an_equal_tree_has_no_difference() -> None:
    assert first_difference(plain(40), shown(plain(40), 6, 0)) is None


def test_a_node_is_named_in_words() -> None:
    assert str(Node(DataKind.HEADER)) == "header"
    assert str(Node(DataKind.THETA, level=6, index=0)) == "node 0 of level 6 of the theta"
    assert str(Node(DataKind.UPDATE, 3, 6).child(9)) == "node 9 of level 1 of the update of entry 3"
    assert str(Node(DataKind.UPDATE, 3, 1, 9).child(1)) == "leaf 19 of the update of entry 3"

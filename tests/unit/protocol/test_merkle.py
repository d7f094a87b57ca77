# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from folkmoot.errors import EncodingError, InputError
from folkmoot.protocol import acceleration, merkle
from tests.unit import reference

COUNTS = st.integers(1, 20)
SEEDS = st.integers(0, 2**32)


def random_update(seed: int, count: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 256, (count, 256), dtype=np.uint8)


@settings(max_examples=25, deadline=None)
@given(COUNTS, SEEDS)
def test_update_tree_is_the_references(count: int, seed: int) -> None:
    leaves = random_update(seed, count)
    tree = merkle.update_tree(leaves)
    expected = reference.update_root([leaf.tobytes() for leaf in leaves])
    assert (tree.root, tree.sum_absolute, tree.sum_squares) == expected


@settings(max_examples=25, deadline=None)
@given(COUNTS, SEEDS, st.data())
def test_update_proofs(count: int, seed: int, data: st.DataObject) -> None:
    leaves = random_update(seed, count)
    tree = merkle.update_tree(leaves)
    index = data.draw(st.integers(0, count - 1))
    leaf, proof = leaves[index].tobytes(), tree.proof(index)
    assert merkle.verify_update(tree.root, tree.sum_squares, leaf, index, proof, count)
    assert not merkle.verify_update(tree.root, tree.sum_squares + 1, leaf, index, proof, count)
    other = bytes([leaf[0] % 255 + 1]) + leaf[1:]
    assert not merkle.verify_update(tree.root, tree.sum_squares, other, index, proof, count)
    assert not merkle.verify_update(tree.root, tree.sum_squares, leaf, index ^ 1, proof, count)
    assert not merkle.verify_update(
        tree.root, tree.sum_squares, leaf, index, (*proof, proof[0] if proof else (bytes(32), 0, 0)), count
    )
    assert not merkle.verify_update(tree.root, tree.sum_squares, leaf, count, proof, count)
    if proof:
        shifted = ((proof[0][0], proof[0][1], proof[0][2] + 1), *proof[1:])
        assert not merkle.verify_update(tree.root, tree.sum_squares + 1, leaf, index, shifted, count)


def test_sums_that_leave_uint64_are_no_proof() -> None:
    leaf = bytes([129]) * 256
    big = (bytes(32), (1 << 64) - 1, (1 << 64) - 1)
    root = merkle._sum_node((reference.update_leaf(leaf)), big)
    assert not merkle.verify_update(root[0], root[2], leaf, 0, [big], 2)
    assert not merkle.verify_update(root[0], root[2], leaf, 0, [(bytes(32), 0, 1 << 64)], 2)
    assert not merkle.verify_update(root[0], root[2], leaf, 0, [(bytes(31), 0, 0)], 2)


KINDS = [merkle.MEAN, merkle.THETA, merkle.MOMENTUM]


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(KINDS), COUNTS, SEEDS, st.data())
def test_plain_trees_and_proofs(kind: merkle.TreeKind, count: int, seed: int, data: st.DataObject) -> None:
    leaves = np.random.default_rng(seed).integers(0, 256, (count, kind.leaf_bytes), dtype=np.uint8)
    tree = merkle.tree(kind, merkle.leaf_hashes(kind, leaves))
    rows = [leaf.tobytes() for leaf in leaves]
    assert tree.root == reference.plain_root(rows, kind.leaf_prefix, kind.node_prefix)
    index = data.draw(st.integers(0, count - 1))
    proof = tree.proof(index)
    assert merkle.verify(kind, tree.root, rows[index], index, proof, count)
    assert not merkle.verify(kind, tree.root, bytes(kind.leaf_bytes), index, proof, count)
    assert not merkle.verify(kind, tree.root, rows[index][:-1], index, proof, count)
    assert not merkle.verify(kind, tree.root, rows[index], index, (*proof, bytes(32)), count)
    assert not merkle.verify(kind, tree.root, rows[index], -1, proof, count)
    for wrong in KINDS:
        if wrong is not kind and wrong.leaf_bytes == kind.leaf_bytes:
            assert not merkle.verify(wrong, tree.root, rows[index], index, proof, count), (
                "trees are separated"
            )


def test_a_node_is_no_leaf() -> None:
    leaves = np.zeros((2, 256), dtype=np.uint8)
    tree = merkle.tree(merkle.MEAN, merkle.leaf_hashes(merkle.MEAN, leaves))
    packed = tree.levels[0].tobytes()
    assert not merkle.verify(merkle.MEAN, tree.root, packed, 0, [], 1)


def test_state_tree_in_chunks_is_the_whole() -> None:
    values = np.random.default_rng(0).integers(-(2**48), 2**48, 256 * 7)
    whole = merkle.state_tree(merkle.THETA, values)
    assert merkle.state_tree(merkle.THETA, values, [(0, 2), (2, 3)]).root == whole.root
    rows = [reference.state_leaf(values[at : at + 256].tolist()) for at in range(0, values.size, 256)]
    assert whole.root == reference.plain_root(rows, 4, 5)


def test_a_zero_byte_is_no_update() -> None:
    leaves = random_update(0, 2)
    leaves[1, 9] = 0
    with pytest.raises(EncodingError):
        merkle.update_tree(leaves)


def test_there_is_no_proof_of_a_leaf_that_is_not_there() -> None:
    tree = merkle.update_tree(random_update(0, 3))
    plain = merkle.state_tree(merkle.THETA, np.zeros(768, dtype=np.int64))
    for index in (-1, 3):
        with pytest.raises(InputError):
            tree.proof(index)
        with pytest.raises(InputError):
            plain.proof(index)


def test_the_largest_integer_of_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numba")
    leaves = np.random.default_rng(2).integers(100, 157, (40, 256)).astype(np.uint8)
    leaves[3], leaves[4], leaves[5] = 128, 1, 255
    leaves[6] = np.resize([128, 129], 256)
    expected = np.abs(leaves.astype(np.int64) - 128).max(axis=1)
    with acceleration.without_kernels():
        assert (merkle.leaf_largest(leaves) == expected).all()
    monkeypatch.setattr(acceleration, "LOAD_AFTER", 0)
    assert (merkle.leaf_largest(leaves) == expected).all()

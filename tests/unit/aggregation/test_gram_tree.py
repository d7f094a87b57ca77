# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import tracemalloc
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from folkmoot.aggregation.gram import gram_matrix
from folkmoot.aggregation.gram_tree import (
    BLOCK_LEVELS,
    ENTRY_BYTES,
    MAX_UPDATES,
    GramNode,
    block_count,
    block_levels,
    block_matrices,
    build,
    gram_tree,
    has_tree,
    matrix_bytes,
    update_block,
)
from folkmoot.errors import InputError
from folkmoot.protocol import acceleration, merkle
from folkmoot.protocol.hashing import keccak
from folkmoot.protocol.manifest import Manifest, Tensor
from folkmoot.protocol.updates import FileUpdate, MemoryUpdate
from tests.unit import reference, worlds


def model(*sizes: int) -> Manifest:
    return Manifest("g", tuple(Tensor(f"t{i}", (size,)) for i, size in enumerate(sizes)))


def readers(manifest: Manifest, seeds: list[int]) -> list[MemoryUpdate]:
    return [MemoryUpdate(worlds.update_bytes(manifest, seed)) for seed in seeds]


def root_of(level: int, index: int, matrix: Sequence[int], node: GramNode) -> bytes:
    """The root that a node's matrix, children and path lead to, as the contracts compute it."""
    data = matrix_bytes(matrix)
    found = keccak(b"\x13", *node.children, keccak(data)) if level else keccak(b"\x12", data)
    for at in range(0, len(node.path), 64):
        sibling, sums = node.path[at : at + 32], node.path[at + 32 : at + 64]
        found = keccak(b"\x13", *((sibling, found) if index & 1 else (found, sibling)), sums)
        index >>= 1
    return found


@settings(max_examples=12, deadline=None)
@given(st.data())
def test_root_is_that_of_plain_integers(data: st.DataObject) -> None:
    sizes = data.draw(st.lists(st.integers(1, 4000), min_size=1, max_size=4))
    manifest = model(*sizes)
    exponents = data.draw(st.lists(st.integers(-40, 4), min_size=len(sizes), max_size=len(sizes)))
    seeds = data.draw(st.lists(st.integers(0, 1000), min_size=1, max_size=3))
    updates = [worlds.update_bytes(manifest, seed) for seed in seeds]
    tree = gram_tree(manifest, exponents, [MemoryUpdate(update) for update in updates])
    counts = [tensor.leaves for tensor in manifest.tensors]
    assert tree.root == reference.gram_root(updates, exponents, counts)
    assert list(tree.matrix) == reference.triangle(reference.gram(updates, exponents, counts), len(updates))


@pytest.mark.parametrize("compiled", [False, True])
def test_compiled_loops_and_numpy_give_one_tree(compiled: bool) -> None:
    manifest = model(70_000, 300, 256 * 600, 9)
    exponents = (-12, 4, -40, -3)
    updates = readers(manifest, [1, 2, 3, 4, 5])
    with acceleration.without_kernels():
        slow = gram_tree(manifest, exponents, updates)
    if compiled and not acceleration.load():
        pytest.skip("numba is not installed")
    with nullcontext() if compiled else acceleration.without_kernels():
        tree = gram_tree(manifest, exponents, updates)
        assert tree.gram == gram_matrix(manifest, exponents, updates)
    assert (tree.root, tree.hashes, tree.digests) == (slow.root, slow.hashes, slow.digests)


@pytest.mark.parametrize("byte", [1, 255])
def test_the_extremes_are_exact(byte: int) -> None:
    manifest = model(256 * 33)
    updates = [MemoryUpdate(bytes([value]) * manifest.size) for value in (byte, 255, 1)]
    tree = gram_tree(manifest, (4,), updates)
    assert [abs(product) for product in tree.matrix] == [127 * 127 * manifest.size] * 6


@pytest.mark.parametrize("leaves", [1, 2, 15, 16, 17, 32, 33, 43, 100])
def test_every_node_opens(leaves: int) -> None:
    manifest = model(256 * leaves - 3)
    updates = readers(manifest, [1, 2])
    tree = gram_tree(manifest, (-9,), updates)
    blocks = block_count(leaves)
    assert tree.depth == merkle.depth_of(blocks) == merkle.depth_of(leaves) - block_levels(leaves)
    matrices = list(block_matrices(manifest, (-9,), updates))
    zero = (0,) * len(tree.matrix)
    level = [*matrices, *[zero] * ((1 << tree.depth) - blocks)]
    for height in range(tree.depth + 1):
        for index, matrix in enumerate(level):
            node = tree.node(height, index)
            is_leaf = height > 0 or index < blocks
            assert len(node.path) == 64 * (tree.depth - height)
            assert (root_of(height, index, matrix, node) == tree.root) == is_leaf
        level = [
            tuple(a + b for a, b in zip(left, right, strict=True))
            for left, right in zip(level[::2], level[1::2], strict=False)
        ]


def test_blocks_come_alone_as_in_a_row() -> None:
    manifest = model(256 * 100, 5, 256 * 20)
    exponents = (-9, 2, -20)
    updates = readers(manifest, [7, 8, 9])
    whole = list(block_matrices(manifest, exponents, updates))
    assert len(whole) == block_count(manifest.leaves) == 8
    for place, matrix in enumerate(whole):
        assert list(block_matrices(manifest, exponents, updates, place, place + 1)) == [matrix]
    assert list(block_matrices(manifest, exponents, updates, 2, 5)) == whole[2:5]


@pytest.mark.parametrize("leaves", [1, 3, 16, 21, 40])
def test_a_block_of_an_update_leads_to_its_root(leaves: int) -> None:
    manifest = model(256 * leaves - 3)
    update = MemoryUpdate(worlds.update_bytes(manifest, 5))
    tree = merkle.update_tree(update.read(0, leaves))
    height = block_levels(leaves)
    for place in range(block_count(leaves)):
        block = update_block(update, tree, place)
        cut = [block.leaves[at : at + 256] for at in range(0, len(block.leaves), 256)]
        nodes = [reference.update_leaf(leaf) for leaf in cut]
        nodes += [(bytes(32), 0, 0)] * ((1 << height) - len(nodes))
        sums = b""
        while True:
            sums += b"".join(a.to_bytes(8, "big") + s.to_bytes(8, "big") for _, a, s in nodes)
            if len(nodes) == 1:
                break
            nodes = [reference.sum_node(*nodes[i : i + 2]) for i in range(0, len(nodes), 2)]
        assert block.sums == sums
        node, index = nodes[0], place
        for at in range(0, len(block.siblings), 48):
            part = block.siblings[at : at + 48]
            sibling = (
                part[:32],
                int.from_bytes(part[32:40], "big"),
                int.from_bytes(part[40:], "big"),
            )
            node = reference.sum_node(sibling, node) if index & 1 else reference.sum_node(node, sibling)
            index >>= 1
        assert node == (tree.root, tree.sum_absolute, tree.sum_squares)


def test_only_multi_krum_of_few_has_a_tree() -> None:
    assert has_tree("multi_krum", 1)
    assert has_tree("multi_krum", MAX_UPDATES)
    assert not has_tree("multi_krum", 0)
    assert not has_tree("multi_krum", MAX_UPDATES + 1)
    assert not has_tree("mean", 5)


def test_entries_have_the_width_that_the_largest_sum_needs() -> None:
    largest = 4**44 * 127**2 * 256 * 2**24
    assert matrix_bytes([largest, -largest]) == reference.matrix_bytes([largest, -largest])
    with pytest.raises(OverflowError):
        matrix_bytes([1 << (8 * ENTRY_BYTES - 1)])


@pytest.mark.parametrize("count", [0, MAX_UPDATES + 1])
def test_too_few_and_too_many_are_refused(count: int) -> None:
    manifest = model(5)
    with pytest.raises(InputError, match="1 to 32"):
        gram_tree(manifest, (0,), readers(manifest, [1]) * count)


def test_a_tree_of_thirty_two() -> None:
    manifest = model(256 * 20)
    updates = readers(manifest, list(range(MAX_UPDATES)))
    tree = gram_tree(manifest, (-9,), updates)
    assert tree.gram == gram_matrix(manifest, (-9,), updates)


def test_build_wants_as_many_matrices_as_blocks() -> None:
    for given_, blocks in ((2, 3), (5, 4), (0, 1)):
        with pytest.raises(InputError, match="blocks"):
            build([(1,)] * given_, blocks, 1)


def test_there_is_no_node_beyond() -> None:
    manifest = model(256 * 43)
    updates = readers(manifest, [1])
    tree = gram_tree(manifest, (0,), updates)
    for level, index in ((-1, 0), (3, 0), (0, 4), (1, 2), (2, 1), (0, -1)):
        with pytest.raises(InputError, match="no node"):
            tree.node(level, index)
    for place in (-1, 3):
        with pytest.raises(InputError, match="no block"):
            update_block(updates[0], merkle.update_tree(updates[0].read(0, 43)), place)


def test_memory_does_not_grow_with_the_model(tmp_path: Path) -> None:
    """A stack of matrices and a chunk of the updates: no matrix a block."""

    def peak(leaves: int) -> int:
        manifest = model(256 * leaves)
        rng: Any = np.random.default_rng(1)
        path = tmp_path / str(leaves)
        path.write_bytes(rng.integers(1, 256, manifest.size, dtype=np.uint8).tobytes())
        updates = [FileUpdate(path, 8)] * 20
        tracemalloc.start()
        try:
            gram_tree(manifest, (-9,), updates)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    if not acceleration.load():
        pytest.skip("numba is not installed")
    small, large = peak(1024), peak(3072)
    blocks = (3072 - 1024) >> BLOCK_LEVELS
    # Two nodes a block of 64 bytes and the objects that hold them; a matrix of 20 updates takes 8,000 bytes and more.
    assert large - small < 1500 * blocks

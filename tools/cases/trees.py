# SPDX-License-Identifier: Apache-2.0
"""Cases of section 3 of docs/protocol.md: paths in trees."""

from __future__ import annotations

from typing import Any

import numpy as np

from folkmoot.protocol import merkle
from folkmoot.protocol.fixed_point import LEAF
from folkmoot.protocol.hashing import keccak
from tools.cases.group import Group
from tools.cases.values import Values
from tools.vectors.values import stream


def proof_cases() -> list[Group]:
    """Section 3."""
    group = Group(
        "updateProof",
        "3",
        "A leaf of an update tree; siblings from the lowest level up: hash, sum |q|, sum q^2.",
    )
    leaves = np.frombuffer(bytes(max(byte, 1) for byte in stream("proof", 5 * LEAF)), dtype=np.uint8).reshape(
        5, LEAF
    )
    tree = merkle.update_tree(leaves)
    good: Values = {}
    for index in range(5):
        good = {
            "root": tree.root, "sumSquares": tree.sum_squares, "leaf": leaves[index].tobytes(), "index": index,
            "siblings": [list(one) for one in tree.proof(index)], "leaves": 5,
        }  # fmt: skip
        group.valid(f"leaf {index} of 5", good)
    path_ = good["siblings"]
    group.invalid("another index", {**good, "index": 3})
    group.invalid("an index behind the last leaf", {**good, "index": 5})
    group.invalid("a path too short", {**good, "siblings": path_[:-1]})
    group.invalid("a path too long", {**good, "siblings": [*path_, path_[0]]})
    group.invalid("siblings from the top down", {**good, "siblings": path_[::-1]})
    group.invalid("another number of leaves", {**good, "leaves": 9})
    group.invalid("another sum of squares", {**good, "sumSquares": tree.sum_squares + 1})
    group.invalid("a sum in a sibling", {**good, "siblings": [[path_[0][0], path_[0][1], 1], *path_[1:]]})
    group.invalid("sum |q| in a sibling", {**good, "siblings": [[path_[0][0], 1, path_[0][2]], *path_[1:]]})
    group.invalid("a sum beyond 64 bits", {**good, "siblings": [[path_[0][0], 1 << 64, 0], *path_[1:]]})
    group.invalid("a sibling's hash", {**good, "siblings": [[bytes([1]) * 32, 0, 0], *path_[1:]]})
    zero = bytes(1) + leaves[4].tobytes()[1:]
    node: Any = (keccak(b"\0", zero), sum(abs(b - 128) for b in zero), sum((b - 128) ** 2 for b in zero))
    for sibling in tree.proof(4)[:2]:
        node = merkle._sum_node(node, sibling)
    node = merkle._sum_node(tree.proof(4)[2], node)
    group.invalid(
        "a leaf with the byte 0x00 in a tree that has it",
        {**good, "leaf": zero, "root": node[0], "sumSquares": node[2]},
    )
    inner = [[keccak(b"\0", b"".join([tree.levels[0].node(0)[0]])), 0, 0]]
    group.invalid(
        "a node in the place of a leaf",
        {**good, "leaf": inner[0][0], "index": 0, "siblings": path_[1:], "leaves": 4},
    )

    second = Group("treeProof", "3", "A leaf of a plain tree; siblings from the lowest level up.")
    for kind in (merkle.MEAN, merkle.THETA, merkle.MOMENTUM):
        rows = np.frombuffer(stream(f"proof {kind.name}", 3 * kind.leaf_bytes), dtype=np.uint8).reshape(3, -1)
        plain = merkle.tree(kind, merkle.leaf_hashes(kind, rows))
        base: Values = {
            "tree": kind.name, "root": plain.root, "leaf": rows[2].tobytes(), "index": 2,
            "siblings": list(plain.proof(2)), "leaves": 3,
        }  # fmt: skip
        second.valid(f"{kind.name}: the last leaf, beside an empty place", base)
        second.invalid(f"{kind.name}: another index", {**base, "index": 1})
        second.invalid(f"{kind.name}: an index behind the last leaf", {**base, "index": 3})
        second.invalid(f"{kind.name}: a path too short", {**base, "siblings": base["siblings"][:1]})
        second.invalid(f"{kind.name}: another number of leaves", {**base, "leaves": 5})
        short = rows[0].tobytes()[:-1]
        lone = {
            "root": keccak(bytes([kind.leaf_prefix]), short),
            "leaf": short,
            "index": 0,
            "siblings": [],
            "leaves": 1,
        }
        second.invalid(f"{kind.name}: a leaf that is too short, in a tree of its own", {**base, **lone})
        second.invalid(f"{kind.name}: another leaf", {**base, "leaf": rows[1].tobytes()})
        second.invalid(f"{kind.name}: a byte too few", {**base, "leaf": rows[2].tobytes()[:-1]})
        other = "theta" if kind is not merkle.THETA else "momentum"
        if kind is not merkle.MEAN:
            second.invalid(f"{kind.name}: as a leaf of {other}", {**base, "tree": other})
    return [group, second]

# SPDX-License-Identifier: Apache-2.0
"""Section 3 of docs/protocol.md: trees of updates, means, states and entries."""

from __future__ import annotations

from typing import Any

import numpy as np
from eth_account import Account

from folkmoot.protocol import merkle, packing
from folkmoot.protocol.commitment import Commitment
from folkmoot.protocol.fixed_point import LEAF, STATE_BOUND
from folkmoot.protocol.hashing import keccak
from folkmoot.protocol.mean import MAX_MEAN, mean_leaves
from folkmoot.protocol.receipt import entries_tree
from folkmoot.protocol.state import State
from tools.vectors.formats import vector_manifest
from tools.vectors.values import hexed, hexes, rows, state_values, stream, stream_integers, text

PROOFS = "The proof of leaf i are the values from [depth * i] on, depth of them, lowest level first."


def update_tree_case(label: str, count: int) -> dict[str, Any]:
    """One Merkle-sum tree with all its proofs."""
    values = np.array(stream_integers(label, LEAF * count, packing.largest(8)), dtype=np.int64)
    leaves = (values + packing.ZERO).astype(np.uint8).reshape(-1, LEAF)
    tree = merkle.update_tree(leaves)
    proofs = [node for index in range(count) for node in tree.proof(index)]
    return {
        "leaves": hexes(rows(leaves)),
        "leafHashes": hexes(rows(tree.levels[0].hashes)),
        "leafAbsolute": text(tree.levels[0].absolute),
        "leafSquares": text(tree.levels[0].square),
        "depth": str(len(tree.levels) - 1),
        "root": hexed(tree.root),
        "sumAbsolute": str(tree.sum_absolute),
        "sumSquares": str(tree.sum_squares),
        "proofHashes": hexes(node[0] for node in proofs),
        "proofAbsolute": text(node[1] for node in proofs),
        "proofSquares": text(node[2] for node in proofs),
    }


def update_tree_section() -> dict[str, Any]:
    """Section 3, updates."""
    return {
        "about": "Section 3, the Merkle-sum tree of an update, with one leaf (depth 0), three leaves (one empty place) "
        f"and five leaves (an empty inner node). {PROOFS}",
        "one": update_tree_case("update tree 1", 1),
        "three": update_tree_case("update tree 3", 3),
        "five": update_tree_case("update tree 5", 5),
    }


def plain_tree_case(kind: merkle.TreeKind, leaves: np.ndarray[Any, np.dtype[np.uint8]]) -> dict[str, Any]:
    """One plain tree with all its proofs."""
    tree = merkle.tree(kind, merkle.leaf_hashes(kind, leaves))
    return {
        "leaves": hexes(rows(leaves)),
        "leafHashes": hexes(rows(tree.levels[0])),
        "depth": str(len(tree.levels) - 1),
        "root": hexed(tree.root),
        "proofHashes": hexes(node for index in range(tree.leaves) for node in tree.proof(index)),
    }


def mean_tree_section() -> dict[str, Any]:
    """Section 3, mean."""
    values = np.array(stream_integers("mean tree", 5 * LEAF, MAX_MEAN), dtype=np.int64)
    leaves = mean_leaves(values)
    return {
        "about": f"Section 3, the mean. values are B_0 to B_255 of the first leaf. {PROOFS}",
        "values": text(values[:LEAF]),
        "one": plain_tree_case(merkle.MEAN, leaves[:1]),
        "three": plain_tree_case(merkle.MEAN, leaves[:3]),
        "five": plain_tree_case(merkle.MEAN, leaves),
    }


def state_section() -> dict[str, Any]:
    """Section 3, state."""
    manifest = vector_manifest()
    theta = state_values("theta", manifest, STATE_BOUND)
    momentum = state_values("momentum", manifest, STATE_BOUND)
    theta[:4] = [STATE_BOUND, -STATE_BOUND, -1, 0]
    state = State(theta, momentum)
    thetas = merkle.state_leaves(theta)
    moments = merkle.state_leaves(momentum)
    return {
        "about": f"Section 3, the state, for the manifest of section 2 (four leaves). {PROOFS} file is the state file.",
        "manifestHash": hexed(manifest.hash),
        "theta": plain_tree_case(merkle.THETA, thetas),
        "momentum": plain_tree_case(merkle.MOMENTUM, moments),
        "thetaThree": plain_tree_case(merkle.THETA, thetas[:3]),
        "stateRoot": hexed(state.root(manifest.hash)),
        "fileSha256": "0x" + state.sha256(),
    }


def entries_tree_section() -> dict[str, Any]:
    """Roots over the entries of rounds of one to five entries, and all paths of the last."""
    entries = [
        Commitment(
            Account.from_key(keccak(f"folkmoot vector contributor {i}".encode())).address,
            *(7, stream("entries base", 32), stream(f"entries root {i}", 32), 1000 + i),
        )
        for i in range(5)
    ]
    weights = [0, 1, 65_536, 5, (1 << 32) - 1]
    trees = [entries_tree(entries[:count], weights[:count]) for count in range(1, 6)]
    return {
        "about": "Section 3: roots over the first one, two, ... five entries. proofs: by leaf and level, of all five.",
        "contributors": [entry.contributor for entry in entries],
        "commitmentHashes": hexes(entry.struct_hash for entry in entries),
        "weights": text(weights),
        "roots": hexes(tree.root for tree in trees),
        "proofs": hexes(node for i in range(5) for node in trees[-1].proof(i)),
    }

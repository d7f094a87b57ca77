# SPDX-License-Identifier: Apache-2.0
"""Section 8 of docs/protocol.md: the facts of a rule, its weights and their stages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from folkmoot.aggregation.gram import gram_matrix
from folkmoot.aggregation.gram_tree import (
    block_count,
    block_matrices,
    gram_tree,
    matrix_bytes,
    square,
    update_block,
)
from folkmoot.aggregation.interface import RoundFacts
from folkmoot.aggregation.references import (
    Reference,
    ReferencedFacts,
    Windows,
    compared_leaves,
    references,
)
from folkmoot.aggregation.registry import rule
from folkmoot.aggregation.trajectory import trajectory_update
from folkmoot.protocol import merkle
from folkmoot.protocol.fixed_point import LEAF
from folkmoot.protocol.manifest import Manifest, Tensor
from folkmoot.protocol.state import State
from folkmoot.protocol.updates import MemoryUpdate
from tools.vectors.formats import vector_manifest
from tools.vectors.values import hexed, hexes, product, state_values, stream, text, update_file


def gram_section() -> dict[str, Any]:
    """Section 8, Gram matrix."""
    manifest = vector_manifest()
    exponents = (-12, 4, -40)
    data = [update_file(f"gram {i}", manifest) for i in range(3)]
    gram = gram_matrix(manifest, exponents, [MemoryUpdate(update) for update in data])
    return {
        "about": "Section 8, the Gram matrix for the manifest of section 2; gram is row by row.",
        "exponents": text(exponents),
        "updates": hexes(data),
        "gram": text(product for row in gram for product in row),
    }


def gram_tree_section() -> dict[str, Any]:
    """Section 3, the Gram tree, and what proofs bring of it."""
    manifest = Manifest("gram tree", (Tensor("a", (300,)), Tensor("b", (31, LEAF)), Tensor("c", (7,))))
    exponents = (-12, 4, -40)
    data = [update_file(f"gram tree {i}", manifest, [127, 40, 9][i]) for i in range(3)]
    updates = [MemoryUpdate(update) for update in data]
    trees = [merkle.update_tree(np.frombuffer(update, dtype=np.uint8)) for update in data]
    tree = gram_tree(manifest, exponents, updates)
    leaves = list(block_matrices(manifest, exponents, updates))
    blocks = block_count(manifest.leaves)
    opened = [tree.node(0, place) for place in range(blocks)]
    parts = [update_block(*one, place) for place in range(blocks) for one in zip(updates, trees, strict=True)]
    above = [
        tuple(a + b for a, b in zip(leaves[0], leaves[1], strict=True)),
        leaves[2],
    ]
    return {
        "about": "Section 3, the Gram tree of three updates of a model of 34 leaves, which are three blocks and one "
        "empty place. leafMatrices, leafHashes and leafPaths are by block; nodeMatrices and nodeHashes are the two "
        "nodes below the root. Of the updates: root, and by block and then by update the leaves of the block "
        "(blockLeaves), the sums of its nodes (blockSums), and the siblings above (blockSiblings).",
        "layout": hexed(manifest.layout),
        "leaves": str(manifest.leaves),
        "exponents": text(exponents),
        "updates": hexes(data),
        "updateRoots": hexes(update.root for update in trees),
        "leafMatrices": hexes(matrix_bytes(leaf) for leaf in leaves),
        "leafHashes": hexes(tree.hashes[0]),
        "leafPaths": hexes(node.path for node in opened),
        "nodeMatrices": hexes(matrix_bytes(matrix) for matrix in above),
        "nodeHashes": hexes(tree.hashes[1]),
        "gram": text(product for row in square(tree.matrix, len(data)) for product in row),
        "rootMatrix": hexed(matrix_bytes(tree.matrix)),
        "gramRoot": hexed(tree.root),
        "blockLeaves": hexes(part.leaves for part in parts),
        "blockSums": hexes(part.sums for part in parts),
        "blockSiblings": hexes(part.siblings for part in parts),
    }


def references_section() -> dict[str, Any]:
    """Section 8.3."""
    manifest = vector_manifest()
    exponents, others = (-12, 4, -40), [(-40, -12, 4), (-12, 4, -40)]
    ours = [update_file(f"gram {i}", manifest) for i in range(3)]
    theirs = [update_file(f"reference {i}", manifest) for i in range(2)]
    found = references(
        manifest,
        exponents,
        [MemoryUpdate(update) for update in ours],
        [(MemoryUpdate(update), theirs_) for update, theirs_ in zip(theirs, others, strict=True)],
    )
    before = State(
        *[state_values(f"path before {part}", manifest, 1 << 40) for part in ("theta", "momentum")]
    )
    moved = state_values("path moved", manifest, 150)
    rest = state_values("path rest", manifest, 1 << 29)
    shifts = np.repeat([26 + exponent for exponent in exponents], [LEAF * n for n in manifest.leaf_counts])
    down = np.maximum(shifts, 0)
    theta = before.theta - np.where(shifts < 0, moved // 100, (moved << down) + rest % (1 << down))
    base = State(np.where(before.theta == 0, 0, theta), before.momentum)
    hashed = stream("entries hash", 32)
    chosen = compared_leaves(8196, hashed)
    assert chosen is not None  # noqa: S101  more than 4,096 leaves are sampled
    return {
        "about": "Section 8.3, for the manifest of section 2. products (by reference, then by update) and squares of "
        "two references, with the exponents referenceExponents (reference by reference), and three updates. "
        "trajectory: the trajectory from thetaBefore to thetaBase. compared: the first 20 and the last 5 of the "
        "comparedCount leaves that are compared in a model of leaves.",
        "exponents": text(exponents),
        "updates": hexes(ours),
        "references": hexes(theirs),
        "referenceExponents": text(exponent for one in others for exponent in one),
        "products": text(product for one in found for product in one.products),
        "squares": text(one.square for one in found),
        "thetaBefore": text(before.theta.tolist()),
        "thetaBase": text(base.theta.tolist()),
        "trajectory": hexed(trajectory_update(manifest, exponents, 8, before, base).tobytes()),
        "leaves": "8196",
        "entriesHash": hexed(hashed),
        "compared": text([*chosen[:20].tolist(), *chosen[-5:].tolist()]),
        "comparedCount": str(len(chosen)),
    }


def weights_case(
    label: str, name: str, parameters: Sequence[int], vectors: Sequence[Sequence[int]]
) -> dict[str, Any]:
    """Weights for updates that are these small vectors."""
    gram = tuple(tuple(sum(a * b for a, b in zip(x, y, strict=True)) for y in vectors) for x in vectors)
    norms = tuple(row[i] for i, row in enumerate(gram))
    facts = RoundFacts(gram, norms, tuple((sum(map(abs, vector)),) for vector in vectors), elements=(2,))
    results = rule(name)(facts, parameters)
    return {
        "about": label,
        "rule": name,
        "parameters": text(parameters),
        "count": str(len(vectors)),
        "gram": text(product for row in gram for product in row),
        "weights": text(result.weight for result in results),
        "scores": text(result.numbers["krumScore"] for result in results if "krumScore" in result.numbers),
        "threshold": str(results[0].numbers.get("krumThreshold", 0)),
    }


def weights_section() -> dict[str, Any]:
    """Section 8, rules."""
    far = [[1, 2], [2, 1], [1, 1], [2, 2], [0, 1], [90, -90], [-80, 90]]
    return {
        "about": "Section 8. Each case has the Gram matrix (row by row) of count delivered updates, and what the rule "
        "makes of it. scores and threshold are those of multi_krum.",
        "mean": weights_case("mean of four", "mean", (), [[1, 0], [0, 1], [5, 5], [-9, 9]]),
        "krumTwoFar": weights_case("seven updates, two far away, n = 2f + 3", "multi_krum", (2, 0), far),
        "krumThree": weights_case("seven updates, m = 3", "multi_krum", (2, 3), far),
        "krumCapped": weights_case("m above n - f selects n - f", "multi_krum", (2, 7), far),
        "krumTie": weights_case(
            "equal scores: the earlier ones are selected",
            "multi_krum",
            (1, 2),
            [[1, 0], [-1, 0], [0, 1], [0, -1], [0, 0]],
        ),
        "krumAllEqual": weights_case("five copies", "multi_krum", (1, 3), [[3, 4]] * 5),
        "krumLowered": weights_case(
            "n = 4 < 2f + 3: f becomes 0", "multi_krum", (2, 0), [[1, 0], [0, 1], [1, 1], [50, 50]]
        ),
        "krumLoweredToOne": weights_case(
            "n = 5 < 2f + 3: f becomes 1", "multi_krum", (3, 0), far[:4] + far[5:6]
        ),
        "krumOne": weights_case("one update", "multi_krum", (1, 0), [[7, 7]]),
        "krumTwo": weights_case(
            "two updates, both selected even with m = 1", "multi_krum", (1, 1), [[7, 7], [-7, -7]]
        ),
        "krumThreeUpdates": weights_case(
            "three updates, f becomes 0", "multi_krum", (1, 1), [[0, 0], [1, 0], [9, 0]]
        ),
    }


def stages_case(
    label: str,
    elements: Sequence[int],
    vectors: Sequence[Sequence[int]],
    trajectory: Sequence[int] | None = None,
    *,
    root: Sequence[int] | None = None,
    window: Sequence[tuple[Sequence[int], int]] = (),
    share: int = 0,
) -> dict[str, Any]:
    """What clamped_mean makes of small vectors that stand for updates of a model with these elements.

    ``window`` has the sum of each contributor and the number of updates in it; the updates where it is empty.
    """

    def squares_of(rows: Sequence[Sequence[int]]) -> tuple[tuple[int, ...], ...]:
        return tuple(tuple(product(x, y) for y in rows) for x in rows)

    def compared(one: Sequence[int] | None, rows: Sequence[Sequence[int]]) -> Reference | None:
        if one is None:
            return None
        return Reference(tuple(product(one, row) for row in rows), product(one, one))

    def told(name: str, one: Reference | None) -> dict[str, Any]:
        return {
            f"{name}Products": [] if one is None else text(one.products),
            f"{name}Square": "0" if one is None else str(one.square),
        }

    sums = [one for one, _ in window] or vectors
    rounds = tuple(count for _, count in window) or (1,) * len(vectors)
    gram, window_gram = squares_of(vectors), squares_of(sums)
    absolute = tuple((sum(map(abs, vector)), *([0] * (len(elements) - 1))) for vector in vectors)
    by_window, rooted = compared(trajectory, sums), compared(root, vectors)
    facts = ReferencedFacts(
        gram,
        tuple(row[i] for i, row in enumerate(gram)),
        absolute,
        root=rooted,
        trajectory=compared(trajectory, vectors),
        window=Windows(window_gram, by_window, rounds),
        elements=tuple(elements),
    )
    results = rule("clamped_mean")(facts, (share,) if share else ())
    return {
        "about": label,
        "elements": text(elements),
        "count": str(len(vectors)),
        "rootShare": str(share),
        "sumAbsolute": text(value for row in absolute for value in row),
        "gram": text(product for row in gram for product in row),
        "windowGram": text(product for row in window_gram for product in row),
        "windowRounds": text(rounds),
        **told("trajectory", by_window),
        **told("root", rooted),
        "weights": text(result.weight for result in results),
        "reasons": [result.reason.value for result in results],
    }


def stages_section() -> dict[str, Any]:
    """Section 8.1, stages."""
    agreed = [[60, 10, 0, 4], [60, -9, 5, 0], [58, 0, -12, 3], [61, 3, 8, -11], [-60, 5, 2, 3]]
    settled = [[60, 10, 0, 4], [-40, 30, 5, 0], [-8, -52, 12, 3], [3, 3, -28, 41], [-15, 9, 11, -48]]
    noise = [[50, 40, 0, 1], [60, 0, 3, 30], [41, 5, 0, -42], [8, 60, 0, 23], [1, -1, 60, 0]]
    near = [[60, 10, 0, 0], [57, 18, 4, 2], [30, -50, 0, 7], [20, 5, 60, 0], [45, 30, 0, -40]]
    return {
        "about": "Section 8.1: what clamped_mean makes of count delivered updates: the elements of each tensor, "
        "sum |q| (update by update, tensor by tensor), the Gram matrices of the updates and of the window sums (row "
        "by row), the number of updates in each sum, the products of the trajectory with the sums (none: there is no "
        "trajectory) and its square, those of the root-set update with the updates, and the parameter s as "
        "rootShare (0: the policy has none). No update was sent before.",
        "settledNoTrajectory": stages_case("the first round", (50,), settled),
        "settledTrajectory": stages_case(
            "cosines with the trajectory scatter around 0", (50,), settled, (7, -3, 9, 12)
        ),
        "againstTrajectory": stages_case(
            "the last one has a negative cosine with the trajectory", (50,), agreed, (80, 2, 1, 1)
        ),
        "noTrajectory": stages_case("the same in the first round", (50,), agreed),
        "zeroTrajectory": stages_case("the same where the model has not moved", (50,), agreed, (0,) * 4),
        "windows": stages_case(
            "the last one turned in this round, and is new",
            (50,),
            agreed,
            (80, 2, 1, 1),
            window=[*(([8 * q for q in one], 8) for one in agreed[:4]), ([60, -5, 2, 3], 1)],
        ),
        "turnedBefore": stages_case(
            "the last one agrees in this round only",
            (50,),
            [*agreed[:4], [61, 2, 1, 0]],
            (80, 2, 1, 1),
            window=[*(([8 * q for q in one], 8) for one in agreed[:4]), ([-300, 9, 8, 2], 6)],
        ),
        "alike": stages_case(
            "three that are alike share",
            (50,),
            [[60, 9], [60, 8], [60, 7], [9, 60], [60, -50]],
            (30, 9),
            window=[([80, 2], 8), ([80, 3], 8), ([80, 1], 8), ([5, 60], 7), ([40, -60], 8)],
        ),
        "root": stages_case("with a root-set update", (50,), settled, (7, -3, 9, 12), root=(30, -20, 5, 9)),
        "rootShare": stages_case(
            "the root set gives out weight", (50,), settled, (7, -3, 9, 12), root=(30, -20, 5, 9), share=307
        ),
        "rootZero": stages_case("a root-set update of zeros", (50,), settled, (7, -3, 9, 12), root=(0,) * 4),
        "copyLarge": stages_case("the second is a copy in a large model", (4096,), near),
        "copySmall": stages_case("it is none in a small one", (50,), near),
        "copyFrozen": stages_case("nor in one that is large in what nobody changes", (50, 4096), near),
        "uncorrelatedLarge": stages_case("the last one is noise in a large model", (4096,), noise),
        "uncorrelatedFar": stages_case("sixteen times as much as noise is unusual data", (1 << 20,), noise),
        "uncorrelatedSmall": stages_case("in a small one it can't be told from an honest one", (50,), noise),
    }

# SPDX-License-Identifier: Apache-2.0
"""Write the test vectors of the protocol: tests/vectors/protocol.json.

    python tools/make_vectors.py            write the file
    python tools/make_vectors.py --check    fail if the file is not what this program writes

The inputs come from keccak streams and from hand-picked edges, so every run on every machine writes the same
bytes. The outputs come from the library; ``tests/unit/test_vectors.py`` recomputes them with a
second, slow implementation in plain Python integers, and the Solidity tests with a third.

Integers are decimal strings, bytes are 0x-hex, and an array holds values of one kind only, so that forge's
``vm.parseJson*`` can read every one of them by its path.
"""

from __future__ import annotations

import argparse
import json
import struct
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from eth_account import Account

from folkmoot import round as rounds
from folkmoot.aggregation.form import Form
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
from folkmoot.aggregation.lineage import GENESIS
from folkmoot.aggregation.references import Reference, ReferencedFacts, compared_leaves, references
from folkmoot.aggregation.registry import rule
from folkmoot.aggregation.trajectory import trajectory_update
from folkmoot.aggregation.weighted_sum import aggregate_of, sum_lanes
from folkmoot.errors import EncodingError
from folkmoot.protocol import budget, codec, commitment, fixed_point, merkle, packing, places
from folkmoot.protocol import exponents as next_round
from folkmoot.protocol import outer_step as optimizer
from folkmoot.protocol.anchor import Anchor
from folkmoot.protocol.commitment import Commitment, Domain
from folkmoot.protocol.fixed_point import LEAF, STATE_BOUND
from folkmoot.protocol.genesis import Genesis
from folkmoot.protocol.hashing import keccak
from folkmoot.protocol.header import RoundHeader, derive_seed
from folkmoot.protocol.manifest import Carried, Manifest, Tensor
from folkmoot.protocol.mean import MAX_MEAN, MAX_WEIGHT_SUM, largest_scale, mean_leaves, mean_of
from folkmoot.protocol.policy import Policy
from folkmoot.protocol.receipt import entries_tree
from folkmoot.protocol.state import State
from folkmoot.protocol.updates import MemoryUpdate

PATH = Path(__file__).resolve().parent.parent / "tests" / "vectors" / "protocol.json"

CHAIN_ID = 31337
LEDGER = "0x5FbDB2315678afecb367f032d93F642f64180aa3"
KEYS = [keccak(f"folkmoot vector account {i}".encode()) for i in range(3)]


def stream(label: str, length: int) -> bytes:
    """Bytes that depend on the label only."""
    blocks = (keccak(label.encode(), i.to_bytes(4, "big")) for i in range(-(-length // 32)))
    return b"".join(blocks)[:length]


def stream_integers(label: str, count: int, bound: int) -> list[int]:
    """Integers in [-bound, bound]."""
    data = stream(label, 8 * count)
    span = 2 * bound + 1
    return [int.from_bytes(data[8 * i : 8 * i + 8], "big") % span - bound for i in range(count)]


def update_bytes(label: str, manifest: Manifest, bound: int = packing.largest(8)) -> bytes:
    """A valid update file."""
    values = np.array(stream_integers(label, manifest.size, bound), dtype=np.int64).reshape(-1, LEAF)
    values[np.arange(LEAF)[None, :] >= manifest.values_in_leaf[:, None]] = 0
    return (values + packing.ZERO).astype(np.uint8).tobytes()


def state_values(label: str, manifest: Manifest, bound: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """A valid vector of state integers."""
    values = np.array(stream_integers(label, manifest.size, bound), dtype=np.int64).reshape(-1, LEAF)
    values[np.arange(LEAF)[None, :] >= manifest.values_in_leaf[:, None]] = 0
    return values.reshape(-1)


def text(values: Iterable[Any]) -> list[str]:
    """Integers as decimal strings."""
    return [str(int(value)) for value in values]


def hexed(data: bytes) -> str:
    """Bytes as 0x-hex."""
    return "0x" + data.hex()


def hexes(values: Iterable[bytes]) -> list[str]:
    """Byte strings as 0x-hex."""
    return [hexed(value) for value in values]


def rows(array: np.ndarray[Any, Any]) -> list[bytes]:
    """Rows of an array as bytes."""
    return [row.tobytes() for row in array]


def bits32(value: float) -> bytes:
    """A float32 as its four bytes, big-endian."""
    return struct.pack(">f", value)


# Sections


def fixed_point_section() -> dict[str, Any]:
    """Section 1."""
    theta = [
        0, 1, -1, 1 << 26, -(1 << 26), STATE_BOUND, -STATE_BOUND, (1 << 24) + 1, (1 << 24) + 3, (1 << 25) + 2,
        (1 << 25) + 6, -((1 << 24) + 1), (1 << 40) + (1 << 16), (1 << 40) + 3 * (1 << 16), (1 << 40) + (1 << 16) + 1,
        123456789012345, -98765432109876,
    ]  # fmt: skip
    weights = [
        0.0, -0.0, 1.0, -1.0, 2.0**-27, -(2.0**-27), 2.0**-28, 1.5 * 2.0**-26, -1.5 * 2.0**-26, 2.5 * 2.0**-26, 0.1,
        -0.1, 4194303.9, 4194304.0, -4194304.0, 1e30, -1e30, 5e-324,
    ]  # fmt: skip
    floats = fixed_point.to_float32(np.array(theta, dtype=np.int64))
    return {
        "about": "Section 1. float32[i] are the IEEE bytes (big-endian) of theta[i] as a weight, with ties to even; "
        "fromFloat[i] is the state integer of the float64 with the bytes (big-endian) float64[i].",
        "theta": text(theta),
        "float32": hexes(bits32(float(value)) for value in floats),
        "float64": hexes(struct.pack(">d", weight) for weight in weights),
        "fromFloat": text(fixed_point.from_float(np.array(weights, dtype=np.float64))),
    }


def vector_manifest() -> Manifest:
    """A manifest with every kind of field: three tensors with carried arrays between them, four leaves."""
    return Manifest(
        task="vectors",
        arrays=(
            Tensor("layer.weight", (3, 100)),
            Carried("steps", "int64", (), (-7).to_bytes(8, "little", signed=True)),
            Tensor("layer.bias", (3,), "float64"),
            Carried("mask", "float32", (2,), bytes.fromhex("00000000000080ff")),
            Tensor("Größe", (), "float16"),
        ),
        training={"steps": 5, "learningRate": 0.1, "tiny": 1e-7, "deep": {"list": [1, 2.5, None, True, "ß"]}},
    )


def manifest_section() -> dict[str, Any]:
    """Section 2."""
    manifest = vector_manifest()
    return {
        "about": "Section 2. json is the manifest file as text (UTF-8); offsets has the first leaf of each tensor and, "
        "last, the number of leaves.",
        "json": manifest.to_json().decode(),
        "leafCounts": text(manifest.leaf_counts),
        "offsets": text(manifest.leaf_offsets),
        "leaves": str(manifest.leaves),
        "depth": str(manifest.depth),
        "elements": str(manifest.elements),
        "layout": hexed(manifest.layout),
        "layoutHash": hexed(keccak(manifest.layout)),
        "jsonHash": hexed(keccak(manifest.to_json())),
        "manifestHash": hexed(manifest.hash),
    }


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


PROOFS = "The proof of leaf i are the values from [depth * i] on, depth of them, lowest level first."


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


def mean_section() -> dict[str, Any]:
    """Section 9, the mean of aggregates."""
    cases: list[tuple[int, int, int]] = []
    for scale, bound in ((1, 127), (7, 1), (127, 1), (18, 7), (2, 63), (1, 1)):
        for weight_sum in (1, 2, 3, 14, 255, 65_536, MAX_WEIGHT_SUM):
            most = bound * weight_sum
            half = weight_sum // (2 * scale)  # S A / W is 1/2, or just below
            for aggregate in (0, 1, half, half + 1, weight_sum, most - half, most - half - 1, most - 1, most):
                cases += [(a, weight_sum, scale) for a in (aggregate, -aggregate) if abs(a) <= most]
    draws = stream_integers("mean", 3 * 100, 1 << 40)
    for i in range(100):
        a, b, c = draws[3 * i : 3 * i + 3]
        weight_sum, scale = abs(b) % MAX_WEIGHT_SUM + 1, abs(c) % MAX_MEAN + 1
        most = largest_scale(scale) * weight_sum
        cases.append((a % (2 * most + 1) - most, weight_sum, scale))
    cases = list(dict.fromkeys(cases))
    return {
        "about": "Section 9, one coordinate a place of the arrays: aggregate is A, weightSum W, meanScale S, mean B.",
        **{
            name: text(values)
            for name, values in zip(
                ("aggregate", "weightSum", "meanScale"), zip(*cases, strict=True), strict=True
            )
        },
        "mean": text(int(mean_of(np.array([a], dtype=np.int64), w, s)[0]) for a, w, s in cases),
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


def header_section() -> dict[str, Any]:
    """Section 4."""
    base = stream("base", 32)
    header = RoundHeader(
        round=7,
        manifest_hash=vector_manifest().hash,
        base_state_root=base,
        policy_id=3,
        width=8,
        seed=derive_seed(CHAIN_ID, LEDGER, 7, base),
        exponents=(-12, 4, -40),
    )
    return {
        "about": "Section 4.",
        "chainId": str(CHAIN_ID),
        "ledger": LEDGER,
        "round": str(header.round),
        "manifestHash": hexed(header.manifest_hash),
        "baseStateRoot": hexed(base),
        "policyId": str(header.policy_id),
        "width": str(header.width),
        "seed": hexed(header.seed),
        "exponents": text(header.exponents),
        "exponentBytes": hexed(bytes(e & 0xFF for e in header.exponents)),
        "encoded": hexed(header.encoded),
        "headerHash": hexed(header.hash),
    }


def vector_commitments() -> list[Commitment]:
    """Three commitments with the edges of their integers."""
    return [
        Commitment(
            contributor=Account.from_key(key).address,
            round=7,
            base_state_root=stream("base", 32),
            update_root=stream(f"root {i}", 32),
            sum_squares=[123456789, 0, (1 << 64) - 1][i],
            memory_hash=[stream("memory", 32), bytes(32), b"\xff" * 32][i],
            bundle_hash=[stream("bundle", 32), bytes(32), bytes(32)][i],
        )
        for i, key in enumerate(KEYS)
    ]


def commitment_section() -> dict[str, Any]:
    """Section 6."""
    domain = Domain(CHAIN_ID, LEDGER)
    entries = vector_commitments()
    folded = [commitment.entries_hash(entries[:count]) for count in range(len(entries) + 1)]
    return {
        "about": "Section 6. Three commitments, one value each in every array; entriesHashes[i] is the hash after i "
        "entries. The private keys are of no use to anybody.",
        "typeHash": hexed(commitment.COMMITMENT_TYPEHASH),
        "chainId": str(CHAIN_ID),
        "verifyingContract": LEDGER,
        "domainSeparator": hexed(domain.separator),
        "privateKeys": hexes(KEYS),
        "contributors": [entry.contributor for entry in entries],
        "rounds": text(entry.round for entry in entries),
        "baseStateRoots": hexes(entry.base_state_root for entry in entries),
        "updateRoots": hexes(entry.update_root for entry in entries),
        "sumSquares": text(entry.sum_squares for entry in entries),
        "memoryHashes": hexes(entry.memory_hash for entry in entries),
        "bundleHashes": hexes(entry.bundle_hash for entry in entries),
        "commitmentHashes": hexes(entry.struct_hash for entry in entries),
        "digests": hexes(entry.digest(domain) for entry in entries),
        "signatures": hexes(
            entry.sign(Account.from_key(key), domain) for entry, key in zip(entries, KEYS, strict=True)
        ),
        "entriesHashes": hexes(folded),
    }


def places_section() -> dict[str, Any]:
    """Section 6.2."""
    quotas = [
        # Enrolled stake at the basis, entries of the policy, minimum stake, enrolled stake at the opening.
        (0, 2, 1, 0),
        (30, 4, 10, 30),
        (31, 4, 10, 30),
        (30, 4, 10, 31),
        (10, 1, 10, 0),
        (11, 1, 10, 0),
        (11, 2, 10, 99),
        (0, 2, 10, 11),
        (12_700 * 10**18 + 1, 128, 100 * 10**18, 0),
        ((1 << 94) - 1, 256, 1, 1),
        ((1 << 94) - 1, 1, 1, 1),
    ]
    seed = places.seed_of(stream("block", 32))
    accounts = [entry.contributor for entry in vector_commitments()] + [
        "0x" + keccak(f"folkmoot vector place {i}".encode())[-20:].hex() for i in range(13)
    ]
    lots = [places.lot_of(seed, account) for account in accounts]
    quota = 10**20
    # Just enough, and just too little, for the lot of each account; then a half, a quota, nothing at all.
    enrolled = [lot * quota // (1 << 96) + 1 for lot in lots[:4]]
    enrolled += [lot * quota // (1 << 96) for lot in lots[4:8]]
    enrolled += [quota // 2] * 4 + [quota, quota - 1, 0, (1 << 96) - 1]
    return {
        "about": "Section 6.2. quotas[i] is that of totals[i] at the basis, maxContributors[i], minStakes[i] and "
        "nows[i] at the opening. seed is that of blockHash. places[i] is 1 if accounts[i] has a place with enrolled[i] "
        "under quota and seed, else 0; lots[i] is its lot. Under quota 0 all have one.",
        "totals": text(one[0] for one in quotas),
        "maxContributors": text(one[1] for one in quotas),
        "minStakes": text(one[2] for one in quotas),
        "nows": text(one[3] for one in quotas),
        "quotas": text(places.quota_of(*one) for one in quotas),
        "blockHash": hexed(stream("block", 32)),
        "seed": str(seed),
        "quota": str(quota),
        "accounts": accounts,
        "enrolled": text(enrolled),
        "lots": text(lots),
        "places": text(
            int(places.has_place(quota, seed, account, stake))
            for account, stake in zip(accounts, enrolled, strict=True)
        ),
    }


def budget_section() -> dict[str, Any]:
    """Section 6.3."""
    rows = [
        (1, 1), (1, budget.MAX_STEPS), (1023, 1), (1024, 1), (1025, 1), (2745, 1), (6146, 5), (6369, 1), (17085, 1),
        (47453132, 1), (47453133, 1), (47453133, budget.MAX_STEPS), ((1 << 32) - 1, 1),
        ((1 << 32) - 1, budget.MAX_STEPS),
    ]  # fmt: skip
    rows += [
        (1 + int.from_bytes(stream(f"noise {i}", 4), "big") % 2**20, 1 + i * i % budget.MAX_STEPS)
        for i in range(1, 51)
    ]
    return {
        "about": "Section 6.3. What an update costs of a privacy budget; one value each in every array.",
        "noise1024": text(noise for noise, _ in rows),
        "steps": text(steps for _, steps in rows),
        "costs": text(budget.cost_of(*row) for row in rows),
    }


def rounding_section() -> dict[str, Any]:
    """Section 5, offsets."""
    seed = stream("seed", 32)
    contributor = Account.from_key(KEYS[0]).address
    key = codec.rounding_key(seed, contributor)
    places = [0, 1, 2, 255, 256, 65535, 65536, (1 << 32) - 1]
    units = [int(codec.rounding_offsets(key, place, place + 1)[0] * 2**24) for place in places]
    return {
        "about": "Section 5, the offsets of the rounding: u of places[i] is units[i] * 2^-24.",
        "seed": hexed(seed),
        "contributor": contributor,
        "key": str(key),
        "places": text(places),
        "units": text(units),
    }


def encoding_section() -> dict[str, Any]:
    """Section 5."""
    manifest = vector_manifest()
    seed = stream("seed", 32)
    contributor = Account.from_key(KEYS[0]).address
    exponents = (-3, -40, 4)
    size = manifest.size
    steps = np.array(stream_integers("delta", size, 4000), dtype=np.float64) * 2.0**-6
    # Exact ties and edges: y is an integer; y is an integer and a half; y leaves the range; y is tiny.
    edges = [0.0, 1.0, -1.0, 5.0, -5.0, 126.0, -126.0, 127.0, -127.0, 128.0, -128.0, 129.0, -129.0, 1e6, -1e6]
    edges += [0.5, -0.5, 1.5, -1.5, 7.5, -7.5, 126.5, -126.5, 127.5, -127.5, 2.0**-30, -(2.0**-30)] * 2
    steps[: len(edges)] = np.array(edges)
    start, end = np.zeros(size, dtype=np.float32), np.zeros(size, dtype=np.float32)
    for tensor, exponent, leaf in zip(manifest.tensors, exponents, manifest.leaf_offsets, strict=False):
        place = slice(LEAF * leaf, LEAF * leaf + tensor.elements)
        end[place] = (-steps[place] * 2.0**exponent).astype(np.float32)
    start[LEAF : LEAF + 40] = np.array(stream_integers("start", 40, 1 << 20), dtype=np.float32) * 2.0**-20
    update = codec.encode_update(start, end, exponents, manifest, seed, contributor)
    cap = update.sum_squares // 3
    fitted = codec.encode_update(start, end, exponents, manifest, seed, contributor, max_sum_squares=cap)
    return {
        "about": "Section 5, for the manifest of section 2. start and end are the weights of all 256 n places as "
        "float32 bytes, big-endian; data is the update file. The first places of the first tensor have y = 0, ±1, ±5, "
        "±126 ... (integers), then integers and a half, with start 0. fitted* is the same update under the cap "
        "maxSumSquares: magnitudes are h_0 to h_127 of data, fittedBound is c.",
        "seed": hexed(seed),
        "contributor": contributor,
        "exponents": text(exponents),
        "start": hexed(start.astype(">f4").tobytes()),
        "end": hexed(end.astype(">f4").tobytes()),
        "data": hexed(update.data),
        "updateRoot": hexed(update.root),
        "sumSquares": str(update.sum_squares),
        "sumAbsolute": str(update.sum_absolute),
        "clamped": str(update.clamped),
        "magnitudes": text(codec.magnitudes(np.frombuffer(update.data, dtype=np.uint8))),
        "maxSumSquares": str(cap),
        "fittedBound": str(fitted.bound),
        "fittedClamped": str(fitted.clamped),
        "fittedData": hexed(fitted.data),
        "fittedUpdateRoot": hexed(fitted.root),
        "fittedSumSquares": str(fitted.sum_squares),
    }


def packing_section() -> dict[str, Any]:
    """Section 5, the update file."""
    section: dict[str, Any] = {
        "about": "Section 5, the update file: the leaves as in the trees and the bytes of their file at each width. "
        "The first coordinates are -Q to Q.",
    }
    for width in packing.WIDTHS:
        bound = packing.largest(width)
        values = np.array(stream_integers(f"packing {width}", 2 * LEAF, bound))
        values[: 2 * bound + 1] = np.arange(-bound, bound + 1)
        leaves = (values + packing.ZERO).astype(np.uint8).reshape(-1, LEAF)
        section[f"width{width}"] = {
            "leaves": hexed(leaves.tobytes()),
            "data": hexed(packing.pack(leaves, width).tobytes()),
        }
    return section


def fitting_section() -> dict[str, Any]:
    """Section 5, fitting to the cap: the edges."""
    spread = {size: 1 + size % 3 for size in range(packing.largest(8) + 1)}
    spiky = {0: 1000, 1: 23, 127: 1}
    whole = sum(count * size**2 for size, count in spread.items())
    cases = {
        "the cap itself": (spread, whole),
        "one below the cap": (spread, whole - 1),
        "half of the energy": (spread, whole // 2),
        "saturated under the default cap": ({127: 500}, 64**2 * 500),
        "one spike": (spiky, 23 + 100**2),
        "one below the spike": (spiky, 23 + 100**2 - 1),
        "room for ±1": (spiky, 24),
        "room for nothing": (spiky, 23),
        "an empty update": ({0: 300}, 1),
    }
    section: dict[str, Any] = {
        "about": "Section 5, fitting to the cap. counts are how many places have |q| = sizes (other h_v are 0); bound "
        "is c, 0 where nothing fits and the encoder refuses; sumSquares is that of the fitted update."
    }
    for name, (sizes, cap) in cases.items():
        try:
            bound = codec.fitting_bound([sizes.get(size, 0) for size in range(packing.largest(8) + 1)], cap)
        except EncodingError:
            bound = 0
        section[name] = {
            "sizes": text(sizes),
            "counts": text(sizes.values()),
            "maxSumSquares": str(cap),
            "bound": str(bound),
            "sumSquares": str(sum(count * min(size, bound) ** 2 for size, count in sizes.items())),
        }
    return section


def gram_section() -> dict[str, Any]:
    """Section 8, Gram matrix."""
    manifest = vector_manifest()
    exponents = (-12, 4, -40)
    data = [update_bytes(f"gram {i}", manifest) for i in range(3)]
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
    data = [update_bytes(f"gram tree {i}", manifest, [127, 40, 9][i]) for i in range(3)]
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
    ours = [update_bytes(f"gram {i}", manifest) for i in range(3)]
    theirs = [update_bytes(f"reference {i}", manifest) for i in range(2)]
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
    assert chosen is not None  # noqa: S101
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
) -> dict[str, Any]:
    """What guided_mean makes of small vectors that stand for updates of a model with these elements."""

    def product(x: Sequence[int], y: Sequence[int]) -> int:
        return sum(a * b for a, b in zip(x, y, strict=True))

    gram = tuple(tuple(product(x, y) for y in vectors) for x in vectors)
    absolute = tuple((sum(map(abs, vector)), *([0] * (len(elements) - 1))) for vector in vectors)
    compared = None
    if trajectory is not None:
        compared = Reference(
            tuple(product(trajectory, vector) for vector in vectors), product(trajectory, trajectory)
        )
    squares = tuple(row[i] for i, row in enumerate(gram))
    facts = ReferencedFacts(gram, squares, absolute, trajectory=compared, elements=tuple(elements))
    results = rule("guided_mean")(facts, ())
    return {
        "about": label,
        "elements": text(elements),
        "count": str(len(vectors)),
        "sumAbsolute": text(value for row in absolute for value in row),
        "gram": text(product for row in gram for product in row),
        "trajectoryProducts": [] if compared is None else text(compared.products),
        "trajectorySquare": "0" if compared is None else str(compared.square),
        "weights": text(result.weight for result in results),
        "reasons": [result.reason.value for result in results],
    }


def stages_section() -> dict[str, Any]:
    """Section 8.1, stages."""
    agreed = [[60, 10, 0, 4], [60, -9, 5, 0], [58, 0, -12, 3], [61, 3, 8, -11], [-60, 5, 2, 3]]
    settled = [[60, 10, 0, 4], [-40, 30, 5, 0], [-8, -52, 12, 3], [3, 3, -28, 41], [-15, 9, 11, -48]]
    near = [[60, 10, 0, 0], [57, 18, 4, 2], [30, -50, 0, 7], [20, 5, 60, 0], [45, 30, 0, -40]]
    noise = [[50, 40, 0, 1], [60, 0, 3, 30], [41, 5, 0, -42], [8, 60, 0, 23], [1, -1, 60, 0]]
    return {
        "about": "Section 8.1: what guided_mean makes of count delivered updates: the elements of each tensor, sum |q| "
        "(update by update, tensor by tensor), the Gram matrix (row by row), the products with the trajectory "
        "(none: there is no trajectory) and its square. There are no earlier rounds.",
        "settledNoTrajectory": stages_case("the first round", (50,), settled),
        "settledTrajectory": stages_case(
            "cosines with the trajectory scatter around 0", (50,), settled, (7, -3, 9, 12)
        ),
        "againstTrajectory": stages_case(
            "the last one has a negative cosine with the trajectory", (50,), agreed, (80, 2, 1, 1)
        ),
        "noTrajectory": stages_case("the same in the first round: the core excludes it", (50,), agreed),
        "zeroTrajectory": stages_case(
            "the same where the model has not moved: the core leaves nobody out", (50,), agreed, (0,) * 4
        ),
        "copyLarge": stages_case("the second is a copy in a large model", (4096,), near),
        "copySmall": stages_case("it is none in a small one", (50,), near),
        "copyFrozen": stages_case("nor in one that is large in what nobody changes", (50, 4096), near),
        "uncorrelatedLarge": stages_case("the last one is noise in a large model", (4096,), noise),
        "uncorrelatedSmall": stages_case("in a small one it can't be told from an honest one", (50,), noise),
    }


def weighted_sum_section() -> dict[str, Any]:
    """Section 9, sums."""
    manifest = Manifest("sum", (Tensor("w", (LEAF,)),))
    data = [update_bytes(f"sum {i}", manifest) for i in range(4)]
    data[3] = bytes([255]) * LEAF
    weights = [1, 0, 70_000, MAX_WEIGHT_SUM - 70_001]
    lanes = sum_lanes([MemoryUpdate(update) for update in data], weights, 0, 1)
    return {
        "about": "Section 9: updates of one leaf, the lanes U, the aggregate A and the mean's leaf, with a mean "
        "scale of 1. The weights add up to the largest sum.",
        "updates": hexes(data),
        "weights": text(weights),
        "weightSum": str(sum(weights)),
        "lanes": text(lanes[0]),
        "aggregate": text(aggregate_of(lanes, sum(weights))),
        "leaf": hexed(Form().mean([MemoryUpdate(update) for update in data], weights, 1, 0, 1).tobytes()),
    }


def trimmed_case(trim: int, weights: Sequence[int], data: Sequence[bytes], scale: int = 1) -> dict[str, Any]:
    """The trimmed sum of updates of one leaf."""
    form = Form(trim)
    lanes = form.lanes([MemoryUpdate(update) for update in data], weights, 0, 1)
    divisor = form.divisor(weights)
    return {
        "trim": str(trim),
        "updates": hexes(data),
        "weights": text(weights),
        "divisor": str(divisor),
        "meanScale": str(scale),
        "lanes": text(lanes[0]),
        "aggregate": text(aggregate_of(lanes, divisor)),
        "leaf": hexed(form.mean([MemoryUpdate(update) for update in data], weights, scale, 0, 1).tobytes()),
    }


def trimmed_sum_section() -> dict[str, Any]:
    """Section 9, trimmed sums."""
    manifest = Manifest("sum", (Tensor("w", (LEAF,)),))
    data = [update_bytes(f"trimmed {i}", manifest) for i in range(5)]
    few = [update_bytes(f"few values {i}", manifest, 1) for i in range(5)]  # most values are equal
    most, least = bytes([255]) * LEAF, bytes([1]) * LEAF
    return {
        "about": "Section 9: as weightedSum, for the rules with a trimmed sum and the parameter trim; divisor is W'. "
        "usual: two of seven updates at the edges, one that does not count. ties: most values are equal, with the mean "
        "scale meanScale. lowered: of four values two are left, whatever trim is. one: nothing can be trimmed.",
        "usual": trimmed_case(2, [1, 1, 0, 1, 1, 1, 1], [most, *data, least]),
        "ties": trimmed_case(1, [1] * 5, few, 7),
        "lowered": trimmed_case((1 << 32) - 1, [1, 1, 1, 0, 1], data),
        "one": trimmed_case(3, [0, 1], data[:2]),
    }


def outer_step_section() -> dict[str, Any]:
    """Section 9."""
    cases: list[tuple[int, int, int, int, int, int, int]] = []
    for exponent in (-40, -39, -27, -26, -25, -12, 0, 3, 4):
        for mean, scale in (
            (0, 1),
            (1, 1),
            (-1, 1),
            (127, 1),
            (-127, 1),
            (-1, 2),
            (1, 2),
            (-3, 2),
            (7, 7),
            (-5, 7),
        ):
            cases.append((12345, -678, mean, scale, exponent, 1024, 0))
            cases.append((-(1 << 26), (1 << 20) + 7, mean, scale, exponent, 700, 921))
    cases += [
        (0, 0, 127, 127, 4, 1024, 0),
        (0, 0, -127, 127, 4, 1024, 0),
        (STATE_BOUND, STATE_BOUND, -127, 1, 4, 1024, 1023),
        (-STATE_BOUND, -STATE_BOUND, 127, 1, 4, 1024, 1023),
        (STATE_BOUND, -STATE_BOUND, -1, 1, -40, 65535, 65535),
        (-STATE_BOUND, STATE_BOUND, 127, 1, 4, 65535, 65535),
        (0, -1, 0, 1, -12, 1024, 1023),
        (0, 1, 0, 1, -12, 1024, 1023),
        (0, -1, 0, 5, -12, 1, 1),
        (7, -1025, 0, 5, -12, 1023, 1),
    ]
    bounds = stream_integers("outer", 4 * 200, 1 << 40)
    for i in range(200):
        a, b, c, d = bounds[4 * i : 4 * i + 4]
        scale, mean = abs(d) % MAX_MEAN + 1, c % (2 * MAX_MEAN + 1) - MAX_MEAN
        cases.append((a, b, mean, scale, abs(a + d) % 45 - 40, abs(b) % 2049, abs(c) % 1024))
    new_theta, new_momentum = [], []
    for theta, momentum, mean, scale, exponent, rate, decay in cases:
        results = optimizer.outer_step(
            np.full(LEAF, theta, dtype=np.int64),
            np.full(LEAF, momentum, dtype=np.int64),
            np.full(LEAF, mean, dtype=np.int64),
            scale,
            np.array([exponent], dtype=np.int64),
            rate,
            decay,
        )
        new_theta.append(int(results[0][0]))
        new_momentum.append(int(results[1][0]))
    names = ("theta", "momentum", "mean", "meanScale", "exponent", "rate", "decay")
    return {
        "about": "Section 9, one coordinate a place of the arrays: decay is the policy's momentum, mean is B, "
        "meanScale is S.",
        **{name: text(values) for name, values in zip(names, zip(*cases, strict=True), strict=True)},
        "newTheta": text(new_theta),
        "newMomentum": text(new_momentum),
    }


def eager_start_section() -> dict[str, Any]:
    """Section 9.1."""
    cases: list[tuple[int, int, int, int, int, int, int]] = [
        (12345, -678, 0, 1, -12, 1024, 0),
        (12345, -678, 7, 1, -26, 512, 307),
        (-(1 << 26), (1 << 20) + 7, -1, 7, -27, 512, 307),
        (STATE_BOUND, STATE_BOUND, -1, 127, 4, 1024, 1023),
        (-STATE_BOUND, -STATE_BOUND, 127, 1, 4, 1024, 1023),
    ]
    drawn = stream_integers("eager start", 4 * 60, 1 << 40)
    for i in range(60):
        a, b, c, d = drawn[4 * i : 4 * i + 4]
        bound = packing.largest((8, 4, 2)[i % 3])
        update, scale = c % (2 * bound + 1) - bound, abs(d) % (MAX_MEAN // bound) + 1
        cases.append((a, b, update, scale, abs(a + d) % 45 - 40, abs(b) % 2049, abs(c) % 1024))
    start = [
        optimizer.eager_start(
            np.full(LEAF, theta, dtype=np.int64),
            np.full(LEAF, momentum, dtype=np.int64),
            np.full(LEAF, update, dtype=np.int64),
            scale,
            np.array([exponent], dtype=np.int64),
            rate,
            decay,
        )[0]
        for theta, momentum, update, scale, exponent, rate, decay in cases
    ]
    names = ("theta", "momentum", "update", "meanScale", "exponent", "rate", "decay")
    return {
        "about": "Section 9.1, one coordinate a place of the arrays: update is q, decay is the policy's momentum.",
        **{name: text(values) for name, values in zip(names, zip(*cases, strict=True), strict=True)},
        "start": text(start),
    }


def exponents_section() -> dict[str, Any]:
    """Section 10."""
    absolute = 16_000
    cases: list[tuple[int, int, int, int]] = [
        (-11, 0, 0, 0),  # frozen
        (-12, 0, 0, 0),
        (-30, 0, 0, 0),
        (-40, 5, 5, 1),  # far below the target, at the smallest exponent
        (-38, 5, 5, 1),
        (4, 127 * 9, 127**2 * 9, 127),  # saturated, at the largest exponent
        (-12, 127 * 9, 127**2 * 9, 127),
        (-12, 64 * 100, 64**2 * 100, 64),  # saturated at the smallest bound of the default cap
        (-12, 63 * 100, 63**2 * 100, 63),  # as large, but below it
        (-12, 800, 70_000, 100),  # 8 S = 7 M A
        (-12, 800, 69_999, 100),
        (-12, 1, 1, 1),  # one coordinate of a large tensor
        (-12, 127 + 20_000, 127**2 + 20_000, 127),  # a spike among many small ones
        (-12, 127 << 40, 127**2 << 40, 127),  # products beyond 64 bits
        (-12, 16 << 40, 16**2 << 40, 127),
    ]
    for change in range(-4, 4):
        # the least S with 2 S^2 >= (16 A)^2 4^d, and the one below; 2 S^2 = (16 A)^2 4^d has no solution, since the
        # square root of 2 is irrational
        wanted = (next_round.TARGETS[8] * absolute) ** 2
        least = next(s for s in _candidates(wanted, change) if 2 * s * s * 4**4 >= wanted * 4 ** (change + 4))
        cases += [(-12, absolute, least, 127), (-12, absolute, least - 1, 127)]
    sums = [next_round.TensorSums(*case[1:], LEAF) for case in cases]
    entries = [(127, 127**2, 127), (1, 1, 1), (0, 0, 0), (24, 24**2, 24), (64, 64**2, 64), (8, 8**2, 8)]
    return {
        "about": "Section 10, width 8. exponent, absolute (A), squares (S), largest (M), vote, and next if all entries "
        "vote so, one a place; the last ones lie at the thresholds. entries* are six entries of a tensor with their "
        "votes, and entriesNext is its next exponent from -20.",
        "exponent": text(case[0] for case in cases),
        "absolute": text(one.absolute for one in sums),
        "squares": text(one.squares for one in sums),
        "largest": text(one.largest for one in sums),
        "vote": text(next_round.vote(one, 8) for one in sums),
        "next": text(
            next_round.next_exponents([case[0]], [[one]], 8)[0] for case, one in zip(cases, sums, strict=True)
        ),
        "entriesAbsolute": text(one[0] for one in entries),
        "entriesSquares": text(one[1] for one in entries),
        "entriesLargest": text(one[2] for one in entries),
        "entriesVotes": text(next_round.vote(next_round.TensorSums(*one, LEAF), 8) for one in entries),
        "entriesNext": str(
            next_round.next_exponent(-20, [next_round.TensorSums(*one, LEAF) for one in entries], 8)
        ),
    }


def _candidates(wanted: int, shift: int) -> Iterable[int]:
    near = int((wanted * 4.0**shift / 2) ** 0.5)
    return range(max(near - 2, 0), near + 3)


def round_section() -> dict[str, Any]:
    """A whole small round."""
    manifest = Manifest("round", (Tensor("a", (2, 200)), Tensor("b", (10,))), {"steps": 1})
    state = State(
        state_values("round theta", manifest, 1 << 30), state_values("round momentum", manifest, 1 << 24)
    )
    genesis = Genesis.of(manifest, state, (-9, -14))
    base = state.root(manifest.hash)
    header = RoundHeader(
        1, manifest.hash, base, 1, 8, derive_seed(CHAIN_ID, LEDGER, 1, base), genesis.exponents
    )
    policy = Policy("multi_krum", (1, 2), 1 << 40, 1, 8, 8, 700, 900, 60, 60, 60, 0, 0, 0)
    data = [update_bytes(f"round {i}", manifest, [40, 40, 44, 120, 40][i]) for i in range(5)]
    entries = []
    for i, update in enumerate(data):
        tree = merkle.update_tree(np.frombuffer(update, dtype=np.uint8))
        account = Account.from_key(keccak(f"folkmoot vector contributor {i}".encode()))
        entries.append(
            Commitment(account.address, 1, base, tree.root, tree.sum_squares, stream(f"memory {i}", 32))
        )
    updates = [MemoryUpdate(update) if i != 4 else None for i, update in enumerate(data)]
    sink = _Collect()
    outcome = rounds.compute_round(
        manifest,
        header,
        policy,
        state,
        entries,
        updates,
        coordinator=LEDGER,
        lineage=GENESIS,
        mean_sink=sink,
    )
    trees = [merkle.update_tree(np.frombuffer(update, dtype=np.uint8)) for update in data]
    private = Manifest("round", manifest.arrays, {"privacy": {"noise1024": 6369}})
    own = state.root(private.hash)
    noisy = rounds.compute_round(
        private,
        replace(header, manifest_hash=private.hash, base_state_root=own),
        policy,
        state,
        [replace(entry, base_state_root=own) for entry in entries],
        updates,
        coordinator=LEDGER,
        lineage=GENESIS,
    )
    plain = {
        "mean": outcome.mean_tree,
        "theta": outcome.theta_tree,
        "momentum": outcome.momentum_tree,
    }
    before = {"baseTheta": state.theta_tree(), "baseMomentum": state.momentum_tree()}
    return {
        "about": "Sections 3 to 11 in one: a round of five entries of three leaves under multi_krum; the last entry "
        "was not delivered. updateProof*, ordered by entry, leaf, level, and the other proofs, by leaf and level, "
        "are for every leaf. private*: the same round with privacy settings. Files are text or 0x-hex.",
        "manifest": manifest.to_json().decode(),
        "manifestHash": hexed(manifest.hash),
        "layout": hexed(manifest.layout),
        "leaves": str(manifest.leaves),
        "depth": str(manifest.depth),
        "genesis": genesis.to_json().decode(),
        "genesisHash": hexed(genesis.hash),
        "rule": hexed(policy.rule_bytes),
        "parameters": text(policy.parameters),
        "meanScale": str(policy.mean_scale),
        "rate": str(policy.rate),
        "momentum": str(policy.momentum),
        "header": hexed(header.encoded),
        "headerHash": hexed(header.hash),
        "exponents": text(header.exponents),
        "baseStateRoot": hexed(base),
        "baseTheta": hexes(rows(merkle.state_leaves(state.theta))),
        "baseMomentum": hexes(rows(merkle.state_leaves(state.momentum))),
        "updates": hexes(data),
        "contributors": [entry.contributor for entry in entries],
        "updateRoots": hexes(entry.update_root for entry in entries),
        "sumSquares": text(entry.sum_squares for entry in entries),
        "memoryHashes": hexes(entry.memory_hash for entry in entries),
        "commitmentHashes": hexes(entry.struct_hash for entry in entries),
        "entriesHash": hexed(commitment.entries_hash(entries)),
        "updateProofHashes": hexes(node[0] for tree in trees for i in range(3) for node in tree.proof(i)),
        "updateProofAbsolute": text(node[1] for tree in trees for i in range(3) for node in tree.proof(i)),
        "updateProofSquares": text(node[2] for tree in trees for i in range(3) for node in tree.proof(i)),
        "weights": text(outcome.weights),
        "mean": hexed(sink.data),
        "newTheta": hexes(rows(merkle.state_leaves(outcome.state.theta))),
        "newMomentum": hexes(rows(merkle.state_leaves(outcome.state.momentum))),
        **{f"{name}Root": hexed(tree.root) for name, tree in (plain | before).items()},
        **{
            f"{name}Proofs": hexes(node for i in range(3) for node in tree.proof(i))
            for name, tree in (plain | before).items()
        },
        "stateRoot": hexed(outcome.state_root),
        "delivered": str(outcome.anchor.delivered),
        "gramRoot": hexed(outcome.anchor.gram_root),
        "nextExponents": text(outcome.next_exponents),
        "privateManifest": private.to_json().decode(),
        "privateNextExponents": text(noisy.next_exponents),
        "verdicts": outcome.verdicts_file.decode(),
        "verdictHash": hexed(outcome.anchor.verdict_hash),
        "artifacts": outcome.artifacts_file.decode(),
        "artifactsHash": hexed(outcome.anchor.artifacts_hash),
        "entriesRoot": hexed(outcome.anchor.entries_root),
        "anchorHash": hexed(outcome.anchor.hash),
        "model": hexed(outcome.state.to_safetensors(manifest, 1, outcome.state_root)),
    }


class _Collect:
    """A sink that keeps what it gets."""

    def __init__(self) -> None:
        self.data = b""

    def write(self, data: bytes) -> None:
        self.data += data


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


def anchor_section() -> dict[str, Any]:
    """The anchor's hash."""
    weights = [1, 0, 3, (1 << 24)]
    roots = [stream(f"anchor {i}", 32) for i in range(6)]
    anchor = Anchor(tuple(weights), 13, *roots)
    return {
        "about": "weightsHash and anchorHash, and the anchorHash of an anchor without entries.",
        "weights": text(weights),
        "delivered": str(anchor.delivered),
        "meanRoot": hexed(roots[0]),
        "stateRoot": hexed(roots[1]),
        "gramRoot": hexed(roots[2]),
        "verdictHash": hexed(roots[3]),
        "artifactsHash": hexed(roots[4]),
        "entriesRoot": hexed(roots[5]),
        "weightsHash": hexed(anchor.weights_hash),
        "anchorHash": hexed(anchor.hash),
        "emptyAnchorHash": hexed(Anchor((), 13, *roots).hash),
    }


def vectors() -> dict[str, Any]:
    """All vectors by section."""
    return {
        "about": "Test vectors of docs/protocol.md, written by tools/make_vectors.py. Integers are decimal strings, "
        "bytes are 0x-hex, arrays hold one kind of value.",
        "fixedPoint": fixed_point_section(),
        "manifest": manifest_section(),
        "updateTree": update_tree_section(),
        "meanTree": mean_tree_section(),
        "state": state_section(),
        "header": header_section(),
        "commitment": commitment_section(),
        "places": places_section(),
        "budget": budget_section(),
        "rounding": rounding_section(),
        "encoding": encoding_section(),
        "packing": packing_section(),
        "fitting": fitting_section(),
        "gram": gram_section(),
        "gramTree": gram_tree_section(),
        "references": references_section(),
        "weights": weights_section(),
        "stages": stages_section(),
        "weightedSum": weighted_sum_section(),
        "trimmedSum": trimmed_sum_section(),
        "mean": mean_section(),
        "outerStep": outer_step_section(),
        "eagerStart": eager_start_section(),
        "exponents": exponents_section(),
        "entriesTree": entries_tree_section(),
        "anchor": anchor_section(),
        "round": round_section(),
    }


def main() -> int:
    """Write the file, or compare it."""
    parser = argparse.ArgumentParser(description="Write or check tests/vectors/protocol.json.")
    parser.add_argument("--check", action="store_true", help="fail if the file differs, write nothing")
    arguments = parser.parse_args()
    data = json.dumps(vectors(), indent=1, ensure_ascii=False) + "\n"
    if not arguments.check:
        PATH.write_text(data, encoding="utf-8")
        print(f"Wrote {PATH.name}: {len(data)} characters.")
        return 0
    if PATH.read_text(encoding="utf-8") != data:
        print(
            f"{PATH.name} is not what tools/make_vectors.py writes. Run it and look at the difference.",
            file=sys.stderr,
        )
        return 1
    print(f"{PATH.name} is up to date.")
    return 0


if __name__ == "__main__":
    sys.exit(main())

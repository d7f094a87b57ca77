# SPDX-License-Identifier: Apache-2.0
"""Sections 1, 2, 4 and 6 of docs/protocol.md: numbers, the manifest, headers and what is signed."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from eth_account import Account

from folkmoot.protocol import budget, commitment, fixed_point, places
from folkmoot.protocol.anchor import Anchor
from folkmoot.protocol.commitment import Commitment, Domain
from folkmoot.protocol.fixed_point import STATE_BOUND
from folkmoot.protocol.hashing import keccak
from folkmoot.protocol.header import RoundHeader, derive_seed
from folkmoot.protocol.manifest import Carried, Manifest, Tensor
from tools.vectors.values import CHAIN_ID, KEYS, LEDGER, bits32, hexed, hexes, stream, text


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


def anchor_section() -> dict[str, Any]:
    """The anchor's hash."""
    weights, pays = [1, 0, 3, (1 << 24)], [65536, 0, 1, 40000]
    roots = [stream(f"anchor {i}", 32) for i in range(6)]
    anchor = Anchor(tuple(weights), tuple(pays), 13, *roots)
    return {
        "about": "weightsHash, paysHash and anchorHash; the anchorHash without pays, and without entries.",
        "weights": text(weights),
        "pays": text(pays),
        "delivered": str(anchor.delivered),
        "meanRoot": hexed(roots[0]),
        "stateRoot": hexed(roots[1]),
        "gramRoot": hexed(roots[2]),
        "verdictHash": hexed(roots[3]),
        "artifactsHash": hexed(roots[4]),
        "entriesRoot": hexed(roots[5]),
        "weightsHash": hexed(anchor.weights_hash),
        "paysHash": hexed(anchor.pays_hash),
        "anchorHash": hexed(anchor.hash),
        "unpaidAnchorHash": hexed(Anchor(tuple(weights), (), 13, *roots).hash),
        "emptyAnchorHash": hexed(Anchor((), (), 13, *roots).hash),
    }

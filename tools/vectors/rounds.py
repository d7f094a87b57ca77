# SPDX-License-Identifier: Apache-2.0
"""Sections 7 to 11 of docs/protocol.md: one whole round."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from typing import Any

import numpy as np
from eth_account import Account

from folkmoot import round as rounds
from folkmoot.aggregation.lineage import GENESIS
from folkmoot.protocol import commitment, merkle
from folkmoot.protocol.commitment import Commitment
from folkmoot.protocol.genesis import Genesis
from folkmoot.protocol.hashing import keccak
from folkmoot.protocol.header import RoundHeader, derive_seed
from folkmoot.protocol.manifest import Manifest, Tensor
from folkmoot.protocol.policy import Policy
from folkmoot.protocol.state import State
from folkmoot.protocol.updates import MemoryUpdate
from tools.vectors.values import (
    CHAIN_ID,
    LEDGER,
    hexed,
    hexes,
    rows,
    state_values,
    stream,
    text,
    update_file,
)

PRIVACY = {
    "learning_rate": 0.1,
    "privacy": {
        "unit": "record", "adjacency": "add-remove", "noise1024": 6369, "steps": 40, "B0": 600, "clip": 1.5, "grid": 3,
        "delta": 1e-4,
    },
}  # fmt: skip
"""Training settings of the private round."""


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
    data = [update_file(f"round {i}", manifest, [40, 40, 44, 120, 40][i]) for i in range(5)]
    entries = []
    for i, update in enumerate(data):
        tree = merkle.update_tree(np.frombuffer(update, dtype=np.uint8))
        account = Account.from_key(keccak(f"folkmoot vector contributor {i}".encode()))
        entries.append(
            Commitment(account.address, 1, base, tree.root, tree.sum_squares, stream(f"memory {i}", 32))
        )
    updates = [MemoryUpdate(update) if i != 4 else None for i, update in enumerate(data)]
    sink = BytesIO()
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
    private = Manifest("round", manifest.arrays, PRIVACY)
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
        "mean": hexed(sink.getvalue()),
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

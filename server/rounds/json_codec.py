# SPDX-License-Identifier: Apache-2.0
"""Commitments and anchors as the database keeps them: JSON with the names of the wire and the contracts."""

from __future__ import annotations

from typing import Any

from folkmoot.protocol.commitment import Commitment
from folkmoot.round import Anchor


def commitment_json(commitment: Commitment) -> dict[str, str]:
    """A commitment as it is kept: the fields of the wire, without the signature."""
    return {
        "contributor": commitment.contributor,
        "round": str(commitment.round),
        "baseStateRoot": "0x" + commitment.base_state_root.hex(),
        "updateRoot": "0x" + commitment.update_root.hex(),
        "sumSquares": str(commitment.sum_squares),
        "numExamples": str(commitment.num_examples),
        "bundleHash": "0x" + commitment.bundle_hash.hex(),
    }


def commitment_of(kept: dict[str, str]) -> Commitment:
    """A commitment that was kept."""
    return Commitment(
        contributor=kept["contributor"],
        round=int(kept["round"]),
        base_state_root=bytes.fromhex(kept["baseStateRoot"][2:]),
        update_root=bytes.fromhex(kept["updateRoot"][2:]),
        sum_squares=int(kept["sumSquares"]),
        num_examples=int(kept["numExamples"]),
        bundle_hash=bytes.fromhex(kept["bundleHash"][2:]),
    )


def anchor_json(anchor: Anchor) -> dict[str, Any]:
    """An anchor as it is kept."""
    return {
        "weights": list(anchor.weights),
        "delivered": hex(anchor.delivered),
        "aggregateRoot": "0x" + anchor.aggregate_root.hex(),
        "stateRoot": "0x" + anchor.state_root.hex(),
        "gramRoot": "0x" + anchor.gram_root.hex(),
        "verdictHash": "0x" + anchor.verdict_hash.hex(),
        "artifactsHash": "0x" + anchor.artifacts_hash.hex(),
    }


def anchor_of(kept: dict[str, Any]) -> Anchor:
    """An anchor that was kept."""
    names = ("aggregateRoot", "stateRoot", "gramRoot", "verdictHash", "artifactsHash")
    aggregate, state, gram, verdict, artifacts = (bytes.fromhex(kept[name][2:]) for name in names)
    delivered = int(kept["delivered"], 16)
    return Anchor(tuple(kept["weights"]), delivered, aggregate, state, gram, verdict, artifacts)

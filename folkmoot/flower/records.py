# SPDX-License-Identifier: Apache-2.0
"""Names and forms of what travels in Flower messages; the mod and the strategy share them.

This module knows the shapes of records only: no chain, no coordinator, no key. It travels in the app bundle.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord

from folkmoot.arrays import I64
from folkmoot.errors import InputError

ROUND = "folkmoot.round"
THETA = "folkmoot.theta"
UPDATE = "folkmoot.update"
COMMITMENT = "folkmoot.commitment"
ARRAYS = "arrays"
CONFIG = "config"
METRICS = "metrics"
NUM_EXAMPLES = "num-examples"
HOME = "folkmoot-home"
"""Key of the node configuration that names the contributor's folder."""


@dataclass(frozen=True)
class RoundMessage:
    """What the coordinator says about a round. Nothing of it is to be believed unchecked."""

    round: int
    """Number of the round."""
    header: bytes
    """Encoded round header (docs/protocol.md section 4)."""
    manifest: bytes
    """Manifest, canonical JSON."""
    momentum_root: bytes
    """Root of the base's momentum: with theta's root it gives the base state root."""
    chain_id: int
    """Chain that the round is on."""
    ledger: str
    """Address of the RoundLedger."""
    bundle_hash: bytes
    """sha256 of the app bundle of the run, 32 bytes; empty if the strategy does not know it."""

    def to_record(self) -> ConfigRecord:
        """Write as the record ``folkmoot.round``."""
        return ConfigRecord(
            {
                "round": self.round,
                "header": self.header,
                "manifest": self.manifest,
                "momentum-root": self.momentum_root,
                "chain-id": self.chain_id,
                "ledger": self.ledger,
                "bundle-hash": self.bundle_hash,
            }
        )

    @classmethod
    def from_record(cls, record: ConfigRecord) -> RoundMessage:
        """Read the record ``folkmoot.round``.

        Raises:
            InputError: A field is missing or has another type.
        """
        wanted: dict[str, type] = {
            "round": int,
            "header": bytes,
            "manifest": bytes,
            "momentum-root": bytes,
            "chain-id": int,
            "ledger": str,
            "bundle-hash": bytes,
        }
        for name, kind in wanted.items():
            if not isinstance(record.get(name), kind):
                raise InputError(f"The round message has no {name} of type {kind.__name__}.")
        return cls(*(cast(Any, record[name]) for name in wanted))


def theta_record(theta: I64) -> ArrayRecord:
    """Write a base's theta, int64[256 n], as the record ``folkmoot.theta``."""
    return ArrayRecord({"theta": Array(theta)})


def theta_of(record: ArrayRecord, size: int) -> I64:
    """Read the record ``folkmoot.theta``.

    Args:
        record: The record.
        size: Number of coordinates that the manifest gives.

    Raises:
        InputError: It is not one int64 vector of that size.
    """
    array = record.get("theta")
    if array is None or len(record) != 1 or array.dtype != "int64" or tuple(array.shape) != (size,):
        raise InputError(f"The base model is not one int64 vector of {size} coordinates.")
    return array.numpy().astype(np.int64, copy=False)


def update_record(data: bytes) -> ArrayRecord:
    """Write an update file as the record ``folkmoot.update``."""
    return ArrayRecord({"update": Array(np.frombuffer(data, dtype=np.uint8))})


def update_of(record: ArrayRecord) -> bytes:
    """Read the record ``folkmoot.update``.

    Raises:
        InputError: It is not one vector of bytes.
    """
    array = record.get("update")
    if array is None or len(record) != 1 or array.dtype != "uint8" or len(array.shape) != 1:
        raise InputError("The update is not one vector of bytes.")
    return array.numpy().tobytes()

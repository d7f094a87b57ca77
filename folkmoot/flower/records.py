# SPDX-License-Identifier: Apache-2.0
"""Names and forms of what travels in Flower messages; the mod and the strategy share them.

This module knows the shapes of records only: no chain, no coordinator, no key. It travels in the app bundle.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from numpy.typing import NDArray

from folkmoot.errors import InputError
from folkmoot.protocol.arrays import I64

ROUND = "folkmoot.round"
THETA = "folkmoot.theta"
UPDATE = "folkmoot.update"
COMMITMENT = "folkmoot.commitment"
ARRAYS = "arrays"
CONFIG = "config"
METRICS = "metrics"
NUM_EXAMPLES = "num-examples"
OTHER_RELEASE = "Use the same release of Folkmoot for the coordinator and the nodes."
"""What to do about a record that has another form than this release gives it."""
_NPY = b"\x93NUMPY\x01\x00"
"""What a file of NumPy's format 1.0 begins with: the one that Flower writes (numpy.lib.format)."""
HOME = "folkmoot-home"
"""Key of the node configuration that names the contributor's folder."""
COORDINATOR = "folkmoot-coordinator"
"""Key of the run configuration that names the coordinator's URL, for an anchored app."""
RUN = "folkmoot-run"
"""Key of the run configuration that names the coordinator's run, for an anchored app; the newest one if empty."""


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
    """sha256 of the app bundle of the run, 32 bytes; empty if the relay does not know it."""
    arrays_key: str = ARRAYS
    """Where the app looks for its arrays in a message."""

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
                "arrays-key": self.arrays_key,
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
            "arrays-key": str,
        }
        for name, kind in wanted.items():
            if not isinstance(record.get(name), kind):
                raise InputError(
                    f"The round message has no {name} of type {kind.__name__}.", remedy=OTHER_RELEASE
                )
        return cls(*(cast(Any, record[name]) for name in wanted))


def pack(content: RecordDict) -> bytes:
    """Write records as bytes, to keep them in a file."""
    from flwr.common.serde import recorddict_to_proto

    return cast(bytes, recorddict_to_proto(content).SerializeToString())


def unpack(data: bytes) -> RecordDict:
    """Read what `pack` wrote."""
    from flwr.common.serde import recorddict_from_proto
    from flwr.proto.recorddict_pb2 import RecordDict as Packed

    return recorddict_from_proto(Packed.FromString(data))


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
    values = None if array is None or len(record) != 1 else _vector(array, "int64")
    if values is None or values.size != size:
        raise InputError(
            f"The base model is not one int64 vector of {size} coordinates.", remedy=OTHER_RELEASE
        )
    return values.astype(np.int64)  # what is left of the message is read-only


def update_record(data: bytes) -> ArrayRecord:
    """Write an update file as the record ``folkmoot.update``."""
    return ArrayRecord({"update": Array(np.frombuffer(data, dtype=np.uint8))})


def update_of(record: ArrayRecord) -> bytes:
    """Read the record ``folkmoot.update``.

    Raises:
        InputError: It is not one vector of bytes.
    """
    array = record.get("update")
    values = None if array is None or len(record) != 1 else _vector(array, "uint8")
    if values is None:
        raise InputError("The update is not one vector of bytes.", remedy=OTHER_RELEASE)
    return values.tobytes()


def _vector(array: Array, dtype: str) -> NDArray[Any] | None:
    """A view of a vector's values, or None if it is none of this type.

    Not by ``array.numpy()``: that one believes the header inside the bytes, which may contradict the record and
    declare more than all memory, evaluates it as a Python literal, and fails in many ways.
    """
    kind = np.dtype(dtype).newbyteorder("<")
    data = array.data
    if array.stype != "numpy.ndarray" or array.dtype != dtype or len(array.shape) != 1 or array.shape[0] < 0:
        return None
    start = len(_NPY) + 2 + int.from_bytes(data[len(_NPY) : len(_NPY) + 2], "little")
    described = f"'descr': {kind.str!r}".encode()
    if not data.startswith(_NPY) or described not in data[:start]:
        return None
    if len(data) != start + array.shape[0] * kind.itemsize:
        return None
    return np.frombuffer(data, dtype=kind, offset=start)

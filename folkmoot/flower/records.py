# SPDX-License-Identifier: Apache-2.0
"""Names and formats of the records in Flower messages, shared by the mod and the strategy.

This module only defines records: it uses no chain, coordinator or key. It is part of the app bundle.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from numpy.typing import NDArray

from folkmoot.errors import InputError
from folkmoot.protocol.arrays import I64
from folkmoot.protocol.hashing import sha256_hex
from folkmoot.protocol.manifest import CarriedFile, Files, Manifest, file_chunks

ROUND = "folkmoot.round"
THETA = "folkmoot.theta"
CARRIED = "folkmoot.carried"
UPDATE = "folkmoot.update"
COMMITMENT = "folkmoot.commitment"
ARRAYS = "arrays"
CONFIG = "config"
METRICS = "metrics"
NUM_EXAMPLES, LEGACY_EXAMPLES = "num-examples", "num_examples"
"""Name of a node's number of examples in its metrics, and its name in Flower's old interface."""
NEEDS_BASE = "needs-base"
"""Code of a node that has no keeper, so that a train message must have theta."""
NEEDS_BASE_NOW = "needs-base-now"
"""Code of a node whose keeper could not get the base of this round."""
OTHER_RELEASE = "Use the same release of Folkmoot for the coordinator and the nodes."
"""Remedy for a record in the format of another release."""
_NPY = b"\x93NUMPY\x01\x00"
"""First bytes of a file in NumPy's format 1.0, which Flower writes (numpy.lib.format)."""
HOME = "folkmoot-home"
"""Key of the node configuration that names the contributor's folder."""
COORDINATOR = "folkmoot-coordinator"
"""Key of the run configuration that names the coordinator's URL, for an anchored app."""
RUN = "folkmoot-run"
"""Key of the run configuration that names the coordinator's run, for an anchored app; the newest one if empty."""


@dataclass(frozen=True)
class RoundMessage:
    """The coordinator's data on a round. Every value must be checked."""

    round: int
    """Number of the round."""
    header: bytes
    """Encoded round header (docs/protocol.md section 4)."""
    manifest: bytes
    """Manifest, canonical JSON."""
    momentum_root: bytes
    """Root of the base's momentum. With theta's root it gives the base state root."""
    chain_id: int
    """Id of the round's chain."""
    ledger: str
    """Address of the RoundLedger."""
    bundle_hash: bytes
    """sha256 of the run's app bundle, 32 bytes; empty if unknown to the relay."""
    arrays_key: str = ARRAYS
    """Name of the record with the app's arrays in a message."""
    update_in_reply: bool = False
    """Whether the reply has the update even if the node delivers updates by HTTP, because the app reads it."""

    def to_record(self) -> ConfigRecord:
        """Return the message as the record ``folkmoot.round``."""
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
                "update-in-reply": self.update_in_reply,
            }
        )

    @classmethod
    def from_record(cls, record: ConfigRecord) -> RoundMessage:
        """Read the record ``folkmoot.round``.

        Raises:
            InputError: A field is missing or has another type.
        """
        types: dict[str, type] = {
            "round": int,
            "header": bytes,
            "manifest": bytes,
            "momentum-root": bytes,
            "chain-id": int,
            "ledger": str,
            "bundle-hash": bytes,
            "arrays-key": str,
            "update-in-reply": bool,
        }
        for name, kind in types.items():
            if not isinstance(record.get(name), kind):
                raise InputError(
                    f"The round message has no {name} of type {kind.__name__}.", remedy=OTHER_RELEASE
                )
        return cls(*(cast(Any, record[name]) for name in types))


def pack(content: RecordDict) -> bytes:
    """Encode records as bytes, to store them in a file."""
    from flwr.common.serde import recorddict_to_proto

    return cast(bytes, recorddict_to_proto(content).SerializeToString())


def unpack(data: bytes) -> RecordDict:
    """Decode the result of `pack`."""
    from flwr.common.serde import recorddict_from_proto
    from flwr.proto.recorddict_pb2 import RecordDict as Packed

    return recorddict_from_proto(Packed.FromString(data))


class ArraysOf(Mapping[str, NDArray[Any]]):
    """The arrays of an app's record. Each is made from its bytes when it is used, so that they are not all held twice.

    Args:
        record: The record.
    """

    def __init__(self, record: ArrayRecord) -> None:
        self._record = record

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self._record[name].numpy()

    def __iter__(self) -> Iterator[str]:
        return iter(self._record)

    def __len__(self) -> int:
        return len(self._record)


def theta_record(theta: I64 | None) -> ArrayRecord:
    """Return a base's theta, int64[256 n], as the record ``folkmoot.theta``; None for a node that has it itself."""
    return ArrayRecord() if theta is None else ArrayRecord({"theta": Array(theta)})


def theta_of(record: ArrayRecord, size: int) -> I64:
    """Read the record ``folkmoot.theta``.

    Args:
        record: The record.
        size: Number of coordinates in the manifest.

    Raises:
        InputError: The record is not one int64 vector of that size.
    """
    array = record.get("theta")
    values = None if array is None or len(record) != 1 else _vector(array, "int64")
    if values is None or values.size != size:
        raise InputError(
            f"The base model is not one int64 vector of {size} coordinates.", remedy=OTHER_RELEASE
        )
    return values.astype(np.int64)  # The arrays of a message are read-only.


def carried_record(manifest: Manifest, files: Files) -> ArrayRecord:
    """Return the carried files of a manifest as the record ``folkmoot.carried``, by sha256; for nodes without a keeper.

    Args:
        manifest: The manifest.
        files: Gives their values.
    """
    return ArrayRecord(
        {
            entry.sha256: Array(np.frombuffer(b"".join(file_chunks(files(entry))), dtype=np.uint8))
            for entry in manifest.files
        }
    )


def carried_of(record: ArrayRecord) -> Files:
    """Return a function that reads an array from the record ``folkmoot.carried``, and checks its hash.

    The function raises InputError if the record does not have the bytes.
    """

    def read(entry: CarriedFile) -> NDArray[Any]:
        array = record.get(entry.sha256)
        values = None if array is None else _vector(array, "uint8")
        if values is None or values.size != entry.size or sha256_hex(values.data) != entry.sha256:
            raise InputError(
                f"The message does not have the values of the array {entry.name!r}.", remedy=OTHER_RELEASE
            )
        return entry.read(values.data)

    return read


def update_record(data: bytes) -> ArrayRecord:
    """Return an update file as the record ``folkmoot.update``."""
    return ArrayRecord({"update": Array(np.frombuffer(data, dtype=np.uint8))})


def update_of(record: ArrayRecord) -> bytes:
    """Read the record ``folkmoot.update``.

    Raises:
        InputError: The record is not one vector of bytes.
    """
    array = record.get("update")
    values = None if array is None or len(record) != 1 else _vector(array, "uint8")
    if values is None:
        raise InputError("The update is not one vector of bytes.", remedy=OTHER_RELEASE)
    return values.tobytes()


def _vector(array: Array, dtype: str) -> NDArray[Any] | None:
    """Return a view of a vector's values; None if the array is not a vector of this type.

    Does not use ``array.numpy()``, which trusts the header inside the bytes. That header may contradict the record,
    declare more than the available memory, is evaluated as a Python literal, and fails in many ways.
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

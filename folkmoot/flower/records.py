# SPDX-License-Identifier: Apache-2.0
"""Names and formats of the records in Flower messages, shared by the mod and the strategy.

This module only defines records: it uses no chain, coordinator or key. It is part of the app bundle.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from flwr.app import ArrayRecord, ConfigRecord
from numpy.typing import NDArray

from folkmoot.errors import FolkmootError, InputError

ROUND = "folkmoot.round"
COMMITMENT = "folkmoot.commitment"
ARRAYS = "arrays"
CONFIG = "config"
METRICS = "metrics"
NUM_EXAMPLES, LEGACY_EXAMPLES = "num-examples", "num_examples"
"""Name of a node's number of examples in its metrics, and its name in Flower's old interface."""
OTHER_RELEASE = "Use the same release of Folkmoot for the coordinator and the nodes."
"""Remedy for a record in the format of another release."""
COORDINATOR = "folkmoot-coordinator"
"""Key of the run configuration that names the coordinator's URL, for an anchored app."""
RUN = "folkmoot-run"
"""Key of the run configuration that names the coordinator's run, for an anchored app; the newest one if empty."""
UNTRAINED = (
    "Nothing was trained. If it happens again, tell the coordinator's operator and the other contributors."
)
"""Remedy for a round that differs from the round on the chain."""


class RefusedError(FolkmootError):
    """This node refuses a train message. The error's message may be sent to the coordinator."""

    default_code = "refused"


class NoPlaceError(RefusedError):
    """The round takes no update of this account, and nothing is wrong: the account takes part in later rounds."""

    default_code = "no-place"


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
    """Name of the record with the app's arrays. In a message it is empty: the node gets theta from its keeper."""

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
        }
        for name, kind in types.items():
            if not isinstance(record.get(name), kind):
                raise InputError(
                    f"The round message has no {name} of type {kind.__name__}.", remedy=OTHER_RELEASE
                )
        return cls(*(cast(Any, record[name]) for name in types))


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

# SPDX-License-Identifier: Apache-2.0
"""The version of another federation with whose state a federation starts (docs/protocol.md section 2.3)."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import Any

from eth_utils.address import to_checksum_address

from folkmoot.errors import InputError
from folkmoot.protocol.hashing import json_name

_HASH = re.compile("0x[0-9a-f]{64}")
_ADDRESS = re.compile("0x[0-9a-fA-F]{40}")


@dataclass(frozen=True, slots=True)
class Parent:
    """A version of a federation, and the place on its chain where it is for good.

    The first state of the child has the root `state_root` with the parent's `manifest_hash`; with its own manifest it
    has another root.
    """

    chain_id: int
    """EIP-155 id of the parent's chain."""
    ledger: str
    """RoundLedger of the parent, checksummed. It names the parent's other contracts."""
    version: int
    """Number of the version."""
    manifest_hash: bytes
    """Hash of the parent's manifest, 32 bytes."""
    state_root: bytes
    """State root of the version in the parent's registry, 32 bytes."""
    block: int
    """Number of the block in which the registry took the version."""
    block_hash: bytes
    """Hash of that block, 32 bytes."""

    def __str__(self) -> str:
        return f"version {self.version} of the ledger {self.ledger} on chain {self.chain_id}"

    def to_json(self) -> dict[str, Any]:
        """Return it as the JSON object that the manifest and the deployment file have."""
        values = {json_name(field.name): getattr(self, field.name) for field in fields(self)}
        return {
            name: f"0x{value.hex()}" if isinstance(value, bytes) else value for name, value in values.items()
        }

    @classmethod
    def from_json(cls, value: Any) -> Parent:
        """Read what `to_json` returns.

        Raises:
            InputError: A field is missing, unknown, or has an impossible value.
        """
        names = {json_name(field.name): field for field in fields(cls)}
        if not isinstance(value, dict) or set(value) != set(names):
            raise InputError(f"The parent has not exactly the fields {', '.join(names)}.")
        read: dict[str, Any] = {}
        for name, field in names.items():
            given = value[name]
            if field.type == "int":
                good = type(given) is int and 0 <= given < 1 << 64
            elif field.type == "bytes":
                good = isinstance(given, str) and bool(_HASH.fullmatch(given))
            else:
                good = isinstance(given, str) and bool(_ADDRESS.fullmatch(given))
                good = good and given == to_checksum_address(given)
            if not good:
                raise InputError(f"The parent has the {name} {given!r:.80}.")
            read[field.name] = bytes.fromhex(given[2:]) if field.type == "bytes" else given
        return cls(**read)

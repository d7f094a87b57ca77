# SPDX-License-Identifier: Apache-2.0
"""What a coordinator anchors of a round, and its hash (docs/protocol.md section 12). Pure data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from folkmoot.protocol.hashing import HASH_BYTES, keccak

NO_GRAM_ROOT = bytes(HASH_BYTES)
"""The Gram root of a rule that is not proven by one."""

_ROOTS = ("meanRoot", "stateRoot", "gramRoot", "verdictHash", "artifactsHash", "entriesRoot")


@dataclass(frozen=True)
class Anchor:
    """What the coordinator claims about a round: the Solidity struct."""

    weights: tuple[int, ...]
    """One weight an entry, uint32 each."""
    pays: tuple[int, ...]
    """One pay an entry, from 0 to FULL_PAY, uint32 each; empty under a rule without pays."""
    delivered: int
    """One bit an entry, the lowest for the first: whether its update arrived as it was committed to."""
    mean_root: bytes
    """Root of the mean's tree, 32 bytes."""
    state_root: bytes
    """State root after the outer step, 32 bytes."""
    gram_root: bytes
    """Root of the Gram tree where the policy's rule can be proven by it, else zeros; 32 bytes."""
    verdict_hash: bytes
    """Keccak of the verdicts file, 32 bytes."""
    artifacts_hash: bytes
    """Keccak of the artifacts file, 32 bytes."""
    entries_root: bytes
    """Root of the tree over the entries and their weights, 32 bytes."""

    def abi_tuple(self) -> tuple[list[int], list[int], int, bytes, bytes, bytes, bytes, bytes, bytes]:
        """The fields in the order of the Solidity struct."""
        return (list(self.weights), list(self.pays), self.delivered, *self._roots)

    def to_json(self) -> dict[str, Any]:
        """The fields in the names of the Solidity struct: roots in 0x-hex, the bits of ``delivered`` too."""
        return {
            "weights": list(self.weights),
            "pays": list(self.pays),
            "delivered": hex(self.delivered),
            **{name: "0x" + root.hex() for name, root in zip(_ROOTS, self._roots, strict=True)},
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Anchor:
        """Read what ``to_json`` wrote; what strangers wrote does not come here."""
        roots = (bytes.fromhex(value[name][2:]) for name in _ROOTS)
        return cls(tuple(value["weights"]), tuple(value["pays"]), int(value["delivered"], 16), *roots)

    @property
    def weights_hash(self) -> bytes:
        """Keccak of the weights, a word of 32 bytes each."""
        return _list_hash(self.weights)

    @property
    def pays_hash(self) -> bytes:
        """Keccak of the pays, a word of 32 bytes each."""
        return _list_hash(self.pays)

    @property
    def words(self) -> tuple[bytes, ...]:
        """What ``anchorHash`` is the hash of: nine words, the first of them ``weights_hash`` and ``pays_hash``."""
        return (self.weights_hash, self.pays_hash, self.delivered.to_bytes(HASH_BYTES, "big"), *self._roots)

    @property
    def hash(self) -> bytes:
        """``anchorHash``, 32 bytes."""
        return keccak(*self.words)

    @property
    def _roots(self) -> tuple[bytes, bytes, bytes, bytes, bytes, bytes]:
        return (
            self.mean_root,
            self.state_root,
            self.gram_root,
            self.verdict_hash,
            self.artifacts_hash,
            self.entries_root,
        )


def _list_hash(numbers: Sequence[int]) -> bytes:
    return keccak(*(number.to_bytes(HASH_BYTES, "big") for number in numbers))

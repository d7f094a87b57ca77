# SPDX-License-Identifier: Apache-2.0
"""How the ledger packs commitments: in a batch that is sent, and in the event of what it recorded.

docs/protocol.md section 6. An entry of an event has 92 bytes: 20 of `contributor`, 32 of `updateRoot`, 8 of
`sumSquares` and 32 of `memoryHash`, numbers big-endian. An entry of a batch has the same and a compact signature
(ERC-2098) of 64 bytes. Round, base and bundle are the same for all entries.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from eth_utils.address import to_checksum_address

from folkmoot.errors import InputError
from folkmoot.protocol.commitment import Commitment, canonical_address

LISTED_BYTES = 92
"""Bytes of an entry of an event."""
ENTRY_BYTES = 156
"""Bytes of an entry of a batch."""


@dataclass(frozen=True, slots=True)
class Listed:
    """What an entry says of its commitment; the rest is the batch's."""

    contributor: str
    """Account that commits, with its checksum."""
    update_root: bytes
    """Root of the update's Merkle-sum tree, 32 bytes."""
    sum_squares: int
    """Sum of squares of the update's integers, a uint64."""
    memory_hash: bytes
    """Hash of the contributor's memory, 32 bytes; zero if none."""

    def commitment(self, round_: int, base_state_root: bytes, bundle_hash: bytes) -> Commitment:
        """Return the whole commitment.

        Args:
            round_: Round of the batch.
            base_state_root: State root of the round's base, 32 bytes.
            bundle_hash: Bundle of the batch, 32 bytes.
        """
        hashes = self.memory_hash, bundle_hash
        return Commitment(
            self.contributor, round_, base_state_root, self.update_root, self.sum_squares, *hashes
        )


def pack_entry(commitment: Commitment) -> bytes:
    """Pack what an event has of a commitment: `LISTED_BYTES` bytes."""
    return (
        canonical_address(commitment.contributor)
        + commitment.update_root
        + commitment.sum_squares.to_bytes(8, "big")
        + commitment.memory_hash
    )


def pack_batch(commitments: Sequence[Commitment], signatures: Sequence[bytes]) -> bytes:
    """Pack signed commitments of one round, base and bundle for `commitUpdates`.

    Args:
        commitments: The commitments, in the order of the entries.
        signatures: The contributors' signatures of 65 bytes each, as `Commitment.sign` makes them.

    Raises:
        InputError: A signature is not of 65 bytes that end with 27 or 28, or the lists differ in length.
    """
    if len(commitments) != len(signatures):
        raise InputError(f"There are {len(commitments)} commitments and {len(signatures)} signatures.")
    pairs = zip(commitments, signatures, strict=True)
    return b"".join(pack_entry(commitment) + _compact(signature) for commitment, signature in pairs)


def read_entries(data: bytes) -> Iterator[Listed]:
    """Read the entries of an event.

    Raises:
        InputError: The data are not a whole number of entries.
    """
    for entry in _parts(data, LISTED_BYTES):
        yield _listed(entry)


def read_batch(data: bytes) -> Iterator[tuple[Listed, bytes]]:
    """Read the entries of a batch, each with its signature of 65 bytes.

    Raises:
        InputError: The data are not a whole number of entries.
    """
    for entry in _parts(data, ENTRY_BYTES):
        yield _listed(entry), _whole(entry[LISTED_BYTES:])


def require_whole(data: bytes, size: int) -> None:
    """Raise InputError unless the data are a whole number of entries of this size."""
    if len(data) % size:
        raise InputError(f"Entries of commitments have {len(data)} bytes, and each of them has {size}.")


def _parts(data: bytes, size: int) -> list[bytes]:
    require_whole(data, size)
    return [data[start : start + size] for start in range(0, len(data), size)]


def _listed(entry: bytes) -> Listed:
    sum_squares = int.from_bytes(entry[52:60], "big")
    return Listed(str(to_checksum_address(entry[:20])), entry[20:52], sum_squares, entry[60:LISTED_BYTES])


def _compact(signature: bytes) -> bytes:
    if len(signature) != 65 or signature[64] not in (27, 28) or signature[32] >> 7:
        raise InputError(
            "A signature does not fit a batch: it is not of 65 bytes that end with 27 or 28, with s in the lower half.",
            remedy="Send the commitment of a contract with `commitUpdateFor`.",
        )
    return signature[:32] + bytes([signature[32] | (signature[64] - 27) << 7]) + signature[33:64]


def _whole(compact: bytes) -> bytes:
    parity = compact[32] >> 7
    return compact[:32] + bytes([compact[32] & 0x7F]) + compact[33:] + bytes([27 + parity])

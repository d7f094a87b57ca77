# SPDX-License-Identifier: Apache-2.0
"""The round header: all that everybody knows of a round before training (docs/protocol.md section 4).

This module knows formats only; ``folkmoot.audit`` checks whether a header is the right one for a round.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError
from eth_utils.address import to_canonical_address

from folkmoot.errors import InputError
from folkmoot.protocol.hashing import HASH_BYTES, keccak

MIN_EXPONENT = -40
MAX_EXPONENT = 4

_TYPES = ("uint64", "bytes32", "bytes32", "uint32", "uint8", "bytes32", "bytes")
_SEED = b"\x11"


@dataclass(frozen=True)
class RoundHeader:
    """What a round is about. Its hash is on chain from the round's opening.

    Raises:
        InputError: On construction, when a field is out of its range.
    """

    round: int
    """Number of the round, a uint64."""
    manifest_hash: bytes
    """32 bytes."""
    base_state_root: bytes
    """State root that contributors train from, 32 bytes."""
    policy_id: int
    """Policy that the round pins, a uint32."""
    width: int
    """Bits of an encoded coordinate."""
    seed: bytes
    """Seed of the stochastic rounding, 32 bytes; see ``derive_seed``."""
    exponents: tuple[int, ...]
    """One power of two a tensor, MIN_EXPONENT to MAX_EXPONENT: a coordinate is worth ``q * 2^e``."""

    def __post_init__(self) -> None:
        if not 0 <= self.round < 1 << 64 or not 0 <= self.policy_id < 1 << 32 or not 0 <= self.width < 1 << 8:
            raise InputError("The round, policy or width of the header do not fit their integer types.")
        if any(len(value) != HASH_BYTES for value in (self.manifest_hash, self.base_state_root, self.seed)):
            raise InputError("A hash in the header has not 32 bytes.")
        check_exponents(self.exponents)

    @cached_property
    def encoded(self) -> bytes:
        """``RoundHeader``: the ABI encoding that is hashed and published."""
        return encode(
            _TYPES,
            (
                self.round,
                self.manifest_hash,
                self.base_state_root,
                self.policy_id,
                self.width,
                self.seed,
                encode_exponents(self.exponents),
            ),
        )

    @cached_property
    def hash(self) -> bytes:
        """``headerHash``, 32 bytes."""
        return keccak(self.encoded)

    @classmethod
    def derive(
        cls,
        chain_id: int,
        ledger: str,
        manifest_hash: bytes,
        round_number: int,
        base_state_root: bytes,
        policy_id: int,
        width: int,
        exponents: tuple[int, ...],
    ) -> RoundHeader:
        """Return the header that a round must have.

        Args:
            chain_id: The chain's id.
            ledger: Address of the RoundLedger.
            manifest_hash: 32 bytes.
            round_number: Number of the round.
            base_state_root: 32 bytes.
            policy_id: Number of the round's policy.
            width: Bits of a coordinate in the round's updates.
            exponents: Exponents that the round's base left, one a tensor.
        """
        seed = derive_seed(chain_id, ledger, round_number, base_state_root)
        return cls(round_number, manifest_hash, base_state_root, policy_id, width, seed, exponents)

    @classmethod
    def decode(cls, data: bytes) -> RoundHeader:
        """Read an encoded header.

        Raises:
            InputError: The bytes are not the encoding of a header, to the last byte.
        """
        try:
            values: tuple[Any, ...] = decode(_TYPES, data)
        except (DecodingError, ValueError, OverflowError) as error:
            raise InputError(f"The round header can't be decoded: {error}") from error
        number, manifest_hash, base_state_root, policy_id, width, seed, exponents = values
        header = cls(
            number, manifest_hash, base_state_root, policy_id, width, seed, decode_exponents(exponents)
        )
        if header.encoded != data:
            raise InputError("The round header is not in the one form that the ABI gives it.")
        return header


def check_exponents(exponents: Sequence[int]) -> None:
    """Raise InputError unless every exponent is in range."""
    for exponent in exponents:
        if not MIN_EXPONENT <= exponent <= MAX_EXPONENT:
            raise InputError(f"The exponent {exponent} is not between {MIN_EXPONENT} and {MAX_EXPONENT}.")


def encode_exponents(exponents: Sequence[int]) -> bytes:
    """Write exponents as one two's complement byte each."""
    return b"".join(exponent.to_bytes(1, "big", signed=True) for exponent in exponents)


def decode_exponents(data: bytes) -> tuple[int, ...]:
    """Read exponents from one two's complement byte each."""
    return tuple(byte - 256 if byte > 127 else byte for byte in data)


def derive_seed(chain_id: int, ledger: str | bytes, round_number: int, base_state_root: bytes) -> bytes:
    """Seed of a round, 32 bytes: everybody can derive it, and nobody chooses it.

    Args:
        chain_id: The chain's id.
        ledger: Address of the RoundLedger.
        round_number: Number of the round.
        base_state_root: 32 bytes.
    """
    return keccak(
        _SEED,
        chain_id.to_bytes(32, "big"),
        to_canonical_address(ledger),
        round_number.to_bytes(8, "big"),
        base_state_root,
    )

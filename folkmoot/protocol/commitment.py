# SPDX-License-Identifier: Apache-2.0
"""What a contributor signs, and how entries are folded into one hash (docs/protocol.md section 6).

Signatures are EIP-712 and are accepted exactly where the ledger accepts them: 65 bytes, v of 27 or 28, s in
the lower half (EIP-2), so that a signature which passes here can't make a batch revert on chain. A
contributor that is a contract (ERC-1271) can't be checked here: only the chain can. This module knows nothing
of what an update holds.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from eth_abi.abi import encode
from eth_account.messages import SignableMessage
from eth_account.signers.local import LocalAccount
from eth_utils.address import to_canonical_address, to_checksum_address

from folkmoot.errors import InputError, UpdateRefused
from folkmoot.protocol.hashing import HASH_BYTES, keccak
from folkmoot.protocol.signatures import recover

# eth_account brings py_ecc, which raises Python's recursion limit to 100,000. With that, JSON of some 100,000
# brackets from a stranger would overflow the C stack and kill the process instead of raising RecursionError.
RECURSION_LIMIT = 1_000
if sys.getrecursionlimit() >= 100_000:
    sys.setrecursionlimit(RECURSION_LIMIT)

COMMITMENT_TYPE = (
    "Commitment(address contributor,uint64 round,bytes32 baseStateRoot,bytes32 updateRoot,"
    "uint64 sumSquares,bytes32 memoryHash,bytes32 bundleHash)"
)
COMMITMENT_TYPEHASH = keccak(COMMITMENT_TYPE.encode())
DOMAIN_NAME = "Folkmoot"
DOMAIN_VERSION = "2"
NO_BUNDLE = bytes(HASH_BYTES)
"""``bundleHash`` of a contributor that ran no Flower App Bundle."""
NO_MEMORY = bytes(HASH_BYTES)
"""``memoryHash`` of a contributor whose training keeps nothing from round to round."""

_DOMAIN_TYPEHASH = keccak(
    b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
)
_JSON_NAMES = (
    "contributor", "round", "baseStateRoot", "updateRoot", "sumSquares", "memoryHash", "bundleHash"
)  # fmt: skip
_ADDRESS = re.compile("0x[0-9a-fA-F]{40}")


@dataclass(frozen=True)
class Domain:
    """The EIP-712 domain: a signature is for one ledger on one chain.

    Raises:
        InputError: On construction, when the address is none.
    """

    chain_id: int
    """The chain's id."""
    verifying_contract: str
    """Address of the RoundLedger; kept with its checksum."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "verifying_contract", checksum_address(self.verifying_contract))

    @cached_property
    def separator(self) -> bytes:
        """Domain separator, 32 bytes."""
        name, version = keccak(DOMAIN_NAME.encode()), keccak(DOMAIN_VERSION.encode())
        return keccak(
            encode(
                ("bytes32", "bytes32", "bytes32", "uint256", "address"),
                (_DOMAIN_TYPEHASH, name, version, self.chain_id, self.verifying_contract),
            )
        )


@dataclass(frozen=True)
class Commitment:
    """One contributor's word for one update in one round.

    Raises:
        InputError: On construction, when a field is out of its range.
    """

    contributor: str
    """Account that commits; kept with its checksum."""
    round: int
    """Round that the update is for, a uint64."""
    base_state_root: bytes
    """State root that the contributor trained from, 32 bytes."""
    update_root: bytes
    """Root of the update's Merkle-sum tree, 32 bytes."""
    sum_squares: int
    """Sum of squares of the update's integers, a uint64."""
    memory_hash: bytes = NO_MEMORY
    """Hash of what the contributor's training keeps from round to round, 32 bytes; zero if none. Only the contributor
    can check it."""
    bundle_hash: bytes = NO_BUNDLE
    """sha256 of the Flower App Bundle that ran, 32 bytes; zero if none."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "contributor", checksum_address(self.contributor))
        for name, bits in (("round", 64), ("sum_squares", 64)):
            value = getattr(self, name)
            if not 0 <= value < 1 << bits:
                raise InputError(f"The commitment's {name} is {value}, which is no uint{bits}.")
        for name in ("base_state_root", "update_root", "memory_hash", "bundle_hash"):
            if len(getattr(self, name)) != HASH_BYTES:
                raise InputError(f"The commitment's {name} has not 32 bytes.")

    def abi_tuple(self) -> tuple[str, int, bytes, bytes, int, bytes, bytes]:
        """The fields in the order of the Solidity struct."""
        return (
            self.contributor,
            self.round,
            self.base_state_root,
            self.update_root,
            self.sum_squares,
            self.memory_hash,
            self.bundle_hash,
        )

    @cached_property
    def struct_hash(self) -> bytes:
        """EIP-712 struct hash, ``commitmentHash``, 32 bytes."""
        return keccak(
            encode(
                ("bytes32", "address", "uint64", "bytes32", "bytes32", "uint64", "bytes32", "bytes32"),
                (COMMITMENT_TYPEHASH, *self.abi_tuple()),
            )
        )

    def digest(self, domain: Domain) -> bytes:
        """EIP-712 digest, 32 bytes: what is signed."""
        return keccak(b"\x19\x01", domain.separator, self.struct_hash)

    def sign(self, account: LocalAccount, domain: Domain) -> bytes:
        """Sign as the contributor; return 65 bytes ``r || s || v``.

        Raises:
            InputError: The account is not the commitment's contributor.
        """
        if account.address != self.contributor:
            raise InputError(f"{account.address} can't sign a commitment of {self.contributor}.")
        return bytes(account.sign_message(self._message(domain)).signature)

    def recover(self, signature: bytes, domain: Domain) -> str:
        """Checksummed address of the account that signed.

        Raises:
            UpdateRefused: ``invalid-signature``: not a signature that the ledger would accept.
        """
        try:
            return recover(self._message(domain), signature)
        except ValueError as error:
            raise _refuse(f"The signature is not valid: {error}.") from error

    def check_signature(self, signature: bytes, domain: Domain) -> None:
        """Raise UpdateRefused (``invalid-signature``) unless the contributor signed."""
        signer = self.recover(signature, domain)
        if signer != self.contributor:
            raise _refuse(f"The signature is of {signer}, the commitment of {self.contributor}.")

    def to_json(self) -> dict[str, str]:
        """The fields in the names of the wire: hashes in 0x-hex, integers as decimal strings."""
        return {
            "contributor": self.contributor,
            "round": str(self.round),
            "baseStateRoot": "0x" + self.base_state_root.hex(),
            "updateRoot": "0x" + self.update_root.hex(),
            "sumSquares": str(self.sum_squares),
            "memoryHash": "0x" + self.memory_hash.hex(),
            "bundleHash": "0x" + self.bundle_hash.hex(),
        }

    @classmethod
    def from_json(cls, value: Any) -> Commitment:
        """Read what ``to_json`` wrote.

        Raises:
            InputError: A field is missing, unknown or malformed.
        """
        if not isinstance(value, dict) or set(value) != set(_JSON_NAMES):
            raise InputError(f"A commitment has exactly the fields {', '.join(_JSON_NAMES)}.")
        if not all(isinstance(field, str) for field in value.values()):
            raise InputError("All fields of a commitment are strings.")
        try:
            return cls(
                contributor=value["contributor"],
                round=int(value["round"]),
                base_state_root=bytes.fromhex(value["baseStateRoot"].removeprefix("0x")),
                update_root=bytes.fromhex(value["updateRoot"].removeprefix("0x")),
                sum_squares=int(value["sumSquares"]),
                memory_hash=bytes.fromhex(value["memoryHash"].removeprefix("0x")),
                bundle_hash=bytes.fromhex(value["bundleHash"].removeprefix("0x")),
            )
        except ValueError as error:
            raise InputError(f"The commitment can't be read: {error}") from error

    def _message(self, domain: Domain) -> SignableMessage:
        return SignableMessage(b"\x01", domain.separator, self.struct_hash)


def fold_entry(entries_hash: bytes, contributor: str, commitment_hash: bytes) -> bytes:
    """Add one entry to the rolling hash of a round's entries (32 bytes each)."""
    return keccak(encode(("bytes32", "address", "bytes32"), (entries_hash, contributor, commitment_hash)))


def entries_hash(commitments: Iterable[Commitment]) -> bytes:
    """``entriesHash`` of a round's commitments in entry order, 32 bytes; zero without entries."""
    value = bytes(HASH_BYTES)
    for commitment in commitments:
        value = fold_entry(value, commitment.contributor, commitment.struct_hash)
    return value


def checksum_address(address: str) -> str:
    """Write an address with its EIP-55 checksum.

    Raises:
        InputError: It is no address of 0x and 40 hex digits, or it has a checksum and that is wrong.
    """
    if not _ADDRESS.fullmatch(str(address)):  # what was read from JSON may be anything
        raise InputError(f"{address!r} is no Ethereum address.")
    checked = to_checksum_address(address)
    if address[2:] not in (checked[2:], checked[2:].lower(), checked[2:].upper()):
        raise InputError(
            f"The checksum of the address {address} is wrong.", remedy="Look for a typing error."
        )
    return checked


def canonical_address(address: str) -> bytes:
    """The 20 bytes of an address.

    Raises:
        InputError: It is no address, or its checksum is wrong.
    """
    return bytes(to_canonical_address(checksum_address(address)))


def _refuse(message: str) -> UpdateRefused:
    return UpdateRefused(message, remedy="Sign with the contributor's own key.", code="invalid-signature")

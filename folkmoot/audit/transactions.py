# SPDX-License-Identifier: Apache-2.0
"""Verify transactions: the endpoint's answer must have the requested hash.

The transaction is encoded again from the fields in the answer (EIP-2718, EIP-155) and hashed, and its sender is
recovered from its signature. So an endpoint can't forge transactions, not even a commitment that its contributor sent
without a further signature.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from eth_keys.datatypes import Signature
from eth_keys.exceptions import BadSignature
from eth_utils.address import to_checksum_address
from eth_utils.exceptions import ValidationError

from folkmoot.audit.failure import Subject, mismatch
from folkmoot.protocol.hashing import keccak

_CHECK = "transactions"
_FIELDS: Mapping[int, tuple[str, ...]] = {
    0: ("nonce", "gasPrice", "gas", "to", "value", "input"),
    1: ("chainId", "nonce", "gasPrice", "gas", "to", "value", "input", "accessList"),
    2: (
        *("chainId", "nonce", "maxPriorityFeePerGas", "maxFeePerGas", "gas", "to", "value", "input"),
        "accessList",
    ),
    4: (
        *("chainId", "nonce", "maxPriorityFeePerGas", "maxFeePerGas", "gas", "to", "value", "input"),
        *("accessList", "authorizationList"),
    ),
}
"""Signed fields of each type of transaction: legacy, EIP-2930, EIP-1559, EIP-7702."""
_BYTES = frozenset({"to", "input", "address", "storageKeys"})
_EIP155 = 35

Item = bytes | list["Item"]
"""A value that RLP can encode."""


@dataclass(frozen=True, slots=True)
class Transaction:
    """A transaction."""

    hash: bytes
    """Hash of the transaction, 32 bytes."""
    sender: str
    """Account that signed it."""
    to: str | None
    """Account that it called; None if it created a contract."""
    nonce: int
    """Nonce of the sender."""
    input: bytes
    """Call data, or the creation code with its arguments."""
    proven: bool = True
    """Whether hash and sender were recomputed. False for types that only some chains have."""


def read_answer(hash_: bytes, answer: Mapping[str, Any]) -> Transaction:
    """Decode an endpoint's answer for a transaction.

    Args:
        hash_: The requested hash, 32 bytes.
        answer: The result of `eth_getTransactionByHash`.

    Raises:
        AuditFailure: The transaction has another hash, or another sender.
        KeyError, TypeError, ValueError: The answer is not a transaction.
    """
    kind = _number(answer.get("type") or "0x0")
    sender = str(to_checksum_address(answer["from"]))
    if kind in _FIELDS:
        signed = [_item(name, answer.get(name)) for name in _FIELDS[kind]]
        _prove(hash_, kind, signed, answer, sender)
    return Transaction(
        hash_,
        sender,
        str(to_checksum_address(answer["to"])) if answer["to"] else None,
        _number(answer["nonce"]),
        _bytes(answer["input"]),
        kind in _FIELDS,
    )


def rlp(item: Item) -> bytes:
    """Encode bytes and lists of them (recursive-length prefix)."""
    if isinstance(item, bytes):
        if len(item) == 1 and item[0] < 0x80:
            return item
        return _length(len(item), 0x80) + item
    body = b"".join(map(rlp, item))
    return _length(len(body), 0xC0) + body


def _prove(hash_: bytes, kind: int, signed: list[Item], answer: Mapping[str, Any], sender: str) -> None:
    about = Subject(check=_CHECK)
    v, r, s = _number(answer["v"]), _number(answer["r"]), _number(answer["s"])
    prefix = bytes([kind]) if kind else b""
    actual = keccak(prefix, rlp([*signed, *map(_minimal, (v, r, s))]))
    if actual != hash_:
        raise mismatch(
            about, f"the transaction 0x{hash_.hex()}", hash_, f"a transaction with the hash 0x{actual.hex()}"
        )
    parity = v
    if kind == 0:
        parity = (v - _EIP155) % 2 if v >= _EIP155 else v - 27
        if v >= _EIP155:
            signed = [*signed, _minimal((v - _EIP155) // 2), b"", b""]
    try:
        key = Signature(vrs=(parity, r, s)).recover_public_key_from_msg_hash(keccak(prefix, rlp(signed)))
    except (BadSignature, ValidationError) as error:
        raise mismatch(
            about, f"the signature of transaction 0x{hash_.hex()}", "a signature", str(error)
        ) from error
    if key.to_checksum_address() != sender:
        what = f"the sender of transaction 0x{hash_.hex()}"
        raise mismatch(about, what, key.to_checksum_address(), sender)


def _item(name: str, value: Any) -> Item:
    if name == "accessList":
        return [[_bytes(entry["address"]), list(map(_bytes, entry["storageKeys"]))] for entry in value or []]
    if name == "authorizationList":
        return [
            [_item(part, entry[part]) for part in ("chainId", "address", "nonce", "yParity", "r", "s")]
            for entry in value
        ]
    if name in _BYTES:
        return _bytes(value) if value else b""
    return _minimal(_number(value))


def _minimal(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8, "big")


def _length(length: int, offset: int) -> bytes:
    if length < 56:
        return bytes([offset + length])
    size = _minimal(length)
    return bytes([offset + 55 + len(size)]) + size


def _number(value: str) -> int:
    return int(value, 16)


def _bytes(value: str) -> bytes:
    return bytes.fromhex(value[2:])

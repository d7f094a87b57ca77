# SPDX-License-Identifier: Apache-2.0
"""A contributor's signed wish that its update files are deleted (docs/protocol.md section 12.3).

A wish is for the rounds up to a number. It can't be taken back, and deletes no file before nothing on the chain can
need it. This module knows no chain: whether a contract accepts a signature is asked by ``folkmoot.rpc.wallets``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from eth_abi.abi import encode
from eth_account.messages import SignableMessage
from eth_account.signers.local import LocalAccount

from folkmoot.errors import InputError
from folkmoot.protocol.commitment import Domain, checksum_address
from folkmoot.protocol.hashing import canonical_json, keccak, parse_canonical_json
from folkmoot.protocol.signatures import digest, recover
from folkmoot.protocol.wallets import MAX_SIGNATURE

FORMAT = "folkmoot/deletions/1"

WISH_TYPE = "DeleteUpdates(address contributor,uint64 lastRound)"
"""EIP-712 type, in the domain of the ledger."""

_TYPEHASH = keccak(WISH_TYPE.encode())
_SIGNATURE = re.compile(f"0x(?:[0-9a-f]{{2}}){{1,{MAX_SIGNATURE}}}")


@dataclass(frozen=True)
class DeletionWish:
    """A wish of one contributor.

    Raises:
        InputError: On construction, when a value is out of its range (``invalid-wish``).
    """

    contributor: str
    """Account whose update files are meant; kept with its checksum."""
    last_round: int
    """The files of rounds up to this one are meant, 1 to 2^53 - 1."""
    signature: bytes = b""
    """Signature of the account's key, or one that the account's contract accepts; empty until it is signed."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "contributor", checksum_address(self.contributor))
        if type(self.last_round) is not int or not 1 <= self.last_round < 1 << 53:
            raise _invalid(f"its last round is {self.last_round!r}")

    def message(self, domain: Domain) -> SignableMessage:
        """Return what is signed."""
        fields = (_TYPEHASH, self.contributor, self.last_round)
        return SignableMessage(
            b"\x01", domain.separator, keccak(encode(("bytes32", "address", "uint64"), fields))
        )

    def digest(self, domain: Domain) -> bytes:
        """Return the hash that is signed, 32 bytes."""
        return digest(self.message(domain))

    def signed(self, account: LocalAccount, domain: Domain) -> DeletionWish:
        """Return the wish with the signature of a key."""
        return replace(self, signature=bytes(account.sign_message(self.message(domain)).signature))

    def is_of_key(self, domain: Domain) -> bool:
        """Whether the contributor's key signed."""
        try:
            return recover(self.message(domain), self.signature) == self.contributor
        except ValueError:
            return False

    def to_json(self) -> dict[str, Any]:
        """Return the wish as a JSON object."""
        return {
            "contributor": self.contributor,
            "lastRound": self.last_round,
            "signature": "0x" + self.signature.hex(),
        }

    @classmethod
    def from_json(cls, value: Any) -> DeletionWish:
        """Read a JSON object; the signature is not checked.

        Raises:
            InputError: It is no wish (``invalid-wish``).
        """
        if not isinstance(value, Mapping) or set(value) != {"contributor", "lastRound", "signature"}:
            raise _invalid("its fields are not contributor, lastRound and signature")
        account, signature = value["contributor"], value["signature"]
        if not isinstance(account, str) or not isinstance(signature, str):
            raise _invalid("its contributor and its signature are not texts")
        if not _SIGNATURE.fullmatch(signature):
            raise _invalid(f"its signature is not 0x and hex digits of 1 to {MAX_SIGNATURE} bytes")
        try:
            return cls(account, value["lastRound"], bytes.fromhex(signature[2:]))
        except InputError as error:
            raise _invalid(error.message.rstrip(".")) from error


def to_file(wishes: Iterable[DeletionWish]) -> bytes:
    """Return the list of wishes: canonical JSON, one wish an account, ascending by account."""
    rows = sorted((wish.to_json() for wish in wishes), key=lambda row: str(row["contributor"]))
    return canonical_json({"format": FORMAT, "wishes": rows})


def from_file(data: bytes) -> tuple[DeletionWish, ...]:
    """Read a list of wishes; signatures are not checked.

    Raises:
        InputError: It is no list of wishes (``invalid-wish``).
    """
    try:
        value = parse_canonical_json(data)
    except InputError as error:
        raise _invalid(error.message.rstrip(".")) from error
    if not isinstance(value, dict) or value.get("format") != FORMAT or set(value) != {"format", "wishes"}:
        raise _invalid(f"the list is not of the format {FORMAT}")
    if not isinstance(value["wishes"], list):
        raise _invalid("the list has no wishes")
    wishes = tuple(DeletionWish.from_json(row) for row in value["wishes"])
    accounts = [wish.contributor for wish in wishes]
    if any(second <= first for first, second in pairwise(accounts)) or to_file(wishes) != data:
        raise _invalid(
            "the list does not have one wish an account, with its checksum and ascending by account"
        )
    return wishes


def _invalid(why: str) -> InputError:
    return InputError(
        f"The wish to delete updates can't be used: {why}.",
        remedy="Sign it with `folkmoot forget`.",
        code="invalid-wish",
    )

# SPDX-License-Identifier: Apache-2.0
"""Attestation of an audit: an auditor's signed word that rounds were recomputed (docs/protocol.md section 13.2).

It lasts longer than the update files. This module reads no chain: whoever checks an attestation compares its anchors
with those that the ledger stores.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from eth_abi.abi import encode
from eth_account.messages import SignableMessage
from eth_account.signers.local import LocalAccount

from folkmoot.errors import InputError
from folkmoot.protocol.commitment import Domain, checksum_address
from folkmoot.protocol.hashing import HASH_BYTES, canonical_json, keccak, parse_canonical_json, sha256_hex
from folkmoot.protocol.signatures import recover

FORMAT = "folkmoot/attestation/1"

_TYPEHASH = keccak(b"Attestation(bytes32 digest)")
_NAMES = {
    "format",
    "chainId",
    "ledger",
    "block",
    "blockHash",
    "recomputed",
    "expired",
    "auditor",
    "signature",
}


@dataclass(frozen=True)
class Attestation:
    """What one audit found.

    Raises:
        InputError: On construction, when a value is out of its range.
    """

    domain: Domain
    """Chain and ledger that were audited."""
    block: int
    """Number of the audited block."""
    block_hash: bytes
    """Hash of that block, 32 bytes."""
    recomputed: Mapping[int, bytes]
    """Hash of the anchor, 32 bytes, of each round that was recomputed to the bit, by number."""
    expired: tuple[int, ...]
    """Rounds that were not recomputed, because update files were deleted by rule; ascending."""
    auditor: str
    """Account of the auditor; kept with its checksum."""
    signature: bytes = field(default=b"", compare=False)
    """The auditor's signature; empty until `signed`."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "auditor", checksum_address(self.auditor))
        object.__setattr__(self, "recomputed", dict(sorted(self.recomputed.items())))
        numbers = (*self.recomputed, *self.expired, self.block, self.domain.chain_id)
        if any(type(number) is not int or not 0 <= number < 1 << 63 for number in numbers):
            raise _invalid("a number is out of its range")
        if any(len(word) != HASH_BYTES for word in (self.block_hash, *self.recomputed.values())):
            raise _invalid("a hash has not 32 bytes")
        if list(self.expired) != sorted(set(self.expired)) or set(self.expired) & set(self.recomputed):
            raise _invalid("its rounds are not in order, or one is in both lists")

    @property
    def digest(self) -> bytes:
        """sha256 of the canonical JSON without the signature, 32 bytes."""
        return bytes.fromhex(sha256_hex(canonical_json(self._content())))

    def signed(self, account: LocalAccount) -> Attestation:
        """Return the attestation with the auditor's signature.

        Raises:
            InputError: The account is not the auditor's.
        """
        signature = bytes(account.sign_message(self._message).signature)
        return self._with(signature)

    def to_json(self) -> bytes:
        """Return the file: canonical JSON."""
        return canonical_json({**self._content(), "signature": "0x" + self.signature.hex()})

    @classmethod
    def from_json(cls, data: bytes) -> Attestation:
        """Read a file and check its signature.

        Raises:
            InputError: code `invalid-attestation`: it is none, or the auditor did not sign it.
        """
        try:
            value = parse_canonical_json(data)
            if not isinstance(value, dict) or value.get("format") != FORMAT or set(value) != _NAMES:
                raise _invalid(f"its format is not {FORMAT}, or its fields are others")
            made = cls(
                Domain(value["chainId"], value["ledger"]),
                value["block"],
                _word(value["blockHash"]),
                {one["round"]: _word(one["anchorHash"]) for one in value["recomputed"]},
                tuple(value["expired"]),
                value["auditor"],
            )
            signature = bytes.fromhex(value["signature"].removeprefix("0x"))
        except (InputError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise error if _is_invalid(error) else _invalid(str(error).rstrip(".")) from error
        made = made._with(signature)
        if made.to_json() != data:
            raise _invalid("it has another form than the format asks for")
        return made

    def _with(self, signature: bytes) -> Attestation:
        try:
            signer = recover(self._message, signature)
        except ValueError as error:
            raise _invalid(f"its signature is not valid: {error}") from error
        if signer != self.auditor:
            raise _invalid(f"{signer} signed it, not {self.auditor}")
        return replace(self, signature=signature)

    @property
    def _message(self) -> SignableMessage:
        body = keccak(encode(("bytes32", "bytes32"), (_TYPEHASH, self.digest)))
        return SignableMessage(b"\x01", self.domain.separator, body)

    def _content(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "chainId": self.domain.chain_id,
            "ledger": self.domain.verifying_contract,
            "block": self.block,
            "blockHash": "0x" + self.block_hash.hex(),
            "recomputed": [
                {"round": number, "anchorHash": "0x" + word.hex()} for number, word in self.recomputed.items()
            ],
            "expired": list(self.expired),
            "auditor": self.auditor,
        }


def _word(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))


def _invalid(why: str) -> InputError:
    return InputError(
        f"The attestation can't be used: {why}.",
        remedy="Ask its auditor for the file that `folkmoot audit --attest` wrote.",
        code="invalid-attestation",
    )


def _is_invalid(error: BaseException) -> bool:
    return isinstance(error, InputError) and error.code == "invalid-attestation"

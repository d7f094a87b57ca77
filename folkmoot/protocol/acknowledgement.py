# SPDX-License-Identifier: Apache-2.0
"""What a coordinator signs for an update that has arrived whole in the commit window (docs/protocol.md section 11.4).

A contributor keeps it. If the coordinator then leaves the commitment out, or anchors the update as not delivered, its
own signature contradicts it. This module reads no chain: a check also compares the signer with the ledger.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from eth_abi.abi import encode
from eth_account.messages import SignableMessage
from eth_account.signers.local import LocalAccount

from folkmoot.errors import InputError
from folkmoot.protocol.commitment import Commitment, Domain
from folkmoot.protocol.hashing import keccak
from folkmoot.protocol.signatures import recover

FORMAT = "folkmoot/acknowledgement/1"

ACKNOWLEDGEMENT_TYPE = "Acknowledgement(bytes32 commitmentHash)"
"""EIP-712 type, in the domain of the ledger."""

_TYPEHASH = keccak(ACKNOWLEDGEMENT_TYPE.encode())
_SIGNATURE = re.compile("0x[0-9a-f]{130}")


@dataclass(frozen=True)
class Acknowledgement:
    """A coordinator's word that it has an update."""

    commitment: Commitment
    """The commitment that came with the update."""
    signature: bytes
    """Signature of the coordinator's key, 65 bytes."""

    @classmethod
    def of(cls, commitment: Commitment, account: LocalAccount, domain: Domain) -> Acknowledgement:
        """Sign as the coordinator. Signing again gives the same bytes."""
        return cls(commitment, bytes(account.sign_message(_message(commitment, domain)).signature))

    def signer(self, domain: Domain) -> str:
        """Return the checksummed address of the account that signed, which must be the round's coordinator.

        Raises:
            InputError: ``invalid-acknowledgement``: it is not a signature that the ledger would accept.
        """
        try:
            return recover(_message(self.commitment, domain), self.signature)
        except ValueError as error:
            raise _invalid(str(error)) from error

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "format": FORMAT,
            "commitment": self.commitment.to_json(),
            "signature": "0x" + self.signature.hex(),
        }

    @classmethod
    def from_json(cls, value: Any) -> Acknowledgement:
        """Read what `to_json` made; it may come from a stranger. The signature is not checked.

        Raises:
            InputError: ``invalid-acknowledgement``: it is not of this format.
        """
        names = {"format", "commitment", "signature"}
        if not isinstance(value, dict) or set(value) != names or value["format"] != FORMAT:
            raise _invalid(f"it is not of the format {FORMAT}")
        signature = value["signature"]
        if not isinstance(signature, str) or not _SIGNATURE.fullmatch(signature):
            raise _invalid("its signature is not 0x and 130 hex digits")
        try:
            made = cls(Commitment.from_json(value["commitment"]), bytes.fromhex(signature[2:]))
        except InputError as error:
            raise _invalid(error.message.rstrip(".")) from error
        if made.to_json() != value:
            raise _invalid("it writes a value in another form")
        return made


def _message(commitment: Commitment, domain: Domain) -> SignableMessage:
    hashed = keccak(encode(("bytes32", "bytes32"), (_TYPEHASH, commitment.struct_hash)))
    return SignableMessage(b"\x01", domain.separator, hashed)


def _invalid(why: str) -> InputError:
    return InputError(
        f"This is no acknowledgement of an update: {why}.",
        remedy="Give a file that a node keeps in `keeper/acknowledgements`.",
        code="invalid-acknowledgement",
    )

# SPDX-License-Identifier: Apache-2.0
"""Where the signer's key is: in this process, or in a remote signer that speaks JSON-RPC.

A remote signer gets a message as EIP-712 JSON, so that it can show the fields to a person. Web3Signer holds keys in
vaults and HSMs; Clef shows each request on a terminal and drives Ledger and Trezor devices. Its answer is not trusted:
a signature that the ledger would refuse, or of another account, is refused here. Keys of the owners of a contract
account are in `signer_wallet`.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from eth_account.messages import SignableMessage

from client.signer.options import RemoteMethod
from folkmoot.errors import ChainError, InputError, RpcError
from folkmoot.evaluation.sites import (
    MEASUREMENT_TYPE,
    TABLE_COMMITMENT_TYPE,
    SiteMeasurement,
    TableCommitment,
)
from folkmoot.flower.signing import DRAFT_KEY_BYTES, SignerError, draft_key_of
from folkmoot.protocol.commitment import (
    COMMITMENT_TYPE,
    DOMAIN_NAME,
    DOMAIN_VERSION,
    Commitment,
    Domain,
    checksum_address,
)
from folkmoot.protocol.deletion import WISH_TYPE, DeletionWish
from folkmoot.protocol.signatures import recover
from folkmoot.protocol.wallets import SAFE_MESSAGE_TYPE, safe_message
from folkmoot.rpc.client import Rpc
from folkmoot.runtime.deadlines import within

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount

REMOTE_SECONDS = 120.0
"""Timeout of a remote signer: a person may have to press a button on a device."""


@dataclass(frozen=True)
class Message:
    """An EIP-712 message."""

    signable: SignableMessage
    """Its hashes."""
    typed: dict[str, Any]
    """The same as JSON, for remote signers and persons."""


class SigningKey(Protocol):
    """What signs for one account, commitments only."""

    @property
    def address(self) -> str:
        """The account, checksummed."""

    @property
    def draft_key(self) -> bytes:
        """Key with which the node encrypts updates that are not signed yet, 32 bytes."""

    def sign(self, commitment: Commitment, domain: Domain) -> bytes:
        """Sign a commitment of the account: 65 bytes ``r || s || v``, or what the contract accepts that it is."""


class OwnerKey(SigningKey, Protocol):
    """A key, which can also be an owner's of a contract account."""

    def sign_message(self, message: Message) -> bytes:
        """Sign a message; return 65 bytes ``r || s || v``."""


class LocalKey:
    """A key in this process.

    Args:
        account: The unlocked account.
    """

    def __init__(self, account: LocalAccount) -> None:
        self.account = account

    @property
    def address(self) -> str:
        """The account, checksummed."""
        return str(self.account.address)

    @property
    def draft_key(self) -> bytes:
        """Key for drafts, derived from the account's."""
        return draft_key_of(self.account)

    def sign(self, commitment: Commitment, domain: Domain) -> bytes:
        """Sign a commitment of the account."""
        return commitment.sign(self.account, domain)

    def sign_message(self, message: Message) -> bytes:
        """Sign a message."""
        return bytes(self.account.sign_message(message.signable).signature)


class RemoteKey:
    """A key in a remote signer; a context manager.

    Args:
        url: Its HTTP address.
        method: What it is asked.
        timeout: Seconds after which it has not answered.

    Raises:
        InputError: The URL is not of http or https, or the address is none.
    """

    def __init__(
        self,
        url: str,
        address: str,
        method: RemoteMethod = RemoteMethod.WEB3SIGNER,
        timeout: float = REMOTE_SECONDS,
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise InputError(
                f"{url!r} is not the address of a remote signer.",
                remedy="Give --remote-signer a URL that begins with http:// or https://.",
            )
        self._address = checksum_address(address)
        self._method = method
        self._rpc = Rpc(url, timeout)
        self._timeout = timeout
        self._draft_key = secrets.token_bytes(DRAFT_KEY_BYTES)

    def __enter__(self) -> RemoteKey:
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connection."""
        self._rpc.close()

    @property
    def address(self) -> str:
        """The account, checksummed."""
        return self._address

    @property
    def draft_key(self) -> bytes:
        """Key for drafts, which ends with this process: drafts can't be read after it, and are trained again."""
        return self._draft_key

    def sign(self, commitment: Commitment, domain: Domain) -> bytes:
        """Request a signature of a commitment, as `sign_message`."""
        return self.sign_message(commitment_message(commitment, domain))

    def sign_message(self, message: Message) -> bytes:
        """Request a signature of a message.

        Raises:
            SignerError: ``remote-signer-unreachable``, ``remote-signer-refused`` or ``remote-signature-invalid``.
        """
        typed: dict[str, Any] | str = message.typed
        if self._method is RemoteMethod.WEB3SIGNER:
            typed = json.dumps(typed)
        try:
            with within(self._timeout):
                answer = self._rpc.call(self._method, [self._address, typed])
        except ChainError as error:
            unreachable = isinstance(error, RpcError) and error.code == RpcError.default_code
            raise SignerError(
                error.message.replace("RPC endpoint", "remote signer"),
                remedy="Check --remote-signer, and that it is running. A new try is safe."
                if unreachable
                else f"Check that it holds the key of {self._address} and permits {self._method}. A new try is safe.",
                code="remote-signer-unreachable" if unreachable else "remote-signer-refused",
            ) from error
        try:
            signature = bytes.fromhex(answer.removeprefix("0x"))
            signer = recover(message.signable, signature)
            if signer != self._address:
                raise ValueError(f"it is a signature of {signer}")
        except (AttributeError, ValueError) as error:
            reason = "it is no hex text" if isinstance(error, AttributeError) else error
            raise SignerError(
                f"The remote signer {self._rpc.name} did not answer with a signature of {self._address}: {reason}.",
                remedy=f"Check that it signs EIP-712 messages with the key of {self._address}.",
                code="remote-signature-invalid",
            ) from error
        return signature


def commitment_message(commitment: Commitment, domain: Domain) -> Message:
    """Return the message that a key signs for a commitment."""
    signable = SignableMessage(b"\x01", domain.separator, commitment.struct_hash)
    return Message(signable, _typed(COMMITMENT_TYPE, _ledger_place(domain), commitment.to_json()))


def wish_message(wish: DeletionWish, domain: Domain) -> Message:
    """Return the message that a key signs for a wish to delete update files."""
    fields = {"contributor": wish.contributor, "lastRound": str(wish.last_round)}
    return Message(wish.message(domain), _typed(WISH_TYPE, _ledger_place(domain), fields))


def measurement_message(measurement: SiteMeasurement | TableCommitment, domain: Domain) -> Message:
    """Return what a key signs for a site's table, or its commitment: nothing in it is not computed from that."""
    type_ = TABLE_COMMITMENT_TYPE if isinstance(measurement, TableCommitment) else MEASUREMENT_TYPE
    values = measurement.typed()
    fields = {
        name: "0x" + value.hex() if isinstance(value, bytes) else str(value) for name, value in values.items()
    }
    return Message(measurement.message(domain), _typed(type_, _ledger_place(domain), fields))


def safe_owner_message(safe: str, chain_id: int, digest: bytes) -> Message:
    """Return the message that the owners of a Safe sign for the digest of a commitment."""
    typed = _typed(SAFE_MESSAGE_TYPE, _place(chain_id, safe), {"message": "0x" + digest.hex()})
    return Message(safe_message(safe, chain_id, digest), typed)


def _ledger_place(domain: Domain) -> dict[str, tuple[str, str]]:
    return {
        "name": ("string", DOMAIN_NAME),
        "version": ("string", DOMAIN_VERSION),
        **_place(domain.chain_id, domain.verifying_contract),
    }


def _place(chain_id: int, contract: str) -> dict[str, tuple[str, str]]:
    return {"chainId": ("uint256", str(chain_id)), "verifyingContract": ("address", contract)}


def _typed(type_: str, domain: dict[str, tuple[str, str]], message: dict[str, str]) -> dict[str, Any]:
    """Return a message as EIP-712 JSON. Integers are decimal texts: JSON numbers lose digits above 2^53.

    Args:
        type_: The message's type, as EIP-712 writes it.
        domain: Type and value of each member of the domain.
        message: The members.
    """
    name, _, members = type_.removesuffix(")").partition("(")
    words = [member.split(" ") for member in members.split(",")]
    return {
        "types": {
            "EIP712Domain": [{"name": member, "type": kind} for member, (kind, _) in domain.items()],
            name: [{"name": member, "type": kind} for kind, member in words],
        },
        "primaryType": name,
        "domain": {member: value for member, (_, value) in domain.items()},
        "message": message,
    }

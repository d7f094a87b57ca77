# SPDX-License-Identifier: Apache-2.0
"""Where the signer's key is: in this process, or in a remote signer that speaks JSON-RPC.

A remote signer gets a commitment as EIP-712 JSON, so that it can show the fields to a person. Web3Signer holds keys in
vaults and HSMs; Clef shows each request on a terminal and drives Ledger and Trezor devices. Its answer is not trusted:
a signature that the ledger would refuse, or of another account, is refused here.
"""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING, Any, Protocol

from client.signer_options import RemoteMethod
from folkmoot.errors import ChainError, InputError, RpcError
from folkmoot.flower.signing import DRAFT_KEY_BYTES, SignerError, draft_key_of
from folkmoot.protocol.commitment import (
    COMMITMENT_TYPE,
    DOMAIN_NAME,
    DOMAIN_VERSION,
    Commitment,
    Domain,
    checksum_address,
)
from folkmoot.rpc.client import Rpc
from folkmoot.runtime.deadlines import within

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount

REMOTE_SECONDS = 120.0
"""Timeout of a remote signer: a person may have to press a button on a device."""


class SigningKey(Protocol):
    """The key of one account, for commitments only."""

    @property
    def address(self) -> str:
        """The account, checksummed."""

    @property
    def draft_key(self) -> bytes:
        """Key with which the node encrypts updates that are not signed yet, 32 bytes."""

    def sign(self, commitment: Commitment, domain: Domain) -> bytes:
        """Sign a commitment of the account; return 65 bytes ``r || s || v``.

        Raises:
            SignerError: The key can't be used.
        """


class LocalKey:
    """A key in this process.

    Args:
        account: The unlocked account.
    """

    def __init__(self, account: LocalAccount) -> None:
        self._account = account

    @property
    def address(self) -> str:
        """The account, checksummed."""
        return str(self._account.address)

    @property
    def draft_key(self) -> bytes:
        """Key for drafts, derived from the account's."""
        return draft_key_of(self._account)

    def sign(self, commitment: Commitment, domain: Domain) -> bytes:
        """Sign a commitment of the account."""
        return commitment.sign(self._account, domain)


class RemoteKey:
    """A key in a remote signer; a context manager.

    Args:
        url: Its HTTP address.
        address: The account.
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
        """Request a signature of a commitment.

        Raises:
            SignerError: ``remote-signer-unreachable``, ``remote-signer-refused`` or ``remote-signature-invalid``.
        """
        message: dict[str, Any] | str = typed_data(commitment, domain)
        if self._method is RemoteMethod.WEB3SIGNER:
            message = json.dumps(message)
        try:
            with within(self._timeout):
                answer = self._rpc.call(self._method, [self._address, message])
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
            commitment.check_signature(signature, domain)
        except (AttributeError, ValueError, InputError) as error:
            reason = error.message if isinstance(error, InputError) else "It is not hex."
            raise SignerError(
                f"The remote signer {self._rpc.name} did not answer with a signature of {self._address}. {reason}",
                remedy=f"Check that it signs EIP-712 messages with the key of {self._address}.",
                code="remote-signature-invalid",
            ) from error
        return signature


def typed_data(commitment: Commitment, domain: Domain) -> dict[str, Any]:
    """Return a commitment as EIP-712 JSON. Integers are decimal texts: JSON numbers lose digits above 2^53."""
    members = [
        word.split(" ") for word in COMMITMENT_TYPE.removeprefix("Commitment(").removesuffix(")").split(",")
    ]
    domain_members = {
        "name": "string",
        "version": "string",
        "chainId": "uint256",
        "verifyingContract": "address",
    }
    return {
        "types": {
            "EIP712Domain": [{"name": name, "type": kind} for name, kind in domain_members.items()],
            "Commitment": [{"name": name, "type": kind} for kind, name in members],
        },
        "primaryType": "Commitment",
        "domain": {
            "name": DOMAIN_NAME,
            "version": DOMAIN_VERSION,
            "chainId": str(domain.chain_id),
            "verifyingContract": domain.verifying_contract,
        },
        "message": commitment.to_json(),
    }

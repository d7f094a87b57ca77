# SPDX-License-Identifier: Apache-2.0
"""Signers of commitments: the interface that the mod uses, and its two implementations.

`AgentSigner`, which nodes use, sends requests to the signer agent over a Unix socket and has no access to the key.
`LocalSigner` holds an account in this process, for tests and for programs that have the key anyway. The agent itself
is `client/signer.py`, which is not part of the app bundle. This module is.
"""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from folkmoot.errors import FolkmootError, InputError
from folkmoot.protocol.commitment import Commitment, Domain

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount

MESSAGE_TYPE = "Commitment"
MAX_MESSAGE = 16_384
"""Maximum size in bytes of a request or an answer."""

_TIMEOUT = 30.0


class SignerError(FolkmootError):
    """The signer agent can't be reached, or refused to sign."""

    default_code = "signer"


class Signer(Protocol):
    """A signer of commitments for one account."""

    @property
    def account(self) -> str:
        """The account, checksummed."""

    def sign(self, commitment: Commitment, domain: Domain) -> bytes:
        """Sign a commitment; return the signature of 65 bytes.

        Raises:
            SignerError: The signer refuses or can't be reached.
        """


class LocalSigner:
    """Signs with an account in this process; at most one commitment per round.

    Args:
        account: The account, from eth-account.
    """

    def __init__(self, account: LocalAccount) -> None:
        self._account = account
        self._signed: dict[tuple[bytes, int], bytes] = {}

    @property
    def account(self) -> str:
        """The account, checksummed."""
        return str(self._account.address)

    def sign(self, commitment: Commitment, domain: Domain) -> bytes:
        """Sign a commitment.

        Raises:
            SignerError: Another commitment was signed in this round.
        """
        digest = commitment.digest(domain)
        if self._signed.setdefault((domain.separator, commitment.round), digest) != digest:
            raise already_signed(commitment.round)
        return commitment.sign(self._account, domain)


class AgentSigner:
    """Requests signatures from the signer agent of a contributor's folder.

    Args:
        path: Path of the agent's socket, or of a link to it.
        account: The account that the agent signs for.
    """

    def __init__(self, path: Path, account: str) -> None:
        self._path = path
        self._account = account

    @property
    def account(self) -> str:
        """The account, checksummed."""
        return self._account

    def sign(self, commitment: Commitment, domain: Domain) -> bytes:
        """Request a signature for a commitment.

        Raises:
            SignerError: The agent refuses, does not run, or gives an invalid answer.
        """
        request = {
            "type": MESSAGE_TYPE,
            "chainId": domain.chain_id,
            "ledger": domain.verifying_contract,
            "commitment": commitment.to_json(),
        }
        answer = self._ask(request)
        if "error" in answer:
            raise SignerError(
                str(answer["error"]),
                remedy=str(answer.get("remedy", "")),
                code=str(answer.get("code", "signer")),
            )
        try:
            signature = bytes.fromhex(answer["signature"])
            commitment.check_signature(signature, domain)
        except (KeyError, TypeError, ValueError, InputError) as error:
            raise SignerError(
                "The signer agent answered with no signature of this account.",
                remedy="Restart the node with the right --keystore.",
            ) from error
        return signature

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        # A long path does not fit into a socket address. The agent then writes a link to a short path.
        path = self._path.resolve()
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(_TIMEOUT)
                connection.connect(str(path))
                connection.sendall(json.dumps(request).encode() + b"\n")
                answer = json.loads(read_line(connection))
        except (OSError, ValueError) as error:
            raise SignerError(
                f"The signer agent at {self._path} can't be reached: {error}.",
                remedy="It runs as long as `folkmoot join` does; start the node again.",
                code="signer-unreachable",
            ) from error
        if not isinstance(answer, dict):
            raise SignerError("The signer agent answered nonsense.", remedy="Restart the node.")
        return answer


def read_line(connection: socket.socket) -> bytes:
    """Read from a socket up to a line feed.

    Raises:
        ValueError: The line is too long, or the other side closed before its end.
        OSError: The connection failed.
    """
    data = b""
    while not data.endswith(b"\n"):
        part = connection.recv(4096)
        if not part:
            raise ValueError("the connection was closed early")
        data += part
        if len(data) > MAX_MESSAGE:
            raise ValueError("the message is too long")
    return data


def already_signed(round_id: int) -> SignerError:
    """Return the error that another commitment of this round was signed."""
    return SignerError(
        f"Another commitment of round {round_id} was signed already; two would be a provable fault.",
        remedy="Nothing to do: the first one counts.",
        code="already-signed",
    )

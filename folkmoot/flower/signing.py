# SPDX-License-Identifier: Apache-2.0
"""Signers of commitments: the interface that the mod uses, and its two implementations.

`AgentSigner`, which nodes use, sends requests to the signer agent over a Unix socket and has no access to the key.
`LocalSigner` holds an account in this process, for tests and for programs that have the key anyway. The agent itself
is `client/signer/agent.py`, which is not part of the app bundle. This module is.

A request is one line of JSON. The agent answers with one line: a refusal, or the number of bytes that it wants. It then
reads the update file itself from the socket, so it checks the bytes that it has received, whatever happens to the file
of the sender. A second line has the signature or a refusal.

In a federation with a privacy budget, a node requests a charge before it trains. Whatever the training comes to, others
see it, if only that no update came; so it is counted before the noise is drawn, and not when the update is signed.
"""

from __future__ import annotations

import contextlib
import hmac
import json
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from folkmoot.errors import ChainError, FolkmootError, InputError
from folkmoot.protocol.commitment import Commitment, Domain, checksum_address

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount

MESSAGE_TYPE = "Commitment"
CHARGE_TYPE = "Charge"
"""Type of a request to charge the privacy budget for a training that has not begun."""
UNSIGNED_TYPE = "Unsigned"
"""Type of a request that is refused if the signer would sign no new update of a round."""
ACCOUNT_TYPE = "Account"
"""Type of a request for the account and the ledger that an agent signs for, and for the account's budget."""
DRAFT_KEY_TYPE = "DraftKey"
"""Type of a request for the key with which a node encrypts updates that are not signed yet."""
RECORD_TYPE = "RecordCommitment"
"""Type of a request to record a signed commitment on the chain, which the coordinator has not recorded."""
DRAFT_KEY_BYTES = 32
MAX_MESSAGE = 16_384
"""Maximum size in bytes of a request or an answer."""

CHAIN_UNAVAILABLE = "chain-unavailable"
"""Code of a refusal because the signer could not read the chain. The same request may succeed later."""

SIGNER_BUSY = "signer-busy"
"""Code of a refusal because the signer serves too many requests. The same request may succeed later."""

TOO_EARLY = "too-early"
"""Code of a refusal because the coordinator still has time to record the commitment."""

_TIMEOUT = 180.0
"""Timeout in seconds for an answer: the agent reads the chain, and a person may have to confirm on a device."""


class SignerError(FolkmootError):
    """The signer agent can't be reached, or refused to sign."""

    default_code = "signer"


class Signer(Protocol):
    """A signer of commitments for one account."""

    @property
    def account(self) -> str:
        """The account, checksummed."""

    def draft_key(self) -> bytes:
        """Return the 32 bytes with which the node encrypts updates that are not signed yet.

        Raises:
            SignerError: The signer can't be reached.
        """

    def charge(self, commitment: Commitment, domain: Domain) -> Charged:
        """Charge the account's privacy budget for one private training, which has not drawn its noise yet.

        Each call charges another training. Only a node in a federation with a privacy budget calls this.

        Args:
            commitment: What the update's commitment will be. Its update root and sum of squares are not looked at.
            domain: The ledger of the federation.

        Returns:
            What was charged.

        Raises:
            SignerError: The signer refuses or can't be reached. Then nothing may be trained.
        """

    def check_unsigned(self, commitment: Commitment, domain: Domain) -> None:
        """Check that a new update of a round can be signed: otherwise it would be trained in vain.

        Args:
            commitment: As for `charge`.
            domain: The ledger of the federation.

        Raises:
            SignerError: ``already-signed`` or ``below-mark``, or the signer can't be reached.
        """

    def sign(self, commitment: Commitment, domain: Domain, data: bytes) -> bytes:
        """Sign a commitment; return the signature: 65 bytes, or what a contract account accepts.

        Args:
            commitment: What is signed.
            domain: The ledger that the signature is for.
            data: The update file that is committed to.

        Raises:
            SignerError: The signer refuses or can't be reached.
        """


@dataclass(frozen=True)
class Charged:
    """What a private training was charged, in units of 2^-32 rho."""

    cost: int
    """What the training costs."""
    spent: int
    """What the account has spent, with this training."""
    cap: int
    """What the account spends at most."""


class LocalSigner:
    """Signs with an account in this process; at most one commitment per round, and nothing private.

    It has no record that outlives the process, so it could not count what private trainings cost.

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

    def draft_key(self) -> bytes:
        """Return the key for drafts."""
        return draft_key_of(self._account)

    def charge(self, commitment: Commitment, domain: Domain) -> Charged:
        """Refuse to charge.

        Raises:
            SignerError: ``no-record``, always.
        """
        raise SignerError(
            "This program signs with a LocalSigner, which has no signing record: nothing would count what a private "
            "training costs.",
            remedy="Nothing was trained. Run `folkmoot signer run`, and give the mod an AgentSigner with its socket.",
            code="no-record",
        )

    def check_unsigned(self, commitment: Commitment, domain: Domain) -> None:
        """Check that no commitment of the round was signed.

        Raises:
            SignerError: One was.
        """
        if (domain.separator, commitment.round) in self._signed:
            raise already_signed(commitment.round)

    def sign(self, commitment: Commitment, domain: Domain, data: bytes) -> bytes:
        """Sign a commitment. The update is not looked at: who calls this has the key anyway.

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

    def draft_key(self) -> bytes:
        """Request the key for drafts.

        Raises:
            SignerError: The agent does not run, or is one of another release.
        """
        try:
            key = bytes.fromhex(_ask(self._path, {"type": DRAFT_KEY_TYPE})["key"])
            if len(key) != DRAFT_KEY_BYTES:
                raise ValueError(f"The key has {len(key)} bytes.")
        except (KeyError, TypeError, ValueError) as error:
            raise _not_an_agent(self._path) from error
        return key

    def charge(self, commitment: Commitment, domain: Domain) -> Charged:
        """Request a charge for a private training.

        Raises:
            SignerError: The agent refuses, does not run, or gives an invalid answer; ``signer-outdated``: it is of a
                release that charges signatures only.
        """
        try:
            answer = _ask(self._path, _request(CHARGE_TYPE, commitment, domain))
            return Charged(**{name: int(answer[name]) for name in ("cost", "spent", "cap")})
        except SignerError as error:
            if error.code != "wrong-type":
                raise
            raise SignerError(
                f"The signer agent at {self._path} is of an earlier release: it does not charge the privacy budget "
                "before training.",
                remedy="Nothing was trained. Update Folkmoot where the signer runs, and start it again.",
                code="signer-outdated",
            ) from error
        except (KeyError, TypeError, ValueError) as error:
            raise _not_an_agent(self._path) from error

    def check_unsigned(self, commitment: Commitment, domain: Domain) -> None:
        """Ask whether a new update of a round can be signed.

        Raises:
            SignerError: It can't, or the agent does not run.
        """
        _ask(self._path, _request(UNSIGNED_TYPE, commitment, domain))

    def sign(self, commitment: Commitment, domain: Domain, data: bytes) -> bytes:
        """Request a signature for a commitment.

        Raises:
            SignerError: The agent refuses, does not run, or gives an invalid answer.
        """
        request = {**_request(MESSAGE_TYPE, commitment, domain), "size": len(data)}
        answer = _ask(self._path, request, data)
        try:
            signature = bytes.fromhex(answer["signature"])
            if (
                answer.get("contract") is not True
            ):  # A contract has accepted it already, on the agent's endpoint.
                commitment.check_signature(signature, domain)
        except (KeyError, TypeError, ValueError, InputError) as error:
            raise SignerError(
                "The signer agent answered with no signature of this account.",
                remedy="Restart the node with the right --keystore.",
            ) from error
        return signature


def budget_of_agent(path: Path) -> tuple[int, int | None]:
    """Return what an agent's account has spent, and its own cap (None if it has none), in units of 2^-32 rho.

    Raises:
        SignerError: No agent answers at the socket, or it is one of another release.
    """
    answer = _ask(path, {"type": ACCOUNT_TYPE})
    try:
        return int(answer["spent"]), None if answer["cap"] is None else int(answer["cap"])
    except (KeyError, TypeError, ValueError) as error:
        raise _not_an_agent(path) from error


@dataclass(frozen=True)
class Recorded:
    """What became of a request to record a commitment."""

    recorded: bool
    """Whether the chain has it."""
    transaction: str | None = None
    """The signer's own transaction, 0x-hex; None if the signer sent none."""
    gas: int = 0
    """Gas that it used."""
    wei: int = 0
    """What it cost."""


def record_by_agent(path: Path, commitment: Commitment, signature: bytes, domain: Domain) -> Recorded:
    """Let an agent record a commitment that it has signed. A repeated request goes on with the same transaction.

    After the commit window, a request only ends the agent's note of the transaction.

    The ledger reads the signature only if the contributor is a contract.

    Raises:
        SignerError: The agent can't be reached or refuses; ``too-early``: the coordinator still has time.
    """
    answer = _ask(path, {**_request(RECORD_TYPE, commitment, domain), "signature": signature.hex()})
    try:
        if answer["transaction"] is None:
            return Recorded(bool(answer["recorded"]))
        numbers = int(answer["gas"]), int(answer["wei"])
        return Recorded(bool(answer["recorded"]), str(answer["transaction"]), *numbers)
    except (KeyError, TypeError, ValueError) as error:
        raise _not_an_agent(path) from error


def account_of_agent(path: Path) -> tuple[str, Domain]:
    """Return the account and the ledger that an agent signs for.

    Raises:
        SignerError: No agent answers at the socket, or it is one of another release.
    """
    answer = _ask(path, {"type": ACCOUNT_TYPE})
    try:
        domain = Domain(int(answer["chainId"]), answer["ledger"])
        return checksum_address(answer["account"]), domain
    except (KeyError, TypeError, ValueError, InputError) as error:
        raise _not_an_agent(path) from error


def draft_key_of(account: LocalAccount) -> bytes:
    """Derive the key for drafts from an account's private key: it is the same after a restart (HMAC, RFC 2104)."""
    return hmac.digest(account.key, b"folkmoot: key of drafts", "sha256")


def _not_an_agent(path: Path) -> SignerError:
    return SignerError(
        f"The program at {path} is not a signer agent of this release.",
        remedy="Start `folkmoot signer run` of the same release, and give its socket.",
    )


def _request(kind: str, commitment: Commitment, domain: Domain) -> dict[str, Any]:
    return {
        "type": kind,
        "chainId": domain.chain_id,
        "ledger": domain.verifying_contract,
        "commitment": commitment.to_json(),
    }


def _ask(path: Path, request: dict[str, Any], data: bytes = b"") -> dict[str, Any]:
    """Send a request, and the update if the agent wants it; return its last answer."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(_TIMEOUT)
            # A long path does not fit into a socket address. The agent then writes a link to a short path.
            connection.connect(str(path.resolve()))
            # An agent that refuses in the middle has closed its side, and its answer can be read.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(json.dumps(request).encode() + b"\n")
            answer = _answer(connection)
            if "send" in answer:
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    connection.sendall(data)
                answer = _answer(connection)
    except (OSError, ValueError) as error:
        raise SignerError(
            f"The signer agent at {path} can't be reached: {error}.",
            remedy="It runs as long as `folkmoot join` or `folkmoot signer run` does; start it again.",
            code="signer-unreachable",
        ) from error
    return answer


def _answer(connection: socket.socket) -> dict[str, Any]:
    answer = json.loads(read_line(connection))
    if not isinstance(answer, dict):
        raise SignerError("The signer agent answered nonsense.", remedy="Restart the node.")
    if "error" in answer:
        raise SignerError(
            str(answer["error"]),
            remedy=str(answer.get("remedy", "")),
            code=str(answer.get("code", "signer")),
        )
    return answer


def read_line(connection: socket.socket, timeout: float = _TIMEOUT) -> bytes:
    """Read from a socket up to a line feed.

    Raises:
        ValueError: The line is too long, or the other side closed before its end.
        OSError: The connection failed, or the line did not end in time.
    """
    data, end = b"", time.monotonic() + timeout
    while not data.endswith(b"\n"):
        connection.settimeout(max(0.01, end - time.monotonic()))
        part = connection.recv(4096)
        if not part:
            raise ValueError("the connection was closed early")
        data += part
        if len(data) > MAX_MESSAGE or (b"\n" in data and not data.endswith(b"\n")):
            raise ValueError("the message is too long")
        if time.monotonic() > end:
            raise TimeoutError("the message did not end in time")
    return data


def chain_unavailable(error: ChainError) -> SignerError:
    """Return the error of a signer that can't read the chain."""
    return SignerError(
        f"Nothing is signed without a look at the chain. {error.message}",
        remedy=f"{error.remedy} A new try is safe.",
        code=CHAIN_UNAVAILABLE,
    )


def already_signed(round_id: int) -> SignerError:
    """Return the error that another commitment of this round was signed."""
    return SignerError(
        f"Another commitment of round {round_id} was signed already; two would be a provable fault.",
        remedy="Nothing to do: the first one counts.",
        code="already-signed",
    )

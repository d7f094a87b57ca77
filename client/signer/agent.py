# SPDX-License-Identifier: Apache-2.0
"""The signer agent: holds the contributor's key, and signs one commitment per round for one ledger.

The training code comes from the coordinator, so it must not hold the key, and nothing that it says is believed. It
requests signatures from this agent over a Unix socket. The agent reads the update's bytes from the socket and computes
root and sum of squares itself. It compares the rest with the chain and with its own signing record. It writes the
digest to the record before it signs, so a restart can't make it sign two commitments of a round. With a privacy budget,
it also writes there what a training costs, before the training draws its noise. The only transactions that it signs
record commitments that it has signed (`client.signer.committing`). This module does not depend on models,
Flower or the coordinator, and is not part of the app bundle.
"""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from client.signer.checks import ChainCheck, SigningRules
from client.signer.committing import OwnCommitments
from client.signer.keys import SigningKey
from client.signer.record import RecordFolder
from client.signer.sockets import REQUEST_SECONDS, listening, send
from client.signer.wallet import WalletKey
from folkmoot.errors import ChainError, FolkmootError, InputError, LocalError
from folkmoot.flower.contributor import SOCKET_FILE
from folkmoot.flower.signing import (
    ACCOUNT_TYPE,
    CHARGE_TYPE,
    DRAFT_KEY_TYPE,
    MESSAGE_TYPE,
    RECORD_TYPE,
    SIGNER_BUSY,
    UNSIGNED_TYPE,
    SignerError,
    read_line,
)
from folkmoot.protocol.arrays import U8
from folkmoot.protocol.commitment import Commitment
from folkmoot.protocol.packing import file_size, unpack
from folkmoot.rpc.quorum import open_rpc
from folkmoot.runtime import locks
from folkmoot.runtime.fault_points import fault_point

RECORD_FOLDER = "signer"
"""Default folder of the signing record, in the node's folder."""

CLIENTS = 64
"""Limit of requests at a time."""

CLIENTS_OF_PROCESS = 8
"""Limit of requests of one process at a time."""

_SLOWEST = 1 << 20
"""Bytes of an update in a second that a sender must at least reach."""
_PR_SET_DUMPABLE = 4
_OTHERS_REMEDY = "Only folkmoot's mod speaks to the signer; start the node with `folkmoot join`."


class _SentUpdate:
    """An update that arrives on a socket. Each byte is read once and is never in a file, so nobody can change it."""

    def __init__(self, connection: socket.socket, size: int, width: int) -> None:
        self._connection = connection
        self._end = time.monotonic() + REQUEST_SECONDS + size / _SLOWEST
        self.size = size
        self.width = width

    def packed(self, first: int, last: int) -> U8:
        """Return the bytes of the next leaves, which must be those after the last call's.

        Raises:
            SignerError: ``short-update``: they did not arrive.
        """
        packed: U8 = np.empty(file_size(last - first, self.width), dtype=np.uint8)
        view = packed.data.cast("B")
        while view:
            self._connection.settimeout(max(0.01, self._end - time.monotonic()))
            try:
                count = self._connection.recv_into(view)
            except OSError:
                count = 0
            if not count or time.monotonic() > self._end:
                raise SignerError(
                    f"Of the update's {self.size} bytes, less than {file_size(last, self.width)} arrived in time.",
                    remedy="Nothing was signed. Request the signature again.",
                    code="short-update",
                )
            view = view[count:]
        return packed

    def read(self, first: int, last: int) -> U8:
        """Return the next leaves; arguments and errors as ``packed``."""
        return unpack(self.packed(first, last), self.width)


@dataclass
class _Client:
    """A request that is being served."""

    connection: socket.socket
    process: int
    """Id of the process that connected; 0 where the system does not say."""
    silent: bool = True
    """Whether the agent waits for its bytes."""

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)


class SignerAgent:
    """Serves signatures and charges on a Unix socket, in a thread for each request; a context manager.

    The record and the chain are looked at by one request at a time, and never while a client has to send something. Who
    sends nothing is served for `REQUEST_SECONDS`, or until others need its place.

    Args:
        key: The account's key, or what signs for a contract account.
        rules: What it signs.
        rpc: URLs of the contributor's own RPC endpoints, as `open_rpc` takes them.
        path: Path of the socket.
        record: Folder of the signing record.
        own: Records commitments that the coordinator has not recorded; None records none.
        mode: Permissions of the socket.
        group: Group that the socket belongs to; None for the user's own.
    """

    def __init__(
        self,
        key: SigningKey,
        rules: SigningRules,
        rpc: str,
        path: Path,
        record: Path,
        *,
        own: OwnCommitments | None = None,
        mode: int = 0o600,
        group: str | None = None,
    ) -> None:
        self.path = path
        self._key = key
        self._rules = rules
        self._rpc = rpc
        self._record = RecordFolder(record, key.address)
        self._own = own or OwnCommitments(rules.deployment, rpc, None, 0)
        self._mode = mode
        self._group = group
        self._lock = threading.Lock()
        self._cleanup = contextlib.ExitStack()
        self._server: socket.socket | None = None
        self._clients: list[_Client] = []
        self._clients_lock = threading.Lock()

    def __enter__(self) -> SignerAgent:
        """Start serving.

        Raises:
            LocalError: The record's folder is in use, or the socket can't be created.
            SignerError: The signing record can't be used, or the chain contradicts it.
        """
        protect_memory()
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._record)
            endpoint = stack.enter_context(open_rpc(self._rpc))
            self._chain = ChainCheck(endpoint, self._rules.deployment, self._key.address)
            with contextlib.suppress(ChainError):  # Each request looks again.
                self._chain.compare(self._record.record.of(self._rules.domain))
                self._own.end_notes(endpoint)
            try:
                self._server = stack.enter_context(
                    listening(self.path, stack, code="signer-socket", mode=self._mode, group=self._group)
                )
            except (OSError, LookupError) as error:
                reason = error.strerror if isinstance(error, OSError) else f"there is no group {self._group}"
                raise LocalError(
                    f"The signer's socket {self.path} can't be created: {reason}.",
                    remedy="Give a path on a local disk with --home or --socket, and a --socket-group of this user.",
                    code="signer-socket",
                ) from error
            stack.callback(self.path.unlink, missing_ok=True)
            self._cleanup = stack.pop_all()
        threading.Thread(target=self._serve, args=(self._server,), name="signer", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop serving and remove the socket."""
        server, self._server = self._server, None
        if server is not None:
            with contextlib.suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)
        with self._clients_lock:
            for client in self._clients:
                client.close()
        with self._lock:
            self._cleanup.close()

    def _serve(self, server: socket.socket) -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            client = _Client(connection, _process_of(connection))
            with self._clients_lock:
                if self._has_room(client.process):
                    self._clients.append(client)
                    threading.Thread(target=self._talk, args=(client,), name="signer", daemon=True).start()
                    continue
            with connection, contextlib.suppress(OSError):
                send(connection, _answer_of(_busy()))

    def _has_room(self, process: int) -> bool:
        """Return whether another request can be served. At a limit, the oldest silent request is closed for it."""
        crowd = [client for client in self._clients if process and client.process == process]
        if len(crowd) < CLIENTS_OF_PROCESS:
            crowd = self._clients
            if len(crowd) < CLIENTS:
                return True
        for client in crowd:
            if client.silent:
                client.close()
                self._clients.remove(client)
                return True
        return False

    def _talk(self, client: _Client) -> None:
        try:
            with client.connection as connection, contextlib.suppress(OSError, ValueError):
                send(connection, self._answer(client))
        finally:
            with self._clients_lock, contextlib.suppress(ValueError):
                self._clients.remove(client)

    def _answer(self, client: _Client) -> dict[str, Any]:
        request = read_line(client.connection, REQUEST_SECONDS)
        client.silent = False
        try:
            return self._handle(request, client)
        except FolkmootError as error:
            return _answer_of(error)

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        """Wait for the record and the chain, which one request at a time may use."""
        with self._lock:
            if self._server is None:
                raise SignerError(
                    "The signer agent is stopping.",
                    remedy="Start the node again with `folkmoot join`.",
                    code="signer-unreachable",
                )
            yield

    def _handle(self, request: bytes, client: _Client) -> dict[str, Any]:
        """Return the last answer to a request."""
        domain = self._rules.domain
        try:
            asked: Any = json.loads(request)
            kind = asked["type"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise _malformed("The request can't be read.") from error
        if kind == ACCOUNT_TYPE:
            rounds = self._record.record.of(domain)
            return {
                "spent": str(rounds.spent),
                "cap": None if rounds.cap is None else str(rounds.cap),
                "account": self._key.address,
                "chainId": domain.chain_id,
                "ledger": domain.verifying_contract,
            }
        if kind == DRAFT_KEY_TYPE:
            return {"key": self._key.draft_key.hex()}
        if kind == CHARGE_TYPE:
            with self._turn():
                return self._charge(self._requested(asked))
        if kind == UNSIGNED_TYPE:
            number = self._requested(asked).round
            with self._turn():
                self._record.record.of(domain).check_unsigned(number)
            return {"unsigned": number}
        if kind == RECORD_TYPE:
            return self._record_on_chain(self._requested(asked), asked.get("signature"))
        if kind != MESSAGE_TYPE:
            raise SignerError(
                f"The signer signs only commitments, not {kind!r}.", remedy=_OTHERS_REMEDY, code="wrong-type"
            )
        commitment, size = self._requested(asked), asked.get("size")
        if not isinstance(size, int):
            raise _malformed("The request lacks a field.")
        digest = commitment.digest(domain)
        self._rules.check_bundle(commitment)
        with self._turn():
            self._record.check_unchanged()
            rounds = self._record.record.of(domain)
            rounds.check(commitment.round, digest)
            view = self._chain.check(commitment, rounds)
            self._rules.check_memory(commitment, view.policy)
            self._rules.charge(view, commitment.round, rounds)
        needed = self._rules.manifest.update_file_size(view.policy.width)
        if size != needed:
            raise SignerError(
                f"The update has {size} bytes; the federation's model needs {needed} at width {view.policy.width}.",
                remedy="Encode the update with the federation's manifest, at the policy's width.",
                code="wrong-size",
            )
        client.silent = True
        send(client.connection, {"send": size})
        self._rules.check_update(commitment, _SentUpdate(client.connection, size, view.policy.width))
        client.silent = False
        with self._turn():  # Others may have had theirs in the meantime: what they wrote counts.
            charge = self._rules.charge(view, commitment.round, self._record.record.of(domain))
            self._record.remember(domain, commitment.round, digest, charge.cost, charge.cap, charge.before)
        fault_point("node.remembered")
        signature = self._key.sign(commitment, domain)
        return {"signature": signature.hex(), "contract": isinstance(self._key, WalletKey)}

    def _record_on_chain(self, commitment: Commitment, signature: Any) -> dict[str, Any]:
        """Record a commitment that was signed here; others may sign meanwhile."""
        domain = self._rules.domain
        with self._turn():
            self._record.check_unchanged()
            signed = self._record.record.of(domain).signed.get(commitment.round)
        if signed != commitment.digest(domain).hex():
            raise SignerError(
                f"The signer has not signed this commitment of round {commitment.round}, so it does not record it.",
                remedy=_OTHERS_REMEDY,
                code="unsigned-commitment",
            )
        try:
            text = bytes.fromhex(signature)
        except (TypeError, ValueError) as error:
            raise _malformed("The request lacks a field.") from error
        return self._own.record(self._chain.rpc, commitment, text)

    def _charge(self, commitment: Commitment) -> dict[str, str]:
        """Charge a private training that has not begun; return what was charged, in units of 2^-32 rho."""
        domain, number = self._rules.domain, commitment.round
        self._rules.check_bundle(commitment)
        self._record.check_unchanged()
        rounds = self._record.record.of(domain)
        rounds.check_unsigned(number)
        view = self._chain.check_untrained(commitment, rounds)
        self._rules.check_memory(commitment, view.policy)
        charge = self._rules.charge(view, number, rounds, training=True)
        if charge.cap is None:
            raise SignerError(
                f"Round {number} asks for no noise, by the signer's RPC endpoint, so nothing can be charged.",
                remedy="Nothing was trained. Let node and signer use endpoints of one chain.",
                code="no-noise",
            )
        self._record.charge(domain, number, charge.cost, charge.cap, charge.before)
        fault_point("node.charged")
        spent = self._record.record.of(domain).spent
        return {"cost": str(charge.cost), "spent": str(spent), "cap": str(charge.cap)}

    def _requested(self, asked: Any) -> Commitment:
        """Return the commitment of a request."""
        try:
            chain_id, ledger = asked["chainId"], asked["ledger"]
            commitment = Commitment.from_json(asked["commitment"])
        except (KeyError, TypeError, InputError) as error:
            raise _malformed(
                error.message if isinstance(error, InputError) else "The request lacks a field."
            ) from error
        ours = self._rules.domain
        if chain_id != ours.chain_id or str(ledger).lower() != ours.verifying_contract.lower():
            raise SignerError(
                f"This node signs for chain {ours.chain_id}, ledger {ours.verifying_contract}, and no other.",
                remedy="Join the other federation in a folder of its own.",
                code="wrong-ledger",
            )
        if commitment.contributor != self._key.address:
            raise SignerError(
                f"This node signs for {self._key.address}, not for {commitment.contributor}.",
                remedy="Start the node again with `folkmoot join` and the keystore of that account.",
                code="wrong-account",
            )
        return commitment


def _process_of(connection: socket.socket) -> int:
    """Return the id of the process at the other end; 0 where the system does not say."""
    if not hasattr(socket, "SO_PEERCRED"):
        return 0
    return int(struct.unpack("=iII", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0])


def _answer_of(error: FolkmootError) -> dict[str, Any]:
    return {"error": error.message, "remedy": error.remedy, "code": error.code}


def _busy() -> SignerError:
    return SignerError(
        f"The signer serves {CLIENTS} requests already, {CLIENTS_OF_PROCESS} of a process at most.",
        remedy="Request the signature again in a few seconds.",
        code=SIGNER_BUSY,
    )


def _malformed(reason: str) -> SignerError:
    return SignerError(reason, remedy=_OTHERS_REMEDY, code="malformed-request")


@contextlib.contextmanager
def linked_signer(agent: Path, home: Path) -> Iterator[None]:
    """Let a node use the agent of another process while the block runs: link its socket into the node's folder.

    Raises:
        LocalError: Another node uses the folder, or the link can't be made.
    """
    link = home / SOCKET_FILE
    with contextlib.ExitStack() as stack:
        try:
            lock = locks.try_acquire(home / f"{SOCKET_FILE}.lock")
            if lock is None:
                raise LocalError(
                    f"Another node uses the folder {home}.",
                    remedy="End it first, or give this one a --home of its own.",
                    code="home-in-use",
                )
            stack.enter_context(lock)
            link.unlink(missing_ok=True)
            link.symlink_to(agent.absolute())
            stack.callback(link.unlink, missing_ok=True)
        except OSError as error:
            raise LocalError(
                f"The link {link} to the signer's socket can't be made: {error.strerror}.",
                remedy="Give another --home, on a local disk.",
                code="signer-socket",
            ) from error
        yield


def protect_memory() -> None:
    """Prevent other processes of the same user from reading this process's memory and environment (Linux)."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)

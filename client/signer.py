# SPDX-License-Identifier: Apache-2.0
"""The signer agent: holds the contributor's key, and signs one commitment per round for one ledger.

The training code comes from the coordinator, so it must not hold the key. It requests signatures from this agent over a
Unix socket that only the same user can open. The agent builds the signed message itself from the fields of a
commitment, so it signs nothing else. It writes the digest to disk before it returns the signature, so a restart can't
make it sign two commitments of a round. This module does not depend on models, Flower or the coordinator, and is not
part of the app bundle.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from folkmoot.errors import FolkmootError, InputError, LocalError
from folkmoot.flower.contributor import SOCKET_FILE
from folkmoot.flower.signing import MESSAGE_TYPE, SignerError, already_signed, read_line
from folkmoot.protocol.commitment import Commitment, Domain
from folkmoot.runtime.fault_points import fault_point

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount

MEMORY_FILE = "signed.jsonl"
LONGEST_PATH = 100
"""Length in bytes of the longest socket path that all systems support."""

_CLIENT_TIMEOUT = 10.0
_PR_SET_DUMPABLE = 4


class SignedMemory:
    """File with the digest that was signed in each round. Only one agent can open it at a time.

    Args:
        path: The file; it is created if it is missing.

    Raises:
        LocalError: Another agent has the file open, or it is damaged.
    """

    def __init__(self, path: Path) -> None:
        self._signed: dict[tuple[str, int], str] = {}
        self._file: IO[bytes] = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), "r+b")
        try:
            # On the file itself: whoever has it open is who may write it, and no lock file can get lost beside it.
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()
            raise LocalError(
                f"Another node uses the folder {path.parent}.",
                remedy="End it first, or give this one a --home of its own.",
                code="home-in-use",
            ) from error
        self._read(path)

    def _read(self, path: Path) -> None:
        good = 0
        for line in self._file:
            try:
                entry = json.loads(line)
                self._signed[(entry["domain"], int(entry["round"]))] = str(entry["digest"])
            except (ValueError, KeyError, TypeError) as error:
                if line.endswith(b"\n"):
                    self._file.close()
                    raise LocalError(
                        f"The file {path}, which remembers what was signed, is damaged.",
                        remedy="Wait until no round is open any more, then remove it.",
                        code="signer-memory",
                    ) from error
                break  # Half a line: the machine stopped during the write, so the agent did not return this signature.
            good += len(line)
        self._file.truncate(good)

    def remember(self, domain: bytes, round_id: int, digest: bytes) -> None:
        """Store a digest; it is on disk when this returns. Storing the same digest again is allowed.

        Raises:
            SignerError: Another digest was signed in this round.
        """
        key = (domain.hex(), round_id)
        known = self._signed.get(key)
        if known == digest.hex():
            return
        if known is not None:
            raise already_signed(round_id)
        entry = {"domain": domain.hex(), "round": round_id, "digest": digest.hex()}
        self._file.write(json.dumps(entry).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self._signed[key] = digest.hex()

    def close(self) -> None:
        """Let another agent open the file."""
        self._file.close()


class SignerAgent:
    """Serves signatures on a Unix socket, in a thread; a context manager.

    Args:
        account: The unlocked account.
        domain: Chain and ledger that it signs for.
        home: The contributor's folder, for the socket and the file of signed digests.
    """

    def __init__(self, account: LocalAccount, domain: Domain, home: Path) -> None:
        self._account = account
        self._domain = domain
        self._home = home
        self._lock = threading.Lock()
        self._cleanup = contextlib.ExitStack()
        self._server: socket.socket | None = None

    @property
    def path(self) -> Path:
        """Path of the socket."""
        return self._home / SOCKET_FILE

    def __enter__(self) -> SignerAgent:
        """Start serving.

        Raises:
            LocalError: The folder is in use, or the socket can't be created.
        """
        protect_memory()
        with contextlib.ExitStack() as stack:
            self._memory = SignedMemory(self._home / MEMORY_FILE)
            stack.callback(self._memory.close)
            try:
                self._server = stack.enter_context(self._listen(stack))
            except OSError as error:
                raise LocalError(
                    f"The signer's socket {self.path} can't be created: {error.strerror}.",
                    remedy="Give another --home, on a local disk.",
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
        with self._lock:
            self._cleanup.close()

    def _listen(self, stack: contextlib.ExitStack) -> socket.socket:
        path = self.path
        path.unlink(missing_ok=True)
        if len(os.fsencode(path)) > LONGEST_PATH:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="folkmoot-"))
            path.symlink_to(Path(folder, SOCKET_FILE))
            path = Path(folder, SOCKET_FILE)
        server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o177)
        try:
            server.bind(str(path))
        except OSError:
            server.close()
            raise
        finally:
            os.umask(before)
        server.listen(8)
        return server

    def _serve(self, server: socket.socket) -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(_CLIENT_TIMEOUT)
                with contextlib.suppress(OSError, ValueError):
                    request = read_line(connection)
                    connection.sendall(json.dumps(self._answer(request)).encode() + b"\n")

    def _answer(self, request: bytes) -> dict[str, str]:
        try:
            with self._lock:
                if self._server is None:
                    raise SignerError(
                        "The signer agent is stopping.",
                        remedy="Start the node again with `folkmoot join`.",
                        code="signer-unreachable",
                    )
                return {"signature": self.sign(request).hex()}
        except FolkmootError as error:
            return {"error": error.message, "remedy": error.remedy, "code": error.code}

    def sign(self, request: bytes) -> bytes:
        """Sign a request if it is a commitment of this agent's account for its ledger.

        Raises:
            SignerError: The request is something else, or another commitment of this round was signed.
        """
        commitment = self._requested(request)
        self._memory.remember(self._domain.separator, commitment.round, commitment.digest(self._domain))
        fault_point("node.remembered")
        return commitment.sign(self._account, self._domain)

    def _requested(self, request: bytes) -> Commitment:
        try:
            asked: Any = json.loads(request)
            kind, chain_id, ledger = asked["type"], asked["chainId"], asked["ledger"]
            fields = asked["commitment"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise SignerError(
                "The request can't be read.",
                remedy="Only folkmoot's mod speaks to the signer; start the node with `folkmoot join`.",
                code="malformed-request",
            ) from error
        if kind != MESSAGE_TYPE:
            raise SignerError(
                f"The signer signs only commitments, not {kind!r}.",
                remedy="Only folkmoot's mod speaks to the signer; start the node with `folkmoot join`.",
                code="wrong-type",
            )
        ours = self._domain
        if chain_id != ours.chain_id or str(ledger).lower() != ours.verifying_contract.lower():
            raise SignerError(
                f"This node signs for chain {ours.chain_id}, ledger {ours.verifying_contract}, and no other.",
                remedy="Join the other federation in a folder of its own.",
                code="wrong-ledger",
            )
        try:
            commitment = Commitment.from_json(fields)
        except InputError as error:
            raise SignerError(
                error.message,
                remedy="Only folkmoot's mod speaks to the signer; start the node with `folkmoot join`.",
                code="malformed-request",
            ) from error
        if commitment.contributor != self._account.address:
            raise SignerError(
                f"This node signs for {self._account.address}, not for {commitment.contributor}.",
                remedy="Start the node again with `folkmoot join` and the keystore of that account.",
                code="wrong-account",
            )
        return commitment


def protect_memory() -> None:
    """Prevent other processes of the same user from reading this process's memory and environment (Linux)."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


@contextlib.contextmanager
def signer_agent(account: LocalAccount, domain: Domain, home: Path) -> Iterator[SignerAgent]:
    """Serve signatures while the block runs."""
    with SignerAgent(account, domain, home) as agent:
        yield agent

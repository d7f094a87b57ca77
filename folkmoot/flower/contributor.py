# SPDX-License-Identifier: Apache-2.0
"""The contributor's folder as the code in the bundle sees it: `contributor.json` and the stored updates.

The folder has only data that other processes of this machine may read, and encrypted drafts of updates. The key stays
in the signer agent, which this module does not use. This module is part of the app bundle.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from Crypto.Cipher import ChaCha20_Poly1305
from eth_utils.address import is_address, to_checksum_address

from folkmoot.errors import InputError
from folkmoot.flower.records import HOME
from folkmoot.protocol.commitment import Commitment
from folkmoot.runtime.files import write_whole

CONTRIBUTOR_FILE = "contributor.json"
SOCKET_FILE = "signer.sock"
KEEPER_SOCKET_FILE = "keeper.sock"
UPDATES_FOLDER = "updates"
MEMORY_FOLDER = "memory"
"""Folder in the contributor's folder that has a folder for each bundle, for what its training keeps."""
MEMORY_VARIABLE = "FOLKMOOT_MEMORY"
"""Environment variable with that folder of the running bundle. Without it, the bundle that was verified names it."""
LOG_FILE = Path("logs", "supernode.log")
"""Where `folkmoot join` keeps the log of the SuperNode, below the contributor's folder."""
MAX_SAID = 1 << 20
"""Maximum size in bytes by which the description of an update may exceed the update, for `kept_update` with a limit."""
KEEP_UPDATES = 3
"""Number of rounds whose updates a node keeps, so that a lost update can be sent again."""

HOMES = "FOLKMOOT_HOMES"
"""Environment variable with the parent of the folders of simulated nodes. A node with its own folder ignores it."""

PARTITION = "partition-id"
"""Key of the node config that Flower's simulation engine sets, from 0."""

_DRAFT = ".draft"
_NONCE_BYTES = 12
_TAG_BYTES = 16


@dataclass(frozen=True)
class Contributor:
    """A contributor: account, federation and data."""

    home: Path
    """The contributor's folder."""
    rpc: str
    """RPC endpoint that the contributor trusts. The chain is read from it, never through the coordinator."""
    coordinator: str
    """URL of the coordinator."""
    deployment: Mapping[str, Any]
    """The federation's ``deployment.json``."""
    account: str
    """The contributor's account."""
    task: str
    """Name of the task or ``package.module:object``."""
    partition: int
    """Number of the node's share of a shipped task's data, from 0."""
    partitions: int
    """Number of shares."""
    root: str = ""
    """Root set on which the coordinator's own node trains. Empty for a contributor."""
    private: bool = False
    """Whether the federation's manifest has a privacy budget, so that nothing but noised updates may leave."""

    @property
    def chain_id(self) -> int:
        """Id of the chain."""
        return int(self.deployment["chainId"])

    @property
    def ledger(self) -> str:
        """Address of the RoundLedger."""
        return str(self.deployment["ledger"])

    @property
    def socket(self) -> Path:
        """Path of the signer agent's socket."""
        return self.home / SOCKET_FILE

    @property
    def keeper(self) -> Path:
        """Path of the keeper's socket, if `folkmoot join` runs one."""
        return self.home / KEEPER_SOCKET_FILE

    @property
    def log(self) -> Path:
        """Log of the SuperNode, with the tracebacks of the app."""
        return self.home / LOG_FILE

    def memories(self, bundle: bytes) -> Path:
        """Return the folder for what the training of a bundle keeps, by the bundle's hash."""
        return Path(os.environ.get(MEMORY_VARIABLE) or self.home / MEMORY_FOLDER / bundle.hex())

    def save(self) -> None:
        """Write ``contributor.json``; its folder must exist."""
        document = {
            "rpc": self.rpc,
            "coordinator": self.coordinator,
            "deployment": dict(self.deployment),
            "account": self.account,
            "task": self.task,
            "partition": self.partition,
            "partitions": self.partitions,
            "root": self.root,
            "private": self.private,
        }
        write_whole(self.home / CONTRIBUTOR_FILE, (json.dumps(document, indent=2) + "\n").encode())

    @classmethod
    def load(cls, home: Path) -> Contributor:
        """Load ``contributor.json`` of a folder.

        Raises:
            InputError: The file is missing or malformed.
        """
        path = home / CONTRIBUTOR_FILE
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            deployment = document["deployment"]
            if not is_address(deployment["ledger"]) or not is_address(document["account"]):
                raise ValueError("an address is malformed")
            return cls(
                home=home,
                rpc=str(document["rpc"]),
                coordinator=str(document["coordinator"]),
                deployment={
                    **deployment,
                    "chainId": int(deployment["chainId"]),
                    "ledger": to_checksum_address(deployment["ledger"]),
                },
                account=to_checksum_address(document["account"]),
                task=str(document["task"]),
                partition=int(document["partition"]),
                partitions=int(document["partitions"]),
                root=str(document.get("root", "")),
                private=bool(document.get("private", False)),
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"The contributor's file {path} can't be read: {error}.",
                remedy="Start the node with `folkmoot join`, which writes it.",
                code="no-contributor",
            ) from error

    @classmethod
    def of_node(cls, node_config: Mapping[str, Any]) -> Contributor:
        """Load the contributor of a Flower node from its ``folkmoot-home``, or of a simulated node by its partition.

        Raises:
            InputError: The node has no folder, or its file is missing or malformed.
        """
        home = node_config.get(HOME)
        homes, partition = os.environ.get(HOMES), node_config.get(PARTITION)
        if home is None and homes and isinstance(partition, int):
            return cls.load(simulated_home(Path(homes), partition))
        if not isinstance(home, str) or not home:
            raise InputError(
                f"This Flower node has no {HOME} in its node configuration.",
                remedy=f"Start it with `folkmoot join`, or give --node-config '{HOME}=\"FOLDER\"'.",
                code="no-contributor",
            )
        return cls.load(Path(home))


def simulated_home(homes: Path, partition: int) -> Path:
    """Return the folder of the simulated node with this partition number, from 0."""
    return homes / f"contributor-{partition + 1}"


@dataclass(frozen=True)
class KeptUpdate:
    """A signed update, as it was sent."""

    header_hash: str
    """Hash of the round's header, hex. An update is valid for one header only."""
    commitment: str
    """The signed commitment as JSON."""
    data: bytes
    """The update file."""
    said: bytes = b""
    """Records of the app's reply that were sent with the update, packed (`records.pack`)."""


@dataclass(frozen=True)
class DraftUpdate:
    """A trained and encoded update that may not be signed yet."""

    header_hash: str
    """Hash of the round's header, hex."""
    commitment: Commitment
    """The commitment to be signed."""
    data: bytes
    """The update file."""
    said: bytes = b""
    """Records of the app's reply that may be sent with the update, packed (`records.pack`)."""


def draft_update(home: Path, round_id: int, draft: DraftUpdate, key: bytes) -> None:
    """Store an update before it is signed, encrypted: if it is never signed, nobody may read it on this disk.

    A signature is final, and no other update of the round can be signed after it. So the update must be on disk first:
    a repeated training may give other bits.

    Args:
        home: The contributor's folder.
        round_id: The round.
        draft: The update.
        key: The signer's key for drafts, 32 bytes.
    """
    folder = home / UPDATES_FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    described = {
        "headerHash": draft.header_hash,
        "commitment": draft.commitment.to_json(),
        "said": draft.said.hex(),
    }
    cipher = ChaCha20_Poly1305.new(key=key, nonce=secrets.token_bytes(_NONCE_BYTES))
    cipher.update(str(round_id).encode())
    encrypted, tag = cipher.encrypt_and_digest(json.dumps(described).encode() + b"\n" + draft.data)
    write_whole(folder / f"{round_id}{_DRAFT}", cipher.nonce + tag + encrypted)


def drafted_update(home: Path, round_id: int, key: bytes) -> DraftUpdate | None:
    """Return the draft update of a round; None if it is missing, damaged or encrypted with another key."""
    path = home / UPDATES_FOLDER / f"{round_id}{_DRAFT}"
    try:
        if not path.is_file():  # The training code may put a pipe there.
            return None
        stored = path.read_bytes()
        nonce, tag = stored[:_NONCE_BYTES], stored[_NONCE_BYTES : _NONCE_BYTES + _TAG_BYTES]
        cipher = ChaCha20_Poly1305.new(key=key, nonce=nonce)
        cipher.update(str(round_id).encode())
        text, _, data = cipher.decrypt_and_verify(stored[_NONCE_BYTES + _TAG_BYTES :], tag).partition(b"\n")
        described = json.loads(text)
        reply = bytes.fromhex(described["said"])
        commitment = Commitment.from_json(described["commitment"])
        return DraftUpdate(str(described["headerHash"]), commitment, data, reply)
    except (OSError, ValueError, KeyError, TypeError, InputError):
        return None


def keep_update(home: Path, round_id: int, update: KeptUpdate) -> None:
    """Store a signed update, and remove its draft and the updates of old rounds.

    The update file is written before its description, so that a description always has its file.
    """
    folder = home / UPDATES_FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    write_whole(folder / f"{round_id}.update", update.data)
    described = {
        "headerHash": update.header_hash,
        "commitment": update.commitment,
        "said": update.said.hex(),
    }
    write_whole(folder / f"{round_id}.json", json.dumps(described).encode())
    (folder / f"{round_id}{_DRAFT}").unlink(missing_ok=True)
    for path in folder.iterdir():
        if path.stem.isdigit() and int(path.stem) <= round_id - KEEP_UPDATES:
            path.unlink(missing_ok=True)


def kept_update(home: Path, round_id: int, limit: int | None = None) -> KeptUpdate | None:
    """Return the signed update of a round; None if it is missing or damaged.

    Args:
        home: The contributor's folder. The training code may put pipes, links and huge files there.
        round_id: The round.
        limit: Maximum size of the update in bytes; its description may have `MAX_SAID` more. None for no limit.
    """
    description, update = (home / UPDATES_FOLDER / f"{round_id}.{kind}" for kind in ("json", "update"))
    try:
        if not (description.is_file() and update.is_file()):
            return None
        described = json.loads(_read(description, None if limit is None else limit + MAX_SAID))
        data = _read(update, limit)
        reply = bytes.fromhex(described["said"])
        return KeptUpdate(str(described["headerHash"]), str(described["commitment"]), data, reply)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _read(path: Path, limit: int | None) -> bytes:
    """Return the bytes of a file. A link is not followed, and a pipe is not waited for.

    Raises:
        OSError: It can't be read.
        ValueError: It has more bytes than the limit.
    """
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        data = file.read() if limit is None else file.read(limit + 1)
    if limit is not None and len(data) > limit:
        raise ValueError(f"{path} has more than {limit} bytes")
    return data

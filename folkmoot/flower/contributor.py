# SPDX-License-Identifier: Apache-2.0
"""The contributor's folder as the code in the bundle sees it: `contributor.json`, and the paths in the folder.

The folder has only data that other processes of this machine may read, and encrypted drafts of updates. The key stays
in the signer agent, which this module does not use. This module is part of the app bundle.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eth_utils.address import is_address, to_checksum_address

from folkmoot.errors import InputError
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

HOME = "folkmoot-home"
"""Key of the node configuration that names the contributor's folder."""
HOMES = "FOLKMOOT_HOMES"
"""Environment variable with the parent of the folders of simulated nodes. A node with its own folder ignores it."""

PARTITION = "partition-id"
"""Key of the node config that Flower's simulation engine sets, from 0."""


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

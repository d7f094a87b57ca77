# SPDX-License-Identifier: Apache-2.0
"""The genesis in the store: what a federation starts from, by the hash that its ledger has."""

from __future__ import annotations

import hashlib
from pathlib import Path

from folkmoot.artifacts.sources import DOCUMENT_LIMIT
from folkmoot.errors import ArtifactError, InputError
from folkmoot.protocol.genesis import Genesis
from folkmoot.protocol.hashing import keccak
from server.db.models import Artifact
from server.storage import Storage
from server.store import Store


def read_genesis(store: Store, genesis_hash: str) -> Genesis:
    """The genesis of a federation, by the hash that its ledger has.

    Raises:
        ArtifactError: It is not in the store, or damaged.
    """
    wanted = genesis_hash.removeprefix("0x")
    data = store.read(store.by_keccak(wanted))
    if keccak(data).hex() != wanted:
        raise ArtifactError(
            "The genesis file in the store is not the one that the ledger names.",
            remedy="Run `folkmoot coordinator init` again with the right genesis.",
            code="artifact-damaged",
        )
    return Genesis.from_json(data)


def import_genesis(store: Store, folder: Path, genesis_hash: str) -> Genesis:
    """Copy the genesis, its manifest and its state from a folder into the store.

    The folder may be a store (docs/protocol.md section 12) or just hold the three files under any names.

    Raises:
        InputError: A file is missing.
    """
    by_keccak: dict[str, Path] = {}
    by_sha256: dict[str, Path] = {}
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}.", remedy="Give the genesis's folder with --genesis.")
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                by_sha256[hashlib.file_digest(file, "sha256").hexdigest()] = path
            if path.stat().st_size <= DOCUMENT_LIMIT:  # A state may be larger than the memory.
                by_keccak[keccak(path.read_bytes()).hex()] = path
    wanted = genesis_hash.removeprefix("0x")
    if wanted not in by_keccak:
        raise InputError(
            f"No file in {folder} is the genesis of this deployment (keccak {genesis_hash}).",
            remedy="Give the folder that `folkmoot deploy` wrote for this deployment.",
        )
    stored = store.put_file(by_keccak[wanted])
    store.link(wanted, stored.sha256)
    genesis = read_genesis(store, genesis_hash)
    for name in (genesis.manifest, genesis.state):
        if name not in by_sha256:
            raise InputError(
                f"The file {name} of the genesis is not in {folder}.", remedy="Get all three files."
            )
        store.put_file(by_sha256[name])
    return genesis


def record_genesis(storage: Storage, genesis: Genesis, genesis_hash: str) -> None:
    """Write the three files of the genesis into the database."""
    wanted = genesis_hash.removeprefix("0x")
    files = (
        ("genesis", storage.store.by_keccak(wanted), wanted),
        ("manifest", genesis.manifest, None),
        ("state", genesis.state, None),
    )
    with storage.database.write("genesis-recorded") as session:
        for kind, sha256, digest in files:
            size = storage.store.path(sha256).stat().st_size
            row = Artifact(sha256=sha256, keccak=digest, kind=kind, size=size, round=0, public_from=0)
            session.merge(row)

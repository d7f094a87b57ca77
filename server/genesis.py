# SPDX-License-Identifier: Apache-2.0
"""The genesis in the store: what a federation starts from, by the hash that its ledger has."""

from __future__ import annotations

import hashlib
from pathlib import Path

from folkmoot.artifacts.federation import Federation, read_genesis
from folkmoot.artifacts.store import Store
from folkmoot.errors import InputError
from folkmoot.protocol.genesis import Genesis
from folkmoot.protocol.hashing import keccak
from server.db.models import CARRIED, Artifact
from server.storage import Storage

GENESIS_LIMIT = 1 << 20
"""Maximum size in bytes of a genesis file, which has a number for each of at most 4,096 tensors."""


def import_genesis(store: Store, folder: Path, genesis_hash: str) -> Genesis:
    """Copy the genesis, its manifest, its state and its carried files from a folder into the store.

    The folder may be a store (docs/protocol.md section 12) or just hold the files under any names.

    Raises:
        ArtifactError: A carried file has another size than its array (``wrong-size``).
    """
    by_keccak: dict[str, Path] = {}
    by_sha256: dict[str, Path] = {}
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}.", remedy="Give the genesis's folder with --genesis.")
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                by_sha256[hashlib.file_digest(file, "sha256").hexdigest()] = path
            if path.stat().st_size <= GENESIS_LIMIT:  # A state may be larger than the memory.
                by_keccak[keccak(path.read_bytes()).hex()] = path
    wanted = genesis_hash.removeprefix("0x")
    if wanted not in by_keccak:
        raise InputError(
            f"No file in {folder} is the genesis of this deployment (keccak {genesis_hash}).",
            remedy="Give the folder that `folkmoot deploy` wrote for this deployment.",
        )
    data = by_keccak[wanted].read_bytes()
    store.put_document(data)

    def put(what: str, name: str) -> Path:
        if name not in by_sha256:
            raise InputError(
                f"{what} of the genesis, the file {name}, is not in {folder}.",
                remedy="Get all files that `folkmoot task init` wrote.",
            )
        store.put_file(by_sha256[name])
        return by_sha256[name]

    genesis, manifest = read_genesis(data, lambda name: put("The manifest", name).read_bytes())
    put("The first state", genesis.state)
    for entry in manifest.files:
        entry.open(put(f"The carried array {entry.name!r}", entry.sha256))
    return genesis


def record_genesis(storage: Storage, federation: Federation) -> None:
    """Write the files of the genesis into the database."""
    genesis, store = federation.genesis, storage.store
    wanted = federation.deployment.genesis_hash.removeprefix("0x")
    names = (("genesis", store.by_keccak(wanted)), ("manifest", genesis.manifest), ("state", genesis.state))
    files = [Artifact(sha256=name, kind=kind, size=store.path(name).stat().st_size) for kind, name in names]
    files[0].keccak = wanted
    files += [
        Artifact(sha256=entry.sha256, kind=CARRIED, size=entry.size) for entry in federation.manifest.files
    ]
    with storage.database.write("genesis-recorded") as session:
        for row in files:
            row.round = row.public_from = 0
            row.deleted, row.gone = None, False  # A carried file may have been listed as an update.
            session.merge(row)

# SPDX-License-Identifier: Apache-2.0
"""Check the genesis file against the ledger, and what it names against it: manifest, carried files, first state."""

from __future__ import annotations

from dataclasses import dataclass

from folkmoot.artifacts.federation import files_of
from folkmoot.artifacts.store import DOCUMENT_LIMIT
from folkmoot.audit.failure import Subject, mismatch, require
from folkmoot.audit.files import Files
from folkmoot.audit.history import History
from folkmoot.audit.parent import PARENT, check_first_state
from folkmoot.errors import ArtifactError, ManifestError
from folkmoot.protocol.genesis import Genesis
from folkmoot.protocol.manifest import Files as CarriedFiles
from folkmoot.protocol.manifest import Manifest
from folkmoot.protocol.state import State

_CHECK = "genesis"


@dataclass(frozen=True, eq=False)
class Origin:
    """Genesis of the federation."""

    genesis: Genesis
    """The genesis file."""
    manifest: Manifest
    state: State
    """The first state."""
    state_root: bytes
    """Root of the first state, 32 bytes."""
    files: CarriedFiles
    """Gives the values of carried files."""


def check_genesis(history: History, files: Files) -> Origin:
    """Check the genesis file, the manifest, the carried files and the first state against the chain."""
    storage = history.storage
    subject = Subject(check=_CHECK, round=0)
    require(
        subject,
        "the genesis in the deployment file",
        "0x" + storage.genesis_hash.hex(),
        history.deployment.genesis_hash,
    )
    data = files.document(subject, "the genesis file", storage.genesis_hash)
    try:
        genesis = Genesis.from_json(data)
    except ArtifactError as error:
        raise mismatch(subject, "the genesis file", "a genesis file", error.message) from error

    of_manifest = Subject(check=_CHECK, round=0, artifact=genesis.manifest)
    path = files.fetch(of_manifest, "the manifest", genesis.manifest, DOCUMENT_LIMIT)
    try:
        manifest = Manifest.from_json(path.read_bytes())
    except ManifestError as error:
        raise mismatch(of_manifest, "the manifest", "a manifest", error.message) from error
    require(of_manifest, "the hash of the manifest", storage.manifest_hash, manifest.hash)
    require(of_manifest, "the number of exponents", len(manifest.tensors), len(genesis.exponents))

    for entry in manifest.files:
        of_file = Subject(check=_CHECK, round=0, artifact=entry.sha256)
        what = f"the file of the carried array {entry.name!r}"
        fetched = files.fetch(of_file, what, entry.sha256, entry.size)
        require(of_file, f"the size of {what}", entry.size, fetched.stat().st_size)

    of_state = Subject(check=_CHECK, round=0, artifact=genesis.state)
    state = files.state(of_state, "the first state", genesis.state, manifest)
    root = state.root(manifest.hash)
    require(of_state, "the root of the first state", storage.rounds[0].state_root, root)
    require(PARENT, "the parent in the deployment file", manifest.parent, history.deployment.parent)
    if manifest.parent is not None:
        check_first_state(manifest.parent, state)
    return Origin(genesis, manifest, state, root, files_of(files.source))

# SPDX-License-Identifier: Apache-2.0
"""The model files that people download, made from states that have the root on the chain (docs/protocol.md section 14).

A coordinator's model file is compared with that file by its hash: so one that hands out another model is found. Files
are made in pieces, so that no model is in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from eth_utils.crypto import keccak

from folkmoot.artifacts.carried import files_of
from folkmoot.artifacts.inventory import Commitments
from folkmoot.artifacts.sources import DOCUMENT_LIMIT, ArtifactSource, CoordinatorSource
from folkmoot.artifacts.states import RebuildingSource, fetch_state
from folkmoot.errors import ArtifactError, ContractRefused, InputError
from folkmoot.ledger.deployment import Deployment
from folkmoot.protocol.genesis import Genesis
from folkmoot.protocol.hashing import sha256_of
from folkmoot.protocol.manifest import Manifest
from folkmoot.protocol.state import State
from folkmoot.rpc.client import Phase, Rpc

WRONG = "wrong-model"
"""Code of the error that a coordinator hands out another model."""
_NONE_YET = "0x" + keccak(text="ModelRegistryNoActiveVersion()")[:4].hex()


@dataclass(frozen=True)
class Model:
    """A version of the model, checked against the chain."""

    number: int
    """Its number."""
    state_root: bytes
    """Root of its state on the chain, 32 bytes."""
    sha256: str
    """Name of the safetensors file."""
    size: int
    """Bytes of the safetensors file."""
    chunks: Callable[[], Iterator[bytes]]
    """Makes the safetensors file, in pieces, while the source of the state is open. Raises ArtifactError if a carried
    file can't be had."""
    final: bool
    """Whether its round is final; until then it may still be challenged."""


def model_of(rpc: Rpc, deployment: Deployment, source: ArtifactSource, number: int) -> Model:
    """Make the file of a version from its state.

    Args:
        rpc: An endpoint. It is trusted for the root.
        deployment: Addresses of the contracts.
        source: Where the carried files are, and the state, or what it is rebuilt from. It is not trusted.
        number: Number of the version: 0 for the first state, or an anchored round.

    Raises:
        InputError: There is no such version (`unknown-version`).
        ArtifactError: A file is missing or damaged, or the state has another root (`wrong-model`).
        RpcError: The endpoint failed.
    """
    commitments = Commitments(rpc, deployment)
    ledger = commitments.ledger
    view = ledger.round(number)
    if number and view.phase not in (Phase.ANCHORED, Phase.FINAL):
        raise InputError(
            f"There is no version {number}: its round is {view.phase.name.lower()}.",
            remedy="Give 0, or the number of an anchored round; `folkmoot status` shows the newest.",
            code="unknown-version",
        )
    genesis = Genesis.from_json(source.document(ledger.genesis_hash().hex()))
    manifest = Manifest.from_json(source.fetch(genesis.manifest, DOCUMENT_LIMIT).read_bytes())
    if number:
        commitments.look()
    with RebuildingSource(source) as states:
        path = (
            fetch_state(states, commitments, manifest, number)
            if number
            else source.fetch(genesis.state, manifest.state_file_size)
        )
        state = State.open(path, manifest)
    root = state.root(ledger.manifest_hash())
    if root != view.state_root:
        raise ArtifactError(
            f"The state of version {number} has the root 0x{root.hex()}, and the chain has 0x{view.state_root.hex()}.",
            remedy="Run `folkmoot audit`: the coordinator anchored one state and published another.",
            code=WRONG,
        )
    chunks = partial(state.safetensors_chunks, manifest, number, root, files_of(source))
    return Model(number, root, *sha256_of(chunks()), chunks, number == 0 or view.phase is Phase.FINAL)


def active_version(rpc: Rpc, deployment: Deployment) -> int:
    """Return the number of the active version.

    Raises:
        InputError: No vote has made one active yet (`no-active-version`).
        RpcError: The endpoint failed.
    """
    try:
        return int(rpc.read(deployment.registry, "active()", ["uint64", "bytes32"])[0])
    except ContractRefused as error:
        if error.details.get("data") != _NONE_YET:
            raise
    raise InputError(
        "No vote has made a version active yet.", remedy="Give a number.", code="no-active-version"
    )


def check_handed_out(coordinator: CoordinatorSource, number: int, expected: str, size: int) -> bool:
    """Download a coordinator's file of a version, and compare it with the right one.

    Args:
        coordinator: The coordinator.
        number: Number of the version.
        expected: sha256 of the right file.
        size: Its size in bytes.

    Returns:
        False if this is a web server with files, which hands out no models.

    Raises:
        ArtifactError: It hands out another file (`wrong-model`), none, or gave no answer.
    """
    found = coordinator.model(number, size)
    if found is None:
        return False
    if found != expected:
        raise ArtifactError(
            f"The coordinator {coordinator.url} hands out another model as version {number}: its safetensors file has "
            f"the sha256 {found}, and that of the state on the chain has {expected}.",
            remedy="Do not use its file, and tell the others. `folkmoot model download` makes the right one.",
            code=WRONG,
            details={"file": expected, "source": coordinator.url, "found": found, "version": number},
        )
    return True

# SPDX-License-Identifier: Apache-2.0
"""A federation: its deployment file, and what it starts from. Open it from files, or write its first ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from numpy.typing import NDArray

from folkmoot.artifacts.sources import ArtifactSource
from folkmoot.artifacts.store import DOCUMENT_LIMIT
from folkmoot.errors import ArtifactError, InputError, ManifestError, TaskError
from folkmoot.ledger.deployment import Deployment
from folkmoot.protocol.commitment import Domain
from folkmoot.protocol.genesis import Genesis
from folkmoot.protocol.hashing import keccak, sha256_hex
from folkmoot.protocol.manifest import CarriedFile, Files, Manifest, file_chunks, file_name, no_files
from folkmoot.protocol.state import State
from folkmoot.runtime.files import write_whole

if TYPE_CHECKING:
    from folkmoot.rpc.client import LedgerReader


@dataclass(frozen=True)
class Federation:
    """A federation whose genesis and manifest are those of the deployment file, and of the ledger if it was asked."""

    deployment: Deployment
    genesis: Genesis
    manifest: Manifest
    coordinator: str = ""
    """Address of the coordinator's account that runs here, checksummed; empty elsewhere. The chain may have appointed
    another one."""

    @classmethod
    def open(
        cls,
        deployment: Deployment,
        source: ArtifactSource,
        ledger: LedgerReader | None = None,
        coordinator: str = "",
    ) -> Self:
        """Fetch the genesis and the manifest.

        Args:
            deployment: The deployment file. It names the genesis, if no ledger is given.
            source: Source of the files. It is not trusted.
            ledger: The ledger, which names both.
            coordinator: See the field.

        Raises:
            ArtifactError: A file is missing or damaged, or the ledger names another manifest than the genesis
                (``artifact-contradicts``).
        """
        name = deployment.genesis_hash.removeprefix("0x") if ledger is None else ledger.genesis_hash().hex()
        expected = None if ledger is None else ledger.manifest_hash()
        genesis, manifest = read_genesis(
            source.document(name), lambda sha256: source.fetch(sha256, DOCUMENT_LIMIT).read_bytes(), expected
        )
        if manifest.parent != deployment.parent:
            raise ArtifactError(
                f"The deployment file says that the federation starts from {deployment.parent or 'no other one'}, and "
                f"the manifest says from {manifest.parent or 'no other one'}.",
                remedy="The manifest is right: the ledger has its hash. Get the deployment file from somebody else.",
                code="artifact-contradicts",
            )
        return cls(deployment, genesis, manifest, coordinator)

    @cached_property
    def domain(self) -> Domain:
        """Chain and ledger for which signatures count."""
        return Domain(self.deployment.chain_id, self.deployment.ledger)


def read_genesis(
    data: bytes, fetch: Callable[[str], bytes], manifest_hash: bytes | None = None
) -> tuple[Genesis, Manifest]:
    """Read a genesis file and its manifest.

    Args:
        data: The genesis file.
        fetch: Returns the bytes of a file by its sha256.
        manifest_hash: Hash of the manifest on the ledger; None if nobody asked.

    Raises:
        ArtifactError: One of them can't be read, or the ledger names another manifest (``artifact-contradicts``).
    """
    genesis = Genesis.from_json(data)
    try:
        manifest = Manifest.from_json(fetch(genesis.manifest))
    except ManifestError as error:
        raise ArtifactError(
            f"The manifest of the genesis is invalid. {error.message}",
            remedy="Ask whoever started the federation for the right genesis files.",
            code="artifact-contradicts",
        ) from error
    if manifest_hash is not None and manifest.hash != manifest_hash:
        raise ArtifactError(
            "The manifest that the genesis names is not the one that the ledger names.",
            remedy="The contracts were deployed like this: nobody can check this federation. Do not join it.",
            code="artifact-contradicts",
        )
    return genesis, manifest


def files_of(source: ArtifactSource) -> Files:
    """Return a function that fetches the file of a carried array from a source, and maps it.

    The function raises ArtifactError if the file is missing, damaged, or has another size than the array.
    """
    return partial(_fetch, source)


def _fetch(source: ArtifactSource, entry: CarriedFile) -> NDArray[Any]:
    return entry.open(source.fetch(entry.sha256, entry.size))


@dataclass(frozen=True)
class Start:
    """Contents of a federation's genesis."""

    manifest: Manifest
    state: State
    genesis: Genesis
    state_root: bytes
    guessed: str
    """Why the first exponents are estimated; empty if they come from a training."""
    files: Files = no_files
    """Gives the values of the carried arrays that are files."""


def write(start: Start, folder: Path) -> None:
    """Write a genesis in the layout of docs/protocol.md section 12, and its genesis file as ``genesis.json``.

    Raises:
        TaskError: An array that is not trained has changed since its hash was computed (``base-changed``).
    """
    document = start.genesis.to_json()
    try:
        for name, data in (
            (start.genesis.manifest, start.manifest.to_json()),
            (start.genesis.state, start.state.chunks()),
            (sha256_hex(document), document),
        ):
            _write(folder, name, data)
        for entry in start.manifest.files:
            values = start.files(entry)
            if file_name(values) != entry.sha256:
                raise TaskError(
                    f"The array {entry.name!r} is not trained, and the task's own code has changed it.",
                    remedy="Let train() leave it as it is, or let it be trained (requires_grad).",
                    code="base-changed",
                )
            _write(folder, entry.sha256, file_chunks(values))
        link = folder / "by-keccak" / keccak(document).hex()
        link.parent.mkdir(exist_ok=True)
        write_whole(link, sha256_hex(document).encode())
        write_whole(folder / "genesis.json", document)
    except OSError as error:
        raise InputError(
            f"The folder {folder} can't be written: {error.strerror}.",
            remedy="Give another folder, or make room there.",
        ) from error


def _write(folder: Path, name: str, data: bytes | Iterable[bytes]) -> None:
    path = folder / name[:2] / name
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, data)

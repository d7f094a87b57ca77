# SPDX-License-Identifier: Apache-2.0
"""Write the genesis of a federation: manifest, first state and genesis file, in the layout of a mirror."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from folkmoot.errors import InputError, TaskError
from folkmoot.protocol.genesis import Genesis
from folkmoot.protocol.hashing import keccak, sha256_hex
from folkmoot.protocol.manifest import Files, Manifest, file_chunks, file_name, no_files
from folkmoot.protocol.state import State
from folkmoot.runtime.files import write_whole


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
        InputError: The folder can't be written.
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

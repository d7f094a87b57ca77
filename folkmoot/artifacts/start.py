# SPDX-License-Identifier: Apache-2.0
"""Write the genesis of a federation: manifest, first state and genesis file, in the layout of a mirror."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from folkmoot.errors import InputError
from folkmoot.protocol.genesis import Genesis
from folkmoot.protocol.hashing import keccak, sha256_hex
from folkmoot.protocol.manifest import Manifest
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


def write(start: Start, folder: Path) -> None:
    """Write a genesis in the layout of docs/protocol.md section 12, and its genesis file as ``genesis.json``.

    Raises:
        InputError: The folder can't be written.
    """
    document = start.genesis.to_json()
    try:
        for name, data in (
            (start.genesis.manifest, start.manifest.to_json()),
            (start.genesis.state, start.state.chunks()),
            (sha256_hex(document), document),
        ):
            path = folder / name[:2] / name
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, data)
        link = folder / "by-keccak" / keccak(document).hex()
        link.parent.mkdir(exist_ok=True)
        write_whole(link, sha256_hex(document).encode())
        write_whole(folder / "genesis.json", document)
    except OSError as error:
        raise InputError(
            f"The folder {folder} can't be written: {error.strerror}.",
            remedy="Give another folder, or make room there.",
        ) from error

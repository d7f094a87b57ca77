# SPDX-License-Identifier: Apache-2.0
"""The states that a node keeps on its disk, by state root, and the step from one to the next by a mean.

A file is written under another name first, so that a crash leaves whole states only. The memory does not grow with the
model. This module reads no chain and no network.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np

from folkmoot.errors import ArtifactError, EncodingError, InputError
from folkmoot.protocol import merkle
from folkmoot.protocol.arrays import I64, U8
from folkmoot.protocol.fixed_point import LEAF
from folkmoot.protocol.hashing import HASH_BYTES
from folkmoot.protocol.header import RoundHeader
from folkmoot.protocol.manifest import Manifest
from folkmoot.protocol.mean import check_mean
from folkmoot.protocol.merkle import MOMENTUM, THETA
from folkmoot.protocol.next_state import LEAVES, write_next_state
from folkmoot.protocol.policy import Policy
from folkmoot.protocol.state import MAGIC
from folkmoot.protocol.updates import FileUpdate
from folkmoot.runtime.fault_points import fault_point
from folkmoot.runtime.files import sync_folder

KEPT = 2
"""Number of states that are kept: the newest base and the one before, to which a cancelled round may lead back."""

STATE = ".state"
"""End of the name of a state, which begins with its state root."""

_UNFINISHED = "next.part"


class KeptStates:
    """States in a folder.

    Args:
        folder: The folder; it must exist.
        manifest: The model's layout. A state of another model has another root, and is not found.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self._folder = folder
        self._manifest = manifest
        self._checked: dict[bytes, tuple[int, ...]] = {}

    def find(self, root: bytes) -> Path | None:
        """Return the state file with a root. It is read in full if it may have changed; a damaged one is removed."""
        path = self._place(root)
        if not path.is_file():
            return None
        if self._checked.get(root) != version_of(path):
            if self._root_of(path) != root:
                path.unlink()
                return None
            self._checked[root] = version_of(path)
        return path

    def take(self, path: Path, root: bytes) -> Path | None:
        """Move a fetched state file into the folder. Return its new path; None if the file has another root."""
        if self._root_of(path) != root:
            return None
        return self._named(path, root)

    def follow(self, base: Path, mean: Path, header: RoundHeader, policy: Policy, root: bytes) -> Path | None:
        """Make the state after a round from its base and its mean.

        Args:
            base: The base's state file.
            mean: The round's mean file.
            header: The round's header.
            policy: The round's policy.
            root: The state root that the chain has.

        Returns:
            The path of the new state; None if base and mean lead to another root.

        Raises:
            OSError: The disk failed, or is full. The unfinished file is removed.
        """
        part = self._folder / _UNFINISHED
        try:
            with contextlib.suppress(ArtifactError, EncodingError, InputError):
                read = mean_reader(mean, self._manifest, policy)
                write_next_state(base, read, header.exponents, policy, self._manifest, part)
                return self.take(part, root)
            return None
        finally:
            part.unlink(missing_ok=True)

    def tidy(self, root: bytes) -> None:
        """Remove all states but this one and the newest other ones."""
        files = [path for path in self._folder.glob(f"*{STATE}") if path != self._place(root)]
        files.sort(key=lambda path: path.stat().st_mtime_ns)
        for path in files[: len(files) - (KEPT - 1)]:
            path.unlink(missing_ok=True)

    def _place(self, root: bytes) -> Path:
        return self._folder / f"{root.hex()}{STATE}"

    def _named(self, path: Path, root: bytes) -> Path:
        with path.open("rb+") as file:
            os.fsync(file.fileno())
        fault_point("keeper.state-written")
        named = path.replace(self._place(root))
        self._checked[root] = version_of(named)
        sync_folder(self._folder)
        return named

    def _root_of(self, path: Path) -> bytes:
        """Return the root of a state file; empty if the file is none of this manifest."""
        manifest = self._manifest
        with path.open("rb") as file:
            if path.stat().st_size != manifest.state_file_size or file.read(len(MAGIC)) != MAGIC:
                return b""
            roots = []
            for kind in (THETA, MOMENTUM):
                hashes = np.empty((manifest.leaves, HASH_BYTES), dtype=np.uint8)
                for first in range(0, manifest.leaves, LEAVES):
                    last = min(first + LEAVES, manifest.leaves)
                    values = _read(file, LEAF * (last - first))
                    hashes[first:last] = merkle.leaf_hashes(kind, merkle.state_leaves(values))
                roots.append(merkle.tree(kind, hashes).root)
        return merkle.state_root(manifest.hash, *roots)


def version_of(path: Path) -> tuple[int, ...]:
    """Return what changes when somebody changes or exchanges a file."""
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def mean_file_size(manifest: Manifest, policy: Policy) -> int:
    """Return the size of a mean file in bytes."""
    return manifest.update_file_size(policy.mean_width)


def mean_reader(path: Path, manifest: Manifest, policy: Policy) -> Callable[[int, int], U8]:
    """Return a function that reads the leaves from the first to before the last of a mean file, uint8[k, 256].

    Raises:
        ArtifactError: The file has another size.
        EncodingError: By the function: a leaf can't be a mean's.
    """
    size = mean_file_size(manifest, policy)
    if path.stat().st_size != size:
        raise ArtifactError(
            f"The mean file has {path.stat().st_size} bytes, not {size}.",
            remedy="Get it from another mirror.",
        )
    update = FileUpdate(path, policy.mean_width)

    def read(first: int, last: int) -> U8:
        rows = update.read(first, last)
        check_mean(rows, manifest, first, policy.mean_bound)
        return rows

    return read


def _read(file: BinaryIO, count: int) -> I64:
    data = file.read(8 * count)
    return np.frombuffer(data, dtype="<i8").astype(np.int64, copy=False)

# SPDX-License-Identifier: Apache-2.0
"""What a node keeps on its disk: the newest states, by their state roots, and the files of carried arrays.

This module reads no chain and no network.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from folkmoot.artifacts.states import RebuildingSource, Recipe
from folkmoot.artifacts.store import FolderStore, Owner
from folkmoot.errors import ArtifactError, LocalError
from folkmoot.protocol.manifest import CarriedFile, Manifest
from folkmoot.protocol.state import State

KEPT = 2
"""Number of states that are kept: the newest base and the one before, to which a cancelled round may lead back."""

KEEPER = Owner("keeper", 0o600, "Nothing is to be done: it is fetched again.")


class KeptStates(FolderStore):
    """States in a folder. A link by the state root leads to each.

    Args:
        folder: The folder; made if it is not there.
        manifest: The model's layout. A state of another model has another root, and is not found.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        super().__init__(folder, KEEPER)
        self._manifest = manifest
        self._roots: dict[str, bytes] = {}

    def find(self, root: bytes) -> Path | None:
        """Return the state file with a root; None if there is none, or it is damaged."""
        try:
            path = self.intact(self.by_keccak(root.hex()))
        except ArtifactError:
            return None
        return path if self._root_of(path) == root else None

    def take(self, path: Path, root: bytes) -> bool:
        """Let a state of this store be found by a root. If it has another one, remove it and return False."""
        if self._root_of(path) != root:
            self.delete(path.name)
            return False
        self.link(root.hex(), path.name)
        return True

    def follow(self, recipe: Recipe, base: Path) -> Path:
        """Make the state after a round from its base and its mean, which are in this store. The mean is removed.

        Raises:
            ArtifactError: The mean is damaged, or leads to another state.
            StoreError: The disk failed, or is full.
        """
        try:
            return RebuildingSource(self, self).follow([recipe], base)
        finally:
            self.delete(recipe.mean)

    def tidy(self) -> None:
        """Remove all states but the newest ones."""
        self.make_room(KEPT * self._manifest.state_file_size)
        for link in self.links.iterdir():
            if not self.has(link.read_text()):
                link.unlink(missing_ok=True)

    def _root_of(self, path: Path) -> bytes:
        """Return the root of a state; empty if the file is none of this manifest."""
        if path.name not in self._roots:
            try:
                state = State.open(path, self._manifest)
            except ArtifactError:
                return b""
            self._roots = {path.name: state.root(self._manifest.hash), **self._roots}
        return self._roots[path.name]


def require_room(store: FolderStore, files: list[CarriedFile]) -> None:
    """Make sure that the disk has room for the files of arrays. What has arrived of them is there already.

    Raises:
        LocalError: It has not (``keeper-disk``).
    """
    needed = sum(entry.size for entry in files) - sum(store.unfinished().values())
    free = shutil.disk_usage(store.root).free
    if free < needed:
        raise LocalError(
            f"The files of arrays that are not trained need {needed / 1e6:,.1f} MB more in {store.root}, and "
            f"{free / 1e6:,.1f} MB are free.",
            remedy="Make room there. What is there is kept, and the next try continues.",
            code="keeper-disk",
        )

# SPDX-License-Identifier: Apache-2.0
"""The files of a model's carried arrays, such as a frozen model, that a node keeps on its disk.

They never change, so each is fetched once. What has arrived of a file stays, and the next try goes on with it. This
module reads no chain and no network.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from client.keeper.states import version_of
from folkmoot.artifacts.sources import PART, ArtifactSource
from folkmoot.errors import LocalError
from folkmoot.protocol.manifest import CarriedFile, Manifest


class KeptFiles:
    """Files in a folder.

    Args:
        folder: The folder.
        manifest: The manifest. Other files are not kept.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self._entries = {entry.sha256: entry for entry in manifest.files}
        self._checked: dict[str, tuple[int, ...]] = {}

    def find(self, sha256: str) -> Path | None:
        """Return the path of a file. It is read in full if it may have changed; a damaged one is removed."""
        path = self.folder / sha256
        if sha256 not in self._entries or not path.is_file():
            return None
        if self._checked.get(sha256) != version_of(path):
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            if digest != sha256:
                path.unlink()
                return None
            self._checked[sha256] = version_of(path)
        return path

    def missing(self) -> list[CarriedFile]:
        """Return the arrays whose files are not there."""
        return [entry for sha256, entry in self._entries.items() if self.find(sha256) is None]

    def fetch(self, source: ArtifactSource, missing: list[CarriedFile]) -> Iterator[int]:
        """Fetch files.

        Args:
            source: Sources that write to the folder, or have folders of their own.
            missing: The arrays.

        Yields:
            The size of each file in bytes, before it is fetched.

        Raises:
            ArtifactError: No source has a file, or its size disagrees with its array (``wrong-size``).
            LocalError: The disk has no room (``keeper-disk``).
            OSError: The disk failed.
        """
        there = sum(path.stat().st_size for path in self.folder.glob(f"*{PART}"))
        needed, free = sum(entry.size for entry in missing) - there, shutil.disk_usage(self.folder).free
        if free < needed:
            raise LocalError(
                f"The files of arrays that are not trained need {needed / 1e6:,.1f} MB more in {self.folder}, and "
                f"{free / 1e6:,.1f} MB are free.",
                remedy="Make room there. What is there is kept, and the next try goes on.",
                code="keeper-disk",
            )
        for entry in missing:
            yield entry.size
            path, place = source.fetch(entry.sha256, entry.size), self.folder / entry.sha256
            if path != place:  # A mirror's own file.
                part = place.with_name(place.name + PART)
                shutil.copyfile(path, part)
                part.replace(place)
            entry.open(place)

# SPDX-License-Identifier: Apache-2.0
"""Several sources of files, asked in turn (`folkmoot.artifacts.sources.SeveralSources`). It reports every failure.

A watcher that found a file at the third mirror has something to say about the first two.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from folkmoot.artifacts.sources import ArtifactSource, SeveralSources
from folkmoot.errors import ArtifactError
from folkmoot.protocol.deletion import DeletionWish

Trouble = Callable[[str, ArtifactError], None]
"""Called with the location of a source that failed, and why."""


class ReportingSource:
    """A source whose failures are told.

    Args:
        where: Its location.
        source: The source.
        trouble: Told of each failure.
    """

    def __init__(self, where: str, source: ArtifactSource, trouble: Trouble) -> None:
        self._where, self._source, self._trouble = where, source, trouble

    def fetch(self, sha256: str, limit: int) -> Path:
        """See `ArtifactSource.fetch`."""
        try:
            return self._source.fetch(sha256, limit)
        except ArtifactError as error:
            self._trouble(self._where, error)
            raise

    def document(self, keccak256: str) -> bytes:
        """See `ArtifactSource.document`."""
        try:
            return self._source.document(keccak256)
        except ArtifactError as error:
            self._trouble(self._where, error)
            raise

    def wishes(self) -> tuple[DeletionWish, ...]:
        """See `ArtifactSource.wishes`."""
        return self._source.wishes()

    def discard(self, sha256: str) -> None:
        """See `ArtifactSource.discard`."""
        self._source.discard(sha256)

    def close(self) -> None:
        """See `ArtifactSource.close`."""
        self._source.close()


def in_turn(sources: Mapping[str, ArtifactSource], trouble: Trouble) -> ArtifactSource:
    """Return sources, by their locations, as one that asks them in turn."""
    return SeveralSources([ReportingSource(where, source, trouble) for where, source in sources.items()])

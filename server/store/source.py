# SPDX-License-Identifier: Apache-2.0
"""A store as a source of files, for what reads mirrors (`folkmoot.artifacts.sources.ArtifactSource`)."""

from __future__ import annotations

from pathlib import Path

from folkmoot.errors import ArtifactError
from folkmoot.protocol.deletion import DeletionWish
from folkmoot.protocol.hashing import keccak
from server.store.protocol import Store


class StoreSource:
    """A source whose files are those of a store. It is only read.

    Args:
        store: The store.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def fetch(self, sha256: str, limit: int) -> Path:
        """See `ArtifactSource.fetch`; the path is one of the store.

        Raises:
            StoreError: The store can't be used now.
        """
        path = self._store.verified(sha256)
        if path.stat().st_size > limit:
            raise ArtifactError(
                f"The artifact {sha256} in {self._store.location} has more than {limit} bytes.",
                code="artifact-damaged",
            )
        return path

    def document(self, keccak256: str) -> bytes:
        """See `ArtifactSource.document`.

        Raises:
            StoreError: The store can't be used now.
        """
        data = self._store.read(self._store.by_keccak(keccak256))
        if keccak(data).hex() != keccak256:
            raise ArtifactError(
                f"What {self._store.location} has under by-keccak/{keccak256} has another keccak.",
                code="artifact-damaged",
            )
        return data

    def wishes(self) -> tuple[DeletionWish, ...]:
        """Return none: a coordinator keeps them in its database."""
        return ()

    def discard(self, sha256: str) -> None:
        """Do nothing: the store's files stay."""

    def close(self) -> None:
        """Do nothing: the store is not ours."""

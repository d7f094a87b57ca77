# SPDX-License-Identifier: Apache-2.0
"""Artifacts for the audit. A missing file to which the chain commits is a failure.

An unreachable mirror is not a failure: the audit then stops with an error.
"""

from __future__ import annotations

from pathlib import Path

from folkmoot.artifacts.sources import EXPIRED, ArtifactSource
from folkmoot.artifacts.states import RebuildingSource
from folkmoot.audit.failure import Subject, mismatch
from folkmoot.errors import ArtifactError, AuditFailure
from folkmoot.protocol.manifest import Manifest
from folkmoot.protocol.state import State

_OTHER_MIRROR = (
    "Ask another mirror (--artifacts); if none has it, the coordinator withholds it or altered it."
)
_FROM_ELSEWHERE = "artifact-unreachable"
_NOWHERE = frozenset({"artifact-missing", EXPIRED})


class Files:
    """The files of a federation with checked hashes. Failures name the subject of the file."""

    def __init__(self, source: ArtifactSource) -> None:
        self.source = source
        self.states = RebuildingSource(source)
        """The same source, which rebuilds states. Call `clear` at the end."""
        self.hashed = 0
        """Number of bytes that were hashed so far."""

    def fetch(
        self, subject: Subject, what: str, sha256: str, limit: int, source: ArtifactSource | None = None
    ) -> Path:
        """Return the path of a file.

        Args:
            subject: Subject of the file.
            what: Description of the file, e.g. `the update file`.
            sha256: sha256 of the file.
            limit: Maximum size in bytes.
            source: Another source than that of all files.
        """
        try:
            path = (source or self.source).fetch(sha256, limit)
        except ArtifactError as error:
            raise _failure(subject, what, f"a file with the sha256 {sha256}", error) from error
        self.hashed += path.stat().st_size
        return path

    def fetch_or_none(self, subject: Subject, what: str, sha256: str, limit: int) -> Path | None:
        """Return the path of a file that may have been deleted; None if it is missing. See `fetch`."""
        try:
            return self.fetch(subject, what, sha256, limit)
        except AuditFailure as failure:
            cause = failure.__cause__
            if isinstance(cause, ArtifactError) and cause.code in _NOWHERE:
                return None
            raise

    def document(self, subject: Subject, what: str, keccak256: bytes) -> bytes:
        """Return a document by its keccak256; see `fetch`."""
        try:
            data = self.source.document(keccak256.hex())
        except ArtifactError as error:
            expected = f"a file with the keccak 0x{keccak256.hex()}"
            raise _failure(subject, what, expected, error) from error
        self.hashed += len(data)
        return data

    def state(self, subject: Subject, what: str, sha256: str, manifest: Manifest) -> State:
        """Return a state, mapped from its file. It is rebuilt if its file was deleted by rule."""
        path = self.fetch(subject, what, sha256, manifest.state_file_size, self.states)
        try:
            return State.open(path, manifest)
        except ArtifactError as error:
            raise mismatch(subject, what, "a state of the manifest", error.message) from error


def _failure(subject: Subject, what: str, expected: str, error: ArtifactError) -> Exception:
    if error.code == _FROM_ELSEWHERE:
        return error
    at = error.details.get("source", "the mirror")
    position = f"at {at} {error.details.get('found', 'nothing')}"
    return mismatch(subject, what, expected, position, remedy=_OTHER_MIRROR)

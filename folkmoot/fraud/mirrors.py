# SPDX-License-Identifier: Apache-2.0
"""Several sources of files as one: what one lacks, garbles or is too slow with, the next one is asked for.

A source never has to be believed, because names are hashes. One that failed is asked after those that did not; so a
mirror that hangs costs its timeout once in a while and not once a file. Knows nothing of rounds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from folkmoot.errors import ArtifactError
from folkmoot.mirror import ArtifactSource

_T = TypeVar("_T")
_UNREACHABLE = "artifact-unreachable"
_FORGIVEN = 50
"""Files that the others hand out until a source that failed is asked in its turn again."""

Trouble = Callable[[str, ArtifactError], None]
"""Called with the location of a source that failed, and why."""


class Mirrors:
    """Sources that are asked in turn.

    Args:
        sources: By their locations, best first.
        trouble: Told of each failure of one of them.
    """

    def __init__(
        self, sources: dict[str, ArtifactSource], trouble: Trouble = lambda where, error: None
    ) -> None:
        self.sources = sources
        self._trouble = trouble
        self._penalty: Counter[str] = Counter()

    def fetch(self, sha256: str, limit: int) -> Path:
        """See `ArtifactSource.fetch`."""
        return self._ask(lambda source: source.fetch(sha256, limit))

    def document(self, keccak256: str) -> bytes:
        """See `ArtifactSource.document`."""
        return self._ask(lambda source: source.document(keccak256))

    def discard(self, sha256: str) -> None:
        """See `ArtifactSource.discard`."""
        for source in self.sources.values():
            source.discard(sha256)

    def close(self) -> None:
        """See `ArtifactSource.close`."""
        for source in self.sources.values():
            source.close()

    def _ask(self, question: Callable[[ArtifactSource], _T]) -> _T:
        failures: list[ArtifactError] = []
        for where in self._order():
            try:
                answer = question(self.sources[where])
            except ArtifactError as error:
                failures.append(error)
                if error.code == _UNREACHABLE:
                    self._penalty[where] = _FORGIVEN
                self._trouble(where, error)
                continue
            for other in self._penalty:
                self._penalty[other] = max(0, self._penalty[other] - 1)
            return answer
        raise _all_failed(failures)

    def _order(self) -> list[str]:
        return sorted(self.sources, key=lambda where: self._penalty[where] > 0)


def _all_failed(failures: Sequence[ArtifactError]) -> ArtifactError:
    """Return the failure of all sources: as long as one gave no answer, nothing is known about the file."""
    if len(failures) == 1:
        return failures[0]
    silent = next((error for error in failures if error.code == _UNREACHABLE), None)
    worst = silent or failures[-1]
    return ArtifactError(
        " ".join(error.message for error in failures) or "There is no source of files.",
        remedy="Give another mirror (--artifacts).",
        code=worst.code,
        details=worst.details,
    )

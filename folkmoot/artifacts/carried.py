# SPDX-License-Identifier: Apache-2.0
"""The files of carried arrays, such as a frozen model, from a source (docs/protocol.md sections 2 and 12)."""

from __future__ import annotations

from functools import partial
from typing import Any

from numpy.typing import NDArray

from folkmoot.artifacts.sources import ArtifactSource
from folkmoot.protocol.manifest import CarriedFile, Files


def files_of(source: ArtifactSource) -> Files:
    """Return a function that fetches the file of a carried array from a source, and maps it.

    The function raises ArtifactError if the file is missing, damaged, or has another size than the array.
    """
    return partial(_fetch, source)


def _fetch(source: ArtifactSource, entry: CarriedFile) -> NDArray[Any]:
    return entry.open(source.fetch(entry.sha256, entry.size))

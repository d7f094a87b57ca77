# SPDX-License-Identifier: Apache-2.0
"""The large arrays that an app's model has and nobody trains, for an app that copies each into its model by itself.

They are in no message, so that a node does not hold them several times. This module is part of the app bundle.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from typing import Any

from numpy.typing import NDArray

from folkmoot.protocol.manifest import Files, Manifest

_given: ContextVar[Mapping[str, NDArray[Any]] | None] = ContextVar("given", default=None)


class Frozen(Mapping[str, NDArray[Any]]):
    """The arrays of a manifest that are files, by name. Each is read when it is asked for, and can't be written.

    Args:
        manifest: The manifest.
        files: Gives their values.
    """

    def __init__(self, manifest: Manifest, files: Files) -> None:
        self._entries = {entry.name: entry for entry in manifest.files}
        self._files = files

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self._files(self._entries[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


def arrays() -> Mapping[str, NDArray[Any]]:
    """Return the arrays of the message that is being handled which are not in it, by name."""
    return _given.get() or {}


@contextlib.contextmanager
def given(offered: Mapping[str, NDArray[Any]]) -> Iterator[None]:
    """Let `arrays` return these while the block runs."""
    token = _given.set(offered)
    try:
        yield
    finally:
        _given.reset(token)

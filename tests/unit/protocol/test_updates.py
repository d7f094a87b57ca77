# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from folkmoot.errors import ArtifactError
from folkmoot.protocol.updates import FileUpdate, MemoryUpdate, UpdateReader

DATA = bytes(range(256)) * 5


def test_file_and_memory_read_alike(tmp_path: Path) -> None:
    path = tmp_path / "update"
    path.write_bytes(DATA)
    readers: list[UpdateReader] = [FileUpdate(path, 8), MemoryUpdate(DATA), MemoryUpdate(bytearray(DATA))]
    for reader in readers:
        assert reader.size == len(DATA)
        assert reader.read(0, 5).tobytes() == DATA
        assert reader.read(1, 3).shape == (2, 256)
        assert reader.read(2, 2).shape == (0, 256)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="nowhere"):
        FileUpdate(tmp_path / "nowhere", 8)


def test_a_file_that_shrinks_or_vanishes_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "update"
    path.write_bytes(DATA)
    reader = FileUpdate(path, 8)
    path.write_bytes(DATA[:-1])
    assert reader.read(0, 4).tobytes() == DATA[:1024]
    with pytest.raises(ArtifactError, match="shorter"):
        reader.read(4, 5)
    path.unlink()
    with pytest.raises(ArtifactError, match="can't be read"):
        reader.read(0, 1)

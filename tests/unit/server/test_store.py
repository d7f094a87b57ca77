# SPDX-License-Identifier: Apache-2.0
"""The artifact store keeps what it was given, and notices when a disk does not."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from folkmoot.errors import ArtifactError
from folkmoot.hashing import keccak
from folkmoot.mirror import FolderSource
from server.store import FolderStore


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "artifacts")


def test_file_is_found_by_its_hash_and_by_an_auditor(store: FolderStore) -> None:
    stored = store.put(b"words")
    assert stored.sha256 == hashlib.sha256(b"words").hexdigest()
    assert store.read(stored.sha256) == b"words"
    assert store.put(b"words") == stored
    digest = keccak(b"words").hex()
    store.link(digest, stored.sha256)
    assert store.by_keccak(digest) == stored.sha256
    assert FolderSource(store.root).document(digest) == b"words"


def test_damage_and_loss_are_named(store: FolderStore) -> None:
    stored = store.put(b"words")
    store.path(stored.sha256).write_bytes(b"wards")
    with pytest.raises(ArtifactError) as damaged:
        store.verified(stored.sha256)
    assert damaged.value.code == "artifact-damaged"
    store.path(stored.sha256).unlink()
    with pytest.raises(ArtifactError) as missing:
        store.read(stored.sha256)
    assert missing.value.code == "artifact-unknown"


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "AB" * 32, "00" * 31])
def test_no_name_leads_out_of_the_folder(store: FolderStore, name: str) -> None:
    assert not store.has(name)
    with pytest.raises(ArtifactError):
        store.path(name)
    with pytest.raises(ArtifactError):
        store.by_keccak(name)
    with pytest.raises(ArtifactError):
        store.link(name, "00" * 32)


def test_what_is_not_kept_leaves_nothing(store: FolderStore) -> None:
    with store.writer() as writer:
        writer.write(b"half")
    assert list(store.incoming.iterdir()) == []
    (store.incoming / "leftover").write_bytes(b"of a killed process")
    store.clear_incoming()
    assert list(store.incoming.iterdir()) == []


def test_file_appears_only_when_it_is_complete(store: FolderStore) -> None:
    with store.writer() as writer:
        writer.write(b"ab")
        assert not store.has(hashlib.sha256(b"ab").hexdigest())
        writer.write(b"c")
        stored = writer.keep()
    assert stored.size == 3
    assert store.read(stored.sha256) == b"abc"
    assert store.usable()

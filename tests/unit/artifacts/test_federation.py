# SPDX-License-Identifier: Apache-2.0
"""A federation is opened from files that nobody has to trust, and from a ledger that names them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from folkmoot.artifacts.federation import Federation
from folkmoot.artifacts.sources import FolderSource
from folkmoot.artifacts.store import FolderStore
from folkmoot.errors import ArtifactError
from folkmoot.ledger.deployment import CONTRACTS, Deployment
from folkmoot.protocol.genesis import Genesis
from folkmoot.protocol.hashing import keccak, sha256_hex
from tests.unit import worlds
from tests.unit.worlds import MANIFEST

GENESIS = Genesis.of(MANIFEST, worlds.state(MANIFEST, 1), (-8,) * len(MANIFEST.tensors))


def deployment(genesis: Genesis = GENESIS) -> Deployment:
    return Deployment(
        worlds.CHAIN_ID,
        0,
        parent=None,
        **dict.fromkeys(CONTRACTS, worlds.LEDGER),
        genesis_hash="0x" + genesis.hash.hex(),
    )


def ledger(genesis: bytes = GENESIS.hash, manifest: bytes = MANIFEST.hash) -> Any:
    """What stands for the ledger."""
    return SimpleNamespace(genesis_hash=lambda: genesis, manifest_hash=lambda: manifest)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    store = FolderStore(tmp_path)
    store.put_document(GENESIS.to_json())
    store.put(MANIFEST.to_json())
    return tmp_path


def test_it_is_what_the_deployment_file_and_the_ledger_name(folder: Path) -> None:
    for asked in (None, ledger()):
        opened = Federation.open(deployment(), FolderSource(folder), asked)
        assert (opened.genesis, opened.manifest) == (GENESIS, MANIFEST)
        assert opened.domain == worlds.DOMAIN


def test_the_ledger_is_believed_not_the_file(folder: Path) -> None:
    other = replace(GENESIS, state="ab" * 32)
    assert Federation.open(deployment(other), FolderSource(folder), ledger()).genesis == GENESIS
    with pytest.raises(ArtifactError) as caught:
        Federation.open(deployment(), FolderSource(folder), ledger(other.hash))
    assert caught.value.code == "artifact-missing"


def test_another_manifest_than_the_ledgers_is_refused(folder: Path) -> None:
    with pytest.raises(ArtifactError, match="not the one that the ledger names") as caught:
        Federation.open(deployment(), FolderSource(folder), ledger(manifest=bytes(32)))
    assert caught.value.code == "artifact-contradicts"


def test_a_manifest_that_is_none_is_refused(folder: Path) -> None:
    store = FolderStore(folder)
    lying = replace(GENESIS, manifest=sha256_hex(b"{}"))
    store.put(b"{}")
    store.put_document(lying.to_json())
    with pytest.raises(ArtifactError, match="manifest of the genesis is invalid") as caught:
        Federation.open(deployment(lying), FolderSource(folder))
    assert caught.value.code == "artifact-contradicts"
    data = b'{"format": "another"}'
    store.put_document(data)
    with pytest.raises(ArtifactError, match="genesis file can't be read"):
        Federation.open(replace(deployment(), genesis_hash="0x" + keccak(data).hex()), FolderSource(folder))

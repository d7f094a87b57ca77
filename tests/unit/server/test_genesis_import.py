# SPDX-License-Identifier: Apache-2.0
"""A coordinator takes in the genesis with all files that its manifest names, or says which is missing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from folkmoot.artifacts.federation import Start, write
from folkmoot.artifacts.store import FolderStore
from folkmoot.errors import ArtifactError, InputError
from folkmoot.protocol.genesis import Genesis
from folkmoot.protocol.manifest import CarriedFile, Manifest, Tensor
from folkmoot.protocol.state import State
from server.genesis import import_genesis
from tests import carried


def start(table: CarriedFile = carried.TABLE) -> Start:
    manifest = Manifest("tests", (Tensor("weight", (3,)), table))
    state = State.genesis(manifest, {"weight": np.ones(3, np.float32)})
    genesis = Genesis.of(manifest, state, (-8,))
    return Start(manifest, state, genesis, state.root(manifest.hash), "", lambda entry: carried.VALUES)


def place(folder: Path) -> Path:
    return folder / carried.TABLE.sha256[:2] / carried.TABLE.sha256


def test_carried_files_come_with_the_genesis(tmp_path: Path) -> None:
    made, store = start(), FolderStore(tmp_path / "store")
    write(made, tmp_path / "genesis")
    assert import_genesis(store, tmp_path / "genesis", "0x" + made.genesis.hash.hex()) == made.genesis
    assert store.read(carried.TABLE.sha256) == carried.DATA


@pytest.mark.parametrize("damaged", [True, False])
def test_a_carried_file_that_is_missing_or_damaged_is_named(tmp_path: Path, damaged: bool) -> None:
    made, store = start(), FolderStore(tmp_path / "store")
    write(made, tmp_path / "genesis")
    place(tmp_path / "genesis").unlink()
    if damaged:
        place(tmp_path / "genesis").write_bytes(carried.DATA[:-1])
    with pytest.raises(
        InputError, match=f"'table' of the genesis, the file {carried.TABLE.sha256}, is not in"
    ):
        import_genesis(store, tmp_path / "genesis", "0x" + made.genesis.hash.hex())


def test_a_manifest_whose_file_has_another_size_is_refused(tmp_path: Path) -> None:
    wrong = CarriedFile("table", "float32", (3, 8), carried.TABLE.sha256)
    made, store = start(wrong), FolderStore(tmp_path / "store")
    write(made, tmp_path / "genesis")
    with pytest.raises(ArtifactError, match="has 84 bytes; its shape") as caught:
        import_genesis(store, tmp_path / "genesis", "0x" + made.genesis.hash.hex())
    assert caught.value.code == "wrong-size"

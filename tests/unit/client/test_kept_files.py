# SPDX-License-Identifier: Apache-2.0
"""The keeper brings carried files to the disk once, and trusts neither mirrors nor the disk."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from client.keeper.keeper import CARRIED_FOLDER, KEEPER_FOLDER, Keeper
from client.keeper.transfers import Transfers
from folkmoot.artifacts.store import FolderStore
from folkmoot.errors import ArtifactError, LocalError
from folkmoot.flower.contributor import Contributor
from folkmoot.flower.keeping import NO_KEEPER, KeeperError, base_theta, carried_file
from folkmoot.protocol.manifest import CarriedFile, Manifest, file_chunks, file_name
from tests.file_server import FileServer
from tests.unit.flower.conftest import MANIFEST as SMALL
from tests.unit.flower.conftest import MODEL
from tests.unit.flower.world import World, account

VALUES = [np.arange(count, dtype=np.float32) for count in (3000, 2000)]
ENTRIES = [CarriedFile(f"large{i}", "float32", one.shape, file_name(one)) for i, one in enumerate(VALUES)]
DATA = [b"".join(file_chunks(one)) for one in VALUES]
TOTAL = sum(map(len, DATA))
MANIFEST = Manifest("scripted", (*ENTRIES, *SMALL.arrays), SMALL.training)

Start = Callable[..., tuple[Keeper, list[dict[str, Any]]]]


@pytest.fixture
def world() -> Iterator[World]:
    with World(MANIFEST, dict(MODEL)) as running:
        for data in DATA:
            running.publish(data)
        yield running


@pytest.fixture
def contributor(world: World, tmp_path: Path) -> Contributor:
    home = tmp_path / "home"
    home.mkdir()
    return Contributor(home, world.url, world.url, world.deployment, account("ada").address, "scripted", 0, 1)


@pytest.fixture
def start(world: World, contributor: Contributor) -> Start:
    """Make a keeper as a new process would, and give what it says."""

    def made(
        mirrors: Sequence[str] = (), manifest: Manifest = MANIFEST
    ) -> tuple[Keeper, list[dict[str, Any]]]:
        said: list[dict[str, Any]] = []
        return Keeper(contributor, manifest, world.genesis, mirrors, Transfers(said.append, bar=False)), said

    return made


@pytest.fixture
def folder(contributor: Contributor) -> Path:
    return contributor.home / KEEPER_FOLDER / CARRIED_FOLDER


def bytes_of(said: list[dict[str, Any]]) -> list[int]:
    return [line["bytes"] for line in said if line["event"] == "transferred"]


def test_files_are_fetched_once_and_mapped_by_the_training_code(
    start: Start, contributor: Contributor, world: World
) -> None:
    keeper, said = start()
    with pytest.raises(KeeperError) as caught:
        carried_file(contributor.keeper, ENTRIES[0])
    assert caught.value.code == NO_KEEPER
    with keeper:
        for entry, values in zip(ENTRIES, VALUES, strict=True):
            found = carried_file(contributor.keeper, entry)
            assert np.array_equal(found, values)
            assert not found.flags.writeable
        assert bytes_of(said) == [TOTAL]
        assert np.array_equal(base_theta(contributor.keeper, 1, MANIFEST.size), world.states[0].theta)
        for wrong, code in (
            (CarriedFile("x", "float32", (3,), "ab" * 32), "unknown-file"),
            (CarriedFile("x", "float32", (3,), "../../contributor.json"), "unknown-file"),
        ):
            with pytest.raises(KeeperError) as caught:
                carried_file(contributor.keeper, wrong)
            assert caught.value.code == code
        with pytest.raises(ArtifactError, match="needs 12"):
            carried_file(contributor.keeper, CarriedFile("x", "float32", (3,), ENTRIES[0].sha256))
    again, said = start()
    world.artifacts.clear()
    again.fetch_carried()
    assert said == []


def test_a_damaged_mirror_is_passed_over_and_a_broken_transfer_goes_on(start: Start, world: World) -> None:
    with FileServer({ENTRIES[0].sha256: bytes(len(DATA[0]))}) as damaged, FileServer({}) as broken:
        broken.files = {entry.sha256: data for entry, data in zip(ENTRIES, DATA, strict=True)}
        broken.break_after = [5000]
        world.artifacts.clear()
        keeper, _ = start([damaged.url, broken.url])
        keeper.fetch_carried()
        assert broken.ranges == [None, "bytes=5000-", None]
        assert broken.sent == TOTAL
    assert all(
        keeper.carried(entry.sha256).read_bytes() == data for entry, data in zip(ENTRIES, DATA, strict=True)
    )


def test_a_mirrors_folder_is_only_read(start: Start, world: World, tmp_path: Path, folder: Path) -> None:
    for entry, data in zip(ENTRIES, DATA, strict=True):
        place = tmp_path / "mirror" / entry.sha256[:2] / entry.sha256
        place.parent.mkdir(parents=True)
        place.write_bytes(data)
    world.artifacts.clear()
    keeper, _ = start([str(tmp_path / "mirror")])
    keeper.fetch_carried()
    assert {path.name for path in folder.glob("??/*")} == {entry.sha256 for entry in ENTRIES}
    assert all(path.is_file() for path in (tmp_path / "mirror").glob("??/*"))


def test_a_file_that_nobody_has_is_named_and_what_came_stays(
    start: Start, world: World, folder: Path
) -> None:
    del world.artifacts[ENTRIES[1].sha256]
    keeper, _ = start()
    with pytest.raises(ArtifactError, match=ENTRIES[1].sha256):
        keeper.fetch_carried()
    assert [path.name for path in folder.glob("??/*")] == [ENTRIES[0].sha256]
    world.publish(DATA[1])
    again, said = start()
    again.fetch_carried()
    assert bytes_of(said) == [len(DATA[1])]


@pytest.mark.parametrize("shape", [(2999,), (3001,)])
def test_a_file_of_another_size_than_its_array_is_refused(start: Start, shape: tuple[int, ...]) -> None:
    wrong = CarriedFile("large0", "float32", shape, ENTRIES[0].sha256)
    keeper, _ = start(manifest=Manifest("scripted", (wrong, *SMALL.arrays)))
    with pytest.raises(ArtifactError) as caught:
        keeper.fetch_carried()
    assert caught.value.code == ("wrong-size" if shape > (3000,) else "artifact-damaged")


def test_a_full_disk_is_said_before_anything_is_fetched(
    start: Start, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper, said = start()
    full = shutil.disk_usage("/")._replace(free=TOTAL - 1)
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "disk_usage", lambda path: full)
        with pytest.raises(LocalError, match="MB are free") as caught:
            keeper.fetch_carried()
        assert caught.value.code == "keeper-disk"
        assert said == []
        FolderStore(folder).unfinished_path(ENTRIES[0].sha256).write_bytes(DATA[0][:1])
        keeper.fetch_carried()
    assert bytes_of(said) == [TOTAL], "what is there of a file counts as room"


def test_a_file_that_is_damaged_on_the_disk_is_fetched_again(start: Start, folder: Path) -> None:
    keeper, said = start()
    keeper.fetch_carried()
    path = FolderStore(folder).place(ENTRIES[0].sha256)
    path.unlink()
    path.write_bytes(bytes(len(DATA[0])))
    found = keeper.carried(ENTRIES[0].sha256)
    assert hashlib.sha256(found.read_bytes()).hexdigest() == ENTRIES[0].sha256
    assert bytes_of(said) == [TOTAL, len(DATA[0])]

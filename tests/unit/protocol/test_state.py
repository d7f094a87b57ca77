# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
import resource
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from folkmoot.errors import ArtifactError, LocalError, ManifestError
from folkmoot.protocol.fixed_point import LEAF, STATE_BOUND
from folkmoot.protocol.manifest import Carried, Manifest, Tensor
from folkmoot.protocol.state import State
from tests.unit import worlds

MANIFEST = Manifest(
    "m",
    (
        Tensor("z", (5, 60)),
        Carried("n", "int64", (), (5).to_bytes(8, "little")),
        Tensor("a", (), "float64"),
        Carried("mask", "bool", (3,), b"\1\0\1"),
        Carried("causal", "float32", (2,), b"\0\0\0\0\0\0\x80\xff"),
        Tensor("größe", (2,)),
    ),
)


def test_genesis_is_the_model() -> None:
    rng = np.random.default_rng(1)
    values = {
        tensor.name: rng.standard_normal(tensor.shape).astype(np.float32) for tensor in MANIFEST.tensors
    }
    state = State.genesis(MANIFEST, values)
    state.check(MANIFEST)
    assert not state.momentum.any()
    model = state.model(MANIFEST)
    assert list(model) == ["z", "n", "a", "mask", "causal", "größe"]
    for name, value in values.items():
        assert np.abs(model[name] - value).max() <= 2.0**-26
    with pytest.raises(ManifestError):
        State.genesis(MANIFEST, values | {"a": np.float32(np.nan)})


def test_file_reads_back() -> None:
    state = worlds.state(MANIFEST, 1)
    data = state.to_bytes()
    assert len(data) == 4 + 16 * MANIFEST.size
    again = State.from_bytes(data, MANIFEST)
    assert (again.theta == state.theta).all()
    assert (again.momentum == state.momentum).all()
    assert again.root(MANIFEST.hash) == state.root(MANIFEST.hash)
    assert state.sha256() == hashlib.sha256(data).hexdigest()
    assert again.leaves == MANIFEST.leaves


def damaged(change: str) -> bytes:
    state = worlds.state(MANIFEST, 1)
    if change == "bound":
        state.momentum[0] = STATE_BOUND + 1
    if change == "negative bound":
        state.theta[0] = -STATE_BOUND - 1
    if change == "minimum":
        state.theta[0] = -(2**63)
    if change == "padding":
        state.theta[300] = 1
    data = state.to_bytes()
    return {"magic": b"FMS2" + data[4:], "short": data[:-1], "long": data + b"\0", "empty": b""}.get(
        change, data
    )


@pytest.mark.parametrize(
    "change", ["bound", "negative bound", "minimum", "padding", "magic", "short", "long", "empty"]
)
def test_damage_is_seen(change: str) -> None:
    with pytest.raises(ArtifactError):
        State.from_bytes(damaged(change), MANIFEST)


def test_root_depends_on_everything() -> None:
    state = worlds.state(MANIFEST, 1)
    roots = {
        state.root(MANIFEST.hash),
        state.root(bytes(32)),
        State(state.momentum, state.theta).root(MANIFEST.hash),
    }
    assert len(roots) == 3


def test_safetensors_are_read_by_the_library() -> None:
    state = worlds.state(MANIFEST, 2)
    data = state.to_safetensors(MANIFEST, 7)
    assert data == State.from_bytes(state.to_bytes(), MANIFEST).to_safetensors(
        MANIFEST, 7, state.root(MANIFEST.hash)
    )
    found, model = safetensors.numpy.load(data), state.model(MANIFEST)
    assert set(found) == set(model)
    for name, value in model.items():
        assert found[name].dtype == value.dtype
        assert found[name].shape == value.shape
        assert (found[name] == value).all()
    assert int.from_bytes(data[:8], "little") % 8 == 0
    start = (
        b'{"__metadata__":{"folkmoot.version":"7","folkmoot.stateRoot":"0x'
        + state.root(MANIFEST.hash).hex().encode()
    )
    assert data[8:].startswith(start)


def test_safetensors_metadata_is_seen(tmp_path) -> None:  # type: ignore[no-untyped-def]
    state = worlds.state(MANIFEST, 2)
    path = tmp_path / "model.safetensors"
    path.write_bytes(state.to_safetensors(MANIFEST, 7))
    with safetensors.safe_open(path, "numpy") as model:
        assert model.metadata() == {
            "folkmoot.version": "7",
            "folkmoot.stateRoot": "0x" + state.root(MANIFEST.hash).hex(),
        }


# Files


def written(path: Path, state: State) -> Path:
    path.write_bytes(state.to_bytes())
    return path


def test_a_state_in_a_file_is_the_state(tmp_path: Path) -> None:
    manifest = Manifest(
        "odd sizes", tuple(Tensor(f"t{size}", (size,)) for size in (1, 255, 256, 257, 600_000))
    )
    rng = np.random.default_rng(2)
    values = {tensor.name: rng.standard_normal(tensor.shape) for tensor in manifest.tensors}
    state = State.genesis(manifest, values)
    state.momentum[state.theta != 0] = 7
    path = written(tmp_path / "state", state)
    opened = State.open(path, manifest)
    path.unlink()  # The mapping stays.
    assert opened.root(manifest.hash) == state.root(manifest.hash)
    assert (opened.sha256(), opened.to_bytes()) == (state.sha256(), state.to_bytes())
    assert np.array_equal(opened.to_float32(), state.to_float32())
    assert opened.to_safetensors(manifest, 3) == state.to_safetensors(manifest, 3)
    copy = State.empty(manifest, tmp_path)
    for first, last in copy.ranges():
        place = slice(LEAF * first, LEAF * last)
        copy.theta[place], copy.momentum[place] = opened.theta[place], opened.momentum[place]
    assert copy.to_bytes() == state.to_bytes()
    assert list(tmp_path.iterdir()) == []  # A new state's file has no name.


@pytest.mark.parametrize("place", [1, 3 * LEAF - 1, 3 * LEAF + 257, -1])
@pytest.mark.parametrize("name", ["theta", "momentum"])
def test_a_file_with_a_value_in_the_padding_is_refused(tmp_path: Path, place: int, name: str) -> None:
    manifest = Manifest("padded", tuple(Tensor(f"t{size}", (size,)) for size in (1, 256, 255, 257)))
    state = State.genesis(manifest, {tensor.name: np.ones(tensor.shape) for tensor in manifest.tensors})
    getattr(state, name)[place] = 1
    with pytest.raises(ArtifactError, match=rf"The state's {name} is not 0 in the padding of 't(1|255|257)'"):
        State.open(written(tmp_path / "state", state), manifest)


def test_a_file_that_is_no_state_is_refused(tmp_path: Path) -> None:
    manifest = Manifest("small", (Tensor("t", (300,)),))
    data = State.genesis(manifest, {"t": np.zeros(300)}).to_bytes()
    for wrong in (b"", data[:-1], data + bytes(4096), b"FMS2" + data[4:]):
        (tmp_path / "state").write_bytes(wrong)
        with pytest.raises(ArtifactError):
            State.open(tmp_path / "state", manifest)
    (tmp_path / "state").write_bytes(data + bytes(4096))
    assert State.mapped(tmp_path / "state").leaves == 3  # A watcher looks at states of a wrong size.
    with pytest.raises(ArtifactError, match="can't be read"):
        State.open(tmp_path / "missing", manifest)


def test_a_disk_without_room_for_a_state_is_said(tmp_path: Path) -> None:
    manifest = Manifest("large", (Tensor("t", (1 << 20,)),))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))
    try:
        with pytest.raises(LocalError, match="16,777,216 bytes") as refused:
            State.empty(manifest, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert refused.value.code == "state-disk"

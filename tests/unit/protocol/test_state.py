# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib

import numpy as np
import pytest
import safetensors.numpy

from folkmoot.errors import ArtifactError, ManifestError
from folkmoot.protocol.fixed_point import STATE_BOUND
from folkmoot.protocol.manifest import Carried, Manifest, Tensor
from folkmoot.protocol.state import State, read_safetensors
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
    theirs = safetensors.numpy.load(data)
    ours = read_safetensors(data, MANIFEST)
    model = state.model(MANIFEST)
    assert list(ours) == list(model)
    for name, value in model.items():
        for read in (ours[name], theirs[name]):
            assert read.dtype == value.dtype
            assert read.shape == value.shape
            assert (read == value).all()
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


@pytest.mark.parametrize(
    "data", [b"", b"\x05", b"\x02\0\0\0\0\0\0\0{}", b"\x02\0\0\0\0\0\0\0[]", b"\xff" * 20]
)
def test_damaged_safetensors_are_refused(data: bytes) -> None:
    with pytest.raises((ArtifactError, ManifestError)):
        read_safetensors(data, MANIFEST)


def test_cut_safetensors_are_refused() -> None:
    data = worlds.state(MANIFEST, 2).to_safetensors(MANIFEST, 7)
    with pytest.raises(ArtifactError):
        read_safetensors(data[:-1], MANIFEST)
    with pytest.raises(ArtifactError):
        read_safetensors(data.replace(b"[0,1200]", b"[0,1196]"), MANIFEST)

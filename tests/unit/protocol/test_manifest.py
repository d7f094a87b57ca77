# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from folkmoot.errors import ArtifactError, ManifestError
from folkmoot.protocol.hashing import canonical_json, parse_canonical_json
from folkmoot.protocol.manifest import (
    INLINE,
    INLINE_SUM,
    MAX_DIMENSIONS,
    MAX_TENSORS,
    Carried,
    CarriedFile,
    Manifest,
    Tensor,
    file_chunks,
    padding_mask,
)

SHAPES = st.lists(st.integers(1, 9), max_size=4).map(tuple)
MANIFEST = Manifest("two", (Tensor("a", (3, 100)), Carried("n", "int16", (2,), b"\1\0\2\0"), Tensor("b", ())))


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    shapes = draw(st.lists(SHAPES, min_size=1, max_size=5))
    return Manifest(
        "drawn",
        tuple(Tensor(f"t{i}", shape) for i, shape in enumerate(shapes)),
        {"x": draw(st.floats(0, 1))},
    )


@settings(max_examples=50, deadline=None)
@given(manifests())
def test_layout(manifest: Manifest) -> None:
    assert manifest.leaves == sum(manifest.leaf_counts) == manifest.leaf_offsets[-1]
    assert manifest.size == 256 * manifest.leaves
    assert int(manifest.values_in_leaf.sum()) == manifest.elements
    assert 2**manifest.depth >= manifest.leaves
    assert manifest.depth == 0 or 2 ** (manifest.depth - 1) < manifest.leaves
    ranges = list(manifest.tensor_ranges(0, manifest.leaves))
    assert [count for _, first, last in ranges for count in [last - first]] == list(manifest.leaf_counts)


@settings(max_examples=50, deadline=None)
@given(manifests(), st.integers(0, 2**32))
def test_values_survive_the_vector(manifest: Manifest, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = {t.name: rng.standard_normal(t.shape).astype(np.float32) for t in manifest.tensors}
    flat = manifest.flatten(values)
    assert flat.dtype == np.float32
    back = manifest.unflatten(flat)
    assert all(
        (back[name] == value).all() and back[name].shape == value.shape for name, value in values.items()
    )
    rows, mask = padding_mask(manifest, 0, manifest.leaves)
    assert not flat.reshape(-1, 256)[rows][mask.astype(bool)].any()
    assert int(mask.sum()) == manifest.size - manifest.elements


@settings(max_examples=30, deadline=None)
@given(manifests())
def test_file_reads_back(manifest: Manifest) -> None:
    again = Manifest.from_json(manifest.to_json())
    assert again == manifest
    assert again.hash == manifest.hash


def test_from_arrays_carries_integers() -> None:
    values = {
        "w": np.ones((2, 2), dtype=np.float32),
        "count": np.array(5, dtype=np.int64),
        "mask": np.array([True, False]),
        "big": np.array([1, -2], dtype=">i4"),
    }
    manifest = Manifest.from_arrays("t", values, {"lr": 0.5})
    assert [tensor.name for tensor in manifest.tensors] == ["w"]
    whole = manifest.unflatten(manifest.flatten(values))
    for name in ("count", "mask", "big"):
        assert (whole[name] == values[name]).all()
        assert whole[name].shape == values[name].shape
    assert Manifest.from_json(manifest.to_json()) == manifest


def test_arrays_keep_their_order_and_their_dtypes() -> None:
    values = {
        "0": np.ones((2, 3)),
        "1": np.array(5, dtype=np.int64),
        "2": np.ones(3, dtype=np.float16),
        "3": np.array([0, -np.inf], dtype=np.float32),
        "4": np.full((), 2, dtype=np.float32),
        "5": np.full(2, -1e9, dtype=np.float32),
    }
    manifest = Manifest.from_arrays("list", values, carry=["5"])
    assert Manifest.from_json(manifest.to_json()) == manifest
    assert [tensor.name for tensor in manifest.tensors] == ["0", "2", "4"]
    whole = manifest.unflatten(manifest.flatten(values), dtypes=True)
    assert list(whole) == list(values)
    for name, value in values.items():
        assert whole[name].dtype == value.dtype
        assert whole[name].shape == value.shape
        assert (whole[name] == value).all()
    assert list(manifest.unflatten(np.zeros(manifest.size), carried=False)) == ["0", "2", "4"]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.float32(np.nan), "'x' has a value that is NaN"),
        (np.float32(2**22), "'x' has a value of size 4.1943e"),
        (np.float64(-1e9), "'x' has a value of size 1e"),
    ],
)
def test_what_no_state_holds_is_refused_by_name_unless_it_is_carried(value: Any, words: str) -> None:
    values = {"w": np.ones(3, np.float32), "x": np.full(2, value)}
    with pytest.raises(ManifestError, match=words) as caught:
        Manifest.from_arrays("t", values)
    assert "carry" in caught.value.remedy
    carried = Manifest.from_arrays("t", values, carry=["x"]).unflatten(np.zeros(256, np.float32))
    assert np.array_equal(carried["x"], values["x"], equal_nan=True)


def test_what_is_to_be_carried_must_be_there() -> None:
    with pytest.raises(ManifestError, match="no array 'y' to carry"):
        Manifest.from_arrays("t", {"w": np.ones(3, np.float32)}, carry=["y"])


def test_a_range_within_one_tensor() -> None:
    assert list(MANIFEST.tensor_ranges(1, 3)) == [(0, 1, 2), (1, 2, 3)]
    assert list(MANIFEST.tensor_ranges(2, 2)) == []


TRAINED = {"name": "a", "shape": [1], "dtype": "float32"}
GOOD: dict[str, Any] = {"a": np.zeros((3, 100), np.float32), "b": np.float32(1)}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"a": None}, "'a' is missing"),
        ({"c": np.zeros(1)}, "'c' is not in the manifest"),
        ({"a": np.zeros((100, 3), np.float32)}, "shape"),
        ({"a": np.zeros((3, 100), np.int32)}, "dtype"),
        ({"b": np.float32(np.nan)}, "'b' has a value that is NaN"),
        ({"b": np.float64(1e300)}, "'b' has a value that is NaN or infinite"),
    ],
)
def test_flatten_says_what_does_not_fit(change: dict[str, Any], words: str) -> None:
    values = {name: value for name, value in (GOOD | change).items() if value is not None}
    with pytest.raises(ManifestError, match=words):
        MANIFEST.flatten(values)


def test_flatten_may_leave_the_check_to_others() -> None:
    flat = MANIFEST.flatten(GOOD | {"b": np.float32(np.nan)}, check_finite=False)
    assert np.isnan(flat[512])


def test_unflatten_refuses_another_length() -> None:
    with pytest.raises(ManifestError, match="needs"):
        MANIFEST.unflatten(np.zeros(5, np.float32))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Manifest("", (Tensor("a", (1,)),)),
        lambda: Manifest("x" * 65, (Tensor("a", (1,)),)),
        lambda: Manifest("t", ()),
        lambda: Manifest("t", (Carried("a", "bool", (), b"\0"),)),
        lambda: Manifest("t", (Tensor("a", (1,), "bfloat16"),)),
        lambda: Manifest("t", (Tensor("a", (1,)), Tensor("a", (2,)))),
        lambda: Manifest("t", (Tensor("a", (1,)), Carried("a", "bool", (), b"\0"))),
        lambda: Manifest("t", (Tensor("", (1,)),)),
        lambda: Manifest("t", (Tensor("__metadata__", (1,)),)),
        lambda: Manifest("t", (Tensor("a", (0,)),)),
        lambda: Manifest("t", (Tensor("a", (2**17, 2**17)),)),
        lambda: Manifest("t", (Tensor("a", (1,)), Carried("c", "complex64", (), bytes(8)))),
        lambda: Manifest("t", (Tensor("a", (1,)), Carried("c", "int16", (2,), b"\0"))),
        lambda: Manifest("t", (Tensor("a", (1,)), CarriedFile("c", "int16", (2,), "AB" * 32))),
        lambda: Manifest("t", (Tensor("a", (1,)), CarriedFile("c", "int16", (2,), "ab" * 31))),
        lambda: Manifest("t", (Tensor("a", (1,)), CarriedFile("c", "complex64", (2,), "ab" * 32))),
        lambda: Manifest("t", (CarriedFile("c", "int16", (2,), "ab" * 32),)),
        lambda: Manifest("t", (Tensor("a", (1,)),), {"x": float("nan")}).to_json(),
        lambda: Manifest.from_arrays("t", {"a": np.zeros(1, np.complex64)}),
    ],
)
def test_manifest_refuses(make: Any) -> None:
    with pytest.raises(ManifestError):
        make()


@pytest.mark.parametrize(
    "change",
    [
        {"format": "folkmoot/manifest/1"},
        {"task": 5},
        {"training": []},
        {"extra": 1},
        {"arrays": {"a": 1}},
        {"arrays": [{"name": "a"}]},
        {"arrays": [{"name": "a", "shape": []}]},
        {"arrays": [{"name": "a", "shape": [], "dtype": "float32", "more": 1}]},
        {"arrays": [{"name": "a", "shape": [], "dtype": "int8"}]},
        {"arrays": [{"name": "a", "shape": [], "dtype": 1}]},
        {"arrays": [{"name": 1, "shape": [], "dtype": "float32"}]},
        {"arrays": [{"name": "a", "shape": [1.0], "dtype": "float32"}]},
        {"arrays": [{"name": "a", "shape": [True], "dtype": "float32"}]},
        {"arrays": None},
        {"arrays": [TRAINED, {"name": "n", "dtype": "int8", "shape": [], "data": "!"}]},
        {"arrays": [TRAINED, {"name": "n", "dtype": "int8", "shape": [], "data": "AB=="}]},
        {"arrays": [TRAINED, {"name": "n", "dtype": "int8", "shape": [], "data": "\u00df"}]},
        {"arrays": [TRAINED, {"name": "n", "dtype": "int8", "shape": [], "data": None}]},
        {"arrays": [TRAINED, {"name": "n", "dtype": "int8", "shape": [], "hash": None}]},
        {"arrays": [TRAINED, {"name": "n", "dtype": "int8", "shape": [], "hash": "0x" + "ab" * 32}]},
        {"arrays": [TRAINED, {"name": "n", "dtype": "int8", "shape": [], "hash": "ab" * 32, "data": "AA=="}]},
    ],
)
def test_file_refuses(change: dict[str, Any]) -> None:
    value = parse_canonical_json(MANIFEST.to_json()) | change
    with pytest.raises(ManifestError):
        Manifest.from_json(canonical_json(value))


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", MANIFEST.to_json() + b" "])
def test_file_refuses_other_bytes(data: bytes) -> None:
    with pytest.raises(ManifestError):
        Manifest.from_json(data)


def base(*, size: int = INLINE // 4 + 1) -> dict[str, np.ndarray[Any, Any]]:
    """A model with a large array that can be carried, and a small one."""
    values = np.random.default_rng(1).standard_normal(size).astype(">f4")
    return {"w": np.ones(3, np.float32), "large": values, "small": np.arange(INLINE // 8)}


def test_a_large_carried_array_is_a_file_by_its_hash(tmp_path: Path) -> None:
    values = base()
    manifest = Manifest.from_arrays("t", values, carry=["large"])
    assert Manifest.from_json(manifest.to_json()) == manifest
    assert [type(entry) for entry in manifest.arrays] == [Tensor, CarriedFile, Carried]
    (entry,) = manifest.files
    data = b"".join(file_chunks(values["large"]))
    assert (entry.sha256, entry.size) == (hashlib.sha256(data).hexdigest(), len(data))
    assert data == values["large"].astype("<f4").tobytes()
    assert len(manifest.to_json()) < INLINE * 4 / 3 + 500

    path = tmp_path / entry.sha256
    path.write_bytes(data)
    opened = entry.open(path)
    assert np.array_equal(opened, values["large"])
    with pytest.raises(ValueError, match="read-only"):
        opened[0] = 1
    flat = manifest.flatten(values)
    whole = manifest.unflatten(flat, files=lambda found: found.open(path))
    assert list(whole) == list(values)
    assert all(np.array_equal(whole[name], value) for name, value in values.items())
    assert list(manifest.unflatten(flat, carried=False)) == ["w"]
    with pytest.raises(ManifestError, match="which is not here") as caught:
        manifest.unflatten(flat)
    assert caught.value.code == "file-needed"

    other = base() | {"large": values["large"] * 2}
    assert Manifest.from_arrays("t", other, carry=["large"]).hash != manifest.hash
    assert Manifest.from_arrays("t", base(size=INLINE // 4), carry=["large"]).files == ()


@pytest.mark.parametrize("size", [0, 11, 13])
def test_a_file_whose_size_disagrees_with_the_shape(tmp_path: Path, size: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(size))
    with pytest.raises(
        ArtifactError, match=rf"has {size} bytes; its shape \[3, 2\] of int16 needs 12"
    ) as caught:
        CarriedFile("large", "int16", (3, 2), "ab" * 32).open(path)
    assert caught.value.code == "wrong-size"
    with pytest.raises(ArtifactError, match="No such file"):
        CarriedFile("large", "int16", (3, 2), "ab" * 32).open(tmp_path / "none")


def test_many_small_carried_arrays_leave_the_manifest_small() -> None:
    values = {f"c{i}": np.zeros(INLINE, np.uint8) for i in range(INLINE_SUM // INLINE + 2)}
    manifest = Manifest.from_arrays("t", {"w": np.ones(1, np.float32)} | values)
    assert [entry.name for entry in manifest.files] == list(values)[-2:]


def test_a_model_has_no_more_tensors_than_proofs_can_carry() -> None:
    values = {f"t{i}": np.zeros(1, np.float32) for i in range(MAX_TENSORS)}
    values |= {"steps": np.zeros(1, np.int64), "mask": np.full(1, -np.inf, np.float32)}
    manifest = Manifest.from_arrays("t", values)
    assert len(manifest.layout) == 8 * MAX_TENSORS
    assert Manifest.from_json(manifest.to_json()) == manifest
    more = values | {"more": np.zeros(1, np.float32)}
    assert len(Manifest.from_arrays("t", more, carry=["more"]).tensors) == MAX_TENSORS

    # Refused before anybody looks at the arrays, of which one is none.
    file = parse_canonical_json(manifest.to_json())
    file["arrays"] += [{"name": "more", "shape": "none", "dtype": "float32"}]
    for make in (
        lambda: Manifest("t", (*manifest.arrays, Tensor("more", (0,)))),
        lambda: Manifest.from_arrays("t", {"none": np.zeros(1, np.complex64)} | more),
        lambda: Manifest.from_json(canonical_json(file)),
    ):
        with pytest.raises(ManifestError, match=f"{MAX_TENSORS + 1} tensors") as caught:
            make()
        assert caught.value.code == "too-many-tensors"
        assert "Merge small tensors" in str(caught.value.remedy)


def test_a_shape_that_no_model_has_is_refused_before_it_is_multiplied() -> None:
    for shape in ((2**62,) * (MAX_DIMENSIONS + 1), (1,) * (MAX_DIMENSIONS + 1), (10**4000,)):
        with pytest.raises(ManifestError):
            Manifest("task", (Tensor("w", shape),))

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from folkmoot.errors import EncodingError, InputError
from folkmoot.protocol import acceleration, codec
from folkmoot.protocol.codec import (
    check_leaves,
    decode_update,
    encode_update,
    rounding_key,
    rounding_offsets,
    tree_of,
)
from folkmoot.protocol.manifest import Manifest, Tensor
from tests.unit import reference, worlds

MANIFEST = worlds.MANIFEST
SEED = bytes(range(32))
ALICE = worlds.account("alice").address
EXPONENTS = (-9, -12, 4)


def weights(seed: int, scale: float = 1.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    values = {t.name: (rng.standard_normal(t.shape) * scale).astype(np.float32) for t in MANIFEST.tensors}
    return MANIFEST.flatten(values)


@settings(max_examples=40, deadline=None)
@given(
    st.floats(width=32, allow_nan=False, allow_infinity=False),
    st.floats(width=32, allow_nan=False, allow_infinity=False),
    st.integers(-40, 4),
    st.integers(0, 255),
)
def test_one_coordinate_is_the_references(start: float, end: float, exponent: int, place: int) -> None:
    manifest = Manifest("one", (Tensor("a", (256,)),))
    starts, ends = np.zeros(256, np.float32), np.zeros(256, np.float32)
    starts[place], ends[place] = start, end
    update = encode_update(starts, ends, (exponent,), manifest, SEED, ALICE)
    units = reference.offset(rounding_key(SEED, ALICE), place)
    assert decode_update(update.data, manifest)[place] == reference.encode(start, end, exponent, units)


def test_encoding_is_a_pure_function() -> None:
    first = encode_update(weights(1), weights(2), EXPONENTS, MANIFEST, SEED, ALICE)
    again = encode_update(weights(1), weights(2), EXPONENTS, MANIFEST, SEED, ALICE.lower())
    assert first == again
    others = [
        encode_update(weights(1), weights(3), EXPONENTS, MANIFEST, SEED, ALICE),
        encode_update(weights(1), weights(2), (-8, -12, 4), MANIFEST, SEED, ALICE),
        encode_update(weights(1), weights(2), EXPONENTS, MANIFEST, bytes(32), ALICE),
        encode_update(weights(1), weights(2), EXPONENTS, MANIFEST, SEED, worlds.account("bob").address),
    ]
    assert len({first.data, *(other.data for other in others)}) == 5


def test_kernels_encode_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numba")
    manifest = Manifest("big", (Tensor("a", (300, 301)), Tensor("b", (70_000,))))
    rng = np.random.default_rng(5)
    start = manifest.flatten({t.name: rng.standard_normal(t.shape) for t in manifest.tensors})
    end = manifest.flatten({t.name: rng.standard_normal(t.shape) for t in manifest.tensors})
    with acceleration.without_kernels():
        slow = encode_update(start, end, (-5, -6), manifest, SEED, ALICE)
    monkeypatch.setattr(acceleration, "LOAD_AFTER", 0)
    assert acceleration.kernels(1 << 20) is not None
    fast = encode_update(start, end, (-5, -6), manifest, SEED, ALICE)
    assert fast == slow
    assert slow.clamped > 0
    cap = slow.sum_squares // 2
    with acceleration.without_kernels():
        slow = encode_update(start, end, (-5, -6), manifest, SEED, ALICE, max_sum_squares=cap)
    assert encode_update(start, end, (-5, -6), manifest, SEED, ALICE, max_sum_squares=cap) == slow
    assert slow.bound < 127


def test_offsets_of_a_range_are_the_slice() -> None:
    key = rounding_key(SEED, ALICE)
    whole = rounding_offsets(key, 0, 1000)
    assert (rounding_offsets(key, 300, 700) == whole[300:700]).all()
    assert whole.min() >= 0
    assert whole.max() < 1
    assert abs(whole.mean() - 0.5) < 0.05


def test_rounding_is_unbiased() -> None:
    manifest = Manifest("flat", (Tensor("a", (40_000,)),))
    start = np.full(manifest.size, 0.3, np.float32)
    start[40_000:] = 0
    update = encode_update(start, np.zeros_like(start), (0,), manifest, SEED, ALICE)
    mean = decode_update(update.data, manifest)[:40_000].mean()
    assert abs(mean - 0.3) < 0.01, "the mean of many coarse roundings is the value"


def test_lowering_a_weight_gives_a_positive_integer() -> None:
    start, end = np.zeros(MANIFEST.size, np.float32), np.zeros(MANIFEST.size, np.float32)
    end[0] = -1.0
    update = encode_update(start, end, (-3, -3, -3), MANIFEST, SEED, ALICE)
    assert decode_update(update.data, MANIFEST)[0] == 8


def test_padding_is_zero_and_sums_are_right() -> None:
    update = encode_update(weights(1), weights(2), EXPONENTS, MANIFEST, SEED, ALICE)
    values = decode_update(update.data, MANIFEST)
    assert update.sum_squares == int((values**2).sum())
    assert update.sum_absolute == int(np.abs(values).sum())
    assert tree_of(update).root == update.root
    assert len(update.data) == MANIFEST.size
    assert not values[930:1024].any()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("place", "name"), [(0, "w"), (1024, "b"), (1280, "scale")])
def test_a_weight_that_is_not_finite_names_its_tensor(bad: float, place: int, name: str) -> None:
    end = weights(2)
    end[place] = bad
    with pytest.raises(EncodingError, match=f"'{name}'") as caught:
        encode_update(weights(1), end, EXPONENTS, MANIFEST, SEED, ALICE)
    assert caught.value.code == "not-finite"
    assert caught.value.details == {"tensor": name}


def test_encode_refuses_what_does_not_fit() -> None:
    good = weights(1)
    with pytest.raises(EncodingError, match="start"):
        encode_update(good[:-1], good, EXPONENTS, MANIFEST, SEED, ALICE)
    with pytest.raises(EncodingError, match="end"):
        encode_update(good, good.astype(np.float64), EXPONENTS, MANIFEST, SEED, ALICE)
    with pytest.raises(EncodingError, match="exponents"):
        encode_update(good, good, (0,), MANIFEST, SEED, ALICE)
    with pytest.raises(InputError, match="exponent 5"):
        encode_update(good, good, (0, 0, 5), MANIFEST, SEED, ALICE)
    with pytest.raises(InputError, match="address"):
        encode_update(good, good, EXPONENTS, MANIFEST, SEED, "0x12")


def test_decode_refuses_damage() -> None:
    data = bytearray(worlds.update_bytes(MANIFEST, 1))
    with pytest.raises(EncodingError) as caught:
        decode_update(bytes(data[:-1]), MANIFEST)
    assert caught.value.code == "wrong-size"
    data[300] = 0
    with pytest.raises(EncodingError, match="Leaf 1 ") as caught:
        decode_update(bytes(data), MANIFEST)
    assert caught.value.code == "invalid-encoding"
    data[300] = 128
    data[1023] = 129
    with pytest.raises(EncodingError, match="padding of leaf 3"):
        decode_update(bytes(data), MANIFEST)
    rows = np.frombuffer(bytes(data), dtype=np.uint8).reshape(-1, 256)
    with pytest.raises(EncodingError, match="padding of leaf 3"):
        check_leaves(rows[2:4], MANIFEST, 2, 8)
    check_leaves(rows[:3], MANIFEST, 0, 8)
    check_leaves(rows[:0], MANIFEST, 0, 8)


FULL = 64**2


def shaped(kind: str, rng: np.random.Generator) -> np.ndarray:
    """What training changed, in units of a step."""
    size = MANIFEST.elements
    if kind == "heavy tails":
        return rng.standard_t(1.5, size) * 20
    if kind == "layers of very different scale":
        return np.where(np.arange(size) < 500, rng.standard_normal(size) * 1e4, rng.standard_normal(size))
    if kind == "running statistics":  # a few large values beside many small ones, all of one sign
        return np.where(np.arange(size) % 50 == 0, 5000.0, np.abs(rng.standard_normal(size)))
    if kind == "one-hot":
        return np.where(np.arange(size) == 17, 1e6, 0.0)
    return rng.standard_normal(size) * 5  # normal


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(
        ["normal", "heavy tails", "layers of very different scale", "running statistics", "one-hot"]
    ),
    st.integers(-3, 12),
    st.integers(0, 2**32 - 1),
    st.integers(1, 127**2),
)
def test_an_update_is_fitted_to_the_cap(kind: str, octaves: int, draw: int, mean_square: int) -> None:
    change = shaped(kind, np.random.default_rng(draw)) * 2.0**octaves
    parts = np.split(change.astype(np.float32), np.cumsum([t.elements for t in MANIFEST.tensors])[:-1])
    end = MANIFEST.flatten(
        {t.name: part.reshape(t.shape) for t, part in zip(MANIFEST.tensors, parts, strict=True)}
    )
    start, cap = np.zeros_like(end), mean_square * MANIFEST.elements
    whole = encode_update(start, end, (0, 0, 0), MANIFEST, SEED, ALICE)
    fitted = encode_update(start, end, (0, 0, 0), MANIFEST, SEED, ALICE, max_sum_squares=cap)
    q, cut = (decode_update(one.data, MANIFEST) for one in (whole, fitted))
    c = fitted.bound
    assert fitted.sum_squares <= cap, "it never exceeds the cap"
    assert (cut == np.clip(q, -c, c)).all(), "it keeps signs, and what is small"
    assert c == min(reference.fitting_bound(q.tolist(), cap), 127)
    if whole.sum_squares <= cap:
        assert fitted == whole
    else:
        assert fitted.clamped == int((np.abs(q) > c).sum()) > 0
    if mean_square >= FULL:
        assert c >= 64, "the default cap leaves half of the range at least"


def test_fitting_again_changes_nothing() -> None:
    counts = [3, 5, 0, 9, *[0] * 123, 8]
    bound = codec.fitting_bound(counts, 500)
    cut = [*counts[:bound], sum(counts[bound:]), *[0] * (127 - bound)]
    assert codec.fitting_bound(cut, 500) == 127


def test_a_cap_without_room_is_refused_with_a_remedy() -> None:
    start, end = np.zeros(MANIFEST.size, np.float32), weights(1)
    with pytest.raises(EncodingError, match="maxSumSquares of 3 leaves no room") as caught:
        encode_update(start, end, EXPONENTS, MANIFEST, SEED, ALICE, max_sum_squares=3)
    assert caught.value.code == "cap-too-small"
    assert "Ask the voters" in (caught.value.remedy or "")
    nothing = encode_update(start, start, EXPONENTS, MANIFEST, SEED, ALICE, max_sum_squares=1)
    assert (nothing.sum_squares, nothing.bound) == (0, 127)


def test_clamping_bounds_what_one_update_can_do() -> None:
    end = np.full(MANIFEST.size, -1e30, np.float32)
    update = encode_update(np.zeros_like(end), end, EXPONENTS, MANIFEST, SEED, ALICE)
    values = decode_update(update.data, MANIFEST)
    assert set(np.unique(values)) == {0, 127}
    assert update.clamped == MANIFEST.elements

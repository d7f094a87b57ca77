# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import contextlib
import resource

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from folkmoot.errors import InputError
from folkmoot.protocol import acceleration
from folkmoot.protocol.hashing import (
    canonical_json,
    keccak,
    keccak_rows,
    parse_canonical_json,
    parse_json,
    sha256_hex,
)


def nested(depth: int) -> list[object]:
    value: list[object] = []
    for _ in range(depth - 1):
        value = [value]
    return value


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=8,
)


def test_known_hashes() -> None:
    assert keccak().hex() == "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"
    assert keccak(b"a", b"bc") == keccak(b"abc")
    assert sha256_hex(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize("length", [0, 1, 64, 96, 134, 135, 136, 137, 256, 271, 272, 1024, 2048])
def test_rows_are_hashed_alike_with_and_without_kernels(length: int) -> None:
    pytest.importorskip("numba")
    rows = np.random.default_rng(length).integers(0, 256, (9, length), dtype=np.uint8)
    from folkmoot.protocol import kernels

    words = np.empty((9, 4), dtype=np.uint64)
    kernels.keccak_rows(rows, 7, words)
    with acceleration.without_kernels():
        slow = keccak_rows(rows, 7)
    assert (words.view(np.uint8) == slow).all()
    assert slow[3].tobytes() == keccak(b"\x07", rows[3].tobytes())


def test_rows_of_a_view_are_hashed_in_order() -> None:
    rows = np.arange(1024, dtype=np.int64).astype(np.uint8).reshape(32, 32).T
    assert (keccak_rows(rows, 1) == keccak_rows(np.ascontiguousarray(rows), 1)).all()


def test_kernels_come_in_after_enough_work(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numba")
    monkeypatch.setattr(acceleration, "_choice", acceleration._Choice())
    assert acceleration.kernels(acceleration.MINIMUM_WORK) is None, "the first piece of work is small"
    assert acceleration.kernels(acceleration.LOAD_AFTER) is not None
    assert acceleration.kernels(acceleration.MINIMUM_WORK) is not None
    assert acceleration.kernels(1) is None, "tiny work is not worth a call"


def test_kernels_without_numba(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acceleration, "_choice", acceleration._Choice())

    def no_numba(_: str) -> None:
        raise ImportError("no numba")

    monkeypatch.setattr("importlib.import_module", no_numba)
    assert not acceleration.load()
    assert acceleration.kernels(1 << 40) is None


@settings(max_examples=60, deadline=None)
@given(JSON)
def test_canonical_json_reads_back(value: object) -> None:
    try:
        data = canonical_json(value)
    except InputError:  # a lone surrogate
        return
    assert parse_canonical_json(data) == value
    assert canonical_json(parse_canonical_json(data)) == data


def test_canonical_json_has_one_form() -> None:
    assert canonical_json({"b": 1, "a": [1.5, "ß"]}) == '{"a":[1.5,"ß"],"b":1}'.encode()


@pytest.mark.parametrize("value", [nested(65), float("nan"), float("inf"), {1: 2}.keys(), "\ud800", b"bytes"])
def test_canonical_json_refuses(value: object) -> None:
    with pytest.raises(InputError):
        canonical_json(value)


@pytest.mark.parametrize(
    "data", [b'{"a": 1}', b'{"b":1,"a":1}', b'{"a":1,"a":1}', b"NaN", b"\xff", b"", b'"\\u0041"', b"1.0e0"]
)
def test_parse_refuses_another_form(data: bytes) -> None:
    with pytest.raises(InputError):
        parse_canonical_json(data)


def test_parse_refuses_a_bomb_of_brackets() -> None:
    for text in (b"[" * 200_000, b'{"":' * 200_000, b"[" * 65 + b"]" * 65):
        with pytest.raises(InputError):
            parse_canonical_json(text)
    assert parse_canonical_json(b"[" * 64 + b"]" * 64)
    assert parse_canonical_json(b'["' + b"[" * 200 + b'\\"{"]') == ["[" * 200 + '"{']


@pytest.mark.parametrize(
    "text", ['"' + "x" * 2**22 + '"', '"' + "\\n" * 2**21 + '"', '"' + '\\"' * 2**20, '"\\']
)
def test_long_strings_cost_little_memory_and_time(text: str) -> None:
    data = text.encode()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with contextlib.suppress(InputError):
        parse_json(data)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024, "KiB"

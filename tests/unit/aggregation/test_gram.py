# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import subprocess
import sys
import tracemalloc
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from folkmoot.aggregation import gram as facts
from folkmoot.aggregation.gram import gram_matrix
from folkmoot.aggregation.interface import RoundFacts
from folkmoot.protocol import acceleration
from folkmoot.protocol.arrays import I64, U8
from folkmoot.protocol.manifest import Manifest, Tensor
from folkmoot.protocol.updates import FileUpdate, MemoryUpdate
from tests.unit import worlds


def exact(manifest: Manifest, exponents: list[int], updates: list[bytes]) -> list[list[int]]:
    """The same in Python's integers, tensor by tensor."""
    total = [[0] * len(updates) for _ in updates]
    values = [np.frombuffer(update, dtype=np.uint8).astype(object) - 128 for update in updates]
    for exponent, first, last in zip(
        exponents, manifest.leaf_offsets, manifest.leaf_offsets[1:], strict=False
    ):
        for i, x in enumerate(values):
            for j, y in enumerate(values):
                product = int((x[256 * first : 256 * last] * y[256 * first : 256 * last]).sum())
                total[i][j] += 4 ** (exponent - min(exponents)) * product
    return total


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_gram_is_exact(data: st.DataObject) -> None:
    sizes = data.draw(st.lists(st.integers(1, 3000), min_size=1, max_size=5))
    manifest = Manifest("g", tuple(Tensor(f"t{i}", (size,)) for i, size in enumerate(sizes)))
    exponents = data.draw(st.lists(st.integers(-40, 4), min_size=len(sizes), max_size=len(sizes)))
    seeds = data.draw(st.lists(st.integers(0, 1000), min_size=1, max_size=6))
    updates = [worlds.update_bytes(manifest, seed) for seed in seeds]
    gram = gram_matrix(manifest, exponents, [MemoryUpdate(update) for update in updates])
    assert [list(row) for row in gram] == exact(manifest, exponents, updates)


@pytest.mark.parametrize("byte", [1, 255])
def test_gram_is_exact_at_the_extremes(byte: int) -> None:
    manifest = Manifest("g", (Tensor("a", (256 * 4099,)),))
    updates = [MemoryUpdate(bytes([value]) * manifest.size) for value in (byte, 255, 1)]
    gram = gram_matrix(manifest, (4,), updates)
    square = 127 * 127 * manifest.size
    assert [abs(product) for row in gram for product in row] == [square] * 9


def test_gram_does_not_depend_on_the_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = Manifest("g", (Tensor("a", (9000,)), Tensor("b", (3,)), Tensor("c", (20_000,))))
    updates = [MemoryUpdate(worlds.update_bytes(manifest, seed)) for seed in range(4)]
    whole = gram_matrix(manifest, (-3, 0, -3), updates)
    monkeypatch.setattr(facts, "_CHUNK_BYTES", 1)
    assert gram_matrix(manifest, (-3, 0, -3), updates) == whole


def products(values: U8, size: int) -> I64:
    """What the compiled loops make of rows of bytes: products of the first places."""
    from folkmoot.protocol import kernels

    addresses = np.array([row.ctypes.data for row in values], dtype=np.int64)
    total = np.zeros((len(values), len(values)), dtype=np.int64)
    kernels.add_products(addresses, size, total)
    return total


def naive_products(values: U8, size: int) -> I64:
    """The same from numpy's integers, which has no blocks and no tiles."""
    wide = values[:, :size].astype(np.int64) - 128
    return np.tril(wide @ wide.T)


CASES = [(k, 64 * k % 1024 + 64) for k in range(1, 14)] + [(20, 32768), (21, 32832), (50, 3200), (100, 66048)]
"""Numbers of rows and of places: whole tiles and blocks, and some that are left over."""


@pytest.mark.parametrize(("count", "size"), CASES)
def test_compiled_products_are_those_of_the_integers(count: int, size: int) -> None:
    pytest.importorskip("numba")
    rng = np.random.default_rng(count)
    values = rng.integers(1, 256, (count, size + 64), dtype=np.uint8)
    assert (products(values, size) == naive_products(values, size)).all()


@pytest.mark.parametrize("rows", [(255, 255), (1, 1), (1, 255), (255, 1), (0, 0), (0, 255)])
def test_compiled_products_do_not_saturate(rows: tuple[int, int]) -> None:
    pytest.importorskip("numba")
    values = np.repeat(np.array(rows, dtype=np.uint8)[:, None], 40_000, axis=1)
    assert (products(values, 39_936) == naive_products(values, 39_936)).all()


_ELSEWHERE = """
import numpy as np
from folkmoot.protocol import kernels
from tests.unit.aggregation.test_gram import CASES, naive_products, products
for count, size in CASES[:5] + [(9, 32832)]:
    values = np.random.default_rng(count).integers(0, 256, (count, size), dtype=np.uint8)
    values[0] = 255
    values[-1, 32:] = 0
    assert (products(values, size) == naive_products(values, size)).all(), count
assert "vpdpbusd" not in "".join(kernels.add_products.inspect_asm().values())
"""


def test_products_are_the_same_without_the_instruction_for_bytes(tmp_path: Path) -> None:
    pytest.importorskip("numba")
    plain = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": "", "NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", _ELSEWHERE],
        env=os.environ | plain,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("count", [1, 3, 4, 5, 9])
def test_kernels_multiply_alike(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    pytest.importorskip("numba")
    manifest = Manifest("g", (Tensor("a", (9000,)), Tensor("b", (3,)), Tensor("c", (20_000,))))
    updates = [MemoryUpdate(worlds.update_bytes(manifest, seed)) for seed in range(count)]
    with acceleration.without_kernels():
        slow = gram_matrix(manifest, (-3, 0, -7), updates)
    monkeypatch.setattr(acceleration, "LOAD_AFTER", 0)
    monkeypatch.setattr(acceleration, "MINIMUM_WORK", 0)
    assert acceleration.kernels(1) is not None
    assert gram_matrix(manifest, (-3, 0, -7), updates) == slow
    monkeypatch.setattr(facts, "_CHUNK_BYTES", 1)
    assert gram_matrix(manifest, (-3, 0, -7), updates) == slow


@pytest.mark.parametrize(("compiled", "factor"), [(True, 1.5), (False, 10)])
def test_memory_is_bounded_by_chunks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, compiled: bool, factor: float
) -> None:
    manifest = Manifest("g", (Tensor("a", (256 * 4096,)),))
    updates = []
    for seed in range(24):
        path = tmp_path / f"{seed}.bin"
        path.write_bytes(worlds.update_bytes(manifest, seed))
        updates.append(FileUpdate(path, 8))
    if compiled:
        pytest.importorskip("numba")
        acceleration.load()
    monkeypatch.setattr(facts, "_CHUNK_BYTES", 1 << 18)
    monkeypatch.setattr(facts, "_LEAST_LEAVES", 4)  # else 24 updates would be more than this chunk
    with nullcontext() if compiled else acceleration.without_kernels():
        gram_matrix(manifest, (0,), updates[:1])  # compiles
        tracemalloc.start()
        gram_matrix(manifest, (0,), updates)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < factor * (1 << 18) < 24 * manifest.size / 9


def test_gram_of_nothing_is_empty() -> None:
    assert gram_matrix(worlds.MANIFEST, (0, 0, 0), []) == ()


def test_distances() -> None:
    vectors = [[1, 2], [4, 6], [0, 0]]
    gram = tuple(tuple(a * c + b * d for c, d in vectors) for a, b in vectors)
    round_facts = RoundFacts(gram, (5, 52, 0), ((3,), (10,), (0,)), elements=(2,))
    assert round_facts.distances() == ((0, 25, 5), (25, 0, 52), (5, 52, 0))
    assert round_facts.count == 3

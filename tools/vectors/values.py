# SPDX-License-Identifier: Apache-2.0
"""The values that the vectors and the cases are made from, and how the files write them."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from folkmoot.protocol import packing
from folkmoot.protocol.fixed_point import LEAF
from folkmoot.protocol.hashing import keccak
from folkmoot.protocol.manifest import Manifest

VECTORS = Path(__file__).resolve().parents[2] / "tests" / "vectors"

CHAIN_ID = 31337
LEDGER = "0x5FbDB2315678afecb367f032d93F642f64180aa3"
KEYS = [keccak(f"folkmoot vector account {i}".encode()) for i in range(3)]


def stream(label: str, length: int) -> bytes:
    """Bytes that depend on the label only."""
    blocks = (keccak(label.encode(), i.to_bytes(4, "big")) for i in range(-(-length // 32)))
    return b"".join(blocks)[:length]


def stream_integers(label: str, count: int, bound: int) -> list[int]:
    """Integers in [-bound, bound]."""
    data = stream(label, 8 * count)
    span = 2 * bound + 1
    return [int.from_bytes(data[8 * i : 8 * i + 8], "big") % span - bound for i in range(count)]


def update_file(label: str, manifest: Manifest, bound: int = packing.largest(8)) -> bytes:
    """A valid update file."""
    values = np.array(stream_integers(label, manifest.size, bound), dtype=np.int64).reshape(-1, LEAF)
    values[np.arange(LEAF)[None, :] >= manifest.values_in_leaf[:, None]] = 0
    return (values + packing.ZERO).astype(np.uint8).tobytes()


def state_values(label: str, manifest: Manifest, bound: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """A valid vector of state integers."""
    values = np.array(stream_integers(label, manifest.size, bound), dtype=np.int64).reshape(-1, LEAF)
    values[np.arange(LEAF)[None, :] >= manifest.values_in_leaf[:, None]] = 0
    return values.reshape(-1)


def text(values: Iterable[Any]) -> list[str]:
    """Integers as decimal strings."""
    return [str(int(value)) for value in values]


def hexed(data: bytes) -> str:
    """Bytes as 0x-hex."""
    return "0x" + data.hex()


def hexes(values: Iterable[bytes]) -> list[str]:
    """Byte strings as 0x-hex."""
    return [hexed(value) for value in values]


def rows(array: np.ndarray[Any, Any]) -> list[bytes]:
    """Rows of an array as bytes."""
    return [row.tobytes() for row in array]


def bits32(value: float) -> bytes:
    """A float32 as its four bytes, big-endian."""
    return struct.pack(">f", value)


def product(x: Sequence[int], y: Sequence[int]) -> int:
    """The inner product."""
    return sum(a * b for a, b in zip(x, y, strict=True))

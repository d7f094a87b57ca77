# SPDX-License-Identifier: Apache-2.0
"""How the case files write values, and what the cases share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from folkmoot.protocol.manifest import Manifest, Tensor
from tools.vectors.values import hexed

Values = dict[str, Any]


def raw(text: str) -> bytes:
    """Bytes of 0x-hex."""
    return bytes.fromhex(text.removeprefix("0x"))


def text(value: Any) -> Any:
    """Integers as decimal strings, bytes as 0x-hex, all the way down."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return hexed(value)
    if isinstance(value, dict):
        return {str(key): text(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [text(part) for part in value]
    return str(int(value))


def ints(values: Sequence[str]) -> list[int]:
    """Decimal strings as integers."""
    return [int(value) for value in values]


def manifest_of(elements: Sequence[str]) -> Manifest:
    """A manifest of flat tensors with these elements."""
    return Manifest("cases", tuple(Tensor(f"t{i}", (int(size),)) for i, size in enumerate(elements)))


def packed(leaves: bytes, width: int) -> bytes:
    """The update file of leaves, in plain integers."""
    bits = "".join(f"{byte - 128 + (1 << width - 1):0{width}b}" for byte in leaves)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")

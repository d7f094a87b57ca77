# SPDX-License-Identifier: Apache-2.0
"""Hashes and canonical JSON: how bytes get their names (docs/protocol.md sections 2, 3 and 11).

This module knows nothing of models, rounds or chains.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from typing import Any

import numpy as np

# pycryptodome, which took over the name of the abandoned pycrypto
from Crypto.Hash import keccak as _keccak

from folkmoot.errors import InputError
from folkmoot.protocol import acceleration
from folkmoot.protocol.arrays import U8

HASH_BYTES = 32

MAX_NESTING = 64
"""Deepest nesting of a JSON file. Parsers recurse, and a file from a stranger must not exhaust their stack."""

_BRACKETS = re.compile(rb'"(?:[^"\\]++|\\.)*+\\?(?:"|\Z)|[\[\]{}]', re.DOTALL)
"""Strings, whole or open to the end, and brackets. Possessive: with ways back kept, a string of 12 MB took 1.4 GB."""


def keccak(*parts: bytes) -> bytes:
    """Keccak-256 of the joined parts, as in Ethereum (32 bytes)."""
    state = _keccak.new(digest_bits=256)
    for part in parts:
        state.update(part)
    return state.digest()


def sha256_hex(data: bytes | bytearray | memoryview) -> str:
    """SHA-256 (FIPS 180-4) in lower-case hex: the name of a file."""
    return hashlib.sha256(data).hexdigest()


def sha256_of(chunks: Iterable[bytes]) -> tuple[str, int]:
    """Return the SHA-256, in hex, and the size in bytes of a file that comes in pieces."""
    digest, size = hashlib.sha256(), 0
    for chunk in chunks:
        digest.update(chunk)
        size += len(chunk)
    return digest.hexdigest(), size


def keccak_rows(rows: U8, prefix: int) -> U8:
    """Keccak-256 of ``prefix || row`` for every row.

    Args:
        rows: uint8[n, L], in C order for speed.
        prefix: The domain separation byte, 0 to 255.

    Returns:
        uint8[n, 32].
    """
    count, length = rows.shape
    kernels = acceleration.kernels(count * length)
    if kernels is not None:
        words = np.empty((count, 4), dtype=np.uint64)
        kernels.keccak_rows(np.ascontiguousarray(rows), prefix, words)
        return words.view(np.uint8)
    out = np.empty((count, HASH_BYTES), dtype=np.uint8)
    head = bytes([prefix])
    data = np.ascontiguousarray(rows).tobytes()
    digests = [
        _keccak.new(data=head + data[at : at + length], digest_bits=256).digest()
        for at in (length * row for row in range(count))
    ]
    out.reshape(-1)[:] = np.frombuffer(b"".join(digests), dtype=np.uint8)
    return out


def json_name(name: str) -> str:
    """The name of a field in JSON: ``commit_window`` is ``commitWindow``."""
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)


def canonical_json(value: Any) -> bytes:
    """The one way to write a JSON value: sorted keys, no white space, UTF-8, no NaN or infinity.

    Numbers that are not integers are written as the shortest decimal that reads back as the same binary64, in
    the form of Python's ``repr``.

    Raises:
        InputError: The value is not JSON, nests too deep, or holds a NaN, an infinity or a lone surrogate.
    """
    try:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
        data = text.encode("utf-8")
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"The value can't be written as canonical JSON: {error}.") from error
    if _nesting(data) > MAX_NESTING:
        raise InputError(f"The value nests deeper than {MAX_NESTING} levels.")
    return data


def _nesting(data: bytes) -> int:
    """How deep the brackets of a JSON text nest, found without recursion."""
    depth = deepest = 0
    for token in _BRACKETS.finditer(data):
        kind = token.group()[:1]
        if kind in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif kind in b"]}":
            depth -= 1
    return deepest


def parse_json(data: bytes) -> Any:
    """Read JSON from a stranger.

    The nesting is checked before Python's parser sees the bytes: it recurses, and where some package has raised
    Python's recursion limit (py_ecc, which comes with eth-account, sets it to 100,000) a few hundred kilobytes of
    brackets would end the process.

    Raises:
        InputError: The bytes are not JSON in UTF-8, or nest deeper than MAX_NESTING.
    """
    if _nesting(data) > MAX_NESTING:
        raise InputError(f"The JSON nests deeper than {MAX_NESTING} levels.")
    try:
        return json.loads(data.decode("utf-8"))
    except ValueError as error:
        raise InputError(f"The bytes are not JSON: {error}.") from error


def parse_canonical_json(data: bytes) -> Any:
    """Read canonical JSON from a stranger.

    Raises:
        InputError: The bytes are not JSON, nest too deep, or are not in canonical form (so that two files could
            mean the same).
    """
    value = parse_json(data)
    if canonical_json(value) != data:
        raise InputError("The JSON is not in canonical form (docs/protocol.md section 2).")
    return value

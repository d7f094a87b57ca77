# SPDX-License-Identifier: Apache-2.0
"""Texts that strangers put on the chain, such as a vote's reason: any bytes at all, and nobody can stop them.

Solidity does not check that a `string` is UTF-8. A reader that insists on it can be stopped for ever by one
transaction, so ours takes every text; bytes that are no UTF-8 become lone surrogates (PEP 383), which keeps the bytes.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from eth_abi.codec import ABIDecoder
from eth_abi.decoding import StringDecoder
from eth_abi.registry import BaseEquals, registry

LOSSLESS = "surrogateescape"
"""Error handler that keeps every byte."""


class _LosslessStringDecoder(StringDecoder):
    """Decodes a `string` of any bytes."""

    def __init__(self) -> None:
        super().__init__(handle_string_errors=LOSSLESS)  # type: ignore[no-untyped-call]  # its base class is one


@functools.cache
def _decoder() -> ABIDecoder:
    ours = registry.copy()
    ours.unregister_decoder("string")
    equals = BaseEquals("string")
    ours.register_decoder(equals, _LosslessStringDecoder, label="string")
    return ABIDecoder(ours)


def decode(types: Sequence[str], data: bytes) -> tuple[Any, ...]:
    """Decode ABI-encoded values as `eth_abi.decode` does, with texts of any bytes.

    Raises:
        eth_abi.exceptions.DecodingError: the data are too short or malformed.
    """
    return tuple(_decoder().decode(types, data))


def text_bytes(text: str) -> bytes:
    """Return the bytes that a decoded text has on the chain."""
    return text.encode("utf-8", LOSSLESS)


def readable(text: str) -> str:
    """Return a decoded text as valid Unicode without NUL, for people and databases."""
    return text_bytes(text).decode("utf-8", "replace").replace("\0", "\N{REPLACEMENT CHARACTER}")

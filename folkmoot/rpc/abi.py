# SPDX-License-Identifier: Apache-2.0
"""Calls of the contracts as bytes, and values from bytes, by what the ABIs say of each function.

Any text on the chain can be read: Solidity does not check that a `string` is UTF-8, and a reader that insists on it
could be stopped for ever by one transaction. Bytes that are not UTF-8 become lone surrogates (PEP 383), which keeps the
bytes. Addresses are checksummed. Travels in the Flower App Bundle.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from eth_abi.abi import encode
from eth_abi.codec import ABIDecoder
from eth_abi.decoding import AddressDecoder, StringDecoder
from eth_abi.exceptions import DecodingError
from eth_abi.registry import BaseEquals, registry
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from folkmoot.rpc.generated.functions import FUNCTIONS

LOSSLESS = "surrogateescape"
"""Error handler that keeps every byte of a text."""


@dataclass(frozen=True, slots=True)
class Function:
    """A function of a contract, or a constructor, whose name is empty."""

    name: str
    inputs: tuple[str, ...]
    """ABI types of the arguments, tuples written out."""
    outputs: tuple[str, ...] = ()
    """ABI types of the results."""

    @property
    def signature(self) -> str:
        """The canonical signature, e.g. `stake(address,uint256)`."""
        return f"{self.name}({','.join(self.inputs)})"

    @property
    def selector(self) -> bytes:
        """The first four bytes of the call data."""
        return bytes(keccak(text=self.signature)[:4])

    def encode(self, *arguments: Any) -> bytes:
        """Return the call data."""
        return self.selector + encode(self.inputs, arguments)


@functools.cache
def function(contract: str, name: str) -> Function:
    """Return a function of a contract, which is known by its role in a deployment (`ledger`) or its name in Solidity.

    Of functions with one name it is the one with the fewest arguments.
    """
    return Function(name, *FUNCTIONS[contract][name])


def encode_call(contract: str, name: str, *arguments: Any) -> bytes:
    """Return the call data of a contract's function."""
    return function(contract, name).encode(*arguments)


@dataclass(frozen=True, slots=True)
class DecodedCall:
    """A call of a function, read from its call data."""

    function: str
    arguments: tuple[Any, ...]


def decode_call(contract: str, data: bytes) -> DecodedCall | None:
    """Return the call that call data are.

    Returns:
        None if the contract does not have the function, or the arguments are malformed.
    """
    called = _by_selector(contract).get(data[:4])
    if called is None:
        return None
    try:
        return DecodedCall(called.name, decode(called.inputs, data[4:]))
    except (DecodingError, OverflowError, ValueError):
        return None


@functools.cache
def _by_selector(contract: str) -> dict[bytes, Function]:
    functions = [function(contract, name) for name in FUNCTIONS[contract]]
    return {known.selector: known for known in functions}


class _LosslessStringDecoder(StringDecoder):
    """Decodes a `string` of any bytes."""

    def __init__(self) -> None:
        super().__init__(handle_string_errors=LOSSLESS)  # type: ignore[no-untyped-call]  # its base class is one


class _ChecksumDecoder(AddressDecoder):
    """Decodes an `address` to its checksummed form."""

    decoder_fn = staticmethod(to_checksum_address)


@functools.cache
def _decoder() -> ABIDecoder:
    types = registry.copy()
    for kind, decoder in (("string", _LosslessStringDecoder), ("address", _ChecksumDecoder)):
        types.unregister_decoder(kind)
        types.register_decoder(BaseEquals(kind), decoder, label=kind)
    return ABIDecoder(types)


def decode(types: Sequence[str], data: bytes) -> tuple[Any, ...]:
    """Decode ABI-encoded values as `eth_abi.decode` does, with texts of any bytes and checksummed addresses.

    Raises:
        eth_abi.exceptions.DecodingError, OverflowError: the data are too short or malformed.
    """
    return tuple(_decoder().decode(types, data))


def text_bytes(text: str) -> bytes:
    """Return the bytes that a decoded text has on the chain."""
    return text.encode("utf-8", LOSSLESS)


def readable(text: str) -> str:
    """Return a decoded text as valid Unicode without NUL, for people and databases."""
    return text_bytes(text).decode("utf-8", "replace").replace("\0", "\N{REPLACEMENT CHARACTER}")

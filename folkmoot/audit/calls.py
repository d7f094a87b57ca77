# SPDX-License-Identifier: Apache-2.0
"""Decode the call data of transactions and proposals with the packaged ABIs."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from folkmoot.ledger import packaged


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a function."""

    function: str
    """Name of the function."""
    arguments: tuple[Any, ...]
    """Arguments of the call, with checksummed addresses."""


def decode_call(role: str, data: bytes) -> Call | None:
    """Decode the call data of a contract's function.

    Args:
        role: Contract: `ledger`, `registry`, ...
        data: Selector and arguments.

    Returns:
        The call, or None if the contract does not have the function or the arguments are malformed.
    """
    entry = _functions(role).get(data[:4])
    if entry is None:
        return None
    types = [packaged.type_of(parameter) for parameter in entry["inputs"]]
    try:
        values = decode(types, data[4:])
    except (DecodingError, OverflowError, ValueError):
        return None
    return Call(entry["name"], tuple(map(_plain, values, types)))


@functools.cache
def _functions(role: str) -> dict[bytes, dict[str, Any]]:
    return {
        bytes(keccak(text=packaged.signature_of(entry))[:4]): entry
        for entry in packaged.contract(role).abi
        if entry["type"] == "function"
    }


def _plain(value: Any, kind: str) -> Any:
    return str(to_checksum_address(value)) if kind == "address" else value

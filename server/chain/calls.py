# SPDX-License-Identifier: Apache-2.0
"""Calls and events of the contracts, by name, from the packaged ABIs."""

from __future__ import annotations

import functools
from typing import Any

from eth_abi.abi import encode
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from folkmoot.ledger import packaged
from folkmoot.ledger.texts import decode, readable
from folkmoot.protocol.batch import LISTED_BYTES, require_whole


@functools.cache
def _function(role: str, name: str) -> dict[str, Any]:
    for entry in packaged.contract(role).abi:
        if entry["type"] == "function" and entry["name"] == name:
            return entry
    raise AssertionError(f"{role} has no function {name}")


def selector(role: str, name: str) -> bytes:
    """The first four bytes of the call data of a function of the contract with this role."""
    return keccak(text=packaged.signature_of(_function(role, name)))[:4]


def encode_call(role: str, name: str, *arguments: Any) -> bytes:
    """Call data of a function of the contract with this role in a deployment."""
    types = [packaged.type_of(parameter) for parameter in _function(role, name)["inputs"]]
    return selector(role, name) + encode(types, arguments)


def decode_result(role: str, name: str, data: bytes) -> tuple[Any, ...]:
    """What a function returned."""
    types = [packaged.type_of(parameter) for parameter in _function(role, name)["outputs"]]
    return tuple(decode(types, data))


@functools.cache
def _events(role: str) -> dict[str, dict[str, Any]]:
    return {
        "0x" + keccak(text=packaged.signature_of(entry)).hex(): entry
        for entry in packaged.contract(role).abi
        if entry["type"] == "event" and not entry.get("anonymous")
    }


def decode_log(role: str, log: dict[str, Any]) -> tuple[str, dict[str, Any]] | None:
    """Name and arguments (JSON values) of a log of the contract with this role, if it is a known event."""
    topics = log["topics"]
    entry = _events(role).get(topics[0]) if topics else None
    if entry is None:
        return None
    plain = [p for p in entry["inputs"] if not p["indexed"]]
    values = dict(
        zip(
            (p["name"] for p in plain),
            decode([packaged.type_of(p) for p in plain], bytes.fromhex(log["data"].removeprefix("0x"))),
            strict=True,
        )
    )
    for parameter, topic in zip((p for p in entry["inputs"] if p["indexed"]), topics[1:], strict=True):
        raw = bytes.fromhex(topic.removeprefix("0x"))
        kind = packaged.type_of(parameter)
        dynamic = kind in ("string", "bytes") or kind.endswith(("]", ")"))
        values[parameter["name"]] = raw if dynamic else decode([kind], raw)[0]
    if entry["name"] == "UpdatesCommitted":
        require_whole(values["entries"], LISTED_BYTES)
    return entry["name"], {p["name"]: _json(p, values[p["name"]]) for p in entry["inputs"]}


def _json(parameter: dict[str, Any], value: Any) -> Any:
    """A decoded value as JSON: integers beyond 53 bits as text, bytes as 0x-hex, tuples as objects."""
    kind = str(parameter["type"])
    if kind.endswith("]"):
        inner = {**parameter, "type": kind[: kind.rindex("[")]}
        return [_json(inner, item) for item in value]
    if kind == "tuple":
        return {p["name"]: _json(p, item) for p, item in zip(parameter["components"], value, strict=True)}
    if isinstance(value, str) and kind == "string":
        return readable(value)
    if isinstance(value, bytes):
        return "0x" + value.hex()
    if kind == "address":
        return to_checksum_address(value)
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 2**53:
        return str(value)
    return value

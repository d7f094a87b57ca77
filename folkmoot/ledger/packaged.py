# SPDX-License-Identifier: Apache-2.0
"""The compiled contracts that the package ships: ABI and bytecode of each.

Reads `folkmoot/ledger/abi/*.json`; knows neither web3 nor a network.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

NAMES = {
    "token": "MootToken",
    "vault": "StakeVault",
    "registry": "ModelRegistry",
    "policies": "Policies",
    "ledger": "RoundLedger",
    "rewards": "Rewards",
    "timelock": "MootTimelock",
    "governor": "MootGovernor",
    "fraud_proofs": "FraudProofs",
    "gram_proofs": "GramProofs",
    "contributor_faults": "ContributorFaults",
    "data_availability": "DataAvailability",
    "disputes": "Disputes",
    "arbiter": "Arbiter",
    "members": "MemberList",
}
"""Contract by its role in a deployment, in the order of `deployment.CONTRACTS`, and that of a closed federation."""

PARTS = ("Attendance", "Odometer")
"""Contracts that the ledger creates."""

_PUSH32 = 0x7F
_WORD = bytes(32)


@dataclass(frozen=True, slots=True)
class Packaged:
    """One compiled contract."""

    name: str
    """Name in Solidity."""
    abi: list[dict[str, Any]]
    """JSON ABI."""
    bytecode: str
    """Creation code, 0x-hex, without constructor arguments."""


@functools.cache
def contract(role: str) -> Packaged:
    """Return the compiled contract of a role, one of `NAMES`."""
    return named(NAMES[role])


@functools.cache
def named(name: str) -> Packaged:
    """Return a compiled contract by its name in Solidity: one of `NAMES`, or one that the ledger creates."""
    document = json.loads((files("folkmoot.ledger") / "abi" / f"{name}.json").read_text(encoding="utf-8"))
    return Packaged(name, document["abi"], document["bytecode"])


def type_of(parameter: dict[str, Any]) -> str:
    """Return the canonical ABI type of a parameter, tuples written out."""
    kind = str(parameter["type"])
    if not kind.startswith("tuple"):
        return kind
    inside = ",".join(type_of(part) for part in parameter["components"])
    return f"({inside}){kind.removeprefix('tuple')}"


def signature_of(entry: dict[str, Any]) -> str:
    """Return the canonical signature of an ABI entry, e.g. `stake(address,uint256)`."""
    return f"{entry['name']}({','.join(type_of(parameter) for parameter in entry['inputs'])})"


def is_runtime_of(creation: bytes, runtime: bytes) -> bool:
    """Return whether code is the result of a creation code, apart from immutables.

    In the creation code an immutable is a PUSH32 of zeros, which the constructor replaces.

    Args:
        creation: Packaged creation code.
        runtime: Code at the address.
    """
    start = creation.find(runtime[:16])
    while start >= 0:
        template = creation[start : start + len(runtime)]
        if len(template) == len(runtime) and _without_immutables(template, runtime) == template:
            return True
        start = creation.find(runtime[:16], start + 1)
    return False


def _without_immutables(template: bytes, runtime: bytes) -> bytes:
    code = bytearray(runtime)
    place = template.find(bytes([_PUSH32]) + _WORD)
    while place >= 0:
        code[place + 1 : place + 33] = _WORD
        place = template.find(bytes([_PUSH32]) + _WORD, place + 33)
    return bytes(code)

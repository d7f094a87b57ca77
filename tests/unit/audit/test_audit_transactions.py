# SPDX-License-Identifier: Apache-2.0
"""Transactions prove themselves, of every type; reference: eth-account's signer."""

from __future__ import annotations

from typing import Any

import pytest

from folkmoot.audit.transactions import read_answer, rlp
from folkmoot.errors import AuditFailure
from tests import factories

ADA = factories.account("ada")
TO = factories.account("ledger").address
COMMON: dict[str, Any] = {"nonce": 7, "gas": 21_000, "to": TO, "value": 5, "data": "0x" + "ab" * 70}
LIST = [{"address": TO, "storageKeys": ["0x" + "01" * 32, "0x" + "00" * 32]}]
FEES = {"maxFeePerGas": 10**9, "maxPriorityFeePerGas": 1}


def authorization() -> Any:
    return ADA.sign_authorization({"chainId": 1, "address": TO, "nonce": 8})


KINDS: dict[str, dict[str, Any]] = {
    "before EIP-155": {**COMMON, "gasPrice": 10**9},
    "legacy": {**COMMON, "gasPrice": 10**9, "chainId": 31337},
    "EIP-2930": {**COMMON, "gasPrice": 10**9, "chainId": 1, "type": 1, "accessList": LIST},
    "EIP-1559": {**COMMON, **FEES, "chainId": 1, "type": 2, "accessList": LIST},
    "plain EIP-1559": {**COMMON, **FEES, "chainId": 1, "nonce": 0, "value": 0, "data": "0x05"},
    "creation": {**COMMON, **FEES, "chainId": 1, "to": ""},
    "EIP-7702": {**COMMON, **FEES, "chainId": 1, "type": 4, "authorizationList": [authorization()]},
}


def answer(fields: dict[str, Any]) -> tuple[bytes, dict[str, Any]]:
    """Sign a transaction, and write it as an endpoint does."""
    signed = ADA.sign_transaction(fields)
    kind = signed.raw_transaction[0] if signed.raw_transaction[0] < 0xC0 else 0
    found: dict[str, Any] = {name: hex(value) for name, value in fields.items() if isinstance(value, int)}
    found |= {
        "type": hex(kind),
        "from": ADA.address.lower(),
        "input": fields["data"],
        "to": fields["to"] or None,
    }
    found |= {name: hex(getattr(signed, name)) for name in ("v", "r", "s")}
    found["accessList"] = fields.get("accessList")
    found["authorizationList"] = [
        {
            "chainId": hex(entry.chain_id),
            "address": "0x" + entry.address.hex(),
            "nonce": hex(entry.nonce),
            "yParity": hex(entry.y_parity),
            "r": hex(entry.r),
            "s": hex(entry.s),
        }
        for entry in fields.get("authorizationList", [])
    ]
    return bytes(signed.hash), found


@pytest.mark.parametrize("kind", KINDS)
def test_a_transaction_is_hashed_and_its_sender_recovered(kind: str) -> None:
    hash_, found = answer(KINDS[kind])
    read = read_answer(hash_, found)
    assert (read.sender, read.nonce, read.proven) == (ADA.address, KINDS[kind]["nonce"], True)
    assert read.to == (TO if kind != "creation" else None)
    assert read.input == bytes.fromhex(KINDS[kind]["data"][2:])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["nonce", "input", "to", "value", "r"])
def test_any_other_transaction_has_another_hash(kind: str, name: str) -> None:
    hash_, found = answer(KINDS[kind])
    found[name] = "0x11" if name != "to" else ADA.address
    with pytest.raises(AuditFailure, match=hash_.hex()):
        read_answer(hash_, found)


def test_another_sender_is_named() -> None:
    hash_, found = answer(KINDS["EIP-1559"])
    with pytest.raises(AuditFailure, match=f"Expected: {ADA.address}. Found: {TO}"):
        read_answer(hash_, {**found, "from": TO})


def test_a_type_that_only_some_chains_have_proves_nothing() -> None:
    hash_, found = answer(KINDS["EIP-1559"])
    assert not read_answer(hash_, {**found, "type": "0x7e"}).proven


@pytest.mark.parametrize("broken", [{}, {"type": "0x2"}, {"from": "nobody"}])
def test_what_is_no_transaction_is_refused(broken: dict[str, Any]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        read_answer(bytes(32), broken)


def test_rlp_is_the_one_of_the_yellow_paper() -> None:
    assert rlp(b"dog") == b"\x83dog"
    assert rlp([b"cat", b"dog"]) == b"\xc8\x83cat\x83dog"
    assert rlp(b"") == b"\x80"
    assert rlp([]) == b"\xc0"
    assert rlp(b"\x0f") == b"\x0f"
    assert rlp(b"\x04\x00") == b"\x82\x04\x00"
    assert rlp([[], [[]], [[], [[]]]]) == bytes.fromhex("c7c0c1c0c3c0c1c0")
    assert rlp(b"Lorem ipsum dolor sit amet, consectetur adipisicing elit") == (
        b"\xb8\x38Lorem ipsum dolor sit amet, consectetur adipisicing elit"
    )
    assert rlp([b"a" * 60]) == b"\xf8\x3e\xb8\x3c" + b"a" * 60

# SPDX-License-Identifier: Apache-2.0
"""The format of an attestation, and what is refused."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data

from folkmoot.errors import InputError
from folkmoot.protocol.attestation import Attestation
from folkmoot.protocol.commitment import Domain
from folkmoot.protocol.hashing import canonical_json
from tests import factories

LEDGER = "0x5FbDB2315678afecb367f032d93F642f64180aa3"
AUDITOR = factories.account("ada")
MADE = Attestation(
    Domain(31337, LEDGER), 90, b"\x01" * 32, {2: b"\x03" * 32, 1: b"\x02" * 32}, (3, 4), AUDITOR.address
)


def test_an_attestation_survives_its_file() -> None:
    signed = MADE.signed(AUDITOR)
    read = Attestation.from_json(signed.to_json())
    assert read == signed
    assert (read.signature, list(read.recomputed)) == (signed.signature, [1, 2])


def test_nobody_signs_for_another_auditor() -> None:
    with pytest.raises(InputError, match=r"signed it, not") as caught:
        MADE.signed(factories.account("ben"))
    assert caught.value.code == "invalid-attestation"


CHANGES: list[Callable[[Any], Any]] = [
    lambda made: made.update(format="folkmoot/attestation/0"),
    lambda made: made.update(more=1),
    lambda made: made.pop("block"),
    lambda made: made.update(block=91),
    lambda made: made.update(block=-1),
    lambda made: made.update(block="90"),
    lambda made: made.update(blockHash="0x00"),
    lambda made: made.update(chainId=1),
    lambda made: made.update(chainId=-1),
    lambda made: made.update(chainId="1"),
    lambda made: made.update(chainId=None),
    lambda made: made.update(chainId=True),
    lambda made: made.update(chainId=2**256),
    lambda made: made.update(ledger=AUDITOR.address),
    lambda made: made.update(auditor=factories.account("ben").address),
    lambda made: made.update(signature="0x" + "00" * 65),
    lambda made: made.update(signature="none"),
    lambda made: made.update(signature=made["signature"].removeprefix("0x")),
    lambda made: made.update(expired=[4, 3]),
    lambda made: made.update(expired=[1]),
    lambda made: made.update(expired=3),
    lambda made: made["recomputed"][0].update(anchorHash="0x" + "04" * 32),
    lambda made: made["recomputed"].reverse(),
    lambda made: made["recomputed"].pop(),
]


@pytest.mark.parametrize("number", range(len(CHANGES)))
def test_a_changed_attestation_is_refused(number: int) -> None:
    made = json.loads(MADE.signed(AUDITOR).to_json())
    CHANGES[number](made)
    with pytest.raises(InputError) as caught:
        Attestation.from_json(canonical_json(made))
    assert caught.value.code == "invalid-attestation"
    assert "--attest" in caught.value.remedy


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"1", b'{"format": 1}'])
def test_what_is_no_attestation_is_refused(data: bytes) -> None:
    with pytest.raises(InputError) as caught:
        Attestation.from_json(data)
    assert caught.value.code == "invalid-attestation"


def test_the_signature_covers_each_field() -> None:
    others = [
        replace(MADE, domain=Domain(1, LEDGER)),
        replace(MADE, block=91),
        replace(MADE, block_hash=bytes(32)),
        replace(MADE, recomputed={}),
        replace(MADE, expired=(3,)),
        replace(MADE, auditor=factories.account("ben").address),
    ]
    assert len({MADE.digest, *(other.digest for other in others)}) == 1 + len(others)


def test_digest_and_signature_are_those_that_other_tools_compute() -> None:
    """Recomputed by a wallet's library, and pinned: the format may not change without another version."""
    signed = MADE.signed(AUDITOR)
    content = json.loads(signed.to_json())
    signature = content.pop("signature")
    plain = json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
    assert hashlib.sha256(plain).digest() == signed.digest
    assert signed.digest.hex() == "4a4a913bd9c34d8465078fb6bfa015af15a720f2c3d83ec9ae4b1e08e3600fbc"
    typed = encode_typed_data(
        {"name": "Folkmoot", "version": "2", "chainId": 31337, "verifyingContract": LEDGER},
        {"Attestation": [{"name": "digest", "type": "bytes32"}]},
        {"digest": signed.digest},
    )
    assert Account.recover_message(typed, signature=signature) == AUDITOR.address

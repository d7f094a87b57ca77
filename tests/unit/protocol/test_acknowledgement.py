# SPDX-License-Identifier: Apache-2.0
"""What a coordinator signed for an update: its file is read as it was written, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from eth_account.messages import encode_typed_data

from folkmoot.errors import InputError
from folkmoot.protocol.acknowledgement import Acknowledgement
from folkmoot.protocol.commitment import Commitment, Domain
from folkmoot.protocol.hashing import keccak
from tests import factories

LEDGER = "0x" + "33" * 20
DOMAIN = Domain(31337, LEDGER)
COORDINATOR = factories.account("coordinator")
COMMITMENT = Commitment(factories.account("ada").address, 3, keccak(b"base"), keccak(b"root"), 17)
MADE = Acknowledgement.of(COMMITMENT, COORDINATOR, DOMAIN)


def test_an_acknowledgement_is_read_as_it_was_written_and_names_its_signer() -> None:
    assert Acknowledgement.from_json(MADE.to_json()) == MADE
    assert MADE.signer(DOMAIN) == COORDINATOR.address
    assert Acknowledgement.of(COMMITMENT, COORDINATOR, DOMAIN) == MADE, "signed again"


def test_the_signature_is_for_one_commitment_on_one_ledger() -> None:
    assert MADE.signer(Domain(1, LEDGER)) != COORDINATOR.address
    other = Acknowledgement(replace(COMMITMENT, round=4), MADE.signature)
    assert other.signer(DOMAIN) != COORDINATOR.address


def test_the_signature_is_that_of_other_tools() -> None:
    typed = {
        "types": {
            "EIP712Domain": [
                {"name": "name", "type": "string"},
                {"name": "version", "type": "string"},
                {"name": "chainId", "type": "uint256"},
                {"name": "verifyingContract", "type": "address"},
            ],
            "Acknowledgement": [{"name": "commitmentHash", "type": "bytes32"}],
        },
        "primaryType": "Acknowledgement",
        "domain": {"name": "Folkmoot", "version": "2", "chainId": 31337, "verifyingContract": LEDGER},
        "message": {"commitmentHash": COMMITMENT.struct_hash},
    }
    signed = COORDINATOR.sign_message(encode_typed_data(full_message=typed))
    assert bytes(signed.signature) == MADE.signature


CHANGES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "no object": lambda made: [made],
    "another format": lambda made: {**made, "format": "folkmoot/acknowledgement/2"},
    "a field more": lambda made: {**made, "more": 1},
    "a field less": lambda made: {key: value for key, value in made.items() if key != "signature"},
    "no signature": lambda made: {**made, "signature": 7},
    "a short signature": lambda made: {**made, "signature": made["signature"][:-2]},
    "no commitment": lambda made: {**made, "commitment": "0x"},
    "another form": lambda made: {
        **made,
        "commitment": {**made["commitment"], "contributor": made["commitment"]["contributor"].upper()},
    },
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_is_no_acknowledgement_is_refused(change: Callable[[dict[str, Any]], Any]) -> None:
    with pytest.raises(InputError) as caught:
        Acknowledgement.from_json(change(MADE.to_json()))
    assert caught.value.code == "invalid-acknowledgement"
    assert "keeper/acknowledgements" in str(caught.value.remedy)


def test_a_signature_outside_of_the_curve_is_refused() -> None:
    with pytest.raises(InputError) as caught:
        Acknowledgement(COMMITMENT, bytes(65)).signer(DOMAIN)
    assert caught.value.code == "invalid-acknowledgement"

# SPDX-License-Identifier: Apache-2.0
"""Every revert of the contracts is told in words, with its values and a remedy."""

from __future__ import annotations

import pytest
from eth_abi.abi import encode
from eth_utils.crypto import keccak

from folkmoot.ledger import packaged
from folkmoot.rpc import reverts
from folkmoot.runtime.units import UNIT


def _revert(signature: str, *values: object) -> bytes:
    types = signature[signature.index("(") + 1 : -1]
    return keccak(text=signature)[:4] + encode(types.split(",") if types else [], values)


def test_every_error_of_the_contracts_has_a_remedy_and_no_remedy_is_left_over() -> None:
    names = {error.name for error in reverts.catalogue().values()}
    assert names == set(reverts.REMEDIES)
    assert all(remedy.strip() for remedy in reverts.REMEDIES.values())


def test_no_two_errors_share_a_selector() -> None:
    abis = [packaged.contract(role).abi for role in packaged.NAMES]
    errors = [entry for abi in abis for entry in abi if entry["type"] == "error"]
    signatures = {packaged.signature_of(entry) for entry in errors}
    assert len({keccak(text=signature)[:4] for signature in signatures}) == len(signatures)


def test_no_sentence_repeats_the_name_of_a_contract() -> None:
    for role, contract in packaged.NAMES.items():
        for entry in packaged.contract(role).abi:
            if entry["type"] == "error" and entry["name"].startswith(contract):
                words = reverts.sentence(entry["name"])
                assert words == reverts.sentence(entry["name"].removeprefix(contract))


def test_amounts_are_shown_in_tokens_and_given_in_units() -> None:
    who = "0x" + "11" * 20
    error = reverts.explain(
        _revert("RoundLedgerStakeTooLow(address,uint256,uint256)", who, 5 * UNIT, 100 * UNIT), "commitUpdate"
    )
    assert error.message == (
        f"The contract refused commitUpdate: stake too low (account {who}, stake 5 MOOT, required 100 MOOT)."
    )
    assert error.remedy == "Stake more if need be, and enrol with as much: `folkmoot enrol --stake`."
    assert error.details["arguments"] == {"account": who, "stake": str(5 * UNIT), "required": str(100 * UNIT)}


def test_an_account_without_a_place_is_told_what_it_has_and_what_is_certain() -> None:
    who = "0x" + "11" * 20
    signature = "RoundLedgerNoPlace(uint64,address,uint256,uint256)"
    error = reverts.explain(_revert(signature, 7, who, 50 * UNIT, 72 * UNIT), "commitUpdate")
    assert error.message == (
        f"The contract refused commitUpdate: no place (round 7, account {who}, enrolled 50 MOOT, quota 72 MOOT)."
    )
    assert "not drawn" in error.remedy
    late = "RoundLedgerEnrolledTooLate(uint64,address,uint256,uint256)"
    assert "since 2027-01-15T08:00:00Z" in reverts.explain(_revert(late, 7, who, 1_800_000_000, 1)).message


def test_phases_and_times_are_words() -> None:
    wrong = reverts.explain(_revert("RoundLedgerWrongPhase(uint64,uint8,uint8)", 4, 1, 3))
    assert "round 4, current open, required anchored" in wrong.message
    assert wrong.details["arguments"] == {"round": 4, "current": "open", "required": "anchored"}
    early = reverts.explain(
        _revert("RoundLedgerTooEarly(uint64,uint256,uint256)", 1, 1_700_000_000, 1_800_000_000)
    )
    assert "notBefore 2027-01-15T08:00:00Z" in early.message


def test_expected_states_of_a_proposal_are_words() -> None:
    states = (1 << 4 | 1 << 5).to_bytes(32, "big")
    error = reverts.explain(
        _revert("GovernorUnexpectedProposalState(uint256,uint8,bytes32)", 12345678901234, 1, states)
    )
    assert "proposalId 1234567890…, current active, expectedStates succeeded or queued" in error.message
    assert error.details["arguments"]["proposalId"] == "12345678901234"


def test_solidity_errors() -> None:
    assert "(reason no luck)" in reverts.explain(_revert("Error(string)", "no luck")).message
    assert "arithmetic overflow" in reverts.explain(_revert("Panic(uint256)", 0x11)).message


@pytest.mark.parametrize(
    "data", [None, "", "0x", b"", "0x12", "0x12345678", "nonsense", _revert("Error(string)", "x")[:20]]
)
def test_what_can_not_be_decoded_is_still_told(data: bytes | str | None) -> None:
    error = reverts.explain(data, "stake")
    assert error.message.startswith("The contract refused stake")
    assert error.code == "contract-refused"

# SPDX-License-Identifier: Apache-2.0
"""Messages of Ethereum nodes, as they print them."""

from __future__ import annotations

import pytest

from folkmoot.rpc.refusals import Refusal, refusal_in


@pytest.mark.parametrize(
    ("message", "refusal"),
    [
        ("already known", Refusal.ALREADY_KNOWN),
        ("transaction already imported", Refusal.ALREADY_KNOWN),
        ("Known transaction", Refusal.ALREADY_KNOWN),
        ("AlreadyKnown", Refusal.ALREADY_KNOWN),
        ("nonce too low: next nonce 5, tx nonce 4", Refusal.NONCE_USED),
        ("Nonce too low. Expected nonce to be 5 but got 4.", Refusal.NONCE_USED),
        ("OldNonce", Refusal.NONCE_USED),
        ("replacement transaction underpriced", Refusal.FEE_TOO_LOW),
        ("transaction underpriced: gas tip cap 1, minimum needed 2", Refusal.FEE_TOO_LOW),
        ("max fee per gas less than block base fee: maxFeePerGas: 1, baseFee: 7", Refusal.FEE_TOO_LOW),
        ("FeeTooLow, MaxFeePerGas too low", Refusal.FEE_TOO_LOW),
        ("ReplacementNotAllowed", Refusal.FEE_TOO_LOW),
        ("insufficient funds for gas * price + value: balance 0, tx cost 1", Refusal.NO_GAS_MONEY),
        ("InsufficientFunds, Balance is 0 less than sending value", Refusal.NO_GAS_MONEY),
        ("Sender doesn't have enough funds to send tx.", Refusal.NO_GAS_MONEY),
        ("execution reverted", None),
        ("nonce too high", None),
        ("header not found", None),
    ],
)
def test_a_node_is_understood_whatever_its_make(message: str, refusal: Refusal | None) -> None:
    assert refusal_in(message) is refusal


def test_no_words_have_two_meanings() -> None:
    for one in Refusal:
        for words in one.value:
            assert refusal_in(f"ERROR: {words.upper()} (tx 0x00)") is one

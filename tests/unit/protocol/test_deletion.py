# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from eth_account.messages import encode_typed_data

from folkmoot.artifacts.retention import Wishes
from folkmoot.errors import InputError
from folkmoot.protocol.deletion import DeletionWish, from_file, to_file
from folkmoot.protocol.hashing import canonical_json
from folkmoot.protocol.signatures import digest
from tests.unit.worlds import CHAIN_ID, DOMAIN, LEDGER, account

ADA = account("alice")
WISH = DeletionWish(ADA.address, 7).signed(ADA, DOMAIN)


def test_what_is_signed_is_what_a_wallet_shows() -> None:
    shown = encode_typed_data(
        {"name": "Folkmoot", "version": "2", "chainId": CHAIN_ID, "verifyingContract": LEDGER},
        {
            "DeleteUpdates": [
                {"name": "contributor", "type": "address"},
                {"name": "lastRound", "type": "uint64"},
            ]
        },
        {"contributor": ADA.address, "lastRound": 7},
    )
    assert digest(shown) == WISH.digest(DOMAIN)
    assert WISH.is_of_key(DOMAIN)
    assert not replace(WISH, last_round=8).is_of_key(DOMAIN)
    assert not DeletionWish(ADA.address, 7).is_of_key(DOMAIN)


def test_a_list_is_read_as_it_was_written() -> None:
    other = DeletionWish(account("bob").address, 1, b"\1\2")
    listed = to_file([other, WISH])
    assert set(from_file(listed)) == {other, WISH}
    assert listed == to_file([WISH, other])


@pytest.mark.parametrize(
    "change",
    [
        {"lastRound": 0},
        {"lastRound": 1 << 53},
        {"lastRound": True},
        {"lastRound": "7"},
        {"contributor": "0x12"},
        {"contributor": 5},
        {"signature": "0x"},
        {"signature": "0x" + "00" * 2049},
        {"signature": "0xAB"},
        {"more": 1},
    ],
)
def test_what_is_no_wish_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InputError) as refused:
        DeletionWish.from_json({**WISH.to_json(), **change})
    assert refused.value.code == "invalid-wish"


@pytest.mark.parametrize(
    "data", [b"", b"[]", b'{"format":"x","wishes":[]}', b'{"format":"folkmoot/deletions/1","wishes":{}}']
)
def test_what_is_no_list_of_wishes_is_refused(data: bytes) -> None:
    with pytest.raises(InputError) as refused:
        from_file(data)
    assert refused.value.code == "invalid-wish"


def test_only_signed_wishes_count_and_the_widest_of_them() -> None:
    narrow, forged = DeletionWish(ADA.address, 3).signed(ADA, DOMAIN), replace(WISH, last_round=9)
    wallet = DeletionWish(account("bob").address, 5, b"\5")
    asked: list[str] = []

    def accepts(contract: str, hashed: bytes, signature: bytes) -> bool:
        asked.append(contract)
        return (contract, hashed, signature) == (wallet.contributor, wallet.digest(DOMAIN), b"\5")

    wishes = Wishes([narrow, forged, WISH, wallet], DOMAIN, accepts)
    assert [wishes.cover(ADA.address, number) for number in (1, 7, 8)] == [True, True, False]
    assert wishes.cover(wallet.contributor, 5)
    assert not wishes.cover(account("carol").address, 1)
    assert wishes.counting([ADA.address, wallet.contributor]) == [WISH, wallet]
    assert asked.count(wallet.contributor) == 1


def test_nobody_is_asked_about_wishes_of_strangers() -> None:
    strangers = [replace(WISH, contributor=f"0x{number:040x}") for number in range(1, 1001)]

    def accepts(contract: str, *_: bytes) -> bool:
        raise AssertionError(f"{contract} was asked")

    wishes = Wishes([*strangers, WISH], DOMAIN, accepts)
    assert wishes.counting([ADA.address, account("bob").address]) == [WISH]


def test_a_list_with_two_wishes_of_an_account_or_in_another_order_is_refused() -> None:
    first, second = sorted((ADA.address, account("bob").address))
    for accounts in ((first, first), (second, first)):
        rows = [{**WISH.to_json(), "contributor": one} for one in accounts]
        with pytest.raises(InputError, match="one wish an account"):
            from_file(canonical_json({"format": "folkmoot/deletions/1", "wishes": rows}))

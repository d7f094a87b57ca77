# SPDX-License-Identifier: Apache-2.0
"""Amounts are exact both ways; addresses with a wrong checksum are refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from folkmoot.errors import InputError
from folkmoot.runtime.units import (
    MAX_AMOUNT,
    format_amount,
    format_duration,
    format_time,
    parse_address,
    parse_amount,
)
from tests.factories import account


@given(st.integers(1, MAX_AMOUNT))
def test_amounts_round_trip(amount: int) -> None:
    assert parse_amount(format_amount(amount).removesuffix(" MOOT")) == amount


@pytest.mark.parametrize(
    ("text", "units"),
    [("1", 10**18), ("0.5", 5 * 10**17), ("1_000", 10**21), (" 2.000000000000000001 ", 2 * 10**18 + 1)],
)
def test_amounts_as_people_write_them(text: str, units: int) -> None:
    assert parse_amount(text) == units


@pytest.mark.parametrize(
    "text", ["", "0", "0.0", "-1", "+1", "1e3", ".5", "1.", "1,5", "٣", "nan", "1 2", "9" * 40]
)
def test_what_is_no_amount(text: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_amount(text)
    assert caught.value.code == "invalid-amount"


def test_addresses() -> None:
    good = account("ada").address
    assert parse_address(good.lower()) == good
    swapped = good[:2] + good[2:].swapcase()
    for bad in ("", "0x", good[:-1], good[2:], swapped, "vitalik.eth"):
        with pytest.raises(InputError):
            parse_address(bad)


def test_times_and_durations() -> None:
    assert format_time(0) == "1970-01-01T00:00:00Z"
    assert format_time(2**255) == str(2**255)
    assert [format_duration(s) for s in (0, 59, 61, 3_600, 90_061, -5)] == [
        "0s",
        "59s",
        "1m 1s",
        "1h",
        "1d 1h",
        "-5s",
    ]

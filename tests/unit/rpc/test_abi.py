# SPDX-License-Identifier: Apache-2.0
"""Texts of strangers can be anything, and nobody can stop a reader with one."""

from __future__ import annotations

from eth_abi.abi import encode
from hypothesis import given
from hypothesis import strategies as st

from folkmoot.rpc.abi import decode, readable, text_bytes


@given(st.binary(max_size=100))
def test_any_bytes_come_back(data: bytes) -> None:
    (text,) = decode(["string"], encode(["bytes"], [data]))
    assert text_bytes(text) == data


@given(st.binary(max_size=100))
def test_what_people_read_is_unicode_without_nul(data: bytes) -> None:
    (text,) = decode(["string"], encode(["bytes"], [data]))
    shown = readable(text)
    shown.encode("utf-8")
    assert "\0" not in shown


def test_plain_text_stays_as_it_is() -> None:
    values = decode(["uint256", "string[]"], encode(["uint256", "string[]"], [7, ["grüße", "🗳"]]))
    assert values == (7, ("grüße", "🗳"))
    assert readable("grüße 🗳") == "grüße 🗳"

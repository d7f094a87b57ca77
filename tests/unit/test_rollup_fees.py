# SPDX-License-Identifier: Apache-2.0
"""Fees of an OP Stack rollup: the compressed size is that of the published implementations."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tools import rollup_fees

ROOT = Path(__file__).resolve().parents[2]
CALL = bytes.fromhex(
    "02f901550a758302df1483be21b88304743f94f80e51afb613d764fa61751affd3313c190a86bb870151bd62fd12adb8"
    "e41ef24f3f000000000000000000000000000000000000000000000000000000000000006e000000000000000000000000"
    "af88d065e77c8cc2239327c5edb3a432268e5831000000000000000000000000000000000000000000000000000000000003"
    "c1e5000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
    "000000000000000000000000000000a00000000000000000000000000000000000000000000000000000000000000014"
    "8c89ed219d02f1a5be012c689b4f5b731827bebe000000000000000000000000c001a033fd89cb37c31b2cba46b6466e04"
    "0c61fc9b2a3675a7f5f493ebd5ad77c497f8a07cdf65680e238392693019b4092f610222e71b7cec06449cb922b93b6a12"
    "744e"
)
"""A transaction whose compressed size op-geth and revm have in their tests."""


@pytest.mark.parametrize(
    ("data", "size"),
    [(b"", 0), (b"\x01" * 1000, 21), (bytes(1000), 21), (b"\xfa\xca\xde", 4), (CALL, 202)],
)
def test_the_compressed_size_is_that_of_the_clients(data: bytes, size: int) -> None:
    assert rollup_fees.fastlz_size(data) == size


def test_what_does_not_repeat_grows_by_a_byte_in_32() -> None:
    sizes = [rollup_fees.fastlz_size(bytes(range(count))) for count in range(257)]
    assert sizes == sorted(set(sizes))
    data = b"".join(hashlib.sha256(bytes([place])).digest() for place in range(100))
    assert rollup_fees.fastlz_size(data) == 3300


def test_a_small_transaction_is_charged_for_a_hundred_bytes() -> None:
    assert rollup_fees.estimated_bytes(0) == rollup_fees.estimated_bytes(170) == 100
    assert rollup_fees.estimated_bytes(1000) == pytest.approx(793.9144)


def test_entries_are_charged_in_proportion() -> None:
    by_name = {one.name: one for one in rollup_fees.round_of(100)}
    commit = by_name["commitUpdates, 100 signed"]
    assert 100 * 160 > len(commit.raw) > 100 * 120
    assert commit.charged < len(commit.raw)

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from folkmoot.errors import InputError
from folkmoot.protocol.header import RoundHeader, decode_exponents, derive_seed, encode_exponents
from tests.unit import worlds

HASHES = st.binary(min_size=32, max_size=32)
EXPONENTS = st.lists(st.integers(-40, 4), max_size=70).map(tuple)
HEADER = RoundHeader(1, bytes(32), bytes(32), 1, 8, bytes(32), (-3, 4))


@given(
    st.integers(0, 2**64 - 1),
    HASHES,
    HASHES,
    st.integers(0, 2**32 - 1),
    st.integers(0, 255),
    HASHES,
    EXPONENTS,
)
def test_header_reads_back(
    number: int, a: bytes, b: bytes, policy: int, bits: int, c: bytes, e: tuple[int, ...]
) -> None:
    header = RoundHeader(number, a, b, policy, bits, c, e)
    again = RoundHeader.decode(header.encoded)
    assert again == header
    assert again.hash == header.hash
    assert decode_exponents(encode_exponents(e)) == e


@pytest.mark.parametrize(
    "change",
    [
        {"round": -1},
        {"round": 1 << 64},
        {"policy_id": 1 << 32},
        {"width": 256},
        {"seed": bytes(31)},
        {"manifest_hash": bytes(33)},
        {"exponents": (5,)},
        {"exponents": (-41,)},
    ],
)
def test_header_refuses(change: dict[str, object]) -> None:
    with pytest.raises(InputError):
        replace(HEADER, **change)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        HEADER.encoded[:-1],
        HEADER.encoded + bytes(32),
        HEADER.encoded[:-1] + b"\x01",
        HEADER.encoded[:31] + b"\x02" + HEADER.encoded[32:96] + b"\xff" * 32 + HEADER.encoded[128:],
        HEADER.encoded[:224] + (1 << 40).to_bytes(32, "big") + HEADER.encoded[256:],
    ],
)
def test_decode_refuses(data: bytes) -> None:
    with pytest.raises(InputError):
        RoundHeader.decode(data)


def test_seed_depends_on_everything() -> None:
    seeds = {
        derive_seed(1, worlds.LEDGER, 1, bytes(32)),
        derive_seed(2, worlds.LEDGER, 1, bytes(32)),
        derive_seed(1, worlds.account("alice").address, 1, bytes(32)),
        derive_seed(1, worlds.LEDGER, 2, bytes(32)),
        derive_seed(1, worlds.LEDGER, 1, b"\x01" * 32),
    }
    assert len(seeds) == 5

# SPDX-License-Identifier: Apache-2.0
"""Batches of commitments: what is packed is read again, and what does not fit is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from folkmoot.errors import InputError
from folkmoot.protocol.batch import (
    ENTRY_BYTES,
    LISTED_BYTES,
    pack_batch,
    pack_entry,
    read_batch,
    read_entries,
)
from folkmoot.protocol.commitment import Commitment, Domain
from tests import factories

NAMES = [f"contributor {number}" for number in range(8)]
DOMAIN = Domain(1, "0x" + "11" * 20)


def commitments() -> list[Commitment]:
    people = [factories.account(name) for name in NAMES]
    return [
        Commitment(
            who.address,
            3,
            b"\1" * 32,
            bytes([number + 1]) * 32,
            2**64 - 1 - number,
            bytes([number]) * 32,
            b"\2" * 32,
        )
        for number, who in enumerate(people)
    ]


def signatures() -> list[bytes]:
    pairs = zip(NAMES, commitments(), strict=True)
    return [commitment.sign(factories.account(name), DOMAIN) for name, commitment in pairs]


def test_a_batch_is_read_as_it_was_packed() -> None:
    data = pack_batch(commitments(), signatures())
    assert len(data) == ENTRY_BYTES * len(NAMES)
    entries, signed = zip(*read_batch(data), strict=True)
    assert list(signed) == signatures()
    assert {signature[64] for signature in signed} == {27, 28}
    assert [entry.commitment(3, b"\1" * 32, b"\2" * 32) for entry in entries] == commitments()


def test_an_entry_has_the_contributor_two_hashes_and_a_number() -> None:
    one = replace(commitments()[0], sum_squares=5, memory_hash=b"\x06" * 32)
    packed = pack_entry(one)
    assert len(packed) == LISTED_BYTES
    assert packed == bytes.fromhex(one.contributor[2:]) + one.update_root + bytes(7) + b"\5" + one.memory_hash
    (read,) = read_entries(packed)
    assert (read.contributor, read.sum_squares, read.memory_hash) == (one.contributor, 5, b"\x06" * 32)


@pytest.mark.parametrize("size", [1, LISTED_BYTES - 1, LISTED_BYTES + 1])
def test_a_part_of_an_entry_is_refused(size: int) -> None:
    with pytest.raises(InputError, match=f"have {size} bytes"):
        list(read_entries(bytes(size)))
    with pytest.raises(InputError, match=f"have {size + LISTED_BYTES} bytes"):
        list(read_batch(bytes(size + LISTED_BYTES)))


@pytest.mark.parametrize(
    "signature", [b"", bytes(64), bytes(64) + b"\x1a", bytes(65), bytes(32) + b"\x80" + bytes(31) + b"\x1b"]
)
def test_a_signature_without_a_compact_form_is_refused(signature: bytes) -> None:
    with pytest.raises(InputError, match="does not fit a batch") as error:
        pack_batch(commitments()[:1], [signature])
    assert "commitUpdateFor" in error.value.remedy


def test_lists_of_different_length_are_refused() -> None:
    with pytest.raises(InputError, match="8 commitments and 7 signatures"):
        pack_batch(commitments(), signatures()[1:])

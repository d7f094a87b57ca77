# SPDX-License-Identifier: Apache-2.0
"""A signing record is whole or refused, and no merge permits what one of the two records forbids."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.signer_record import FORMAT, KEPT_ROUNDS, RECORD_FILE, RecordFolder, SignedRounds, SigningRecord
from folkmoot.flower.signing import SignerError
from folkmoot.protocol.commitment import Domain, checksum_address
from folkmoot.protocol.hashing import keccak

ACCOUNT = checksum_address("0x" + "11" * 20)
OTHER = checksum_address("0x" + "22" * 20)
DOMAIN = Domain(31337, "0x" + "a1" * 20)


def digest(number: int) -> bytes:
    return keccak(number.to_bytes(8, "big"))


SIGNED = SignedRounds(4, {5: digest(5).hex(), 7: digest(7).hex()}, {7: 12}, 30, 100)
RECORD = SigningRecord(ACCOUNT).with_rounds(DOMAIN, SIGNED).with_rounds(Domain(1, OTHER), SignedRounds(4))

DIGESTS = st.integers(0, 3).map(lambda number: digest(number).hex())
COST = 5
ROUNDS = st.builds(
    lambda mark, signed, cap: SignedRounds(0, signed, dict.fromkeys(signed, COST), 0, cap).raised(mark),
    st.integers(0, 12),
    st.dictionaries(st.integers(1, 12), DIGESTS, max_size=8),
    st.none() | st.integers(0, 100),
)


def permits(rounds: SignedRounds, number: int, value: str) -> bool:
    try:
        rounds.check(number, bytes.fromhex(value))
    except SignerError:
        return False
    return True


def test_it_reads_back() -> None:
    assert SigningRecord.from_json(RECORD.to_json(), "it") == RECORD
    assert json.loads(RECORD.to_json())["format"] == FORMAT


def test_every_flipped_byte_and_every_missing_end_is_refused() -> None:
    whole = RECORD.to_json()
    damaged = [whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :] for at in range(len(whole))]
    damaged += [whole[:at] for at in range(0, len(whole), 7)]
    damaged += [whole + b"x", b"[]", b"null", whole.replace(FORMAT.encode(), b"folkmoot/signing-record/9")]
    for data in damaged:
        with pytest.raises(SignerError) as refused:
            SigningRecord.from_json(data, "it")
        assert refused.value.code == "record-damaged"


@given(ROUNDS, ROUNDS, st.integers(1, 13), DIGESTS)
def test_a_merge_permits_only_what_both_permit(
    first: SignedRounds, second: SignedRounds, number: int, value: str
) -> None:
    merged = first.merged(second)
    assert merged.mark >= max(first.mark, second.mark)
    if permits(merged, number, value):
        assert permits(first, number, value)
        assert permits(second, number, value)


@given(ROUNDS, ROUNDS)
def test_a_merge_keeps_every_digest_above_the_mark(first: SignedRounds, second: SignedRounds) -> None:
    merged = first.merged(second)
    for one in (first, second):
        for number, value in one.signed.items():
            assert number <= merged.mark or merged.signed[number] == value


@given(ROUNDS, ROUNDS)
def test_a_merge_has_spent_at_least_what_each_has_and_the_lower_cap(
    first: SignedRounds, second: SignedRounds
) -> None:
    merged = first.merged(second)
    above = {*first.signed, *second.signed} - set(range(max(first.mark, second.mark) + 1))
    twice = [number for number, value in first.signed.items() if second.signed.get(number, value) != value]
    assert merged.spent >= max(first.spent, second.spent, COST * (len(above) + len(twice)))
    assert merged.spent <= first.spent + second.spent
    assert merged.cap == min((cap for cap in (first.cap, second.cap) if cap is not None), default=None)


@given(ROUNDS)
def test_a_merge_with_itself_or_an_older_state_of_itself_spends_nothing(rounds: SignedRounds) -> None:
    assert rounds.merged(rounds) == rounds
    later = rounds.with_signature(20, digest(20), COST)
    assert later.merged(rounds) == later == rounds.merged(later)
    assert later.spent == rounds.spent + COST
    assert later.raised(30).spent == later.spent


def test_the_first_cap_stays(tmp_path: Path) -> None:
    with RecordFolder(tmp_path, ACCOUNT) as folder:
        folder.remember(DOMAIN, 3, digest(3), 7, 100)
        folder.remember(DOMAIN, 3, digest(3), 7, 100)
        folder.remember(DOMAIN, 4, digest(4), 8, 900)
        assert (folder.record.of(DOMAIN).cap, folder.record.of(DOMAIN).spent) == (100, 15)


def test_a_record_stays_small_and_its_mark_rises() -> None:
    rounds = SignedRounds()
    for number in range(1, KEPT_ROUNDS + 11):
        rounds = rounds.merged(SignedRounds(signed={number: digest(number).hex()}))
    assert len(rounds.signed) == KEPT_ROUNDS
    assert rounds.mark == 10
    assert not permits(rounds, 10, digest(10).hex())
    assert permits(rounds, 11, digest(11).hex())


def test_records_of_two_accounts_are_not_merged(tmp_path: Path) -> None:
    with pytest.raises(SignerError) as refused:
        RECORD.merged(SigningRecord(OTHER))
    assert refused.value.code == "record-other-account"
    (tmp_path / RECORD_FILE).write_bytes(RECORD.to_json())
    with pytest.raises(SignerError) as refused:
        RecordFolder(tmp_path, OTHER).__enter__()
    assert refused.value.code == "record-other-account"


def test_what_was_remembered_is_on_disk(tmp_path: Path) -> None:
    with RecordFolder(tmp_path, ACCOUNT) as folder:
        folder.remember(DOMAIN, 3, digest(3))
        folder.remember(DOMAIN, 3, digest(3))
        stored = SigningRecord.from_json((tmp_path / RECORD_FILE).read_bytes(), "it")
        assert stored.of(DOMAIN).signed == {3: digest(3).hex()}
        with pytest.raises(SignerError) as refused:
            folder.remember(DOMAIN, 3, digest(4))
        assert refused.value.code == "already-signed"
    with RecordFolder(tmp_path, ACCOUNT) as folder, pytest.raises(SignerError):
        folder.remember(DOMAIN, 3, digest(4))


@pytest.mark.parametrize("by", ["removal", "replacement"])
def test_a_record_that_somebody_else_changes_permits_nothing(tmp_path: Path, by: str) -> None:
    with RecordFolder(tmp_path, ACCOUNT) as folder:
        folder.remember(DOMAIN, 3, digest(3))
        if by == "removal":
            folder.path.unlink()
        else:
            folder.path.write_bytes(SigningRecord(ACCOUNT).to_json())
        with pytest.raises(SignerError) as refused:
            folder.remember(DOMAIN, 4, digest(4))
        assert refused.value.code == "record-replaced"

# SPDX-License-Identifier: Apache-2.0
"""A signing record is whole or refused, and no merge permits what one of the two records forbids."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.signer_record import FORMAT, KEPT_ROUNDS, RECORD_FILE, RecordFolder, SignedRounds, SigningRecord
from folkmoot.flower.signing import SignerError
from folkmoot.protocol.commitment import Domain, checksum_address
from folkmoot.protocol.hashing import canonical_json, keccak

ACCOUNT = checksum_address("0x" + "11" * 20)
OTHER = checksum_address("0x" + "22" * 20)
DOMAIN = Domain(31337, "0x" + "a1" * 20)


def digest(number: int) -> bytes:
    return keccak(number.to_bytes(8, "big"))


SIGNED = SignedRounds(4, {5: digest(5).hex(), 7: digest(7).hex()}, {6: 9, 7: 12}, 30, 100)
RECORD = SigningRecord(ACCOUNT).with_rounds(DOMAIN, SIGNED).with_rounds(Domain(1, OTHER), SignedRounds(4))

DIGESTS = st.integers(0, 3).map(lambda number: digest(number).hex())
COST = 5
ROUNDS = st.builds(
    lambda mark, signed, more, cap: SignedRounds(
        0,
        signed,
        {**dict.fromkeys(signed, COST), **{number: times * COST for number, times in more.items()}},
        0,
        cap,
    ).raised(mark),
    st.integers(0, 12),
    st.dictionaries(st.integers(1, 12), DIGESTS, max_size=8),
    st.dictionaries(st.integers(1, 12), st.integers(1, 3), max_size=4),
    st.none() | st.integers(0, 100),
)
"""Some rounds were trained without a signature, or several times."""


def permits(rounds: SignedRounds, number: int, value: str) -> bool:
    try:
        rounds.check(number, bytes.fromhex(value))
    except SignerError:
        return False
    return True


def test_it_reads_back() -> None:
    assert SigningRecord.from_json(RECORD.to_json(), "it") == RECORD
    assert json.loads(RECORD.to_json())["format"] == FORMAT


def test_a_record_of_a_release_that_charged_signatures_only_is_read() -> None:
    """Its file has no field for rounds without a signature, and neither has a new one that needs none."""
    rounds = SignedRounds(4, {7: digest(7).hex()}, {7: 12}, 30, 100)
    content = {
        "account": ACCOUNT,
        "format": "folkmoot/signing-record/2",
        "ledgers": [
            {
                "chainId": "31337",
                "ledger": DOMAIN.verifying_contract,
                "lowWaterMark": "4",
                "privacyCap": "100",
                "signed": [{"round": "7", "digest": "0x" + digest(7).hex(), "cost": "12"}],
                "spentBefore": "30",
            }
        ],
    }
    old = canonical_json({**content, "sha256": hashlib.sha256(canonical_json(content)).hexdigest()})
    assert SigningRecord.from_json(old, "it") == SigningRecord(ACCOUNT).with_rounds(DOMAIN, rounds)
    assert SigningRecord(ACCOUNT).with_rounds(DOMAIN, rounds).to_json() == old


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


@given(ROUNDS, st.integers(13, 20), st.integers(1, 4))
def test_each_training_costs_and_its_signature_no_more(rounds: SignedRounds, number: int, times: int) -> None:
    trained = rounds
    for _ in range(times):
        trained = trained.with_training(number, COST)
        assert trained.merged(rounds) == trained == rounds.merged(trained), "an older state lowers no cost"
    assert trained.spent == rounds.spent + times * COST
    assert trained.signed == rounds.signed
    assert trained.with_signature(number, digest(number), COST).spent == trained.spent
    assert trained.raised(30).spent == trained.spent


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


def test_rounds_without_a_signature_are_dropped_too_and_stay_spent() -> None:
    rounds = SignedRounds().with_signature(1, digest(1), COST)
    for number in range(2, KEPT_ROUNDS + 11):
        rounds = rounds.with_training(number, COST)
    assert len(rounds.costs) == KEPT_ROUNDS
    assert (rounds.mark, rounds.spent) == (10, (KEPT_ROUNDS + 10) * COST)
    assert not rounds.signed


def test_a_charge_is_on_disk_and_needs_a_round_that_can_be_signed(tmp_path: Path) -> None:
    with RecordFolder(tmp_path, ACCOUNT) as folder:
        folder.store(SigningRecord(ACCOUNT).with_rounds(DOMAIN, SignedRounds(2)))
        folder.charge(DOMAIN, 3, 7, 100, 50)
        stored = SigningRecord.from_json((tmp_path / RECORD_FILE).read_bytes(), "it").of(DOMAIN)
        assert (stored.spent, stored.cap, stored.costs) == (57, 100, {3: 7})
        folder.charge(DOMAIN, 3, 7, 900, 50)
        folder.remember(DOMAIN, 3, digest(3), 7, 100, 64)
        assert folder.record.of(DOMAIN).spent == 64
        for number, code in ((2, "below-mark"), (3, "already-signed")):
            with pytest.raises(SignerError) as refused:
                folder.charge(DOMAIN, number, 7, 100, 0)
            assert refused.value.code == code
        assert folder.record.of(DOMAIN).spent == 64
        folder.path.unlink()
        with pytest.raises(SignerError) as refused:
            folder.charge(DOMAIN, 4, 7, 100, 0)
        assert refused.value.code == "record-replaced"


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

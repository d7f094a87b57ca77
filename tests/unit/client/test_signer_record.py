# SPDX-License-Identifier: Apache-2.0
"""A signing record is whole or refused, and no merge permits what one of the two records forbids."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from client.signer.record import (
    FORMAT,
    KEPT_ROUNDS,
    LOST,
    MOST_TRAININGS,
    OLD_FORMAT,
    RECORD_FILE,
    RecordFolder,
    SignedRounds,
    SigningRecord,
)
from folkmoot.flower.signing import SignerError
from folkmoot.protocol.commitment import Domain, checksum_address
from folkmoot.protocol.hashing import keccak

ACCOUNT = checksum_address("0x" + "11" * 20)
OTHER = checksum_address("0x" + "22" * 20)
DOMAIN = Domain(31337, "0x" + "a1" * 20)


def digest(number: int) -> bytes:
    return keccak(number.to_bytes(8, "big"))


SIGNED = SignedRounds(
    4, {5: digest(5).hex(), 7: digest(7).hex()}, {2: {LOST: 30}, 6: {"a": 4, "b": 5}, 7: {"c": 12}}, 30, 100
)
RECORD = SigningRecord(ACCOUNT).with_rounds(DOMAIN, SIGNED).with_rounds(Domain(1, OTHER), SignedRounds(4))

DIGESTS = st.integers(0, 3).map(lambda number: digest(number).hex())
COST = 5
NAMES = st.sampled_from(["a", "b", "c", LOST])
ROUNDS = st.builds(
    lambda mark, signed, trainings, other, cap: SignedRounds(0, signed, trainings, other, cap).raised(mark),
    st.integers(0, 12),
    st.dictionaries(st.integers(1, 12), DIGESTS, max_size=8),
    st.dictionaries(st.integers(1, 12), st.dictionaries(NAMES, st.just(COST), min_size=1), max_size=6),
    st.integers(0, 20),
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


def test_a_record_of_an_earlier_release_is_refused_with_a_remedy() -> None:
    with pytest.raises(SignerError, match="of an earlier release") as refused:
        SigningRecord.from_json(RECORD.to_json().replace(FORMAT.encode(), OLD_FORMAT.encode()), "it")
    assert refused.value.code == "record-old-format"
    assert "--since" in refused.value.remedy


def test_every_flipped_byte_and_every_missing_end_is_refused() -> None:
    whole = RECORD.to_json()
    damaged = [whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :] for at in range(len(whole))]
    damaged += [whole[:at] for at in range(0, len(whole), 7)]
    damaged += [whole + b"x", b"[]", b"null", whole.replace(FORMAT.encode(), b"folkmoot/signing-record/9")]
    for data in damaged:
        with pytest.raises(SignerError) as refused:
            SigningRecord.from_json(data, "it")
        assert refused.value.code in (
            "record-damaged",
            "record-old-format",
        )  # A flipped bit makes a 2 of the 3.


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


@given(ROUNDS, ROUNDS, ROUNDS)
def test_merges_are_a_least_upper_bound(one: SignedRounds, two: SignedRounds, three: SignedRounds) -> None:
    """In any order and however often, the same comes out, with at least the costs and at most the cap of each."""
    merged = one.merged(two)
    assert merged == two.merged(one) == merged.merged(one) == merged.merged(merged)
    assert merged.merged(three) == one.merged(two.merged(three))
    assert merged.spent >= max(one.spent, two.spent)
    assert merged.cap == min((cap for cap in (one.cap, two.cap) if cap is not None), default=None)


@given(ROUNDS, st.integers(13, 20), st.integers(1, 4))
def test_each_training_costs_and_its_signature_no_more(rounds: SignedRounds, number: int, times: int) -> None:
    trained = rounds
    for _ in range(times):
        trained = trained.with_training(number, COST)
        assert trained.merged(rounds) == trained == rounds.merged(trained), "an older state lowers no cost"
    assert trained.spent == rounds.spent + times * COST
    assert trained.signed == rounds.signed
    assert trained.with_signature(number, digest(number), COST).spent == trained.spent
    assert rounds.with_signature(number, digest(number), COST).spent == rounds.spent + COST
    assert trained.raised(30).spent == trained.spent


class Interleaving(RuleBasedStateMachine):
    """Two records of an account and their backups: what each of them was told of is counted, once."""

    def __init__(self) -> None:
        super().__init__()
        self.round = 0
        self.held: list[tuple[SignedRounds, frozenset[int]]] = [(SignedRounds(), frozenset())] * 2
        self.backups: list[tuple[SignedRounds, frozenset[int]]] = [(SignedRounds(), frozenset())]
        self.names = 0

    @rule(which=st.integers(0, 1), new=st.booleans(), signs=st.booleans())
    def charge(self, which: int, new: bool, signs: bool) -> None:
        """In the same round as the last one, perhaps also the other record's, or in the next."""
        self.round += new or not self.round
        rounds, known = self.held[which]
        if self.round <= rounds.mark or self.round in rounds.signed:
            return
        self.names += 1
        rounds = rounds.with_training(self.round, COST)
        if signs:
            rounds = rounds.with_signature(self.round, digest(self.names), COST)
        self.held[which] = rounds, known | {self.names}

    @rule(which=st.integers(0, 1))
    def export(self, which: int) -> None:
        """Keep a backup."""
        self.backups.append(self.held[which])

    @rule(which=st.integers(0, 1), backup=st.integers(0, 50), over=st.booleans())
    def restore(self, which: int, backup: int, over: bool) -> None:
        """Import a backup, or copy it over the record, which is lost then."""
        found, known = self.backups[backup % len(self.backups)]
        rounds, had = (SignedRounds(), frozenset()) if over else self.held[which]
        self.held[which] = rounds.merged(found), had | known

    @rule(which=st.integers(0, 1))
    def raise_the_mark(self, which: int) -> None:
        """What is printed after a loss in a federation without a budget."""
        rounds, known = self.held[which]
        self.held[which] = rounds.raised(self.round), known

    @rule(which=st.integers(0, 1))
    def lose(self, which: int) -> None:
        """Begin anew."""
        self.held[which] = SignedRounds(), frozenset()

    @invariant()
    def counts_each_training_once(self) -> None:
        """Whatever a record was charged or has imported."""
        for rounds, known in (*self.held, *self.backups):
            assert rounds.spent == COST * len(known)


TestInterleaving = Interleaving.TestCase
TestInterleaving.settings = settings(max_examples=40, stateful_step_count=30)


class Losses(RuleBasedStateMachine):
    """A record with backups that is lost again and again: with the printed remedy it never counts too little."""

    def __init__(self) -> None:
        super().__init__()
        self.round = self.charged = 0
        self.record = SignedRounds()
        self.backups = [SignedRounds()]

    @rule(new=st.booleans(), signs=st.booleans())
    def train(self, new: bool, signs: bool) -> None:
        """In the newest round, perhaps again, or in the next one."""
        self.round += new or not self.round
        try:
            self.record.check_unsigned(self.round)
        except SignerError:
            return
        self.charged += 1
        self.record = self.record.with_training(self.round, COST)
        if signs:
            self.record = self.record.with_signature(self.round, digest(self.charged), COST)

    @rule()
    def export(self) -> None:
        self.backups.append(self.record)

    @rule(backup=st.integers(0, 50))
    def restore(self, backup: int) -> None:
        """Add what is known."""
        self.record = self.record.merged(self.backups[backup % len(self.backups)])

    @rule(backup=st.integers(0, 50))
    def lose(self, backup: int) -> None:
        """Lose the record, restore a backup or nothing, and do what the command prints."""
        found = self.backups[backup % len(self.backups)]
        lost = dict.fromkeys(range(found.unsure, self.round + 1), COST)
        self.record = SignedRounds().merged(found).with_lost(lost).raised(self.round)

    @invariant()
    def counts_no_less_than_was_charged(self) -> None:
        assert COST * self.charged <= self.record.spent <= COST * MOST_TRAININGS * self.round


TestLosses = Losses.TestCase
TestLosses.settings = settings(max_examples=100, stateful_step_count=40)


def test_a_round_that_is_trained_again_after_a_backup_counts() -> None:
    """Round 20 is trained, exported and trained again; after round 30 the record is lost."""
    record = backup = SignedRounds().with_training(20, COST)
    for number in (20, *range(21, 31)):
        record = record.with_training(number, COST)
    lost = dict.fromkeys(range(backup.unsure, 31), COST)
    assert backup.unsure == 20
    assert backup.with_lost(lost).spent >= record.spent


def test_what_was_lost_counts_once_more_if_the_record_is_found() -> None:
    """No less than it had charged, and no more than it could have."""
    old = SignedRounds()
    for number in (1, 2, 2, 3):
        old = old.with_training(number, COST)
    new = SignedRounds().with_lost(dict.fromkeys(range(1, 4), COST))
    assert new.spent == new.merged(old).spent == 6 * COST


def test_a_round_is_trained_twice_at_most() -> None:
    record = SignedRounds().with_training(3, COST)
    record.check_unsigned(3)
    with pytest.raises(SignerError) as refused:
        record.with_training(3, COST).check_unsigned(3)
    assert refused.value.code == "trained-before"
    record.with_training(3, COST).check_unsigned(4)


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


def test_no_training_is_dropped() -> None:
    one, two = (
        SignedRounds(
            0,
            {number: digest(number).hex() for number in range(first, first + 1200, 2)},
            {number: {str(number): COST} for number in range(first, first + 1200, 2)},
        )
        for first in (1, 2)
    )
    merged = one.merged(two)
    assert (len(merged.signed), merged.mark, merged.spent) == (KEPT_ROUNDS, 1200 - KEPT_ROUNDS, 1200 * COST)


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

# SPDX-License-Identifier: Apache-2.0
"""Entries against the transactions that recorded them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from eth_abi.abi import encode
from eth_utils.crypto import keccak

from folkmoot.audit.entries import EntryCounts, check_entries, check_entries_hash
from folkmoot.audit.history import History
from folkmoot.errors import AuditFailure
from folkmoot.ledger.replay import Round
from folkmoot.protocol.batch import pack_batch
from folkmoot.protocol.commitment import Commitment, Domain, entries_hash
from folkmoot.rpc.client import Phase, RoundView
from tests import factories
from tests.unit.audit.records import ADA, BEN, CLEO, COORDINATOR, DEPLOYMENT, NOBODY
from tests.unit.audit.test_audit_rounds import GENESIS_ROOT, Play

STRUCT = "(address,uint64,bytes32,bytes32,uint64,bytes32,bytes32)"
DOMAIN = Domain(DEPLOYMENT.chain_id, DEPLOYMENT.ledger)
WALLET = factories.account("a wallet contract").address


def commitment(who: str, **changes: Any) -> Commitment:
    """Return the commitment that `Play.commit` records."""
    return replace(Commitment(who, 1, GENESIS_ROOT, b"\2" * 32, 1_000), **changes)


def batch(commitments: list[Commitment], signatures: list[bytes]) -> bytes:
    one = commitments[0] if commitments else commitment(ADA)
    return raw_batch(one.round, one.bundle_hash, pack_batch(commitments, signatures))


def raw_batch(number: int, bundle_hash: bytes, entries: bytes) -> bytes:
    selector = keccak(text="commitUpdates(uint64,bytes32,bytes)")[:4]
    return selector + encode(["uint64", "bytes32", "bytes"], [number, bundle_hash, entries])


def of_wallet(words: Commitment, signature: bytes) -> bytes:
    selector = keccak(text=f"commitUpdateFor({STRUCT},bytes)")[:4]
    return selector + encode([STRUCT, "bytes"], [words.abi_tuple(), signature])


def own(words: Commitment) -> bytes:
    return keccak(text=f"commitUpdate({STRUCT})")[:4] + encode([STRUCT], [words.abi_tuple()])


def signed(*names: str) -> list[bytes]:
    people = [factories.account(name) for name in names]
    return [commitment(who.address).sign(who, DOMAIN) for who in people]


def played(
    *who: str, data: bytes, sender: str = COORDINATOR, to: str = DEPLOYMENT.ledger, **history: Any
) -> tuple[History, Round]:
    """Record entries of round 1 in one transaction."""
    play = Play()
    play.open(1)
    play.commit(1, *who)
    play.called(sender, to, data)
    found = play.replayed().rounds[1]
    folded = entries_hash(found.commitments())
    view = RoundView(
        1, Phase.OPEN, len(who), 0, 0, 0, 0, NOBODY, 0, 0, bytes(32), folded, bytes(32), bytes(32)
    )
    return play.history(rounds={1: history.pop("view", view)}, **history), found


def test_a_signed_batch_is_believed_by_its_signatures() -> None:
    data = batch([commitment(ADA), commitment(BEN)], signed("ada", "ben"))
    assert check_entries(*played(ADA, BEN, data=data)) == EntryCounts(signed=2)


def test_an_own_commitment_is_believed_by_its_sender() -> None:
    found = played(ADA, data=own(commitment(ADA)), sender=ADA)
    assert check_entries(*found) == EntryCounts(own=1)
    with pytest.raises(AuditFailure, match=f"Round 1, contributor {ADA}.*the sender"):
        check_entries(*played(ADA, data=own(commitment(ADA)), sender=BEN))


def test_what_another_contract_recorded_is_counted_as_relied() -> None:
    assert check_entries(*played(ADA, data=b"anything", to=WALLET)) == EntryCounts(relied=1)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        keccak(text="unknown()")[:4],
        keccak(text="claim(address)")[:4] + bytes(32),
        batch([commitment(ADA)], signed("ada"))[:100],
        batch([], []),
        raw_batch(1, bytes(32), bytes(127)),
    ],
)
def test_a_call_of_the_ledger_that_records_nothing_is_named(data: bytes) -> None:
    with pytest.raises(AuditFailure, match="the call that recorded the entry"):
        check_entries(*played(ADA, data=data))


def test_a_signature_of_a_contract_is_counted_as_relied() -> None:
    data = of_wallet(commitment(ADA), b"as a wallet likes it")
    assert check_entries(*played(ADA, data=data)) == EntryCounts(relied=1)


def test_commitments_that_the_ledger_passes_over_are_no_entries() -> None:
    twice = [commitment(ADA), commitment(ADA, update_root=b"\3" * 32), commitment(BEN)]
    data = batch(twice, [*signed("ada", "ada"), *signed("ben")])
    assert check_entries(*played(ADA, BEN, data=data)) == EntryCounts(signed=2)
    play = Play()
    play.open(1)
    play.commit(1, ADA)
    play.called(COORDINATOR, DEPLOYMENT.ledger, batch([commitment(ADA)], signed("ada")))
    play.commit(1, BEN, first=1)
    data = batch([commitment(ADA), commitment(BEN)], signed("ada", "ben"))
    play.called(COORDINATOR, DEPLOYMENT.ledger, data)
    assert check_entries(play.history(), play.replayed().rounds[1]) == EntryCounts(signed=2)


def test_n4_who_has_no_place_is_passed_over() -> None:
    """Any part of a batch may have no place; who was recorded is checked as ever, in the order of the batch."""
    three = [commitment(ADA), commitment(BEN), commitment(CLEO)]
    data = batch(three, signed("ada", "ben", "cleo"))
    for who in ([ADA], [CLEO], [ADA, CLEO], [BEN, CLEO]):
        assert check_entries(*played(*who, data=data)) == EntryCounts(signed=len(who))
    with pytest.raises(AuditFailure, match="the contributor in the event"):
        check_entries(*played(CLEO, ADA, data=data))


def test_a_bad_signature_is_named() -> None:
    data = batch([commitment(ADA), commitment(BEN)], signed("ada", "cleo"))
    with pytest.raises(AuditFailure, match=f"Round 1, contributor {BEN}.*the signature"):
        check_entries(*played(ADA, BEN, data=data))


@pytest.mark.parametrize(
    "changes",
    [
        {"contributor": BEN},
        {"round": 2},
        {"base_state_root": bytes(32)},
        {"update_root": bytes(32)},
        {"sum_squares": 999},
        {"memory_hash": b"\x06" * 32},
        {"bundle_hash": b"\1" * 32},
    ],
)
def test_each_word_of_the_event_is_compared_with_the_call(changes: dict[str, Any]) -> None:
    (name,) = changes
    changed = commitment(ADA, **changes)
    # A batch does not have the base.
    data = own(changed) if name == "base_state_root" else batch([changed], signed("ada"))
    with pytest.raises(AuditFailure, match=f"the {name.replace('_', ' ')} in the event"):
        check_entries(*played(ADA, data=data))


def test_entries_that_the_transaction_did_not_record_are_named() -> None:
    data = batch([commitment(ADA)], signed("ada"))
    with pytest.raises(AuditFailure, match="number of commitments in the transaction"):
        check_entries(*played(ADA, BEN, data=data))


def test_another_hash_of_the_entries_is_named() -> None:
    data = batch([commitment(ADA)], signed("ada"))
    view = RoundView(1, Phase.OPEN, 1, 0, 0, 0, 0, NOBODY, 0, 0, bytes(32), b"\1" * 32, bytes(32), bytes(32))
    check_entries_hash(*played(ADA, data=data))
    with pytest.raises(AuditFailure, match="Round 1: the hash of the entries"):
        check_entries_hash(*played(ADA, data=data, view=view))

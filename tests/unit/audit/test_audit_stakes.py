# SPDX-License-Identifier: Apache-2.0
"""Folding stakes and votes: what the vault's rules allow, and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from folkmoot.audit.stakes import Timeline, check_stakes, fold_stakes
from folkmoot.errors import AuditFailure
from folkmoot.ledger.events import (
    BondLocked,
    BondUnlocked,
    DelegateChanged,
    DelegateVotesChanged,
    Enrolled,
    Left,
    Slashed,
    Staked,
    UnbondingRequested,
    Withdrawn,
)
from folkmoot.rpc.client import Member
from tests.unit.audit.records import ADA, BEN, DEPLOYMENT, GENESIS_TIME, NOBODY, UNBONDING, Script, transfer


def stake(script: Script, account: str, amount: int, before: int = 0, *, paid: int | None = None) -> Staked:
    """Stake in a new block, as the vault tells it."""
    script.block()
    if not before:
        script.add(DelegateChanged, "vault", delegator=account, from_delegate=NOBODY, to_delegate=account)
    votes(script, account, before, before + amount)
    event = script.add(Staked, "vault", account=account, payer=account, amount=amount)
    transfer(script, account, DEPLOYMENT.vault, amount if paid is None else paid)
    assert isinstance(event, Staked)
    return event


def votes(script: Script, delegate: str, before: int, after: int) -> None:
    script.add(DelegateVotesChanged, "vault", delegate=delegate, previous_votes=before, new_votes=after)


def unbond(
    script: Script, account: str, amount: int, before: int | None = None, *, release_at: int | None = None
) -> None:
    script.block()
    before = standing(script, account) if before is None else before
    votes(script, account, before, before - amount)
    release_at = script.now + UNBONDING if release_at is None else release_at
    script.add(UnbondingRequested, "vault", account=account, amount=amount, release_at=release_at)


def slash(script: Script, account: str, before: int, taken: int, staked: int) -> None:
    script.block()
    votes(script, account, before, before - staked)
    reward = taken // 4
    script.add(Slashed, "vault", account=account, beneficiary=BEN, reward=reward, burnt=taken - reward)
    transfer(script, DEPLOYMENT.vault, BEN, reward)
    transfer(script, DEPLOYMENT.vault, NOBODY, taken - reward)


def enrol(script: Script, account: str, amount: int) -> None:
    script.block()
    script.add(Enrolled, "ledger", account=account, amount=amount)


def standing(script: Script, delegate: str) -> int:
    """Return the votes of a delegate after the events so far."""
    told = (e for e in reversed(script.events) if isinstance(e, DelegateVotesChanged))
    return next((event.new_votes for event in told if event.delegate == delegate), 0)


def bond(script: Script, kind: type[BondLocked | BondUnlocked], account: str, amount: int) -> None:
    """Lock or unlock a bond. It has no votes."""
    before = standing(script, account)
    votes(script, account, before, before + (amount if kind is BondUnlocked else -amount))
    script.add(kind, "vault", account=account, amount=amount)


def lock(script: Script, account: str, amount: int) -> None:
    script.block()
    bond(script, BondLocked, account, amount)


def unlock(script: Script, account: str, amount: int) -> None:
    script.block()
    bond(script, BondUnlocked, account, amount)


def test_a_timeline_knows_every_moment() -> None:
    line = Timeline()
    assert (line.last, line.at(5), line.before((1, 1))) == (0, 0, 0)
    line.record(10, 1)
    line.record(10, 2)
    line.record(20, 3)
    assert [line.at(time) for time in (9, 10, 19, 20, 99)] == [0, 2, 2, 3, 3]
    placed = Timeline()
    placed.record((1, 5), 7)
    assert [placed.before(place) for place in ((1, 5), (1, 6), (2, 0))] == [0, 7, 7]


def test_stakes_and_votes_are_known_at_every_moment() -> None:
    script = Script()
    first = stake(script, ADA, 100)
    second = stake(script, ADA, 50, before=100)
    unbond(script, ADA, 30, before=150)
    found = fold_stakes(script.history())
    assert found.stake_before(ADA, first) == 0
    assert found.stake_before(ADA, second) == 100
    assert found.stakes[ADA].last == 120
    assert found.votes_at(ADA, GENESIS_TIME) == 0
    assert [found.votes_at(ADA, GENESIS_TIME + t) for t in (1, 2, 3)] == [100, 150, 120]
    assert found.total.at(GENESIS_TIME + 2) == 150
    assert found.stake_before(BEN, second) == found.votes_at(BEN, 9**9) == 0


def test_delegated_stake_votes_with_the_delegate() -> None:
    script = Script()
    stake(script, ADA, 100)
    stake(script, BEN, 10)
    script.block()
    script.add(DelegateChanged, "vault", delegator=BEN, from_delegate=BEN, to_delegate=ADA)
    votes(script, BEN, 10, 0)
    votes(script, ADA, 100, 110)
    found = fold_stakes(script.history())
    assert (found.votes[ADA].last, found.votes[BEN].last) == (110, 0)


def test_slashing_takes_stake_first_and_then_the_youngest_withdrawal() -> None:
    script = Script()
    stake(script, ADA, 100)
    unbond(script, ADA, 30, before=100)
    unbond(script, ADA, 30, before=70)
    slash(script, ADA, before=40, taken=80, staked=40)
    found = fold_stakes(script.history())
    assert found.stakes[ADA].last == 0
    assert [amount for amount, _ in found.unbonding[ADA]] == [20]


def test_the_end_is_compared_with_what_the_vault_stores_and_owns() -> None:
    script = Script()
    stake(script, ADA, 100)
    unbond(script, ADA, 30, before=100)
    release = script.now + UNBONDING
    script.block(UNBONDING)
    script.add(Withdrawn, "vault", account=ADA, amount=30)
    transfer(script, DEPLOYMENT.vault, ADA, 30)
    unbond(script, ADA, 20, before=70)
    script.block()
    transfer(script, BEN, DEPLOYMENT.vault, 5)
    assert release < script.now
    right = {
        "stakes": {ADA: 50},
        "unbondings": {ADA: ((20, script.now - 1 + UNBONDING),)},
        "votes": {ADA: 50},
        "total_staked": 50,
        "vault_balance": 75,
    }
    history = script.history(**right)
    stakes = fold_stakes(history)
    check_stakes(history, stakes)
    assert stakes.donated == 5
    for name, wrong in (
        ("stakes", {ADA: 51}),
        ("unbondings", {ADA: ()}),
        ("votes", {ADA: 49}),
        ("total_staked", 51),
        ("vault_balance", 74),
    ):
        history = script.history(**{**right, name: wrong})
        with pytest.raises(AuditFailure) as caught:
            check_stakes(history, fold_stakes(history))
        assert caught.value.details["check"] == "stakes", name


def test_votes_that_nobody_has_are_found() -> None:
    script = Script()
    stake(script, ADA, 100)
    script.block()
    votes(script, BEN, 0, 7)
    with pytest.raises(AuditFailure, match=f"votes of {BEN}.*Expected: 0. Found: 7"):
        fold_stakes(script.history())


def test_a_vote_count_that_starts_elsewhere_is_found() -> None:
    script = Script()
    stake(script, ADA, 100)
    script.block()
    votes(script, ADA, 90, 100)
    with pytest.raises(AuditFailure, match="previous votes"):
        fold_stakes(script.history())


def test_stake_below_zero_is_found() -> None:
    script = Script()
    stake(script, ADA, 10)
    unbond(script, ADA, 11, before=10)
    with pytest.raises(AuditFailure, match=f"stake of {ADA}"):
        fold_stakes(script.history())


def test_a_release_before_its_time_is_found() -> None:
    script = Script()
    stake(script, ADA, 10)
    unbond(script, ADA, 5, before=10, release_at=script.now)
    with pytest.raises(AuditFailure, match="the release"):
        fold_stakes(script.history())


def test_a_withdrawal_of_what_is_not_released_is_found() -> None:
    script = Script()
    stake(script, ADA, 10)
    unbond(script, ADA, 5, before=10)
    script.block(UNBONDING - 1)
    script.add(Withdrawn, "vault", account=ADA, amount=5)
    with pytest.raises(AuditFailure, match=r"what is released.*Expected: 0. Found: 5"):
        fold_stakes(script.history())


def test_slashing_more_than_there_was_is_found() -> None:
    script = Script()
    stake(script, ADA, 10)
    slash(script, ADA, before=10, taken=11, staked=10)
    with pytest.raises(AuditFailure, match="beyond what it had"):
        fold_stakes(script.history())


def test_another_delegate_than_before_is_found() -> None:
    script = Script()
    stake(script, ADA, 10)
    script.block()
    script.add(DelegateChanged, "vault", delegator=ADA, from_delegate=BEN, to_delegate=BEN)
    with pytest.raises(AuditFailure, match=f"delegate of {ADA}"):
        fold_stakes(script.history())


def test_stake_that_was_not_paid_is_found() -> None:
    script = Script()
    stake(script, ADA, 10, paid=9)
    history = script.history(
        stakes={ADA: 10}, unbondings={ADA: ()}, votes={ADA: 10}, total_staked=10, vault_balance=9
    )
    with pytest.raises(AuditFailure, match=r"paid into the vault.*at least 10. Found: 9"):
        check_stakes(history, fold_stakes(history))


def test_tokens_that_leave_the_vault_for_no_reason_are_found() -> None:
    script = Script()
    stake(script, ADA, 10)
    script.block()
    transfer(script, DEPLOYMENT.vault, BEN, 4)
    history = script.history(
        stakes={ADA: 10}, unbondings={ADA: ()}, votes={ADA: 10}, total_staked=10, vault_balance=6
    )
    with pytest.raises(AuditFailure, match="what left the vault"):
        check_stakes(history, fold_stakes(history))


# Bonds and enrolled stake


def test_enrolled_stake_is_known_at_every_moment() -> None:
    script = Script()
    stake(script, ADA, 100)
    enrol(script, ADA, 60)
    first = script.now
    enrol(script, ADA, 40)  # less does not restart the time
    lock(script, ADA, 70)  # 30 are left
    before = script.events[-1]
    enrol(script, ADA, 30)
    found = fold_stakes(script.history())
    assert found.enrolled[ADA].values == [60, 40, 30, 30]
    assert (found.enrolled_before(ADA, before), found.total_enrolled_before(before)) == (40, 40)
    assert (found.since[ADA].last, found.since_before(ADA, before)) == (first, first)
    assert (found.since_before(BEN, before), found.enrolled_before(BEN, before)) == (0, 0)
    unlock(script, ADA, 70)
    enrol(script, ADA, 31)
    again = script.now
    unbond(script, ADA, 80)
    stake(script, BEN, 5)
    enrol(script, BEN, 5)
    found = fold_stakes(script.history())
    assert (found.since[ADA].last, found.enrolled[ADA].last) == (again, 20)
    assert found.total_enrolled.last == 25
    script.block()
    script.add(Left, "ledger", account=ADA, reason=0)
    found = fold_stakes(script.history())
    assert (found.enrolled[ADA].last, found.since[ADA].last, found.total_enrolled.last) == (0, again, 5)
    assert found.numbers == {ADA: 1, BEN: 2}


def test_a_slashing_spares_the_bonds_and_shrinks_what_is_enrolled() -> None:
    script = Script()
    stake(script, ADA, 100)
    lock(script, ADA, 50)
    enrol(script, ADA, 50)
    unbond(script, ADA, 10)
    slash(script, ADA, before=40, taken=48, staked=40)
    found = fold_stakes(script.history())
    assert (found.stakes[ADA].last, found.bonds[ADA].last, found.enrolled[ADA].last) == (50, 50, 0)
    assert [amount for amount, _ in found.unbonding[ADA]] == [2]


def steps(*run: Callable[[Script], object]) -> Callable[[Script], None]:
    def all_of_them(script: Script) -> None:
        for step in run:
            step(script)

    return all_of_them


@pytest.mark.parametrize(
    ("run", "what"),
    [
        (lambda p: lock(p, ADA, 101), f"the stake of {ADA} without its bonds"),
        (
            steps(lambda p: lock(p, ADA, 60), lambda p: lock(p, ADA, 41)),
            f"the stake of {ADA} without its bonds",
        ),
        (
            steps(lambda p: lock(p, ADA, 60), lambda p: enrol(p, ADA, 41)),
            f"the stake of {ADA} without its bonds",
        ),
        (lambda p: enrol(p, BEN, 1), f"the stake of {BEN} without its bonds"),
        (steps(lambda p: lock(p, ADA, 60), lambda p: unlock(p, ADA, 61)), f"the bonds of {ADA}"),
        (steps(lambda p: lock(p, ADA, 60), lambda p: unbond(p, ADA, 41)), f"the unlocked stake of {ADA}"),
        (
            steps(lambda p: lock(p, ADA, 60), lambda p: slash(p, ADA, 40, 50, 40)),
            f"what was taken of {ADA} beyond",
        ),
    ],
)
def test_a_breach_of_the_rules_of_bonds_is_named(run: Callable[[Script], object], what: str) -> None:
    script = Script()
    stake(script, ADA, 100)
    run(script)
    with pytest.raises(AuditFailure) as caught:
        fold_stakes(script.history())
    assert caught.value.details["what"].startswith(what)


@pytest.mark.parametrize("reward", [24, 26, 50])
def test_another_share_than_a_quarter_is_found(reward: int) -> None:
    script = Script()
    stake(script, ADA, 100)
    script.block()
    votes(script, ADA, 100, 0)
    script.add(Slashed, "vault", account=ADA, beneficiary=BEN, reward=reward, burnt=100 - reward)
    with pytest.raises(AuditFailure, match=r"the beneficiary's share.*Expected: 25"):
        fold_stakes(script.history())


def slashed_for_nobody(reward: int) -> Script:
    """Return the history of a stake of 100 that is slashed without a beneficiary."""
    script = Script()
    stake(script, ADA, 100)
    script.block()
    votes(script, ADA, 100, 0)
    script.add(Slashed, "vault", account=ADA, beneficiary=NOBODY, reward=reward, burnt=100 - reward)
    return script


def test_without_a_beneficiary_everything_burns() -> None:
    assert fold_stakes(slashed_for_nobody(0).history()).stakes[ADA].last == 0
    with pytest.raises(AuditFailure, match=r"the beneficiary's share.*Expected: 0"):
        fold_stakes(slashed_for_nobody(25).history())


def test_bonds_and_enrolled_stake_are_compared_with_the_storage() -> None:
    script = Script()
    stake(script, ADA, 100)
    enrol(script, ADA, 60)
    since = script.now
    lock(script, ADA, 30)
    member = Member(100, 60, 1, since)
    right = {
        "stakes": {ADA: 100},
        "unbondings": {ADA: ()},
        "votes": {ADA: 70},
        "total_staked": 70,
        "vault_balance": 100,
        "members": {ADA: member, BEN: Member(0, 0, 0, 0)},
        "bonds": {ADA: 30, BEN: 0},
        "total_enrolled": 60,
    }
    history = script.history(**right)
    check_stakes(history, fold_stakes(history))
    for name, wrong in (
        ("members", {ADA: member._replace(stake=99)}),
        ("members", {ADA: member._replace(enrolled=59)}),
        ("members", {ADA: member._replace(number=2)}),
        ("members", {ADA: member._replace(since=since + 1)}),
        ("members", {}),
        ("bonds", {ADA: 29, BEN: 0}),
        ("total_enrolled", 61),
    ):
        history = script.history(**{**right, name: wrong})
        with pytest.raises(AuditFailure) as caught:
            check_stakes(history, fold_stakes(history))
        assert caught.value.details["check"] == "stakes", name


def test_a_bond_has_no_votes() -> None:
    script = Script()
    stake(script, ADA, 100)
    lock(script, ADA, 30)
    locked = script.now
    script.block()
    script.add(DelegateChanged, "vault", delegator=ADA, from_delegate=ADA, to_delegate=BEN)
    votes(script, ADA, 70, 0)
    votes(script, BEN, 0, 70)
    found = fold_stakes(script.history())
    assert (found.votes_at(ADA, locked - 1), found.votes_at(ADA, locked)) == (100, 70)
    assert (found.total.at(locked - 1), found.total.last) == (100, 70)
    script.block()
    script.add(BondUnlocked, "vault", account=ADA, amount=30)
    with pytest.raises(AuditFailure, match=f"votes of {BEN}.*Expected: 100. Found: 70"):
        fold_stakes(script.history())

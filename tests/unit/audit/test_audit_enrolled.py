# SPDX-License-Identifier: Apache-2.0
"""Early ends of commit windows, and who is enrolled, as the audit replays them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from folkmoot.ledger.admission import LeaveReason
from folkmoot.ledger.events import CommitsClosed, Left
from folkmoot.ledger.replay import CancelReason
from folkmoot.protocol.places import EVERYBODY, has_place, seed_of
from folkmoot.rpc.client import Phase
from tests.unit.audit.records import ADA, BEN, CLEO, COORDINATOR, VERIFIER
from tests.unit.audit.test_audit_rounds import POLICY, Play, refused
from tests.unit.audit.test_audit_stakes import stake, unbond

SMALL = replace(POLICY, max_contributors=2)


class Closing(Play):
    """Plays rounds that end early. Ada and Ben are enrolled."""

    enrolled = (ADA, BEN)

    def enrol_with_opening(self, who: str) -> None:
        """Enrol in the second in which round 1 opens."""
        self.enrol(who)
        self.block(-1)
        self.open(1)

    def left(self, who: str, reason: int = LeaveReason.OWN, wait: int = 1) -> None:
        self.block(wait)
        self.add(Left, "ledger", account=who, reason=reason)

    def close(self, number: int, *, later: int = 0, longer: int = 0, wait: int = 1) -> None:
        self.block(wait)
        deadline = self.now + later
        self.add(
            CommitsClosed,
            "ledger",
            round=number,
            commit_deadline=deadline,
            anchor_deadline=deadline + 50 + longer,
        )

    def missed(self, number: int) -> None:
        """A round that Cleo misses."""
        self.play(number, base=number - 1)


def test_a_window_that_ended_by_the_rule_has_its_new_deadlines() -> None:
    play = Closing()
    play.open(1)
    play.commit(1, ADA, BEN)
    play.close(1)
    closed = play.now
    play.anchor(1, wait=0)
    found = play.replayed().rounds[1]
    assert (found.commit_deadline, found.anchor_deadline) == (closed, closed + 50)
    assert found.phase is Phase.ANCHORED


def test_a_full_round_ends_whoever_is_missing() -> None:
    play = Closing(SMALL, closed=True)
    play.enrol(CLEO)
    play.open(1)
    play.commit(1, ADA, BEN)
    play.close(1)
    assert play.replayed().rounds[1].closed is not None


def test_nobody_waits_for_those_who_left_or_came_later() -> None:
    play = Closing()
    play.enrol(CLEO)
    play.open(1)
    stake(play, COORDINATOR, 10, before=900)
    play.enrol(COORDINATOR)
    play.commit(1, ADA, BEN)
    play.left(CLEO)
    play.enrol(CLEO)
    play.close(1)
    assert play.replayed().rounds[1].closed is not None


def test_one_who_missed_three_rounds_is_removed() -> None:
    play = Closing()
    play.enrol(CLEO)
    for number in (1, 2, 3):
        play.missed(number)
    play.left(CLEO, LeaveReason.ABSENT)
    assert play.replayed().roll.members == {ADA, BEN}


def test_one_without_the_stake_is_removed_at_any_time() -> None:
    play = Closing()
    play.enrol(CLEO)
    play.open(1)
    unbond(play, CLEO, 1, before=10)
    play.left(CLEO, LeaveReason.STAKE_TOO_LOW)
    assert play.replayed().roll.members == {ADA, BEN}


class Crowded(Closing):
    """50 are enrolled, 30 of them by Ada. There are two places for contributors, the quota is 33."""

    def __init__(self, wait: int = 0) -> None:
        super().__init__(replace(POLICY, max_contributors=3, min_contributors=1))
        stake(self, ADA, 30, before=10)
        self.enrol(ADA, amount=30)
        self.enrol(CLEO)
        for _ in range(wait):
            self.block(0)
        self.open(1)
        self.draw(1, EVERYBODY)
        self.commit(1, COORDINATOR)
        self.anchor(1, (1,))

    def missed(self, number: int) -> None:
        self.open(number, number - 1)
        self.draw(number, 50 * 4 // 6)
        self.commit(number, COORDINATOR)
        self.anchor(number, (1,))


def luck(rounds: tuple[bool, ...]) -> Crowded:
    """Play crowded rounds, in which Cleo has a place or not."""
    for wait in range(256):
        play = Crowded(wait)
        for number, has in enumerate(rounds, 2):
            if has_place(33, seed_of(play.basis[1]), CLEO, 10) != has:
                break
            play.missed(number)
        else:
            return play
    raise AssertionError("no block has such a hash")


@pytest.mark.parametrize(
    ("rounds", "missed"),
    [
        ((True, True, True), 3),
        ((True, True, False), 2),
        ((False, True), 1),
        ((False, False, False), 0),
    ],
)
def test_a_crowded_round_is_missed_by_who_was_drawn(rounds: tuple[bool, ...], missed: int) -> None:
    play = luck(rounds)
    play.left(CLEO, LeaveReason.ABSENT)
    if missed == 3:
        assert CLEO not in play.replayed().roll.members
        return
    found = refused(play)
    assert (found["what"], found["found"]) == (f"the rounds that {CLEO} missed in a row", str(missed))


def test_a_crowded_round_closes_early_only_when_its_places_are_taken() -> None:
    for names, closes in (((COORDINATOR,), False), ((COORDINATOR, ADA), True)):
        play = next(p for p in map(Crowded, range(256)) if has_place(33, seed_of(p.basis[1]), ADA, 30))
        play.open(2, 1)
        play.draw(2, 33)
        play.commit(2, *names)
        play.close(2)
        if closes:
            assert play.replayed().rounds[2].closed is not None
            continue
        details = refused(play)
        assert (details["what"], details["expected"]) == ("the number of entries", "at least 2")


def test_an_empty_round_is_cancelled_at_once() -> None:
    play = Play()
    play.open(1)
    play.cancel(1, CancelReason.EMPTY, wait=1)
    assert play.replayed().rounds[1].cancelled is CancelReason.EMPTY


def closing(
    *before: str, committed: tuple[str, ...] = (ADA, BEN), wait: int = 1
) -> Callable[[Closing], None]:
    def run(play: Closing) -> None:
        if before:
            play.enrol(*before)
        play.open(1)
        play.commit(1, *committed)
        play.close(1, wait=wait)

    return run


def _left_by_the_rule(play: Closing, reason: LeaveReason, rounds: int, *, opened: bool = False) -> None:
    play.enrol(CLEO)
    for number in range(1, rounds + 1):
        play.missed(number)
    if opened:
        play.open(rounds + 1, rounds)
    play.left(CLEO, reason)


@pytest.mark.parametrize(
    ("run", "what"),
    [
        (closing(CLEO), "the enrolled accounts without a commitment"),
        (
            lambda p: (
                p.open(1),
                p.commit(1, ADA, BEN),
                p.left(ADA),
                p.left(BEN),
                p.close(1),
            ),
            "the enrolled accounts that count",
        ),
        (closing(committed=(ADA,)), "the number of entries"),
        (closing(wait=100), "the time of the closing"),
        (lambda p: (p.missed(1), p.close(1)), "the phase"),
        (
            lambda p: (p.open(1), p.commit(1, ADA, BEN), p.close(1, later=1)),
            "the commit deadline",
        ),
        (
            lambda p: (p.open(1), p.commit(1, ADA, BEN), p.close(1, longer=1)),
            "the anchor deadline",
        ),
        (lambda p: (closing()(p), p.commit(1, CLEO, first=2)), "the time of the commitment"),
        (lambda p: (closing()(p), p.anchor(1, wait=50)), "the time of the anchor"),
        (lambda p: p.enrol(VERIFIER), f"the stake of {VERIFIER} without its bonds"),
        (lambda p: p.left(CLEO), "the account"),
        (lambda p: p.left(ADA, 9), "the reason"),
        (lambda p: p.left(ADA, LeaveReason.STAKE_TOO_LOW), f"the enrolled stake of {ADA}"),
        (lambda p: p.left(ADA, LeaveReason.NOT_ADMITTED), "the contract that admits accounts"),
        (lambda p: (p.open(1), p.left(ADA, LeaveReason.NOT_ADMITTED)), "the commit window"),
        (lambda p: (p.open(1), p.left(ADA), p.commit(1, ADA)), f"the enrolled stake of {ADA}"),
        (
            lambda p: (p.open(1), p.left(ADA), p.enrol(ADA), p.commit(1, ADA)),
            f"since when {ADA} is enrolled",
        ),
        (
            lambda p: (p.block(0), p.enrol_with_opening(CLEO), p.commit(1, CLEO)),
            f"since when {CLEO} is enrolled",
        ),
        (
            lambda p: _left_by_the_rule(p, LeaveReason.ABSENT, 2),
            f"the rounds that {CLEO} missed in a row",
        ),
        (lambda p: _left_by_the_rule(p, LeaveReason.ABSENT, 3, opened=True), "the commit window"),
        (
            lambda p: (p.open(1), p.commit(1, ADA), p.cancel(1, CancelReason.EMPTY, 1)),
            "the number of entries",
        ),
    ],
)
def test_a_breach_of_the_rules_is_named(run: Callable[[Closing], object], what: str) -> None:
    play = Closing()
    run(play)
    assert refused(play)["what"] == what

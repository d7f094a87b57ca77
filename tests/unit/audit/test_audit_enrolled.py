# SPDX-License-Identifier: Apache-2.0
"""Early ends of commit windows, and who is enrolled, as the audit replays them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from folkmoot.audit.enrolled import LeaveReason
from folkmoot.audit.rounds import CancelReason
from folkmoot.ledger.events import CommitsClosed, Enrolled, Left
from folkmoot.rpc.client import Phase
from tests.unit.audit.records import ADA, BEN, CLEO, VERIFIER
from tests.unit.audit.test_audit_rounds import POLICY, Play, refused
from tests.unit.audit.test_audit_stakes import unbond

SMALL = replace(POLICY, max_contributors=2)


class Closing(Play):
    """Plays rounds that end early."""

    def enrol(self, *who: str, first: int = 1) -> None:
        self.block()
        for account in who:
            self.add(Enrolled, "ledger", account=account, from_=first)

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
    play.enrol(ADA, BEN)
    play.open(1)
    play.commit(1, ADA, BEN)
    play.close(1)
    closed = play.now
    play.anchor(1, wait=0)
    found = play.replayed().rounds[1]
    assert (found.commit_deadline, found.anchor_deadline) == (closed, closed + 50)
    assert found.phase is Phase.ANCHORED


def test_a_full_round_ends_whoever_is_missing() -> None:
    play = Closing(SMALL)
    play.enrol(CLEO)
    play.open(1)
    play.commit(1, ADA, BEN)
    play.close(1)
    assert play.replayed().rounds[1].closed is not None


def test_nobody_waits_for_those_who_left_or_came_later() -> None:
    play = Closing()
    play.enrol(ADA, CLEO)
    play.open(1)
    play.enrol(BEN, first=2)
    play.commit(1, ADA, BEN)
    play.left(CLEO)
    play.enrol(CLEO, first=2)
    play.close(1)
    assert play.replayed().rounds[1].closed is not None


def test_one_who_missed_three_rounds_is_removed() -> None:
    play = Closing()
    play.enrol(CLEO)
    for number in (1, 2, 3):
        play.missed(number)
    play.left(CLEO, LeaveReason.ABSENT)
    assert not play.replayed().roll.since


def test_one_without_the_stake_is_removed_at_any_time() -> None:
    play = Closing()
    play.enrol(CLEO)
    play.open(1)
    unbond(play, CLEO, 1, before=10)
    play.left(CLEO, LeaveReason.STAKE_TOO_LOW)
    assert not play.replayed().roll.counted


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
        (closing(ADA, CLEO), "the enrolled accounts without a commitment"),
        (closing(), "the enrolled accounts that count"),
        (closing(ADA, committed=(ADA,)), "the number of entries"),
        (closing(ADA, wait=100), "the time of the closing"),
        (lambda p: (p.enrol(ADA), p.missed(1), p.close(1)), "the phase"),
        (
            lambda p: (p.enrol(ADA), p.open(1), p.commit(1, ADA, BEN), p.close(1, later=1)),
            "the commit deadline",
        ),
        (
            lambda p: (p.enrol(ADA), p.open(1), p.commit(1, ADA, BEN), p.close(1, longer=1)),
            "the anchor deadline",
        ),
        (lambda p: (closing(ADA)(p), p.commit(1, CLEO, index=2)), "the time of the commitment"),
        (lambda p: (closing(ADA)(p), p.anchor(1, wait=50)), "the time of the anchor"),
        (lambda p: p.enrol(VERIFIER), f"the stake of {VERIFIER}"),
        (lambda p: (p.enrol(ADA), p.enrol(ADA)), "the account"),
        (lambda p: p.enrol(ADA, first=2), "the first round that counts it"),
        (lambda p: p.left(ADA), "the account"),
        (lambda p: (p.enrol(ADA), p.left(ADA, 9)), "the reason"),
        (lambda p: (p.enrol(ADA), p.left(ADA, LeaveReason.STAKE_TOO_LOW)), f"the stake of {ADA}"),
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

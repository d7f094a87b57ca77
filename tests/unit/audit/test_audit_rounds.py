# SPDX-License-Identifier: Apache-2.0
"""Replaying rounds: what the ledger's rules allow passes, each breach of them is named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from operator import methodcaller
from typing import Any

import pytest

from folkmoot.audit.ledger_state import Ledger
from folkmoot.audit.rounds import check_rounds, replay
from folkmoot.audit.stakes import fold_stakes
from folkmoot.errors import AuditFailure
from folkmoot.ledger.events import (
    AnchorRecord,
    BondLocked,
    BondUnlocked,
    CoordinatorAppointed,
    Enrolled,
    Event,
    PlacesDrawn,
    PolicyAdded,
    Redrawn,
    RoundAnchored,
    RoundCancelled,
    RoundFinalized,
    RoundOpened,
    RoundSettled,
    RoundSlashed,
    Slashed,
    Staked,
    UpdatesCommitted,
)
from folkmoot.ledger.replay import CancelReason, Round
from folkmoot.protocol.batch import pack_entry
from folkmoot.protocol.commitment import Commitment
from folkmoot.protocol.places import EVERYBODY, has_place, seed_of
from folkmoot.protocol.policy import Policy
from folkmoot.protocol.rewards import FULL_PAY
from folkmoot.rpc.client import Basis, Draw, Head, Phase, RoundView
from tests import factories
from tests.unit.audit.records import (
    ADA,
    BEN,
    CLEO,
    COORDINATOR,
    DEPLOYMENT,
    GENESIS_TIME,
    LIMITS,
    NOBODY,
    VAULT_CREATED,
    VERIFIER,
    Script,
)
from tests.unit.audit.test_audit_stakes import bond, slash, stake, standing, unbond, votes

GENESIS_ROOT = b"\7" * 32
POLICY = factories.policy(
    min_contributors=2,
    max_contributors=4,
    commit_window=100,
    anchor_window=50,
    challenge_window=200,
    max_sum_squares=1_000,
    min_stake=10,
    bond=100,
    verifier=VERIFIER,
)


BONDED = 1_000
"""Stake of the coordinator."""


class Play(Script):
    """Plays rounds; each step can be given wrong fields.

    Args:
        policy: The first policy.
        closed: Whether an admission contract says who may enrol, so that no places are drawn.
    """

    enrolled: tuple[str, ...] = (ADA, BEN, CLEO)
    """Who enrols with the minimum stake before the first round."""

    def __init__(self, policy: Policy = POLICY, *, closed: bool = False) -> None:
        super().__init__()
        self.closed = closed
        self.basis = GENESIS_TIME, VAULT_CREATED.hash
        self.policies = {1: policy}
        self.block()
        self.add(PolicyAdded, "policies", policy_id=1, policy=policy)
        self.add(CoordinatorAppointed, "ledger", previous=NOBODY, coordinator=COORDINATOR)
        stake(self, COORDINATOR, BONDED)
        for who in (ADA, BEN, CLEO):
            stake(self, who, 10)
        self.enrol(*self.enrolled)

    def enrol(self, *who: str, amount: int = 10) -> None:
        self.block()
        for account in who:
            self.add(Enrolled, "ledger", account=account, amount=amount)

    def bond(self, kind: type[BondLocked | BondUnlocked], amount: int = 100, who: str = COORDINATOR) -> None:
        bond(self, kind, who, amount)

    def drop_bond(self) -> None:
        """Take back the last bond, and what it changed of the votes."""
        del self.events[-2:]
        self.logs -= 2

    def open(self, number: int, base: int = 0, **wrong: Any) -> Event:
        self.block()
        fields = {
            "round": number,
            "policy_id": 1,
            "coordinator": COORDINATOR,
            "base": base,
            "base_state_root": root(base),
            "header_hash": b"\1" * 32,
            "commit_deadline": self.now + 100,
            "anchor_deadline": self.now + 150,
        }
        event = self.add(RoundOpened, "ledger", **{**fields, **wrong})
        self.bond(BondLocked)
        return event

    def draw(self, number: int, quota: int, **wrong: Any) -> Event:
        """Draw the places of the round that was just opened."""
        self.drop_bond()
        fields = {"round": number, "quota": quota, "at": self.basis[0], "seed": seed_of(self.basis[1])}
        event = self.add(PlacesDrawn, "ledger", **{**fields, **wrong})
        self.bond(BondLocked)
        return event

    def commit(self, number: int, *who: str, **wrong: Any) -> None:
        self.block()
        base, rest = bytes(32), {"update_root": b"\2" * 32, "sum_squares": 1_000, "memory_hash": bytes(32)}
        rest |= {name: wrong.pop(name) for name in rest.keys() & wrong.keys()}
        entries = b"".join(pack_entry(Commitment(one, number, base, **rest)) for one in who)
        fields = {"round": number, "first": 0, "bundle_hash": bytes(32), "entries": entries}
        self.add(UpdatesCommitted, "ledger", **{**fields, **wrong})

    def anchor(
        self,
        number: int,
        weights: tuple[int, ...] = (1, 1),
        wait: int = 100,
        pays: tuple[int, ...] = (),
        **wrong: Any,
    ) -> None:
        self.block(wait)
        fields = {
            "round": number,
            "anchor": AnchorRecord(
                weights=weights,
                pays=pays,
                delivered=2 ** len(weights) - 1,
                mean_root=b"\3" * 32,
                state_root=root(number),
                gram_root=bytes(32),
                verdict_hash=b"\4" * 32,
                artifacts_hash=b"\5" * 32,
                entries_root=b"\6" * 32,
            ),
            "challenge_deadline": self.now + 200,
        }
        event = self.add(RoundAnchored, "ledger", **{**fields, **wrong})
        self.basis = self.now, event.block_hash

    def finalize(self, number: int, wait: int = 200, **wrong: Any) -> None:
        self.block(wait)
        fields = {"round": number, "state_root": root(number)}
        self.add(RoundFinalized, "ledger", **{**fields, **wrong})
        self.bond(BondUnlocked)

    def cancel(self, number: int, reason: int, wait: int) -> None:
        self.block(wait)
        self.add(RoundCancelled, "ledger", round=number, reason=reason)
        self.bond(BondUnlocked)

    def release(self, number: int) -> None:
        self.cancel(number, CancelReason.BASE_VOIDED, wait=1)

    def settle(self, number: int) -> None:
        self.block()
        self.add(RoundSettled, "rewards", round=number)

    def report(
        self,
        number: int,
        opened: int | None = None,
        *,
        bond: int = 100,
        staked: int | None = None,
        verifier: str = VERIFIER,
        taken: int | None = None,
    ) -> None:
        """Report fraud; `opened` is the round that is open."""
        self.block()
        self.add(RoundSlashed, "ledger", round=number, verifier=verifier, challenger=BEN, bond=bond)
        if opened is not None:
            self.add(RoundCancelled, "ledger", round=opened, reason=CancelReason.BASE_VOIDED)
            self.bond(BondUnlocked)
        self.bond(BondUnlocked)
        taken = bond if taken is None else taken
        staked = standing(self, COORDINATOR) if staked is None else staked
        votes(self, COORDINATOR, staked, max(0, staked - taken))
        reward = taken // 4
        self.add(Slashed, "vault", account=COORDINATOR, beneficiary=BEN, reward=reward, burnt=taken - reward)

    def play(self, number: int, base: int = 0) -> None:
        self.open(number, base)
        self.commit(number, ADA, BEN)
        self.anchor(number)

    def replayed(self, **storage: Any) -> Ledger:
        admission = factories.account("admission").address if self.closed else NOBODY
        history = self.history(**{"limits": replace(LIMITS, admission=admission), **storage})
        return replay(history, self.policies, fold_stakes(history), GENESIS_ROOT)


def root(number: int) -> bytes:
    return bytes([number + 100]) * 32 if number else GENESIS_ROOT


def refused(play: Play) -> dict[str, Any]:
    with pytest.raises(AuditFailure) as caught:
        play.replayed()
    return caught.value.details


def test_a_round_goes_from_open_to_final() -> None:
    play = Play()
    play.open(1)
    assert play.replayed().rounds[1].phase == Phase.OPEN
    play.commit(1, ADA, BEN, CLEO)
    play.anchor(1, (1, 0, 2))
    found = play.replayed()
    assert (found.head, found.pending, found.rounds[1].phase) == (1, 1, Phase.ANCHORED)
    play.finalize(1)
    play.settle(1)
    found = play.replayed()
    assert (found.head, found.pending, found.rounds[1].phase) == (1, 0, Phase.FINAL)
    assert found.rounds[1].settled is not None
    assert found.state_root(1) == root(1)
    assert [c.base_state_root for c in found.rounds[1].commitments()] == [GENESIS_ROOT] * 3


def test_a_cancelled_round_leaves_the_head() -> None:
    play = Play()
    play.open(1)
    play.commit(1, ADA)
    play.cancel(1, CancelReason.TOO_FEW_UPDATES, wait=100)
    play.open(2)
    play.commit(2, ADA, BEN)
    play.cancel(2, CancelReason.ANCHOR_LATE, wait=150)
    found = play.replayed()
    assert (found.head, found.pending) == (0, 0)
    assert [r.cancelled for r in found.rounds.values()] == [0, 1]


def test_a_slashed_round_takes_everything_above_with_it() -> None:
    play = Play()
    play.play(1)
    play.play(2, base=1)
    play.play(3, base=2)
    play.open(4, base=3)
    play.report(2, 4)
    found = play.replayed()
    assert (found.head, found.pending, found.length) == (1, 1, 2)
    assert [r.phase.name for r in found.rounds.values()] == ["ANCHORED", "SLASHED", "CANCELLED", "CANCELLED"]
    assert [r.voided for r in found.rounds.values()] == [False, True, True, True]
    assert [found.positions.get(number, 0) for number in found.rounds] == [1, 2, 3, 0]
    play.release(3)
    play.play(5, base=1)
    found = play.replayed()
    assert found.rounds[3].cancellation is not None
    assert (found.positions[5], found.head, found.pending) == (2, 5, 2)


def wrong_open(**fields: Any) -> Callable[[Play], None]:
    return lambda play: play.open(1, **fields) and None


def breach(*steps: Callable[[Play], Any]) -> Callable[[Play], None]:
    def run(play: Play) -> None:
        for step in steps:
            step(play)

    return run


OPENED: Callable[[Play], Any] = methodcaller("open", 1)
COMMITTED: Callable[[Play], Any] = methodcaller("commit", 1, ADA, BEN)
PLAYED: Callable[[Play], Any] = methodcaller("play", 1)


@pytest.mark.parametrize(
    ("run", "what"),
    [
        (wrong_open(round=2), "the number of the round"),
        (wrong_open(base=1), "the base"),
        (wrong_open(base_state_root=bytes(32)), "the base state root"),
        (wrong_open(policy_id=2), "the policy"),
        (wrong_open(coordinator=ADA), "the coordinator"),
        (wrong_open(commit_deadline=5), "the commit deadline"),
        (wrong_open(anchor_deadline=5), "the anchor deadline"),
        (breach(OPENED, lambda p: p.open(2)), "the round before"),
        (
            breach(lambda p: slash(p, COORDINATOR, BONDED, 901, 901), OPENED),
            f"the stake of {COORDINATOR} without its bonds",
        ),
        (breach(OPENED, lambda p: p.drop_bond()), "the vault's event of the bond"),
        (
            breach(OPENED, lambda p: p.drop_bond(), lambda p: p.block(), COMMITTED),
            "the vault's event of the bond",
        ),
        (breach(OPENED, lambda p: p.bond(BondLocked)), "the reason of the bond"),
        (
            breach(OPENED, lambda p: p.drop_bond(), lambda p: p.bond(BondLocked, 99)),
            "the amount of the bond",
        ),
        (
            breach(
                lambda p: stake(p, ADA, 100, before=10),
                OPENED,
                lambda p: p.drop_bond(),
                lambda p: p.bond(BondLocked, who=ADA),
            ),
            "the account of the bond",
        ),
        (
            breach(PLAYED, lambda p: p.finalize(1), lambda p: p.drop_bond(), lambda p: p.bond(BondLocked)),
            "the vault's event of the bond",
        ),
        (breach(PLAYED, lambda p: p.bond(BondUnlocked)), "the reason of the bond"),
        (breach(OPENED, lambda p: p.draw(1, 15)), "the quota of a place"),
        (breach(OPENED, lambda p: p.block(100), COMMITTED), "the time of the commitment"),
        (breach(OPENED, lambda p: p.commit(1, ADA, first=1)), "the index of the entry"),
        (breach(OPENED, lambda p: p.commit(1, ADA, ADA)), "the commitment"),
        (breach(OPENED, lambda p: p.commit(1, ADA, sum_squares=1_001)), "the sum of squares"),
        (breach(OPENED, lambda p: p.commit(1, VERIFIER)), f"the enrolled stake of {VERIFIER}"),
        (breach(OPENED, lambda p: p.enrol(ADA, amount=9)), f"the stake that {ADA} enrols"),
        (
            breach(
                OPENED,
                lambda p: stake(p, ADA, 10, before=10),
                lambda p: p.enrol(ADA, amount=11),
                COMMITTED,
            ),
            f"since when {ADA} is enrolled",
        ),
        (
            breach(OPENED, lambda p: unbond(p, ADA, 1, before=10), COMMITTED),
            f"the enrolled stake of {ADA}",
        ),
        (
            breach(
                lambda p: unbond(p, COORDINATOR, BONDED - 9),
                lambda p: p.open(1),
                lambda p: p.drop_bond(),
            ),
            "the vault's event of the bond",
        ),
        (breach(OPENED, lambda p: p.commit(2, ADA)), "the round"),
        (breach(PLAYED, lambda p: p.commit(1, CLEO)), "the phase"),
        (breach(OPENED, COMMITTED, lambda p: p.anchor(1, wait=98)), "the time of the anchor"),
        (breach(OPENED, COMMITTED, lambda p: p.anchor(1, wait=149)), "the time of the anchor"),
        (breach(OPENED, lambda p: p.commit(1, ADA), lambda p: p.anchor(1, (1,))), "the number of entries"),
        (breach(OPENED, COMMITTED, lambda p: p.anchor(1, (1,))), "the number of weights"),
        (breach(OPENED, COMMITTED, lambda p: p.anchor(1, (0, 0))), "the sum of weights"),
        (breach(OPENED, COMMITTED, lambda p: p.anchor(1, (1, 16_843_009))), "the sum of weights"),
        (breach(OPENED, COMMITTED, lambda p: p.anchor(1, pays=(1, 1))), "the number of pays"),
        (breach(OPENED, COMMITTED, lambda p: p.anchor(1, challenge_deadline=1)), "the challenge deadline"),
        (breach(PLAYED, lambda p: p.anchor(1)), "the phase"),
        (breach(PLAYED, lambda p: p.finalize(1, wait=199)), "the time of the finality"),
        (breach(PLAYED, lambda p: p.finalize(1, state_root=bytes(32))), "the state root"),
        (breach(OPENED, lambda p: p.finalize(1)), "the phase"),
        (
            breach(PLAYED, lambda p: p.play(2, base=1), lambda p: p.finalize(2)),
            "the phase of the base, round 1",
        ),
        (breach(OPENED, lambda p: p.cancel(1, 0, wait=99)), "the time of the cancellation"),
        (breach(OPENED, COMMITTED, lambda p: p.cancel(1, 1, wait=148)), "the time of the cancellation"),
        (breach(OPENED, COMMITTED, lambda p: p.cancel(1, 0, wait=200)), "the reason"),
        (breach(OPENED, lambda p: p.cancel(1, 9, wait=200)), "the reason"),
        (breach(PLAYED, lambda p: p.cancel(1, 1, wait=200)), "the phase"),
        (breach(OPENED, lambda p: p.cancel(1, 2, wait=1)), "the round"),
        (breach(PLAYED, lambda p: p.release(1)), "the round"),
        (breach(PLAYED, lambda p: p.report(1), lambda p: p.open(2), lambda p: p.release(1)), "the round"),
        (
            breach(
                PLAYED,
                lambda p: p.play(2, base=1),
                lambda p: p.report(1),
                lambda p: p.open(3),
                lambda p: p.release(2),
                lambda p: p.release(2),
            ),
            "an earlier release of the bond",
        ),
        (
            breach(PLAYED, lambda p: p.play(2, base=1), lambda p: p.report(1), lambda p: p.open(3, base=2)),
            "the base",
        ),
        (
            breach(PLAYED, lambda p: p.play(2, base=1), lambda p: p.report(1), lambda p: p.finalize(2)),
            "the phase",
        ),
        (
            breach(PLAYED, lambda p: p.open(2, base=1), lambda p: p.report(1, 1)),
            "the round that is cancelled",
        ),
        (breach(PLAYED, lambda p: p.settle(1)), "the phase"),
        (
            breach(PLAYED, lambda p: p.finalize(1), lambda p: p.settle(1), lambda p: p.settle(1)),
            "an earlier settlement",
        ),
        (breach(PLAYED, lambda p: p.report(1, verifier=ADA)), "the verifier"),
        (
            breach(PLAYED, lambda p: p.open(2, base=1), lambda p: p.report(1)),
            "the cancellation of the open round",
        ),
        (breach(OPENED, lambda p: p.report(1)), "the phase"),
        (breach(PLAYED, lambda p: p.report(1, bond=99)), "the bond"),
        (breach(PLAYED, lambda p: p.report(1, taken=99)), "what the vault took"),
        (breach(PLAYED, lambda p: p.report(1, taken=101)), "what the vault took"),
        (breach(lambda p: slash(p, ADA, 10, 1, 1)), "the reason of the slashing"),
        (
            breach(
                PLAYED,
                lambda p: p.block(),
                lambda p: p.add(RoundSlashed, "ledger", round=1, verifier=VERIFIER, challenger=BEN, bond=100),
            ),
            "what the vault took",
        ),
        (
            lambda p: p.add(CoordinatorAppointed, "ledger", previous=ADA, coordinator=BEN),
            "the previous coordinator",
        ),
    ],
)
def test_a_breach_of_the_rules_is_named(run: Callable[[Play], None], what: str) -> None:
    play = Play()
    run(play)
    assert refused(play)["what"] == what


def test_the_bond_is_taken_whatever_else_is_leaving() -> None:
    play = Play()
    play.play(1)
    unbond(play, COORDINATOR, BONDED - 100)
    play.report(1)
    found = play.replayed()
    assert found.rounds[1].phase == Phase.SLASHED


# A crowd

CROWD = replace(POLICY, max_contributors=3)
"""Two places for contributors, while three minimum stakes are enrolled: the quota is 20."""


def winners(play: Play) -> list[str]:
    """Return who of the three has a place in a draw on the present basis."""
    return [who for who in (ADA, BEN, CLEO) if has_place(20, seed_of(play.basis[1]), who, 10)]


def crowd(seed: int = 0, policy: Policy = CROWD) -> Play:
    """Play round 1 without a contributor, so that its anchor is a basis, and open round 2 in a crowd.

    Args:
        seed: How many blocks to wait, which changes the hash of the block of the basis.
        policy: The policy.
    """
    play = Play(replace(policy, min_contributors=1))
    for _ in range(seed):
        play.block(0)
    play.open(1)
    play.draw(1, EVERYBODY)
    play.commit(1, COORDINATOR)
    play.anchor(1, (1,))
    play.open(2, base=1)
    return play


def lucky(count: int) -> Play:
    """Return a crowd in whose second round so many of the three have a place."""
    play = next(play for play in map(crowd, range(256)) if len(winners(play)) == count)
    play.draw(2, 20)
    return play


def test_who_was_drawn_may_commit_and_the_last_place_is_the_coordinators() -> None:
    play = lucky(2)
    play.commit(2, *winners(play), COORDINATOR)
    found = play.replayed()
    assert found.rounds[2].draw == Draw(20, play.basis[0], seed_of(play.basis[1]))
    assert len(found.rounds[2].commits) == 3
    play = lucky(2)
    (loser,) = {ADA, BEN, CLEO} - set(winners(play))
    play.commit(2, loser)
    assert refused(play)["what"] == f"the place of {loser}"
    play = lucky(3)
    play.commit(2, ADA, BEN, CLEO)
    assert refused(play)["what"] == "the number of entries"


def test_before_the_first_basis_nobody_is_in_time() -> None:
    play = Play(CROWD)
    play.open(1)
    play.draw(1, EVERYBODY)
    play.commit(1, ADA)
    details = refused(play)
    assert (details["what"], details["expected"]) == (
        f"since when {ADA} is enrolled",
        f"before {GENESIS_TIME}",
    )


def test_who_comes_after_the_basis_has_no_place_and_leaves_the_quota_alone() -> None:
    play = crowd()
    play.drop_bond()
    opened = play.events.pop()
    assert opened.name == "RoundOpened"
    stake(play, ADA, 100, before=10)
    play.enrol(ADA, amount=110)
    play.open(2, base=1)
    play.draw(2, 20)
    play.commit(2, ADA)
    details = refused(play)
    assert (details["what"], details["expected"]) == (
        f"since when {ADA} is enrolled",
        f"before {play.basis[0]}",
    )


def test_a_crowd_that_came_after_the_basis_draws_nobody() -> None:
    play = Play(POLICY)
    play.play(1)
    stake(play, VERIFIER, 10)
    play.enrol(VERIFIER)
    play.open(2, base=1)
    play.draw(2, EVERYBODY)
    play.commit(2, ADA, BEN, CLEO)
    assert play.replayed().quota == EVERYBODY


def test_a_quota_needs_no_luck() -> None:
    play = crowd()
    play.draw(2, 20)
    stake(play, ADA, 10, before=10)
    play.enrol(ADA, amount=20)
    play.commit(2, COORDINATOR)
    play.anchor(2, (1,))
    play.open(3, base=2)
    play.draw(3, 26)
    stake(play, ADA, 1, before=20)
    assert not has_place(10**20, 2**120 - 1, ADA, 1)
    assert play.replayed().quota == 26  # 40 enrolled, 4/3 of it for two places


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        ({"quota": 19}, "the quota of a place"),
        ({"quota": 21}, "the quota of a place"),
        ({"at": 1}, "the time of the draw's basis"),
        ({"seed": 1}, "the seed of the draw"),
    ],
)
def test_another_draw_than_the_rule_gives_is_found(wrong: dict[str, Any], what: str) -> None:
    play = crowd()
    play.draw(2, **{"quota": 20, **wrong})
    assert refused(play)["what"] == what


def test_a_draw_that_is_missing_or_repeated_is_found() -> None:
    play = crowd()
    assert refused(play)["what"] == "the draw of places"
    play.draw(2, 20)
    play.draw(2, 20)
    assert refused(play)["what"] == "an earlier draw of places"
    play = crowd()
    play.drop_bond()
    play.block(0)
    play.add(PlacesDrawn, "ledger", round=2, quota=20, at=play.basis[0], seed=seed_of(play.basis[1]))
    assert refused(play)["what"] == "the vault's event of the bond"


def test_a_new_basis_needs_no_anchor_if_the_last_one_is_old() -> None:
    play = Play(CROWD)
    play.block()
    play.number = VAULT_CREATED.number + 257
    play.times[play.number] = max(play.times.values()) + 1
    event = play.add(Redrawn, "vault", total=30)
    play.basis = play.now, event.block_hash
    play.open(1)
    play.draw(1, 20)
    assert play.replayed().quota == 20


@pytest.mark.parametrize(("early", "found"), [(0, None), (1, "the time of the redraw")])
def test_n7_a_draw_stays_for_an_unbonding_period(early: int, found: str | None) -> None:
    """The places of a cancelled round are those of the next."""
    play = crowd()
    play.draw(2, 20)
    play.block(1)
    kept_until = play.basis[0] + play.history().storage.unbonding_period
    play.number += 300
    play.times[play.number] = kept_until - early
    event = play.add(Redrawn, "vault", total=30)
    play.basis = play.now, event.block_hash
    if found:
        assert refused(play)["what"] == found
    else:
        play.replayed()


@pytest.mark.parametrize(
    ("blocks", "total", "what"),
    [(256, 30, "the block of the redraw"), (257, 29, "the sum of all enrolled stake")],
)
def test_another_basis_than_the_rule_gives_is_found(blocks: int, total: int, what: str) -> None:
    play = Play(CROWD)
    play.block()
    play.number = VAULT_CREATED.number + blocks
    play.times[play.number] = max(play.times.values()) + 1
    play.add(Redrawn, "vault", total=total)
    assert refused(play)["what"] == what


def test_no_places_are_drawn_in_a_closed_federation() -> None:
    play = Play(CROWD, closed=True)
    play.open(1)
    play.commit(1, ADA, BEN, CLEO)
    assert play.replayed().quota == 0
    play.commit(1, COORDINATOR, first=3)
    assert refused(play)["what"] == "the number of entries"


class Poor(Play):
    """Nobody is enrolled, and the minimum stake is more than the coordinator has."""

    enrolled = ()


def test_the_coordinator_needs_no_more_than_the_minimum_stake() -> None:
    poor = Poor(replace(POLICY, min_stake=BONDED + 1))
    poor.open(1)
    poor.commit(1, COORDINATOR)
    assert refused(poor)["what"] == f"the stake of {COORDINATOR}"
    play = Play()
    play.open(1)
    play.commit(1, COORDINATOR)
    assert play.replayed().rounds[1].contributors == {COORDINATOR: 0}


def stored(ledger: Ledger) -> dict[int, RoundView]:
    """What an honest ledger stores of rounds 0 and 1."""
    found: Round = ledger.rounds[1]
    assert found.anchor is not None
    assert found.anchored is not None
    genesis = RoundView(
        0,
        Phase.FINAL,
        0,
        ledger.created_at,
        0,
        0,
        0,
        NOBODY,
        0,
        0,
        bytes(32),
        bytes(32),
        GENESIS_ROOT,
        bytes(32),
    )
    first = RoundView(
        policy=1,
        phase=Phase.ANCHORED,
        entries=2,
        opened_at=found.opened_at,
        commit_deadline=found.opened_at + 100,
        anchor_deadline=found.opened_at + 150,
        challenge_deadline=found.anchored.challenge_deadline,
        coordinator=COORDINATOR,
        base=0,
        position=1,
        header_hash=b"\1" * 32,
        entries_hash=bytes(32),
        state_root=root(1),
        anchor_hash=found.anchor.hash,
    )
    return {0: genesis, 1: first}


def test_the_replay_is_compared_with_the_storage_field_by_field() -> None:
    play = Play()
    play.play(1)
    ledger = play.replayed()
    right = {
        "rounds": stored(ledger),
        "next_round": 2,
        "ledger_head": Head(1, root(1)),
        "pending_rounds": 1,
        "coordinator": COORDINATOR,
        "draws": {1: Draw(0, 0, 0)},
        "basis": Basis(30, play.basis[0], play.number),
    }
    check_rounds(play.history(**right), ledger)
    for name, wrong in (
        ("next_round", 3),
        ("ledger_head", Head(0, GENESIS_ROOT)),
        ("pending_rounds", 0),
        ("coordinator", ADA),
        ("draws", {1: Draw(1, 0, 0)}),
        ("basis", Basis(29, play.basis[0], play.number)),
    ):
        with pytest.raises(AuditFailure):
            check_rounds(play.history(**{**right, name: wrong}), ledger)
    for field in RoundView.__dataclass_fields__:
        for number in (0, 1):
            if number == 1 and field == "entries_hash":  # checked with the entries
                continue
            rounds = stored(ledger)
            rounds[number] = replace(rounds[number], **{field: "other"})
            with pytest.raises(AuditFailure, match=f"Round {number}: the stored {field.replace('_', ' ')}"):
                check_rounds(play.history(**{**right, "rounds": rounds}), ledger)


def test_events_of_other_contracts_change_no_round() -> None:
    play = Play()
    play.play(1)
    play.block()
    play.add(Staked, "token", account=ADA, payer=ADA, amount=1)
    assert DEPLOYMENT.token
    assert play.replayed().rounds[1].phase == Phase.ANCHORED


def test_a_round_that_opens_before_its_policys_interval_is_over_is_named() -> None:
    def opened_on_another(interval: int) -> Play:
        play = Play(replace(POLICY, interval=interval))
        play.play(1)
        play.open(2, base=1)
        return play

    rounds = opened_on_another(0).replayed().rounds
    waited = rounds[2].opened_at - rounds[1].opened_at
    opened_on_another(waited).replayed()
    assert refused(opened_on_another(waited + 1))["what"] == "the time of the opening"


@pytest.mark.parametrize(
    ("weights", "pays", "what"),
    [
        ((1, 0), (FULL_PAY, 0), ""),
        ((1, 1), (1, 2), ""),
        ((1, 1), (), "the number of pays"),
        ((1, 1), (1, 1, 1), "the number of pays"),
        ((1, 1), (1, FULL_PAY + 1), "the pay of entry 1"),
        ((1, 0), (1, 1), "the pay of entry 1"),
    ],
)
def test_pays_are_those_that_the_ledger_takes(
    weights: tuple[int, ...], pays: tuple[int, ...], what: str
) -> None:
    play = Play(replace(POLICY, rule="clamped_mean"))
    play.open(1)
    play.commit(1, ADA, BEN)
    play.anchor(1, weights, pays=pays)
    if not what:
        assert play.replayed().rounds[1].known_anchor.pays == pays
        return
    with pytest.raises(AuditFailure) as failure:
        play.replayed()
    assert failure.value.details["what"] == what

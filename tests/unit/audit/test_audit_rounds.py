# SPDX-License-Identifier: Apache-2.0
"""Replaying rounds: what the ledger's rules allow passes, each breach of them is named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from folkmoot.audit.rounds import CancelReason, Ledger, Round, check_rounds, replay
from folkmoot.audit.stakes import fold_stakes
from folkmoot.errors import AuditFailure
from folkmoot.ledger.events import (
    AnchorRecord,
    CoordinatorAppointed,
    Event,
    PolicyAdded,
    RoundAnchored,
    RoundCancelled,
    RoundFinalized,
    RoundOpened,
    RoundSettled,
    RoundSlashed,
    Slashed,
    Staked,
    UpdateCommitted,
)
from folkmoot.protocol.policy import Policy
from folkmoot.rpc.client import Head, Phase, RoundView
from tests import factories
from tests.unit.audit.records import ADA, BEN, CLEO, COORDINATOR, DEPLOYMENT, NOBODY, VERIFIER, Script
from tests.unit.audit.test_audit_stakes import slash, stake, unbond, votes

GENESIS_ROOT = b"\7" * 32
POLICY = factories.policy(
    min_contributors=2,
    max_contributors=3,
    commit_window=100,
    anchor_window=50,
    challenge_window=200,
    max_sum_squares=1_000,
    min_stake=10,
    bond=100,
    verifier=VERIFIER,
)


class Play(Script):
    """Plays rounds; each step can be given wrong fields."""

    def __init__(self, policy: Policy = POLICY) -> None:
        super().__init__()
        self.policies = {1: policy}
        self.block()
        self.add(PolicyAdded, "ledger", policy_id=1, policy=policy)
        self.add(CoordinatorAppointed, "ledger", previous=NOBODY, coordinator=COORDINATOR)
        stake(self, COORDINATOR, 100)
        for who in (ADA, BEN, CLEO):
            stake(self, who, 10)

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
        return self.add(RoundOpened, "ledger", **{**fields, **wrong})

    def commit(self, number: int, *who: str, **wrong: Any) -> None:
        self.block()
        for index, contributor in enumerate(who):
            fields = {
                "round": number,
                "contributor": contributor,
                "index": index,
                "update_root": b"\2" * 32,
                "sum_squares": 1_000,
                "num_examples": 5,
                "bundle_hash": bytes(32),
            }
            self.add(UpdateCommitted, "ledger", **{**fields, **wrong})

    def anchor(self, number: int, weights: tuple[int, ...] = (1, 1), wait: int = 100, **wrong: Any) -> None:
        self.block(wait)
        fields = {
            "round": number,
            "anchor": AnchorRecord(
                weights=weights,
                delivered=2 ** len(weights) - 1,
                aggregate_root=b"\3" * 32,
                state_root=root(number),
                gram_root=bytes(32),
                verdict_hash=b"\4" * 32,
                artifacts_hash=b"\5" * 32,
            ),
            "challenge_deadline": self.now + 200,
        }
        self.add(RoundAnchored, "ledger", **{**fields, **wrong})

    def finalize(self, number: int, wait: int = 200, **wrong: Any) -> None:
        self.block(wait)
        fields = {"round": number, "state_root": root(number)}
        self.add(RoundFinalized, "ledger", **{**fields, **wrong})

    def cancel(self, number: int, reason: int, wait: int) -> None:
        self.block(wait)
        self.add(RoundCancelled, "ledger", round=number, reason=reason)

    def settle(self, number: int) -> None:
        self.block()
        self.add(RoundSettled, "ledger", round=number)

    def report(
        self, number: int, voided: list[int], *, bond: int = 100, staked: int = 100, verifier: str = VERIFIER
    ) -> None:
        self.block()
        for other in voided:
            self.add(RoundCancelled, "ledger", round=other, reason=CancelReason.BASE_VOIDED)
        votes(self, COORDINATOR, staked, max(0, staked - bond))
        reward = bond // 2
        self.add(Slashed, "vault", account=COORDINATOR, beneficiary=BEN, reward=reward, burnt=bond - reward)
        self.add(RoundSlashed, "ledger", round=number, verifier=verifier, challenger=BEN, bond=bond)

    def play(self, number: int, base: int = 0) -> None:
        self.open(number, base)
        self.commit(number, ADA, BEN)
        self.anchor(number)

    def replayed(self, **storage: Any) -> Ledger:
        history = self.history(**storage)
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
    play.report(2, [4, 3])
    found = play.replayed()
    assert (found.head, found.pending) == (1, 1)
    assert [r.phase.name for r in found.rounds.values()] == ["ANCHORED", "SLASHED", "CANCELLED", "CANCELLED"]
    assert [r.voided for r in found.rounds.values()] == [False, True, True, True]


def wrong_open(**fields: Any) -> Callable[[Play], None]:
    return lambda play: play.open(1, **fields) and None


def breach(*steps: Callable[[Play], Any]) -> Callable[[Play], None]:
    def run(play: Play) -> None:
        for step in steps:
            step(play)

    return run


OPENED: Callable[[Play], Any] = lambda play: play.open(1)  # noqa: E731  short names make the table readable
COMMITTED: Callable[[Play], Any] = lambda play: play.commit(1, ADA, BEN)  # noqa: E731  as above
PLAYED: Callable[[Play], Any] = lambda play: play.play(1)  # noqa: E731  as above


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
        (breach(lambda p: slash(p, COORDINATOR, 100, 1, 1), OPENED), f"the stake of {COORDINATOR}"),
        (breach(OPENED, lambda p: p.block(100), COMMITTED), "the time of the commitment"),
        (breach(OPENED, lambda p: p.commit(1, ADA, index=1)), "the index of the entry"),
        (breach(OPENED, lambda p: p.commit(1, ADA, ADA)), "the commitment"),
        (breach(OPENED, lambda p: p.commit(1, ADA, sum_squares=1_001)), "the sum of squares"),
        (breach(OPENED, lambda p: p.commit(1, VERIFIER)), f"the stake of {VERIFIER}"),
        (breach(OPENED, lambda p: p.commit(1, ADA, BEN, CLEO, COORDINATOR)), "the number of entries"),
        (breach(OPENED, lambda p: p.commit(2, ADA)), "the round"),
        (breach(PLAYED, lambda p: p.commit(1, CLEO)), "the phase"),
        (breach(OPENED, COMMITTED, lambda p: p.anchor(1, wait=98)), "the time of the anchor"),
        (breach(OPENED, COMMITTED, lambda p: p.anchor(1, wait=149)), "the time of the anchor"),
        (breach(OPENED, lambda p: p.commit(1, ADA), lambda p: p.anchor(1, (1,))), "the number of entries"),
        (breach(OPENED, COMMITTED, lambda p: p.anchor(1, (1,))), "the number of weights"),
        (breach(OPENED, COMMITTED, lambda p: p.anchor(1, (0, 0))), "the sum of weights"),
        (breach(OPENED, COMMITTED, lambda p: p.anchor(1, (1, 16_843_009))), "the sum of weights"),
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
        (breach(OPENED, lambda p: p.cancel(1, 2, wait=1)), "the rounds cancelled without a slashed base"),
        (breach(PLAYED, lambda p: p.settle(1)), "the phase"),
        (
            breach(PLAYED, lambda p: p.finalize(1), lambda p: p.settle(1), lambda p: p.settle(1)),
            "an earlier settlement",
        ),
        (breach(PLAYED, lambda p: p.report(1, [], verifier=ADA)), "the verifier"),
        (
            breach(PLAYED, lambda p: p.open(2, base=1), lambda p: p.report(1, [])),
            "the rounds that fell with it",
        ),
        (breach(OPENED, lambda p: p.report(1, [])), "the phase"),
        (breach(PLAYED, lambda p: p.report(1, [], bond=99)), "what the vault took"),
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


def test_a_bond_that_is_leaving_is_taken_too() -> None:
    play = Play()
    play.play(1)
    unbond(play, COORDINATOR, 40, before=100)
    play.report(1, [], staked=60)
    found = play.replayed()
    slashed = found.rounds[1].slashed
    assert slashed is not None
    assert slashed.bond == 100


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
        False,
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
        settled=False,
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
    }
    check_rounds(play.history(**right), ledger)
    for name, wrong in (
        ("next_round", 3),
        ("ledger_head", Head(0, GENESIS_ROOT)),
        ("pending_rounds", 0),
        ("coordinator", ADA),
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

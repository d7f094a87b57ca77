# SPDX-License-Identifier: Apache-2.0
"""Replaying what judges do: faults of contributors, postponed rounds, and each breach of the rules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from folkmoot.audit.policies import verifier_notes
from folkmoot.ledger.events import (
    ContributorSlashed,
    Demanded,
    Event,
    FaultProven,
    FraudProven,
    RoundPostponed,
    Slashed,
)
from folkmoot.protocol.policy import NO_VERIFIER
from folkmoot.rpc.client import Phase
from tests.unit.audit.records import ADA, BEN, CLEO, DEPLOYMENT, UNBONDING, Script
from tests.unit.audit.test_audit_rounds import POLICY, Play, refused
from tests.unit.audit.test_audit_stakes import stake, unbond, votes

ARBITERS = replace(POLICY, verifier=DEPLOYMENT.arbiter)
"""The policy with the deployment's own arbiter."""
AS_PLAYED = 301
"""Seconds from the opening of a played round to its regular challenge deadline."""


class Judged(Play):
    """Plays what judges do; each step can be given wrong fields."""

    def fault(
        self,
        number: int,
        who: str = ADA,
        *,
        taken: int = 10,
        staked: int = 10,
        later: int = 1,
        reward: int | None = None,
        said: bool = False,
        **wrong: Any,
    ) -> None:
        self.block(later)
        if said:
            self.add(FaultProven, "contributor_faults", round=number, contributor=who, challenger=BEN, kind=0)
        votes(self, who, staked, max(0, staked - taken))
        reward = taken // 4 if reward is None else reward
        self.add(Slashed, "vault", account=who, beneficiary=BEN, reward=reward, burnt=taken - reward)
        fields = {"round": number, "contributor": who, "challenger": BEN, "taken": taken}
        self.add(ContributorSlashed, "ledger", **{**fields, **wrong})

    def postpone(self, number: int, until: int, *, later: int = 1, said: bool = False) -> Event:
        self.block(later)
        if said:
            fields = {
                "demand": 1,
                "round": number,
                "demander": BEN,
                "what": 0,
                "entry": 0,
                "level": 4,
                "index": 0,
            }
            self.add(Demanded, "data_availability", **fields, answer_by=until)
        return self.add(RoundPostponed, "ledger", round=number, challenge_deadline=until)

    def opened_at(self, number: int) -> int:
        return self.replayed().rounds[number].opened_at


def played(policy: Any = POLICY) -> Judged:
    play = Judged(policy)
    play.play(1)
    return play


# Faults of contributors


@pytest.mark.parametrize("phase", [Phase.OPEN, Phase.ANCHORED, Phase.FINAL])
def test_a_fault_costs_the_minimum_stake_and_the_round_stands(phase: Phase) -> None:
    play = Judged()
    play.open(1)
    play.commit(1, ADA, BEN)
    if phase != Phase.OPEN:
        play.anchor(1)
    if phase == Phase.FINAL:
        play.finalize(1)
    play.fault(1)
    found = play.replayed().rounds[1]
    assert found.phase == phase
    assert [fault.contributor for fault in found.faults] == [ADA]


def test_each_contributor_and_each_round_is_a_fault_of_its_own() -> None:
    play = played()
    stake(play, ADA, 10, before=10)
    play.fault(1, staked=20)
    play.fault(1, BEN)
    play.open(2, base=1)
    play.commit(2, ADA)
    play.fault(2)
    found = play.replayed().rounds
    assert [len(found[number].faults) for number in (1, 2)] == [2, 1]


def test_what_is_left_of_a_stake_is_taken() -> None:
    play = played()
    unbond(play, ADA, 7, before=10)
    play.fault(1, staked=3)  # three of the stake and seven of what is leaving
    assert play.replayed().rounds[1].faults


@pytest.mark.parametrize(
    ("run", "what"),
    [
        (lambda p: p.fault(1, CLEO), "the contributor"),
        (lambda p: p.fault(2), "the round"),
        (lambda p: (stake(p, ADA, 10, before=10), p.fault(1, staked=20), p.fault(1)), "the fault"),
        (lambda p: p.fault(1, later=UNBONDING), "the time of the report"),
        (lambda p: p.fault(1, taken=9), "what the vault took"),
        (lambda p: (stake(p, ADA, 10, before=10), p.fault(1, taken=11, staked=20)), "what the vault took"),
        (lambda p: p.fault(1, contributor=BEN), "whose stake was taken"),
        (lambda p: p.fault(1, challenger=CLEO), "who was paid"),
        (lambda p: p.fault(1, reward=5), "the beneficiary's share"),
    ],
)
def test_a_breach_of_the_rules_of_faults_is_named(run: Callable[[Judged], Any], what: str) -> None:
    play = played()
    run(play)
    assert refused(play)["what"].startswith(what)


def test_a_fault_without_a_slashing_is_found() -> None:
    play = played()
    play.block()
    play.add(ContributorSlashed, "ledger", round=1, contributor=ADA, challenger=BEN, taken=10)
    assert refused(play)["what"] == "what the vault took"


def test_a_slashing_without_a_fault_is_found() -> None:
    play = played()
    play.fault(1)
    play.events.pop()
    assert refused(play)["what"] == "the reason of the slashing"


# Postponed rounds


def test_a_postponed_round_becomes_final_later() -> None:
    play = played()
    until = play.opened_at(1) + AS_PLAYED + 50
    play.postpone(1, until)
    found = play.replayed()
    assert found.rounds[1].challenge_deadline == until
    play.finalize(1, wait=until - play.now - 1)
    assert refused(play)["what"] == "the time of the finality"
    del play.events[-3:]
    play.finalize(1, wait=1)
    assert play.replayed().rounds[1].phase == Phase.FINAL


def test_a_round_is_postponed_again() -> None:
    play = played()
    first = play.opened_at(1) + AS_PLAYED + 50
    latest = play.opened_at(1) + 2 * UNBONDING
    for until in (first, latest):
        play.postpone(1, until)
    found = play.replayed()
    assert found.rounds[1].challenge_deadline == latest


def test_M3_a_dismissal_gives_the_time_back() -> None:
    play = played()
    first = play.replayed().rounds[1].challenge_deadline
    for until in (first + 500, first):
        play.postpone(1, until)
    assert play.replayed().rounds[1].challenge_deadline == first


def late(seconds: int) -> Callable[[Judged], None]:
    """Postpone to so many seconds after the opening."""

    def run(play: Judged) -> None:
        until = play.opened_at(1) + seconds
        play.postpone(1, until)

    return run


@pytest.mark.parametrize(
    ("run", "what"),
    [
        (late(AS_PLAYED - 1), "the challenge deadline"),
        (late(2 * UNBONDING + 1), "the challenge deadline"),
        (lambda p: (late(500)(p), late(AS_PLAYED - 1)(p)), "the challenge deadline"),
        (lambda p: (p.finalize(1), late(5_000)(p)), "the phase"),
        (lambda p: (p.report(1), late(5_000)(p)), "the phase"),
        (lambda p: (p.open(2, base=1), p.postpone(2, p.now + 5_000)), "the phase"),
    ],
)
def test_a_breach_of_the_rules_of_postponing_is_named(run: Callable[[Judged], Any], what: str) -> None:
    play = played()
    run(play)
    assert refused(play)["what"].startswith(what)


@pytest.mark.parametrize("run", [lambda p: p.fault(1), lambda p: p.postpone(1, p.now + 500)])
def test_without_a_verifier_nobody_judges(run: Callable[[Judged], Any]) -> None:
    play = played(replace(POLICY, verifier=NO_VERIFIER))
    run(play)
    assert refused(play)["what"] == "the verifier of the policy"


# The deployment's own arbiter


def test_our_arbiter_acts_only_on_what_its_judges_said() -> None:
    play = played(ARBITERS)
    play.fault(1, said=True)
    until = play.now + 500
    play.postpone(1, until, said=True)
    play.report(1, verifier=DEPLOYMENT.arbiter)
    said = play.add(FraudProven, "fraud_proofs", round=1, challenger=BEN, lie=0, place=3)
    assert play.replayed().judgments[1] == said


@pytest.mark.parametrize(
    "run",
    [
        lambda p: p.fault(1),
        lambda p: p.postpone(1, p.now + 500),
        lambda p: p.report(1, verifier=DEPLOYMENT.arbiter),
        lambda p: (
            p.report(1, verifier=DEPLOYMENT.arbiter),
            p.add(FraudProven, "fraud_proofs", round=2, challenger=BEN, lie=0, place=0),
        ),
        lambda p: (
            p.report(1, verifier=DEPLOYMENT.arbiter),
            p.add(FaultProven, "contributor_faults", round=1, contributor=ADA, challenger=BEN, kind=0),
        ),
    ],
)
def test_an_act_of_our_arbiter_that_no_judge_asked_for_is_found(run: Callable[[Judged], Any]) -> None:
    play = played(ARBITERS)
    run(play)
    assert refused(play)["what"] == "what a judge said"


def test_other_verifiers_are_remarked_upon() -> None:
    history = Script().history()
    policies = {1: ARBITERS, 2: replace(POLICY, verifier=NO_VERIFIER), 3: POLICY}
    none, other = verifier_notes(history, policies)
    assert none.startswith("Policy 2 has no verifier")
    assert other.startswith(f"Policy 3 names the verifier {POLICY.verifier}")

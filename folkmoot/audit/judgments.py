# SPDX-License-Identifier: Apache-2.0
"""What the arbiter does to rounds: slashings, contributors' faults and postponements, under the ledger's rules."""

from __future__ import annotations

from collections.abc import Mapping

from folkmoot.audit.failure import Subject, mismatch, require, require_that
from folkmoot.audit.history import History
from folkmoot.audit.ledger_state import CHECK, Ledger
from folkmoot.audit.stakes import Stakes, position
from folkmoot.ledger.deployment import JUDGES
from folkmoot.ledger.events import (
    Censored,
    ContributorSlashed,
    Demanded,
    DisputeDismissed,
    DisputeOpened,
    DisputeUpheld,
    Event,
    FaultProven,
    FraudProven,
    GramFraudProven,
    RoundPostponed,
    RoundSlashed,
    Slashed,
    Withheld,
)
from folkmoot.ledger.replay import Round
from folkmoot.protocol.policy import NO_VERIFIER
from folkmoot.rpc.client import Phase

_JUDGMENTS: Mapping[type[Event], tuple[type[Event], ...]] = {
    RoundSlashed: (FraudProven, GramFraudProven, Withheld, Censored, DisputeUpheld),
    ContributorSlashed: (FaultProven,),
    RoundPostponed: (Demanded, DisputeOpened, DisputeDismissed),
}
"""Event of a judge in the same transaction as each act of the arbiter on the ledger."""


def slash(ledger: Ledger, replayed: Round, slashes: list[Slashed], event: RoundSlashed) -> None:
    """Check a proof of fraud: all rounds from the head down to the round become void, and so does the open round.

    The anchored rounds above it are void without an event of their own; the open one is cancelled next.
    """
    subject = Subject(check=CHECK, round=event.round, event=event)
    require(subject, "the phase", Phase.ANCHORED.name, replayed.phase.name)
    require(subject, "the verifier", replayed.policy.verifier, event.verifier)
    require(subject, "the bond", replayed.policy.bond, event.bond)
    cursor = ledger.head
    while cursor != event.round:
        require_that(
            cursor > event.round, subject, "the round", "the head or below it", f"beside round {cursor}"
        )
        cursor = ledger.rounds[cursor].base
    if ledger.rounds[len(ledger.rounds)].phase == Phase.OPEN:
        ledger.falling = event
    coordinator, bond = replayed.opened.coordinator, replayed.policy.bond
    ledger.bonds.unlock(event, coordinator, bond)
    # The vault takes the bond at the end of the call.
    later = (other for other in slashes if other.transaction == event.transaction and _is_after(other, event))
    _match_slash(subject, slashes, event, next(later, None), coordinator, bond)


def fault(
    history: History,
    replayed: Round,
    stakes: Stakes,
    slashes: list[Slashed],
    event: ContributorSlashed,
    time: int,
) -> None:
    """Check a contributor's fault: it loses the minimum stake, once per round. The round stays valid."""
    subject = Subject(check=CHECK, round=event.round, contributor=event.contributor, event=event)
    _require_verifier(subject, replayed)
    deadline = replayed.opened_at + history.storage.unbonding_period
    require_that(time < deadline, subject, "the time of the report", f"before {deadline}", time)
    require_that(
        event.contributor in replayed.contributors,
        subject,
        "the contributor",
        "one with a commitment in the round",
        "none",
    )
    reported = [fault.contributor for fault in replayed.faults]
    require_that(
        event.contributor not in reported, subject, "the fault", "the contributor's only one", "a second one"
    )
    # The vault has taken it just before.
    earlier = [
        other for other in slashes if other.transaction == event.transaction and _is_after(event, other)
    ]
    newest = earlier[-1] if earlier else None
    taken = _match_slash(subject, slashes, event, newest, event.contributor, event.taken)
    most = replayed.policy.min_stake
    there = stakes.unlocked_before(event.contributor, taken) + stakes.leaving_before(event.contributor, taken)
    require(subject, "what the vault took", min(most, there), event.taken)


def postpone(history: History, replayed: Round, event: RoundPostponed) -> None:
    """Check a postponement by a judge, or its end. It can't be longer than two unbonding times."""
    subject = Subject(check=CHECK, round=event.round, event=event)
    _require_verifier(subject, replayed)
    require(subject, "the phase", Phase.ANCHORED.name, replayed.phase.name)
    latest = replayed.opened_at + 2 * history.storage.unbonding_period
    first = replayed.anchored.challenge_deadline if replayed.anchored else 0
    require_that(
        first <= event.challenge_deadline <= latest,
        subject,
        "the challenge deadline",
        f"at least {first} and at most {latest}",
        event.challenge_deadline,
    )


def _is_after(one: Event, other: Event) -> bool:
    return position(one) > position(other)


def _require_verifier(subject: Subject, replayed: Round) -> None:
    require_that(
        replayed.policy.verifier != NO_VERIFIER, subject, "the verifier of the policy", "one", "none"
    )


def _match_slash(
    subject: Subject,
    slashes: list[Slashed],
    event: RoundSlashed | ContributorSlashed,
    taken: Slashed | None,
    account: str,
    amount: int,
) -> Slashed:
    """Match an act with the vault's slashing: of the account, the amount. The vault's replay checks the shares.

    If the challenger is zero, a vote convicted, and all of it was burnt.
    """
    if taken is None:
        raise mismatch(subject, "what the vault took", amount, None)
    slashes.remove(taken)
    require(subject, "whose stake was taken", account, taken.account)
    require(subject, "who was paid", event.challenger, taken.beneficiary)
    require(subject, "what the vault took", amount, taken.reward + taken.burnt)
    return taken


def check_judgments(history: History, ledger: Ledger) -> None:
    """Match each act of the deployment's arbiter with a judge's event on the round in the same transaction."""
    spoken = {
        (event.transaction, type(event), getattr(event, "round", 0)): event
        for event in history.events
        if event.contract in JUDGES
    }
    for event in history.events:
        kinds = _JUDGMENTS.get(type(event))
        if kinds is None:
            continue
        number: int = getattr(event, "round", 0)
        if ledger.rounds[number].policy.verifier != history.deployment.arbiter:
            continue
        places = [(event.transaction, kind, number) for kind in kinds]
        judgment = next((spoken[place] for place in places if place in spoken), None)
        if judgment is None:
            raise mismatch(
                Subject(check=CHECK, round=number, event=event),
                "what a judge said",
                " or ".join(kind.__name__ for kind in kinds),
                None,
            )
        if isinstance(event, RoundSlashed):
            ledger.judgments[number] = judgment

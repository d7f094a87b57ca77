# SPDX-License-Identifier: Apache-2.0
"""Replay every round from the ledger's events under the ledger's rules.

`replay` repeats the rules of the ledger (contracts/src/RoundLedger.sol): each event is validated against the state
after the previous events, then applied. Finally, all replayed values are compared with the ledger's storage.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from folkmoot.audit.enrolled import MAX_MISSED, LeaveReason, Missable, Roll
from folkmoot.audit.failure import Subject, mismatch, require, require_that
from folkmoot.audit.history import History
from folkmoot.audit.stakes import Stakes
from folkmoot.chain.deploy import ZERO_ADDRESS
from folkmoot.errors import AuditFailure
from folkmoot.ledger.deployment import JUDGES
from folkmoot.ledger.events import (
    Censored,
    CommitsClosed,
    ContributorSlashed,
    CoordinatorAppointed,
    Demanded,
    DisputeOpened,
    DisputeUpheld,
    Enrolled,
    Event,
    FaultProven,
    FraudProven,
    Frozen,
    GramFraudProven,
    Left,
    PolicyAdded,
    RoundAnchored,
    RoundCancelled,
    RoundFinalized,
    RoundOpened,
    RoundPostponed,
    RoundSettled,
    RoundSlashed,
    Slashed,
    UpdateCommitted,
    Withheld,
)
from folkmoot.protocol.commitment import Commitment
from folkmoot.protocol.outer_step import MAX_WEIGHT_SUM
from folkmoot.protocol.policy import NO_VERIFIER, Policy
from folkmoot.round import Anchor
from folkmoot.rpc.client import Head, Phase, RoundView

_CHECK = "rounds"
_NO_ROOT = bytes(32)
CHALLENGER_SHARE = 5_000
"""Share of a slashed bond that goes to the challenger, in 1/10000."""
MAX_PENDING_ROUNDS = 256
"""Maximum number of anchored rounds that are not final."""

_JUDGMENTS: Mapping[type[Event], tuple[type[Event], ...]] = {
    RoundSlashed: (FraudProven, GramFraudProven, Withheld, Censored, DisputeUpheld),
    ContributorSlashed: (FaultProven,),
    RoundPostponed: (Demanded, DisputeOpened),
}
"""Event of a judge in the same transaction as each act of the arbiter on the ledger."""


class CancelReason(IntEnum):
    """Why a round was cancelled, as `IRoundLedger.CancelReason`."""

    TOO_FEW_UPDATES = 0
    ANCHOR_LATE = 1
    BASE_VOIDED = 2
    EMPTY = 3


@dataclass
class Round:
    """A round, from the events."""

    number: int
    """Its number."""
    policy_id: int
    """Number of its policy."""
    policy: Policy
    """Its policy."""
    base: int
    """Round of its base state."""
    base_state_root: bytes
    """State root of that round."""
    opened: RoundOpened
    """Event of its opening."""
    opened_at: int
    """Unix time of its opening."""
    phase: Phase = Phase.OPEN
    """Phase as stored."""
    commits: list[UpdateCommitted] = field(default_factory=list)
    """Events of its entries, in order."""
    contributors: set[str] = field(default_factory=set)
    """Accounts of its entries."""
    closed: CommitsClosed | None = None
    """Event of the early end of its commit window, if any."""
    anchored: RoundAnchored | None = None
    """Event of its anchor, if any."""
    cancelled: CancelReason | None = None
    """Why it was cancelled."""
    postponed: int = 0
    """Unix time of the deadline after a judge's postponement; 0 without one."""
    faults: list[ContributorSlashed] = field(default_factory=list)
    """Events of contributors' slashings for faults."""
    slashed: RoundSlashed | None = None
    """Event of its slashing, if any."""
    judgment: Event | None = None
    """Event of the judge at its slashing, if any."""
    settled: RoundSettled | None = None
    """Event of the settlement of its rewards, if any."""
    finalized: RoundFinalized | None = None
    """Event of its finality, if any."""

    @property
    def anchor(self) -> Anchor | None:
        """The coordinator's claims."""
        if self.anchored is None:
            return None
        record = self.anchored.anchor
        return Anchor(
            record.weights,
            record.delivered,
            record.aggregate_root,
            record.state_root,
            record.gram_root,
            record.verdict_hash,
            record.artifacts_hash,
        )

    @property
    def commit_deadline(self) -> int:
        """Unix time from which commitments are refused."""
        return (self.closed or self.opened).commit_deadline

    @property
    def anchor_deadline(self) -> int:
        """Unix time from which the anchor is late."""
        return (self.closed or self.opened).anchor_deadline

    @property
    def challenge_deadline(self) -> int:
        """Unix time from which it may become final; 0 until anchored."""
        return self.postponed or (self.anchored.challenge_deadline if self.anchored else 0)

    @property
    def voided(self) -> bool:
        """Whether it was anchored and then slashed, or cancelled because of an earlier slashed round."""
        return self.phase == Phase.SLASHED or self.cancelled == CancelReason.BASE_VOIDED

    def commitments(self) -> list[Commitment]:
        """Return the entries as commitments."""
        return [
            Commitment(
                event.contributor,
                self.number,
                self.base_state_root,
                event.update_root,
                event.sum_squares,
                event.num_examples,
                event.bundle_hash,
            )
            for event in self.commits
        ]


@dataclass
class Ledger:
    """State of the ledger after its events."""

    genesis_root: bytes
    """State root of round 0."""
    created_at: int
    """Unix time of the deployment."""
    rounds: dict[int, Round] = field(default_factory=dict)
    """Rounds from 1 on."""
    head: int = 0
    """Base of the next round."""
    pending: int = 0
    """Number of anchored rounds that are not final."""
    policy: int = 0
    """Policy of the next round."""
    coordinator: str = ""
    """Coordinator of the next round."""
    roll: Roll = field(default_factory=Roll)
    """List of enrolled accounts."""
    voided: list[int] = field(default_factory=list)
    """Rounds that were cancelled for a slashed base whose slashing event has not been read yet."""

    def state_root(self, number: int) -> bytes:
        """Return the state root of an anchored round, or of the genesis."""
        if number == 0:
            return self.genesis_root
        anchor = self.rounds[number].anchor
        return anchor.state_root if anchor else _NO_ROOT


def replay(history: History, policies: Mapping[int, Policy], stakes: Stakes, genesis_root: bytes) -> Ledger:
    """Replay the ledger's events.

    Args:
        history: The history.
        policies: The policies by number.
        stakes: The folded stakes.
        genesis_root: State root of the genesis, from its file.

    Raises:
        AuditFailure: An event violates the ledger's rules.
    """
    created = next(event for event in history.events if event.contract == "ledger")
    ledger = Ledger(genesis_root, history.time(created))
    slashes: list[Slashed] = []
    frozen: dict[str, int] = {}
    asked: RoundPostponed | None = None  # A postponement whose freezing event has not been read yet.
    for event in history.events:
        if isinstance(event, Slashed):
            slashes.append(event)
        if event.contract == "ledger" or isinstance(event, Frozen):
            asked = _match_freeze(ledger, frozen, asked, event)
        if event.contract == "ledger":
            _apply(history, ledger, policies, stakes, slashes, event)
    if asked is not None:
        raise _not_frozen(asked)
    for event in slashes:  # Cancelled rounds without a slashing.
        raise mismatch(
            Subject(check=_CHECK, event=event),
            "the reason of the slashing",
            "a slashed round or a contributor's fault",
            None,
        )
    _check_judgments(history, ledger)
    require(Subject(check=_CHECK), "the rounds cancelled without a slashed base", [], ledger.voided)
    return ledger


def check_rounds(history: History, ledger: Ledger) -> None:
    """Compare the replayed rounds with the stored ones, field by field.

    Raises:
        AuditFailure: A field differs.
    """
    storage, subject = history.storage, Subject(check=_CHECK)
    require(subject, "the next round", len(ledger.rounds) + 1, storage.next_round)
    for number, stored in storage.rounds.items():
        expected = _genesis_view(ledger) if number == 0 else _view(ledger.rounds[number])
        for name in RoundView.__dataclass_fields__:
            if (
                number and name == "entries_hash"
            ):  # A separate check, after the one that names the contributor.
                continue
            require(
                Subject(check=_CHECK, round=number),
                f"the stored {name.replace('_', ' ')}",
                getattr(expected, name),
                getattr(stored, name),
            )
    require(subject, "the head", Head(ledger.head, ledger.state_root(ledger.head)), storage.ledger_head)
    require(subject, "the number of pending rounds", ledger.pending, storage.pending_rounds)
    require(subject, "the coordinator", ledger.coordinator, storage.coordinator)


# One event at a time: validate, apply.


def _apply(
    history: History,
    ledger: Ledger,
    policies: Mapping[int, Policy],
    stakes: Stakes,
    slashes: list[Slashed],
    event: Event,
) -> None:
    time = history.time(event)
    match event:
        case PolicyAdded():
            ledger.policy = event.policy_id
        case CoordinatorAppointed():
            subject = Subject(check=_CHECK, event=event)
            if ledger.coordinator:
                require(subject, "the previous coordinator", ledger.coordinator, event.previous)
            ledger.coordinator = event.coordinator
        case RoundOpened():
            _open(ledger, policies, stakes, event, time)
            ledger.roll.opened()
        case Enrolled():
            subject = Subject(check=_CHECK, event=event)
            _require_stake(subject, stakes, event.account, policies[ledger.policy].min_stake, event)
            ledger.roll.enrol(subject, event, len(ledger.rounds) + 1)
        case Left():
            _leave(ledger, policies, stakes, event, time)
        case CommitsClosed():
            _close(ledger, _known(ledger, event, event.round), event, time)
        case UpdateCommitted():
            _commit(_known(ledger, event, event.round), stakes, event, time)
        case RoundAnchored():
            _anchor(ledger, _known(ledger, event, event.round), stakes, event, time)
        case RoundFinalized():
            _finalize(ledger, _known(ledger, event, event.round), event, time)
        case RoundCancelled():
            _cancel(ledger, _known(ledger, event, event.round), event, time)
        case RoundSlashed():
            _slash(ledger, _known(ledger, event, event.round), stakes, slashes, event)
        case ContributorSlashed():
            _fault(history, _known(ledger, event, event.round), stakes, slashes, event, time)
        case RoundPostponed():
            _postpone(history, _known(ledger, event, event.round), event)
        case RoundSettled():
            replayed = _known(ledger, event, event.round)
            subject = Subject(check=_CHECK, round=event.round, event=event)
            require(subject, "the phase", Phase.FINAL.name, replayed.phase.name)
            require(subject, "an earlier settlement", None, replayed.settled)
            replayed.settled = event
        case _:
            pass  # Other modules check rewards and roles.


def _open(
    ledger: Ledger, policies: Mapping[int, Policy], stakes: Stakes, event: RoundOpened, time: int
) -> None:
    subject = Subject(check=_CHECK, round=event.round, event=event)
    require(subject, "the number of the round", len(ledger.rounds) + 1, event.round)
    previous = ledger.rounds.get(event.round - 1)
    require_that(
        previous is None or previous.phase != Phase.OPEN, subject, "the round before", "over", "still open"
    )
    require(subject, "the base", ledger.head, event.base)
    require(subject, "the base state root", ledger.state_root(ledger.head), event.base_state_root)
    require(subject, "the policy", ledger.policy, event.policy_id)
    require_that(event.policy_id in policies, subject, "the policy", "one that was added", event.policy_id)
    require(subject, "the coordinator", ledger.coordinator, event.coordinator)
    require_that(
        ledger.pending < MAX_PENDING_ROUNDS,
        subject,
        "the number of pending rounds",
        f"below {MAX_PENDING_ROUNDS}",
        ledger.pending,
    )
    policy = policies[event.policy_id]
    _require_stake(subject, stakes, event.coordinator, policy.bond, event)
    commit_deadline = time + policy.commit_window
    require(subject, "the commit deadline", commit_deadline, event.commit_deadline)
    require(subject, "the anchor deadline", commit_deadline + policy.anchor_window, event.anchor_deadline)
    ledger.rounds[event.round] = Round(
        event.round, event.policy_id, policy, event.base, event.base_state_root, event, time
    )


def _commit(replayed: Round, stakes: Stakes, event: UpdateCommitted, time: int) -> None:
    subject = Subject(check="entries", round=event.round, contributor=event.contributor, event=event)
    policy = replayed.policy
    require(subject, "the phase", Phase.OPEN.name, replayed.phase.name)
    require_that(
        time < replayed.commit_deadline,
        subject,
        "the time of the commitment",
        f"before {replayed.commit_deadline}",
        time,
    )
    require(subject, "the index of the entry", len(replayed.commits), event.index)
    require_that(
        event.index < policy.max_contributors,
        subject,
        "the number of entries",
        f"at most {policy.max_contributors}",
        event.index + 1,
    )
    require_that(
        event.contributor not in replayed.contributors,
        subject,
        "the commitment",
        "the contributor's only one",
        "a second one",
    )
    require_that(
        event.sum_squares <= policy.max_sum_squares,
        subject,
        "the sum of squares",
        f"at most {policy.max_sum_squares}",
        event.sum_squares,
    )
    _require_stake(subject, stakes, event.contributor, policy.min_stake, event)
    replayed.commits.append(event)
    replayed.contributors.add(event.contributor)


def _leave(ledger: Ledger, policies: Mapping[int, Policy], stakes: Stakes, event: Left, time: int) -> None:
    """Apply a leave or a removal: for too little stake at any time, for absence only while no round is open."""
    subject = Subject(check=_CHECK, event=event)
    last = ledger.rounds.get(len(ledger.rounds))
    taking = last if last is not None and last.phase == Phase.OPEN and time < last.commit_deadline else None
    rounds = (_missable(ledger.rounds[number]) for number in range(len(ledger.rounds), 0, -1))
    missed = ledger.roll.missed(event.account, rounds) if event.account in ledger.roll.since else 0
    reason = ledger.roll.leave(subject, event)
    if reason == LeaveReason.OWN:
        return
    least = (taking.policy if taking else policies[ledger.policy]).min_stake
    stake = stakes.stake_before(event.account, event)
    if reason == LeaveReason.STAKE_TOO_LOW:
        require_that(stake < least, subject, f"the stake of {event.account}", f"below {least}", stake)
        return
    require_that(stake >= least, subject, f"the stake of {event.account}", f"at least {least}", stake)
    require_that(taking is None, subject, "the commit window", "over", "still open")
    require(subject, f"the rounds that {event.account} missed in a row", MAX_MISSED, missed)


def _missable(replayed: Round) -> Missable:
    counts = (
        replayed.phase in (Phase.ANCHORED, Phase.FINAL)
        and len(replayed.commits) < replayed.policy.max_contributors
    )
    return Missable(replayed.number, counts, replayed.contributors)


def _close(ledger: Ledger, replayed: Round, event: CommitsClosed, time: int) -> None:
    """Apply the early end of a commit window: the round is full, or all counted accounts have committed."""
    subject = Subject(check=_CHECK, round=event.round, event=event)
    require(subject, "the phase", Phase.OPEN.name, replayed.phase.name)
    require_that(
        time < replayed.commit_deadline,
        subject,
        "the time of the closing",
        f"before {replayed.commit_deadline}",
        time,
    )
    policy, entries, counted = replayed.policy, len(replayed.commits), ledger.roll.counted
    if entries < policy.max_contributors:
        least = policy.min_contributors
        require_that(entries >= least, subject, "the number of entries", f"at least {least}", entries)
        require_that(bool(counted), subject, "the enrolled accounts that count", "at least one", 0)
        require(
            subject, "the enrolled accounts without a commitment", [], sorted(counted - replayed.contributors)
        )
    require(subject, "the commit deadline", time, event.commit_deadline)
    require(subject, "the anchor deadline", time + policy.anchor_window, event.anchor_deadline)
    replayed.closed = event


def _anchor(ledger: Ledger, replayed: Round, stakes: Stakes, event: RoundAnchored, time: int) -> None:
    subject = Subject(check=_CHECK, round=event.round, event=event)
    require(subject, "the phase", Phase.OPEN.name, replayed.phase.name)
    opened, policy = replayed.opened, replayed.policy
    require_that(
        replayed.commit_deadline <= time < replayed.anchor_deadline,
        subject,
        "the time of the anchor",
        f"from {replayed.commit_deadline} and before {replayed.anchor_deadline}",
        time,
    )
    entries = len(replayed.commits)
    require_that(
        entries >= policy.min_contributors,
        subject,
        "the number of entries",
        f"at least {policy.min_contributors}",
        entries,
    )
    require(subject, "the number of weights", entries, len(event.anchor.weights))
    total = sum(event.anchor.weights)
    require_that(1 <= total <= MAX_WEIGHT_SUM, subject, "the sum of weights", f"1 to {MAX_WEIGHT_SUM}", total)
    _require_stake(subject, stakes, opened.coordinator, policy.bond, event)
    require(subject, "the challenge deadline", time + policy.challenge_window, event.challenge_deadline)
    replayed.phase, replayed.anchored = Phase.ANCHORED, event
    ledger.head = event.round
    ledger.pending += 1


def _finalize(ledger: Ledger, replayed: Round, event: RoundFinalized, time: int) -> None:
    subject = Subject(check=_CHECK, round=event.round, event=event)
    require(subject, "the phase", Phase.ANCHORED.name, replayed.phase.name)
    require_that(
        time >= replayed.challenge_deadline,
        subject,
        "the time of the finality",
        f"from {replayed.challenge_deadline}",
        time,
    )
    base = Phase.FINAL if replayed.base == 0 else ledger.rounds[replayed.base].phase
    require(subject, f"the phase of the base, round {replayed.base}", Phase.FINAL.name, base.name)
    require(subject, "the state root", ledger.state_root(event.round), event.state_root)
    replayed.phase, replayed.finalized = Phase.FINAL, event
    ledger.pending -= 1


def _cancel(ledger: Ledger, replayed: Round, event: RoundCancelled, time: int) -> None:
    subject = Subject(check=_CHECK, round=event.round, event=event)
    require_that(event.reason in list(CancelReason), subject, "the reason", "0 to 3", event.reason)
    reason = CancelReason(event.reason)
    if reason == CancelReason.BASE_VOIDED:
        require_that(
            replayed.phase in (Phase.OPEN, Phase.ANCHORED),
            subject,
            "the phase",
            "OPEN or ANCHORED",
            replayed.phase.name,
        )
        ledger.voided.append(event.round)
    elif reason == CancelReason.EMPTY:
        require(subject, "the phase", Phase.OPEN.name, replayed.phase.name)
        require(subject, "the number of entries", 0, len(replayed.commits))
        replayed.phase = Phase.CANCELLED
    else:
        require(subject, "the phase", Phase.OPEN.name, replayed.phase.name)
        enough = len(replayed.commits) >= replayed.policy.min_contributors
        deadline = replayed.anchor_deadline if enough else replayed.commit_deadline
        expected = CancelReason.ANCHOR_LATE if enough else CancelReason.TOO_FEW_UPDATES
        require(subject, "the reason", expected.name, reason.name)
        require_that(time >= deadline, subject, "the time of the cancellation", f"from {deadline}", time)
        replayed.phase = Phase.CANCELLED
    replayed.cancelled = reason


def _slash(
    ledger: Ledger, replayed: Round, stakes: Stakes, slashes: list[Slashed], event: RoundSlashed
) -> None:
    """Apply a proof of fraud: all rounds from the head down to the round become void, and so does the open round."""
    subject = Subject(check=_CHECK, round=event.round, event=event)
    require(subject, "the phase", Phase.ANCHORED.name, replayed.phase.name)
    require(subject, "the verifier", replayed.policy.verifier, event.verifier)
    last = ledger.rounds[len(ledger.rounds)]
    expected = [last.number] if last.phase == Phase.OPEN else []
    cursor = ledger.head
    while cursor != event.round:
        require_that(
            cursor > event.round, subject, "the round", "the head or below it", f"beside round {cursor}"
        )
        expected.append(cursor)
        cursor = ledger.rounds[cursor].base
    require(subject, "the rounds that fell with it", expected, ledger.voided)
    ledger.pending -= 1
    for number in expected:
        ledger.pending -= ledger.rounds[number].phase == Phase.ANCHORED
        ledger.rounds[number].phase = Phase.CANCELLED
    replayed.phase, replayed.slashed = Phase.SLASHED, event
    ledger.head, ledger.voided = replayed.base, []
    _match_slash(
        subject, stakes, slashes, event, replayed.opened.coordinator, event.bond, replayed.policy.bond
    )


def _fault(
    history: History,
    replayed: Round,
    stakes: Stakes,
    slashes: list[Slashed],
    event: ContributorSlashed,
    time: int,
) -> None:
    """Apply a contributor's fault: it loses the minimum stake, once per round. The round stays valid."""
    subject = Subject(check=_CHECK, round=event.round, contributor=event.contributor, event=event)
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
    _match_slash(subject, stakes, slashes, event, event.contributor, event.taken, replayed.policy.min_stake)
    replayed.faults.append(event)


def _postpone(history: History, replayed: Round, event: RoundPostponed) -> None:
    """Apply a postponement by a judge. It can't be longer than two unbonding times."""
    subject = Subject(check=_CHECK, round=event.round, event=event)
    _require_verifier(subject, replayed)
    require(subject, "the phase", Phase.ANCHORED.name, replayed.phase.name)
    latest = replayed.opened_at + 2 * history.storage.unbonding_period
    require_that(
        replayed.challenge_deadline < event.challenge_deadline <= latest,
        subject,
        "the challenge deadline",
        f"after {replayed.challenge_deadline} and at most {latest}",
        event.challenge_deadline,
    )
    replayed.postponed = event.challenge_deadline


def _match_freeze(
    ledger: Ledger, frozen: dict[str, int], asked: RoundPostponed | None, event: Event
) -> RoundPostponed | None:
    """Match each postponement with the freezing of the coordinator's stake that follows it, if one is needed.

    Args:
        ledger: The rounds so far.
        frozen: Unix times until which stakes are frozen, by account.
        asked: A postponement whose freezing event has not been read yet.
        event: The next event of the ledger, or the next freezing.

    Returns:
        The postponement whose freezing event must come next, if any.
    """
    subject = Subject(check=_CHECK, event=event)
    if isinstance(event, Frozen):
        if asked is None or asked.transaction != event.transaction:
            raise mismatch(subject, "the reason of the freezing", "a postponed round", None)
        require(
            subject, "whose stake was frozen", ledger.rounds[asked.round].opened.coordinator, event.account
        )
        require(subject, "until when it was frozen", asked.challenge_deadline, event.until)
        frozen[event.account] = event.until
        return None
    if asked is not None:
        raise _not_frozen(asked)
    if not isinstance(event, RoundPostponed):
        return None
    coordinator = _known(ledger, event, event.round).opened.coordinator
    return event if event.challenge_deadline > frozen.get(coordinator, 0) else None


def _not_frozen(asked: RoundPostponed) -> AuditFailure:
    subject = Subject(check=_CHECK, round=asked.round, event=asked)
    return mismatch(subject, "the freezing of the coordinator's stake", asked.challenge_deadline, None)


def _require_verifier(subject: Subject, replayed: Round) -> None:
    require_that(
        replayed.policy.verifier != NO_VERIFIER, subject, "the verifier of the policy", "one", "none"
    )


def _match_slash(
    subject: Subject,
    stakes: Stakes,
    slashes: list[Slashed],
    event: RoundSlashed | ContributorSlashed,
    account: str,
    amount: int,
    most: int,
) -> None:
    """Match an act with the vault's slashing: of the account, at most the amount, half of it for the challenger.

    If the challenger is zero, a vote convicted, and all of it was burnt.
    """
    taken = next((entry for entry in slashes if entry.transaction == event.transaction), None)
    if taken is None:
        raise mismatch(subject, "what the vault took", amount, None)
    slashes.remove(taken)
    require(subject, "whose stake was taken", account, taken.account)
    require(subject, "who was paid", event.challenger, taken.beneficiary)
    require(subject, "what the vault took", amount, taken.reward + taken.burnt)
    share = 0 if event.challenger == ZERO_ADDRESS else amount * CHALLENGER_SHARE // 10_000
    require(subject, "the challenger's share", share, taken.reward)
    staked = stakes.stake_before(taken.account, taken)
    require_that(
        min(staked, most) <= amount <= most,
        subject,
        "what the vault took",
        f"{most} as far as it was there",
        amount,
    )


def _check_judgments(history: History, ledger: Ledger) -> None:
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
                Subject(check=_CHECK, round=number, event=event),
                "what a judge said",
                " or ".join(kind.__name__ for kind in kinds),
                None,
            )
        if isinstance(event, RoundSlashed):
            ledger.rounds[number].judgment = judgment


def _known(ledger: Ledger, event: Event, number: int) -> Round:
    replayed = ledger.rounds.get(number)
    if replayed is None:
        raise mismatch(
            Subject(check=_CHECK, round=number, event=event), "the round", "one that was opened", None
        )
    return replayed


def _require_stake(subject: Subject, stakes: Stakes, account: str, least: int, event: Event) -> None:
    stake = stakes.stake_before(account, event)
    require_that(stake >= least, subject, f"the stake of {account}", f"at least {least}", stake)


# Expected storage of the ledger


def _view(replayed: Round) -> RoundView:
    anchor = replayed.anchor
    return RoundView(
        policy=replayed.policy_id,
        phase=replayed.phase,
        entries=len(replayed.commits),
        opened_at=replayed.opened_at,
        commit_deadline=replayed.commit_deadline,
        anchor_deadline=replayed.anchor_deadline,
        challenge_deadline=replayed.challenge_deadline,
        coordinator=replayed.opened.coordinator,
        base=replayed.base,
        settled=replayed.settled is not None,
        header_hash=replayed.opened.header_hash,
        entries_hash=_NO_ROOT,
        state_root=anchor.state_root if anchor else _NO_ROOT,
        anchor_hash=anchor.hash if anchor else _NO_ROOT,
    )


def _genesis_view(ledger: Ledger) -> RoundView:
    return RoundView(
        policy=0,
        phase=Phase.FINAL,
        entries=0,
        opened_at=ledger.created_at,
        commit_deadline=0,
        anchor_deadline=0,
        challenge_deadline=0,
        coordinator="0x" + "0" * 40,
        base=0,
        settled=False,
        header_hash=_NO_ROOT,
        entries_hash=_NO_ROOT,
        state_root=ledger.genesis_root,
        anchor_hash=_NO_ROOT,
    )

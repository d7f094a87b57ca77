# SPDX-License-Identifier: Apache-2.0
"""Replay every round from the ledger's events under the ledger's rules.

`replay` repeats the rules of the ledger (contracts/src/RoundLedger.sol): each event is validated against the state
after the previous events, then applied. Finally, all replayed values are compared with the ledger's storage.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from folkmoot.audit.bonds import BondBook
from folkmoot.audit.enrolled import MAX_MISSED, LeaveReason, Missable, Roll, missed_in_a_row
from folkmoot.audit.failure import Subject, mismatch, require, require_that
from folkmoot.audit.history import History
from folkmoot.audit.stakes import Stakes, position
from folkmoot.chain.deploy import ZERO_ADDRESS
from folkmoot.ledger.deployment import JUDGES
from folkmoot.ledger.entries import UpdateCommitted, anchor_of, entries_of
from folkmoot.ledger.events import (
    BondLocked,
    BondUnlocked,
    Censored,
    CommitsClosed,
    ContributorSlashed,
    CoordinatorAppointed,
    Demanded,
    DisputeDismissed,
    DisputeOpened,
    DisputeUpheld,
    Enrolled,
    Event,
    FaultProven,
    FraudProven,
    GramFraudProven,
    Left,
    MemberSet,
    PlacesDrawn,
    PolicyAdded,
    Redrawn,
    RoundAnchored,
    RoundCancelled,
    RoundFinalized,
    RoundOpened,
    RoundPostponed,
    RoundSettled,
    RoundSlashed,
    Slashed,
    UpdatesCommitted,
    Withheld,
)
from folkmoot.ledger.stakes import MAX_PENDING_ROUNDS
from folkmoot.protocol.anchor import Anchor
from folkmoot.protocol.commitment import Commitment
from folkmoot.protocol.mean import MAX_WEIGHT_SUM
from folkmoot.protocol.places import REDRAW_BLOCKS, available, has_place, quota_of, seed_of
from folkmoot.protocol.policy import NO_VERIFIER, Policy
from folkmoot.rpc.client import Basis, Draw, Head, Phase, RoundView

_CHECK = "rounds"
_NO_ROOT = bytes(32)

_JUDGMENTS: Mapping[type[Event], tuple[type[Event], ...]] = {
    RoundSlashed: (FraudProven, GramFraudProven, Withheld, Censored, DisputeUpheld),
    ContributorSlashed: (FaultProven,),
    RoundPostponed: (Demanded, DisputeOpened, DisputeDismissed),
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
    quota: int = 0
    """Enrolled stake that has a place for certain, recomputed at the opening; 0 if no places are drawn."""
    drawn: PlacesDrawn | None = None
    """Event of the draw of its places, if any."""
    position: int = 0
    """Place among the rounds that stand, the genesis at 0; 0 until anchored."""
    phase: Phase = Phase.OPEN
    """Phase as the ledger reports it: cancelled as soon as a round below is slashed."""
    commits: list[UpdateCommitted] = field(default_factory=list)
    """Its entries, in order."""
    contributors: set[str] = field(default_factory=set)
    """Accounts of its entries."""
    closed: CommitsClosed | None = None
    """Event of the early end of its commit window, if any."""
    anchored: RoundAnchored | None = None
    """Event of its anchor, if any."""
    cancelled: CancelReason | None = None
    """Why it was cancelled."""
    released: RoundCancelled | None = None
    """Event of the release of its bond, if it is void."""
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
        return None if self.anchored is None else anchor_of(self.anchored)

    @property
    def known_anchor(self) -> Anchor:
        """The coordinator's claims about a round that is anchored, as each base is: ``replay`` has checked that.

        Raises:
            AssertionError: It is not anchored. The caller has a mistake: no history can bring it about.
        """
        if self.anchor is None:
            raise AssertionError(f"round {self.number} has no anchor: ask whether it is anchored first")
        return self.anchor

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

    @property
    def draw(self) -> Draw:
        """The draw of its places; all zero if there was none."""
        return Draw(self.drawn.quota, self.drawn.at, self.drawn.seed) if self.drawn else Draw(0, 0, 0)

    @property
    def enrolled_by(self) -> int:
        """Unix time: who has been enrolled since before may have a place."""
        return self.drawn.at if self.drawn else self.opened_at

    @property
    def places(self) -> int:
        """Number of entries that make it full for contributors."""
        most = self.policy.max_contributors
        return available(most) if self.quota else most

    def commitments(self) -> list[Commitment]:
        """Return the entries as commitments."""
        return [entry.commitment(self.base_state_root) for entry in self.commits]


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
    policy: int = 0
    """Policy of the next round."""
    coordinator: str = ""
    """Coordinator of the next round."""
    roll: Roll = field(default_factory=Roll)
    """List of enrolled accounts."""
    admitted: dict[str, bool] = field(default_factory=dict)
    """Whether the list of members has an account, for each that it ever had."""
    finals: int = 1
    """Number of final rounds, the genesis included."""
    bonds: BondBook = field(default_factory=BondBook)
    """Bonds that the rounds have locked."""
    basis: Basis | None = None
    """What the next draw of places rests on; None if the block of the vault's creation is not known."""
    basis_hash: bytes = bytes(32)
    """Hash of the block of the basis."""
    spent: dict[str, int] = field(default_factory=dict)
    """What each contributor has spent of its privacy budget, in units of 2^-32 of rho."""
    falling: RoundSlashed | None = None
    """Slashing whose open round has not been cancelled yet."""

    @property
    def pending(self) -> int:
        """Number of anchored rounds that stand and are not final."""
        return self.length - self.finals

    @property
    def length(self) -> int:
        """Number of rounds that stand, the genesis included: the position of the next anchored round."""
        return self.rounds[self.head].position + 1 if self.head else 1

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
    block = history.vault_created
    if block is not None:
        ledger.basis, ledger.basis_hash = Basis(0, block.timestamp, block.number), block.hash
    slashes = [event for event in history.events if isinstance(event, Slashed)]
    for event in history.events:
        ledger.bonds.begin(event)
        _require_prompt(ledger, event)
        if isinstance(event, BondLocked | BondUnlocked):
            ledger.bonds.match(event)
        if isinstance(event, Redrawn):
            _redraw(history, ledger, stakes, event)
        if isinstance(event, MemberSet):
            ledger.admitted[event.account] = event.member
        if event.contract == "ledger":
            _apply(history, ledger, policies, stakes, slashes, event)
    ledger.bonds.end()
    _require_prompt(ledger, None)
    for event in slashes:  # Cancelled rounds without a slashing.
        raise mismatch(
            Subject(check=_CHECK, event=event),
            "the reason of the slashing",
            "a slashed round or a contributor's fault",
            None,
        )
    _check_judgments(history, ledger)
    for account, amount in history.storage.spent.items():
        subject = Subject(check="entries", contributor=account)
        require(subject, "the spent privacy budget", ledger.spent.get(account, 0), amount)
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
        if number:
            require(
                Subject(check=_CHECK, round=number),
                "the stored draw of places",
                ledger.rounds[number].draw,
                storage.draws.get(number),
            )
    require(subject, "the head", Head(ledger.head, ledger.state_root(ledger.head)), storage.ledger_head)
    require(subject, "the number of pending rounds", ledger.pending, storage.pending_rounds)
    require(subject, "the coordinator", ledger.coordinator, storage.coordinator)
    require(subject, "the list of members", ledger.admitted, storage.admitted)
    if ledger.basis is not None:
        require(subject, "the basis of the next draw", ledger.basis, storage.basis)


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
            _open(history, ledger, policies, stakes, event, time)
        case PlacesDrawn():
            _draw(ledger, _known(ledger, event, event.round), event)
        case Enrolled():
            least = policies[ledger.policy].min_stake
            subject = Subject(check=_CHECK, event=event)
            _require_membership(history, ledger, subject, event.account, True)
            require_that(
                event.amount >= least,
                subject,
                f"the stake that {event.account} enrols",
                f"at least {least}",
                event.amount,
            )
            ledger.roll.members.add(event.account)
        case Left():
            _leave(history, ledger, policies, stakes, event, time)
        case CommitsClosed():
            _close(ledger, _known(ledger, event, event.round), stakes, event, time)
        case UpdatesCommitted():
            replayed = _known(ledger, event, event.round)
            for entry in entries_of(event):
                _commit(replayed, stakes, entry, time)
                _charge(ledger, replayed, entry)
        case RoundAnchored():
            _anchor(ledger, _known(ledger, event, event.round), event, time)
            _note_basis(ledger, stakes, event, time)
        case RoundFinalized():
            _finalize(ledger, _known(ledger, event, event.round), event, time)
        case RoundCancelled():
            _cancel(ledger, _known(ledger, event, event.round), event, time)
        case RoundSlashed():
            _slash(ledger, _known(ledger, event, event.round), slashes, event)
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


def _require_prompt(ledger: Ledger, event: Event | None) -> None:
    """Check that the events follow that must come at once: a draw after an opening, a cancellation after a slashing.

    Args:
        ledger: The ledger before the event.
        event: The next event; None after the last one.
    """
    if ledger.falling is not None and not isinstance(event, RoundCancelled):
        raise mismatch(
            Subject(check=_CHECK, round=ledger.falling.round, event=ledger.falling),
            "the cancellation of the open round",
            f"one of round {len(ledger.rounds)}",
            None,
        )
    last = ledger.rounds.get(len(ledger.rounds))
    if last is not None and last.quota and last.drawn is None and not isinstance(event, PlacesDrawn):
        raise mismatch(
            Subject(check=_CHECK, round=last.number, event=last.opened),
            "the draw of places",
            f"one with the quota {last.quota}",
            None,
        )


def _open(
    history: History,
    ledger: Ledger,
    policies: Mapping[int, Policy],
    stakes: Stakes,
    event: RoundOpened,
    time: int,
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
    commit_deadline = time + policy.commit_window
    require(subject, "the commit deadline", commit_deadline, event.commit_deadline)
    require(subject, "the anchor deadline", commit_deadline + policy.anchor_window, event.anchor_deadline)
    quota = 0
    if history.storage.limits.admission == ZERO_ADDRESS:
        # Before the first anchor, the basis has no enrolled stake, wherever the vault was created.
        total = ledger.basis.total if ledger.basis else 0
        now = stakes.total_enrolled_before(event)
        quota = quota_of(total, policy.max_contributors, policy.min_stake, now)
    ledger.rounds[event.round] = Round(
        event.round, event.policy_id, policy, event.base, event.base_state_root, event, time, quota
    )
    ledger.bonds.lock(event, event.coordinator, policy.bond)


def _draw(ledger: Ledger, replayed: Round, event: PlacesDrawn) -> None:
    """Apply a draw of places. All of it is recomputed from its basis."""
    subject = Subject(check=_CHECK, round=event.round, event=event)
    require(subject, "an earlier draw of places", None, replayed.drawn)
    require(subject, "the transaction of the draw of places", replayed.opened.transaction, event.transaction)
    require(subject, "the quota of a place", replayed.quota, event.quota)
    if ledger.basis is not None:
        require(subject, "the time of the draw's basis", ledger.basis.at, event.at)
        require(subject, "the seed of the draw", seed_of(ledger.basis_hash), event.seed)
    replayed.drawn = event


def _note_basis(ledger: Ledger, stakes: Stakes, event: RoundAnchored | Redrawn, time: int) -> None:
    """Note what the next draw rests on."""
    ledger.basis = Basis(stakes.total_enrolled_before(event), time, event.block)
    ledger.basis_hash = event.block_hash


def _redraw(history: History, ledger: Ledger, stakes: Stakes, event: Redrawn) -> None:
    """Apply a new basis without an anchor: only if the last one is too old."""
    subject = Subject(check=_CHECK, event=event)
    if ledger.basis is not None:
        least = ledger.basis.block + REDRAW_BLOCKS
        require_that(event.block >= least, subject, "the block of the redraw", f"from {least}", event.block)
    require(subject, "the sum of all enrolled stake", stakes.total_enrolled_before(event), event.total)
    _note_basis(ledger, stakes, event, history.time(event))


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
    require_that(
        event.sum_squares >= policy.min_sum_squares,
        subject,
        "the sum of squares",
        f"at least {policy.min_sum_squares}",
        event.sum_squares,
    )
    _require_place(subject, replayed, stakes, event)
    replayed.commits.append(event)
    replayed.contributors.add(event.contributor)


def _charge(ledger: Ledger, replayed: Round, event: UpdateCommitted) -> None:
    """Add what an entry costs of its contributor's privacy budget, which stays spent whatever becomes of the round."""
    policy = replayed.policy
    if policy.noise1024 == 0:
        return
    spent = ledger.spent.get(event.contributor, 0) + policy.cost
    require_that(
        spent <= policy.privacy_cap,
        Subject(check="entries", round=event.round, contributor=event.contributor, event=event),
        "the spent privacy budget",
        f"at most {policy.privacy_cap}",
        spent,
    )
    ledger.spent[event.contributor] = spent


def _require_place(subject: Subject, replayed: Round, stakes: Stakes, event: UpdateCommitted) -> None:
    """Check that an account has a place in a round, and that one is left.

    The coordinator needs the minimum stake alone. Everybody else must have enrolled before the opening, with at least
    the minimum stake, and in a crowd with a quota or with a lot that gives a place.
    """
    account, least, own = event.contributor, replayed.policy.min_stake, False
    if account == replayed.opened.coordinator:
        own = True
        stake = stakes.stake_before(account, event)
        require_that(stake >= least, subject, f"the stake of {account}", f"at least {least}", stake)
    else:
        enrolled = stakes.enrolled_before(account, event)
        require_that(
            enrolled >= least, subject, f"the enrolled stake of {account}", f"at least {least}", enrolled
        )
        since = stakes.since_before(account, event)
        require_that(
            since < replayed.enrolled_by,
            subject,
            f"since when {account} is enrolled",
            f"before {replayed.enrolled_by}",
            since,
        )
        quota, _, seed = replayed.draw
        require_that(
            has_place(quota, seed, account, enrolled),
            subject,
            f"the place of {account}",
            f"a quota of {quota}, or a lot that gives a place",
            enrolled,
        )
    limit = replayed.policy.max_contributors if own else replayed.places
    require_that(event.index < limit, subject, "the number of entries", f"at most {limit}", event.index + 1)


def _leave(
    history: History,
    ledger: Ledger,
    policies: Mapping[int, Policy],
    stakes: Stakes,
    event: Left,
    time: int,
) -> None:
    """Apply a leave or a removal: for too little stake at any time, for the rest only while no round is open."""
    subject = Subject(check=_CHECK, event=event)
    last = ledger.rounds.get(len(ledger.rounds))
    taking = last if last is not None and last.phase == Phase.OPEN and time < last.commit_deadline else None
    stake = stakes.enrolled_before(event.account, event)
    since = stakes.since_before(event.account, event)
    rounds = (
        _missable(ledger.rounds[number], event.account, since, stake)
        for number in range(len(ledger.rounds), 0, -1)
    )
    missed = missed_in_a_row(event.account, since, rounds)
    reason = ledger.roll.leave(subject, event)
    if reason == LeaveReason.OWN:
        return
    least = (taking.policy if taking else policies[ledger.policy]).min_stake
    what = f"the enrolled stake of {event.account}"
    if reason == LeaveReason.STAKE_TOO_LOW:
        require_that(stake < least, subject, what, f"below {least}", stake)
        return
    require_that(stake >= least, subject, what, f"at least {least}", stake)
    require_that(taking is None, subject, "the commit window", "over", "still open")
    if reason == LeaveReason.NOT_ADMITTED:
        # What another admission contract than a list of members said at that block can't be read back from its events.
        _require_membership(history, ledger, subject, event.account, False)
        require_that(
            history.storage.limits.admission != ZERO_ADDRESS,
            subject,
            "the contract that admits accounts",
            "one",
            "none",
        )
        return
    require(subject, f"the rounds that {event.account} missed in a row", MAX_MISSED, missed)


def _require_membership(
    history: History, ledger: Ledger, subject: Subject, account: str, member: bool
) -> None:
    """Check whether an account is a member, in a federation with a list of members."""
    if history.deployment.members is not None:
        what = f"whether {account} is a member"
        require(subject, what, member, ledger.admitted.get(account, False))


def _missable(replayed: Round, account: str, since: int, enrolled: int) -> Missable:
    """Return whether an account could miss a round: a place was left for it, in a crowd because it was drawn."""
    quota, _, seed = replayed.draw
    counts = (
        replayed.phase in (Phase.ANCHORED, Phase.FINAL)
        and since < replayed.enrolled_by
        and has_place(quota, seed, account, enrolled)
        and len(replayed.commits) < replayed.places
    )
    return Missable(replayed.number, replayed.opened_at, counts, replayed.contributors)


def _close(ledger: Ledger, replayed: Round, stakes: Stakes, event: CommitsClosed, time: int) -> None:
    """Apply the early end of a commit window: the round is full, or without a crowd all counted accounts committed."""
    subject = Subject(check=_CHECK, round=event.round, event=event)
    require(subject, "the phase", Phase.OPEN.name, replayed.phase.name)
    require_that(
        time < replayed.commit_deadline,
        subject,
        "the time of the closing",
        f"before {replayed.commit_deadline}",
        time,
    )
    policy, entries = replayed.policy, len(replayed.commits)
    if entries < replayed.places:
        least = replayed.places if replayed.quota else policy.min_contributors
        require_that(entries >= least, subject, "the number of entries", f"at least {least}", entries)
        counted = ledger.roll.counted(lambda account: stakes.since_before(account, event), replayed.opened_at)
        require_that(bool(counted), subject, "the enrolled accounts that count", "at least one", 0)
        require(
            subject, "the enrolled accounts without a commitment", [], sorted(counted - replayed.contributors)
        )
    require(subject, "the commit deadline", time, event.commit_deadline)
    require(subject, "the anchor deadline", time + policy.anchor_window, event.anchor_deadline)
    replayed.closed = event


def _anchor(ledger: Ledger, replayed: Round, event: RoundAnchored, time: int) -> None:
    subject = Subject(check=_CHECK, round=event.round, event=event)
    require(subject, "the phase", Phase.OPEN.name, replayed.phase.name)
    policy = replayed.policy
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
    require(subject, "the challenge deadline", time + policy.challenge_window, event.challenge_deadline)
    replayed.phase, replayed.anchored, replayed.position = Phase.ANCHORED, event, ledger.length
    ledger.head = event.round


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
    ledger.finals += 1
    ledger.bonds.unlock(event, replayed.opened.coordinator, replayed.policy.bond)


def _cancel(ledger: Ledger, replayed: Round, event: RoundCancelled, time: int) -> None:
    subject = Subject(check=_CHECK, round=event.round, event=event)
    require_that(event.reason in list(CancelReason), subject, "the reason", "0 to 3", event.reason)
    reason = CancelReason(event.reason)
    falling, ledger.falling = ledger.falling, None
    if falling is not None:
        require(subject, "the transaction of the cancellation", falling.transaction, event.transaction)
        require(subject, "the round that is cancelled", len(ledger.rounds), event.round)
        require(subject, "the reason", CancelReason.BASE_VOIDED.name, reason.name)
        replayed.phase = Phase.CANCELLED
    elif reason == CancelReason.BASE_VOIDED:
        # The round is void since the slashing; its bond is released now.
        void = replayed.anchored is not None and replayed.cancelled == CancelReason.BASE_VOIDED
        require_that(void, subject, "the round", "one that is void", replayed.phase.name)
        require(subject, "an earlier release of the bond", None, replayed.released)
        replayed.released = event
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
    ledger.bonds.unlock(event, replayed.opened.coordinator, replayed.policy.bond)


def _slash(ledger: Ledger, replayed: Round, slashes: list[Slashed], event: RoundSlashed) -> None:
    """Apply a proof of fraud: all rounds from the head down to the round become void, and so does the open round.

    The anchored rounds above it are void without an event of their own; the open one is cancelled next.
    """
    subject = Subject(check=_CHECK, round=event.round, event=event)
    require(subject, "the phase", Phase.ANCHORED.name, replayed.phase.name)
    require(subject, "the verifier", replayed.policy.verifier, event.verifier)
    require(subject, "the bond", replayed.policy.bond, event.bond)
    cursor = ledger.head
    while cursor != event.round:
        require_that(
            cursor > event.round, subject, "the round", "the head or below it", f"beside round {cursor}"
        )
        fallen = ledger.rounds[cursor]
        fallen.phase, fallen.cancelled = Phase.CANCELLED, CancelReason.BASE_VOIDED
        cursor = fallen.base
    if ledger.rounds[len(ledger.rounds)].phase == Phase.OPEN:
        ledger.falling = event
    replayed.phase, replayed.slashed = Phase.SLASHED, event
    ledger.head = replayed.base
    coordinator, bond = replayed.opened.coordinator, replayed.policy.bond
    ledger.bonds.unlock(event, coordinator, bond)
    # The vault takes the bond at the end of the call.
    later = (one for one in slashes if one.transaction == event.transaction and _is_after(one, event))
    _match_slash(subject, slashes, event, next(later, None), coordinator, bond)


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
    # The vault has taken it just before.
    earlier = [one for one in slashes if one.transaction == event.transaction and _is_after(event, one)]
    found = earlier[-1] if earlier else None
    taken = _match_slash(subject, slashes, event, found, event.contributor, event.taken)
    most = replayed.policy.min_stake
    there = stakes.unlocked_before(event.contributor, taken) + stakes.leaving_before(event.contributor, taken)
    require(subject, "what the vault took", min(most, there), event.taken)
    replayed.faults.append(event)


def _postpone(history: History, replayed: Round, event: RoundPostponed) -> None:
    """Apply a postponement by a judge, or its end. It can't be longer than two unbonding times."""
    subject = Subject(check=_CHECK, round=event.round, event=event)
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
    replayed.postponed = event.challenge_deadline


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
        position=replayed.position,
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
        position=0,
        header_hash=_NO_ROOT,
        entries_hash=_NO_ROOT,
        state_root=ledger.genesis_root,
        anchor_hash=_NO_ROOT,
    )

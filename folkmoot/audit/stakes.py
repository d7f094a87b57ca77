# SPDX-License-Identifier: Apache-2.0
"""Replay stakes, bonds, enrolled stake and votes from the events, for any moment of the history.

The replay follows the vault's rules (contracts/src/StakeVault.sol). The result is compared with the vault's storage and
its tokens. Other checks use it for what a contributor had enrolled at its commitment, for the sum of all enrolled stake
at the opening of a round, and for the votes at a proposal's snapshot.
"""

from __future__ import annotations

import bisect
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby

from folkmoot.audit.failure import Subject, require, require_that
from folkmoot.audit.history import History
from folkmoot.chain.terms import ZERO_ADDRESS
from folkmoot.ledger.events import (
    BondLocked,
    BondUnlocked,
    DelegateChanged,
    DelegateVotesChanged,
    Enrolled,
    Event,
    Left,
    Slashed,
    Staked,
    Transfer,
    UnbondingRequested,
    Withdrawn,
)
from folkmoot.protocol.policy import CHALLENGER_DIVISOR

_CHECK = "stakes"

Position = tuple[int, int]
"""Position in the history: block and log index."""


def position(event: Event) -> Position:
    """Return the position of an event in the history."""
    return event.block, event.log_index


@dataclass
class Timeline:
    """A number with its changes over time."""

    moments: list[Position | int] = field(default_factory=list)
    """Moments of changes, ascending."""
    values: list[int] = field(default_factory=list)
    """Value from each moment on."""

    @property
    def last(self) -> int:
        """The final value; 0 if it never changed."""
        return self.values[-1] if self.values else 0

    def record(self, moment: Position | int, value: int) -> None:
        """Add a change. A later change at the same moment replaces it."""
        if self.moments and self.moments[-1] == moment:
            self.values[-1] = value
            return
        self.moments.append(moment)
        self.values.append(value)

    def before(self, moment: Position) -> int:
        """Return the value just before a position of the history."""
        place = bisect.bisect_left(self.moments, moment)
        return self.values[place - 1] if place else 0

    def at(self, moment: int) -> int:
        """Return the value at a time, including changes in that second."""
        place = bisect.bisect_right(self.moments, moment)
        return self.values[place - 1] if place else 0


@dataclass
class Stakes:
    """State of the vault after its events. Amounts and votes in units of 1e-18 tokens."""

    stakes: dict[str, Timeline] = field(default_factory=lambda: defaultdict(Timeline))
    """Stake of each account, by position in the history."""
    unbonding: dict[str, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))
    """Pending withdrawals at the end: amount and Unix time of the release, oldest first."""
    leaving: dict[str, Timeline] = field(default_factory=lambda: defaultdict(Timeline))
    """Sum of the pending withdrawals of each account, by position in the history."""
    bonds: dict[str, Timeline] = field(default_factory=lambda: defaultdict(Timeline))
    """Locked stake of each account, by position in the history."""
    enrolled: dict[str, Timeline] = field(default_factory=lambda: defaultdict(Timeline))
    """Enrolled stake of each account, by position in the history."""
    since: dict[str, Timeline] = field(default_factory=lambda: defaultdict(Timeline))
    """Unix time from which the enrolled stake of an account has been as much or more, by position in the history."""
    numbers: dict[str, int] = field(default_factory=dict)
    """Member number of each account that ever enrolled or locked a bond."""
    total_enrolled: Timeline = field(default_factory=Timeline)
    """Sum of all enrolled stake, by position in the history."""
    delegates: dict[str, str] = field(default_factory=dict)
    """Account that votes with the stake of an account, at the end."""
    votes: dict[str, Timeline] = field(default_factory=lambda: defaultdict(Timeline))
    """Votes of each delegate, by time."""
    votes_by_place: dict[str, Timeline] = field(default_factory=lambda: defaultdict(Timeline))
    """The same, by place in the history."""
    total: Timeline = field(default_factory=Timeline)
    """Sum of all stakes that vote, which bonds do not, by time."""
    donated: int = 0
    """Tokens that were sent to the vault without staking. They belong to nobody."""

    def stake_before(self, account: str, event: Event) -> int:
        """Return the stake of an account just before an event."""
        return self.stakes[account].before(position(event)) if account in self.stakes else 0

    def enrolled_before(self, account: str, event: Event) -> int:
        """Return the enrolled stake of an account just before an event."""
        return self.enrolled[account].before(position(event)) if account in self.enrolled else 0

    def since_before(self, account: str, event: Event) -> int:
        """Return since when its enrolled stake has been as much or more, just before an event; 0 if never."""
        return self.since[account].before(position(event)) if account in self.since else 0

    def total_enrolled_before(self, event: Event) -> int:
        """Return the sum of all enrolled stake just before an event."""
        return self.total_enrolled.before(position(event))

    def leaving_before(self, account: str, event: Event) -> int:
        """Return the sum of the pending withdrawals of an account just before an event."""
        return self.leaving[account].before(position(event)) if account in self.leaving else 0

    def unlocked(self, account: str) -> int:
        """Return the stake of an account without its bonds, after all events so far."""
        stake = self.stakes[account].last if account in self.stakes else 0
        return stake - (self.bonds[account].last if account in self.bonds else 0)

    def unlocked_before(self, account: str, event: Event) -> int:
        """Return the stake of an account without its bonds, just before an event."""
        bonds = self.bonds[account].before(position(event)) if account in self.bonds else 0
        return self.stake_before(account, event) - bonds

    def votes_at(self, delegate: str, time: int) -> int:
        """Return the votes of an account at a time, as `getPastVotes` does."""
        return self.votes[delegate].at(time) if delegate in self.votes else 0

    def votes_before(self, delegate: str, event: Event) -> int:
        """Return the votes of an account just before an event, as `getVotes` does in its transaction."""
        line = self.votes_by_place.get(delegate)
        return line.before(position(event)) if line is not None else 0


def fold_stakes(history: History) -> Stakes:
    """Replay the vault's events, and the ledger's that say how much an account enrols."""
    stakes = Stakes()
    voting: dict[str, int] = defaultdict(int)  # Stake that is delegated to an account.
    for events in _transactions(history.events, "vault", "ledger"):
        touched: set[str] = set()
        for event in events:
            _apply(history, stakes, voting, touched, event)
        for delegate in touched - {ZERO_ADDRESS}:
            require(
                Subject(check=_CHECK, event=events[-1]),
                f"the votes of {delegate}",
                voting[delegate],
                stakes.votes[delegate].last,
            )
    return stakes


def check_stakes(history: History, stakes: Stakes) -> None:
    """Compare the result of the replay with the vault's storage, and with its tokens."""
    subject, storage = Subject(check=_CHECK), history.storage
    present = {account: line.last for account, line in stakes.stakes.items()}
    for account, stake in present.items():
        require(subject, f"the stake of {account}", stake, storage.stakes.get(account))
        require(
            subject,
            f"what {account} is taking out",
            tuple(stakes.unbonding[account]),
            storage.unbondings.get(account),
        )
    for account, member in storage.members.items():
        require(subject, f"the stake of {account}", present.get(account, 0), member.stake)
        require(subject, f"the enrolled stake of {account}", _last(stakes.enrolled, account), member.enrolled)
        require(subject, f"since when {account} is enrolled", _last(stakes.since, account), member.since)
        require(subject, f"the member number of {account}", stakes.numbers.get(account, 0), member.number)
        require(subject, f"the bonds of {account}", _last(stakes.bonds, account), storage.bonds.get(account))
    unread = {*stakes.enrolled, *stakes.bonds} - set(storage.members)
    require(subject, "the accounts that were not read", [], sorted(unread))
    require(subject, "the sum of all enrolled stake", stakes.total_enrolled.last, storage.total_enrolled)
    for delegate, line in stakes.votes.items():
        require(subject, f"the votes of {delegate}", line.last, storage.votes.get(delegate))
    locked = sum(line.last for line in stakes.bonds.values())
    require(
        subject, "the sum of all stakes without bonds", sum(present.values()) - locked, storage.total_staked
    )
    stakes.donated = _donations(history)
    leaving = sum(amount for queue in stakes.unbonding.values() for amount, _ in queue)
    require(
        subject,
        "the vault's balance (stakes, what is leaving, gifts)",
        sum(present.values()) + leaving + stakes.donated,
        storage.vault_balance,
    )


def _last(lines: dict[str, Timeline], account: str) -> int:
    return lines[account].last if account in lines else 0


def _enrol(stakes: Stakes, event: Event, account: str, amount: int) -> None:
    line, place = stakes.enrolled[account], position(event)
    stakes.total_enrolled.record(place, stakes.total_enrolled.last + amount - line.last)
    line.record(place, amount)


def _shrink(stakes: Stakes, event: Event, account: str) -> None:
    """Take of the enrolled stake what is not there any more beside the bonds."""
    unlocked = stakes.unlocked(account)
    if account in stakes.enrolled and stakes.enrolled[account].last > unlocked:
        _enrol(stakes, event, account, unlocked)


def _apply(history: History, stakes: Stakes, voting: dict[str, int], touched: set[str], event: Event) -> None:
    time = history.time(event)
    subject = Subject(check=_CHECK, event=event)

    def move(account: str, difference: int) -> None:
        line = stakes.stakes[account]
        require_that(
            line.last + difference >= 0, subject, f"the stake of {account}", "not below zero", difference
        )
        require_that(
            difference > 0 or stakes.unlocked(account) + difference >= 0,
            subject,
            f"the unlocked stake of {account}",
            "not below zero",
            stakes.unlocked(account) + difference,
        )
        line.record(position(event), line.last + difference)
        _shrink(stakes, event, account)
        give_votes(account, difference)

    def give_votes(account: str, difference: int) -> None:
        stakes.total.record(time, stakes.total.last + difference)
        delegate = stakes.delegates.get(account, ZERO_ADDRESS)
        voting[delegate] += difference
        touched.add(delegate)

    match event:
        case DelegateChanged():
            before = stakes.delegates.get(event.delegator, ZERO_ADDRESS)
            require(subject, f"the delegate of {event.delegator}", before, event.from_delegate)
            stake = stakes.unlocked(event.delegator)
            voting[before] -= stake
            voting[event.to_delegate] += stake
            stakes.delegates[event.delegator] = event.to_delegate
            touched.update((before, event.to_delegate))
        case DelegateVotesChanged():
            line = stakes.votes[event.delegate]
            require(subject, f"the previous votes of {event.delegate}", line.last, event.previous_votes)
            line.record(time, event.new_votes)
            stakes.votes_by_place[event.delegate].record(position(event), event.new_votes)
            touched.add(event.delegate)
        case Staked():
            move(event.account, event.amount)
        case UnbondingRequested():
            require(subject, "the release", time + history.storage.unbonding_period, event.release_at)
            move(event.account, -event.amount)
            stakes.unbonding[event.account].append((event.amount, event.release_at))
            _note_leaving(stakes, event, event.account)
        case Withdrawn():
            queue = stakes.unbonding[event.account]
            released = [amount for amount, release_at in queue if release_at <= time]
            require(subject, f"what is released for {event.account}", sum(released), event.amount)
            del queue[: len(released)]
            _note_leaving(stakes, event, event.account)
        case Slashed():
            taken = event.reward + event.burnt
            share = 0 if event.beneficiary == ZERO_ADDRESS else taken // CHALLENGER_DIVISOR
            require(subject, "the beneficiary's share", share, event.reward)
            staked = min(taken, stakes.unlocked(event.account))
            if staked:
                move(event.account, -staked)
            _slash_unbonding(subject, stakes.unbonding[event.account], event.account, taken - staked)
            _note_leaving(stakes, event, event.account)
        case BondLocked():
            _require_unlocked(stakes, subject, event)
            _number(stakes, event.account)
            line = stakes.bonds[event.account]
            line.record(position(event), line.last + event.amount)
            _shrink(stakes, event, event.account)
            give_votes(event.account, -event.amount)
        case BondUnlocked():
            line = stakes.bonds[event.account]
            require_that(
                event.amount <= line.last,
                subject,
                f"the bonds of {event.account}",
                f"at least {event.amount}",
                line.last,
            )
            line.record(position(event), line.last - event.amount)
            give_votes(event.account, event.amount)
        case Enrolled():
            _require_unlocked(stakes, subject, event)
            _number(stakes, event.account)
            if event.amount > _last(stakes.enrolled, event.account):
                stakes.since[event.account].record(position(event), time)
            _enrol(stakes, event, event.account, event.amount)
        case Left():
            _enrol(stakes, event, event.account, 0)
        case _:
            pass  # Other modules check roles and similar events.


def _require_unlocked(stakes: Stakes, subject: Subject, event: BondLocked | Enrolled) -> None:
    unlocked = stakes.unlocked(event.account)
    require_that(
        event.amount <= unlocked,
        subject,
        f"the stake of {event.account} without its bonds",
        f"at least {event.amount}",
        unlocked,
    )


def _note_leaving(stakes: Stakes, event: Event, account: str) -> None:
    stakes.leaving[account].record(position(event), sum(amount for amount, _ in stakes.unbonding[account]))


def _number(stakes: Stakes, account: str) -> None:
    """Give an account its member number, if it has none."""
    stakes.numbers.setdefault(account, len(stakes.numbers) + 1)


def _slash_unbonding(subject: Subject, queue: list[tuple[int, int]], account: str, amount: int) -> None:
    """Take from the newest withdrawal first, as the vault does."""
    while amount and queue:
        last, release_at = queue.pop()
        part = min(amount, last)
        amount -= part
        if last > part:
            queue.append((last - part, release_at))
    require(subject, f"what was taken of {account} beyond what it had", 0, amount)


def _donations(history: History) -> int:
    """Match the token's transfers with the vault's events, transaction by transaction.

    Returns:
        Sum of the tokens that were sent to the vault without staking.
    """
    vault, donated = history.deployment.vault, 0
    for events in _transactions(history.events, "vault", "token"):
        paid: Counter[str] = Counter()
        unexplained = 0
        for event in events:
            match event:
                case Transfer():
                    if event.to == vault:
                        paid[event.from_] += event.value
                        donated += event.value
                    if event.from_ == vault:
                        unexplained -= event.value
                case Withdrawn():
                    unexplained += event.amount
                case Slashed():
                    unexplained += event.reward + event.burnt
                case _:
                    pass
        for event in events:
            if isinstance(event, Staked):
                subject = Subject(check=_CHECK, event=event)
                require_that(
                    paid[event.payer] >= event.amount,
                    subject,
                    f"what {event.payer} paid into the vault",
                    f"at least {event.amount}",
                    paid[event.payer],
                )
                paid[event.payer] -= event.amount
                donated -= event.amount
        require(
            Subject(check=_CHECK, event=events[-1]), "what left the vault beyond its events", 0, -unexplained
        )
    return donated


def _transactions(events: Iterable[Event], *contracts: str) -> Iterator[list[Event]]:
    """Group the events of some contracts by transaction."""
    chosen = (event for event in events if event.contract in contracts)
    for _, group in groupby(chosen, key=lambda event: event.transaction):
        yield list(group)

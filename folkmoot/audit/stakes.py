# SPDX-License-Identifier: Apache-2.0
"""Replay stakes and votes from the vault's events, for any moment of the history.

The replay follows the vault's rules (contracts/src/StakeVault.sol). The result is compared with the vault's storage and
its tokens. Other checks use it for the stake of a contributor at its commitment, of a coordinator at its anchor, and
for the votes at a proposal's snapshot.
"""

from __future__ import annotations

import bisect
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby

from folkmoot.audit.failure import Subject, require, require_that
from folkmoot.audit.history import History
from folkmoot.chain.deploy import ZERO_ADDRESS
from folkmoot.ledger.events import (
    DelegateChanged,
    DelegateVotesChanged,
    Event,
    Frozen,
    Slashed,
    Staked,
    Transfer,
    UnbondingRequested,
    Withdrawn,
)

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
    frozen: dict[str, int] = field(default_factory=dict)
    """Unix time until which an account can't withdraw, at the end."""
    delegates: dict[str, str] = field(default_factory=dict)
    """Account that votes with the stake of an account, at the end."""
    votes: dict[str, Timeline] = field(default_factory=lambda: defaultdict(Timeline))
    """Votes of each delegate, by time."""
    votes_by_place: dict[str, Timeline] = field(default_factory=lambda: defaultdict(Timeline))
    """The same, by place in the history."""
    total: Timeline = field(default_factory=Timeline)
    """Sum of all stakes, by time."""
    donated: int = 0
    """Tokens that were sent to the vault without staking. They belong to nobody."""

    def stake_before(self, account: str, event: Event) -> int:
        """Return the stake of an account just before an event."""
        return self.stakes[account].before(position(event)) if account in self.stakes else 0

    def votes_at(self, delegate: str, time: int) -> int:
        """Return the votes of an account at a time, as `getPastVotes` does."""
        return self.votes[delegate].at(time) if delegate in self.votes else 0

    def votes_before(self, delegate: str, event: Event) -> int:
        """Return the votes of an account just before an event, as `getVotes` does in its transaction."""
        line = self.votes_by_place.get(delegate)
        return line.before(position(event)) if line is not None else 0


def fold_stakes(history: History) -> Stakes:
    """Replay the vault's events.

    Raises:
        AuditFailure: An event violates the vault's rules.
    """
    stakes = Stakes()
    voting: dict[str, int] = defaultdict(int)  # Stake that is delegated to an account.
    for events in _transactions(history.events, "vault"):
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
    """Compare the result of the replay with the vault's storage, and with its tokens.

    Raises:
        AuditFailure: A value differs.
    """
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
    for account in sorted({*stakes.frozen, *storage.frozen}):
        require(
            subject,
            f"until when {account} can withdraw nothing",
            stakes.frozen.get(account, 0),
            storage.frozen.get(account),
        )
    for delegate, line in stakes.votes.items():
        require(subject, f"the votes of {delegate}", line.last, storage.votes.get(delegate))
    require(subject, "the sum of all stakes", sum(present.values()), storage.total_staked)
    stakes.donated = _donations(history)
    leaving = sum(amount for queue in stakes.unbonding.values() for amount, _ in queue)
    require(
        subject,
        "the vault's balance (stakes, what is leaving, gifts)",
        sum(present.values()) + leaving + stakes.donated,
        storage.vault_balance,
    )


def _apply(history: History, stakes: Stakes, voting: dict[str, int], touched: set[str], event: Event) -> None:
    time = history.time(event)
    subject = Subject(check=_CHECK, event=event)

    def move(account: str, difference: int) -> None:
        line = stakes.stakes[account]
        require_that(
            line.last + difference >= 0, subject, f"the stake of {account}", "not below zero", difference
        )
        line.record(position(event), line.last + difference)
        stakes.total.record(time, stakes.total.last + difference)
        delegate = stakes.delegates.get(account, ZERO_ADDRESS)
        voting[delegate] += difference
        touched.add(delegate)

    match event:
        case DelegateChanged():
            before = stakes.delegates.get(event.delegator, ZERO_ADDRESS)
            require(subject, f"the delegate of {event.delegator}", before, event.from_delegate)
            stake = stakes.stakes[event.delegator].last if event.delegator in stakes.stakes else 0
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
        case Frozen():
            before_ = stakes.frozen.get(event.account, 0)
            require_that(
                event.until > before_,
                subject,
                f"until when {event.account} can withdraw nothing",
                f"later than {before_}",
                event.until,
            )
            stakes.frozen[event.account] = event.until
        case Withdrawn():
            until = stakes.frozen.get(event.account, 0)
            require_that(
                time >= until,
                subject,
                f"the time of the withdrawal of {event.account}",
                f"from {until}",
                time,
            )
            queue = stakes.unbonding[event.account]
            released = [amount for amount, release_at in queue if release_at <= time]
            require(subject, f"what is released for {event.account}", sum(released), event.amount)
            del queue[: len(released)]
        case Slashed():
            taken = event.reward + event.burnt
            staked = min(taken, stakes.stakes[event.account].last) if event.account in stakes.stakes else 0
            if staked:
                move(event.account, -staked)
            _slash_unbonding(subject, stakes.unbonding[event.account], event.account, taken - staked)
        case _:
            pass  # Other modules check roles and similar events.


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

    Raises:
        AuditFailure: Stake was not paid, or a payment of the vault has no event.
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

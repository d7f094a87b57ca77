# SPDX-License-Identifier: Apache-2.0
"""Record of the rounds on the chain at one block: cases to examine, and the state of the others. Pure data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from folkmoot.fraud.contracts.pruned import CommitmentRef, PrunedRounds
from folkmoot.fraud.proofs.case import Case
from folkmoot.ledger.entries import UpdateCommitted
from folkmoot.ledger.events import CommitsClosed, RoundAnchored, RoundOpened, RoundSlashed
from folkmoot.protocol.policy import Policy
from folkmoot.rpc.client import Phase


@dataclass
class RoundEvents:
    """A round, from the ledger's events."""

    opened: RoundOpened
    """Event of its opening."""
    commits: list[UpdateCommitted] = field(default_factory=list)
    """Its entries, in order."""
    closed: CommitsClosed | None = None
    """Event of the early end of its commit window, if any."""
    anchored: RoundAnchored | None = None
    """Event of its anchor, if any."""
    slashed: RoundSlashed | None = None
    """Event of its slashing, if any."""
    phase: Phase = Phase.OPEN
    """Phase in the ledger's storage."""
    case: Case | None = None
    """Case of the round; None until it is anchored."""

    def copy(self) -> RoundEvents:
        """Return a copy for further events."""
        return replace(self, commits=list(self.commits))


@dataclass(frozen=True)
class Record:
    """Rounds on the chain at one block."""

    block: int
    """Number of the block."""
    time: int
    """Unix time of the block, with which deadlines are compared."""
    cases: Mapping[int, Case]
    """Anchored rounds by number, without void ones."""
    rounds: Mapping[int, RoundEvents]
    """Events of all rounds that were not dropped, by number, always with the newest round."""
    policies: Mapping[int, Policy]
    """Policies of these rounds, by number."""
    past: PrunedRounds | None = None
    """Dropped rounds; None if rounds are never dropped."""

    def anchored_at(self, number: int) -> int:
        """Return the Unix time of an anchor: its first deadline minus the policy's window."""
        events = self.rounds[number]
        if events.anchored is None or events.case is None:
            return self.time
        return events.anchored.challenge_deadline - events.case.policy.challenge_window

    def asking_until(self, case: Case) -> int:
        """Return the Unix time until which data of an anchored round can be demanded, and the round disputed.

        The rule is that of `DataAvailability` and `Disputes`: a postponed round gets little more time for demands.
        """
        events = self.rounds[case.round]
        latest = (events.closed or events.opened).anchor_deadline + case.policy.challenge_window
        return min(case.challenge_deadline, latest)

    def opened_at(self, case: Case) -> int:
        """Return the Unix time of the opening of a round that was not dropped."""
        return self.rounds[case.round].opened.commit_deadline - case.policy.commit_window

    def waiting(self) -> list[Case]:
        """Return the rounds that can still be challenged, in order.

        A round can be challenged until somebody finalizes it, which is not possible before the deadline.
        """
        return [
            case for number, case in sorted(self.cases.items()) if self.rounds[number].phase == Phase.ANCHORED
        ]


@dataclass(frozen=True)
class Replay:
    """An update with the same bytes as an update of an earlier round with another base."""

    round: int
    """Round of the copy."""
    entry: int
    """Number of the copy's entry."""
    earlier: int
    """The earlier round."""
    earlier_entry: int
    """Number of the entry that was copied."""


def replays(record: Record) -> list[Replay]:
    """Find replayed updates in rounds that can still be challenged: committed earlier on another base.

    The earlier round may have any age. The first commitment is not a replay.
    """
    first: dict[bytes, CommitmentRef] = {}
    for number, one in sorted(record.rounds.items()):
        for entry, commit in enumerate(one.commits):
            first.setdefault(commit.update_root, CommitmentRef(number, entry, one.opened.base_state_root))
    replayed = []
    for case in record.waiting():
        for entry, commit in enumerate(record.rounds[case.round].commits):
            earlier = first[commit.update_root]
            older = record.past.first(commit.update_root) if record.past is not None else None
            if older is not None and older.round < earlier.round:
                earlier = older
            if earlier.round < case.round and earlier.base_state_root != case.base_state_root:
                replayed.append(Replay(case.round, entry, earlier.round, earlier.entry))
    return replayed


@dataclass(frozen=True)
class Overspent:
    """An entry that passes its contributor's privacy budget. The ledger refuses such an entry."""

    round: int
    """Its round."""
    contributor: str
    """Its contributor."""
    spent: int
    """What the contributor has spent with it, in units of 2^-32 of rho."""
    cap: int
    """`privacyCap` of the round's policy."""


def overspent(record: Record, checked: set[UpdateCommitted]) -> list[Overspent]:
    """Find entries with which their contributor has spent more than the policy of their round allows.

    What is spent stays spent, whatever becomes of the round. The commit windows of two rounds never overlap.

    Args:
        record: The rounds.
        checked: Entries that were checked before, and are not checked again. It is brought up to date.
    """
    spent: dict[str, int] = {}
    found: list[Overspent] = []
    entries: set[UpdateCommitted] = set()
    for number, one in sorted(record.rounds.items()):
        policy = record.policies[one.opened.policy_id]
        if not policy.cost:
            continue
        for commit in one.commits:
            account = commit.contributor
            if commit not in checked:
                dropped = record.past.spent(account, number) if record.past is not None else 0
                before = dropped + spent.get(account, 0)
                if policy.rounds_left(before) == 0:
                    found.append(Overspent(number, account, before + policy.cost, policy.privacy_cap))
            spent[account] = spent.get(account, 0) + policy.cost
        entries.update(one.commits)
    checked.clear()
    checked.update(entries)
    return found

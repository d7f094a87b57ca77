# SPDX-License-Identifier: Apache-2.0
"""Record of the rounds on the chain at one block: cases to examine, and the state of the others. Pure data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from folkmoot.fraud.proofs.case import Case
from folkmoot.ledger.entries import UpdateCommitted
from folkmoot.ledger.pruned import CommitmentRef, PrunedRounds
from folkmoot.ledger.replay import Round
from folkmoot.rpc.client import Phase


@dataclass(frozen=True)
class Record:
    """Rounds on the chain at one block."""

    block: int
    """Number of the block."""
    time: int
    """Unix time of the block, with which deadlines are compared."""
    cases: Mapping[int, Case]
    """Anchored rounds by number, without void ones."""
    void: Mapping[int, Case]
    """Rounds that were anchored and are void, by number: their deposits are still to be had."""
    rounds: Mapping[int, Round]
    """All rounds that were not dropped, by number, always with the newest round."""
    past: PrunedRounds | None = None
    """Dropped rounds; None if rounds are never dropped."""

    def case(self, number: int) -> Case | None:
        """Return the case of a round that was anchored, void or not."""
        return self.cases.get(number) or self.void.get(number)

    def asking_until(self, case: Case) -> int:
        """Return the Unix time until which data of an anchored round can be demanded, and the round disputed.

        The rule is that of `DataAvailability` and `Disputes`: a postponed round gets little more time for demands.
        """
        latest = self.rounds[case.round].anchor_deadline + case.policy.challenge_window
        return min(case.challenge_deadline, latest)

    def opened_at(self, case: Case) -> int:
        """Return the Unix time of the opening of a round that was not dropped."""
        return self.rounds[case.round].opened_at

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
    for number, round_ in sorted(record.rounds.items()):
        for entry, commit in enumerate(round_.commits):
            first.setdefault(commit.update_root, CommitmentRef(number, entry, round_.base_state_root))
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
    contributor: str
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
    overspent_budgets: list[Overspent] = []
    entries: set[UpdateCommitted] = set()
    for number, round_ in sorted(record.rounds.items()):
        policy = round_.policy
        if not policy.cost:
            continue
        for commit in round_.commits:
            account = commit.contributor
            if commit not in checked:
                dropped = record.past.spent(account, number) if record.past is not None else 0
                before = dropped + spent.get(account, 0)
                if policy.rounds_left(before) == 0:
                    overspent_budgets.append(
                        Overspent(number, account, before + policy.cost, policy.privacy_cap)
                    )
            spent[account] = spent.get(account, 0) + policy.cost
        entries.update(round_.commits)
    checked.clear()
    checked.update(entries)
    return overspent_budgets
